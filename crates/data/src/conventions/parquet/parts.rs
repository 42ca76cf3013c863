//! Rows of the wanted part of the data, where columns say to which part each belongs.

use std::collections::HashMap;
use std::path::Path;

use super::file::{File, Words};
use super::values::NO_LABEL;
use crate::conventions::flat::parts_of_rows;
use crate::split::Split;
use swa_base::{Error, Result, setting};

/// The rows that count, by their numbers in all files; None: all. `are_named`: the names of the files say of which part these
/// are; then words under a heading of another kind may be those of an earlier division.
///
/// # Errors
/// `Input` where columns say it of some rows alone, where the wanted part is not there, and for a row that counts and has no
/// label.
pub(super) fn rows(
    dir: &Path,
    files: &[File],
    are_named: bool,
    split: Split,
) -> Result<Option<Vec<usize>>> {
    let columns = files.iter().flat_map(|file| &file.parts);
    let mut headings: Vec<String> = columns
        .filter(|words| words.is_headed || !are_named)
        .map(|words| words.heading.clone())
        .collect();
    headings.sort();
    headings.dedup();
    let kept = match headings[..] {
        [] => None,
        _ => {
            // Rows with the same cells are of one part.
            let (mut kinds, mut places) = (vec![], HashMap::new());
            let mut rows = vec![];
            for cells in cells(files, &headings) {
                let next = kinds.len();
                rows.push(*places.entry(cells.clone()).or_insert_with(|| {
                    kinds.push(cells);
                    next
                }));
            }
            let parts = match parts_of_rows(&headings, kinds.into_iter()) {
                // The files' names say it.
                Err(_) if are_named => None,
                parts => parts.map_err(|error| error.at(dir))?,
            };
            parts.map(|parts| rows.into_iter().map(|kind| parts[kind]).collect::<Vec<Split>>())
        }
    };
    let kept: Option<Vec<usize>> = match kept {
        None => None,
        Some(parts) => {
            let chosen = split.choose(dir, parts.clone())?;
            Some((0..parts.len()).filter(|&row| parts[row] == chosen).collect())
        }
    };
    let mut first = 0;
    for file in files {
        let counts = |row: &usize| {
            let has_none = file.labels[*row] == NO_LABEL;
            has_none && kept.as_ref().is_none_or(|kept| kept.binary_search(&(first + row)).is_ok())
        };
        if let Some(row) = (0..file.labels.len()).find(counts) {
            let of_part =
                if kept.is_some() { ", though it is of this part of the data" } else { "" };
            let what = format!("row {row} has no label from 0 on{of_part}");
            return Err(Error::input(what).at(file.path()).remedy(concat!(
                "leave out rows without a class; where a part without answers has -1, choose another, such as ",
                setting!("split", "val")
            )));
        }
        first += file.labels.len();
    }
    Ok(kept)
}

/// The cells of each row under some headings; "" in files without such a column.
fn cells<'f>(files: &'f [File], headings: &'f [String]) -> impl Iterator<Item = Vec<&'f str>> {
    files.iter().flat_map(move |file| {
        let of = |heading: &String| file.parts.iter().find(|words| words.heading == *heading);
        let columns: Vec<Option<&Words>> = headings.iter().map(of).collect();
        let rows = 0..file.labels.len();
        rows.map(move |row| {
            columns.iter().map(|of| of.map_or("", |words| words.row(row))).collect()
        })
    })
}
