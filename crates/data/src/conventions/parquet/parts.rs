//! Rows of the wanted part of the data, where a column says to which part each belongs.

use std::path::Path;

use super::file::File;
use super::values::NO_LABEL;
use crate::split::Split;
use swa_base::{Error, Result};

/// The rows that count, by their numbers in all files; None: all.
pub(super) fn rows(dir: &Path, files: &[File], split: Split) -> Result<Option<Vec<usize>>> {
    let all = || {
        files.iter().flat_map(|file| {
            let part = |row: usize| file.parts.as_ref().and_then(|parts| parts[row]);
            (0..file.labels.len()).map(part)
        })
    };
    let said: Vec<Split> = all().flatten().collect();
    let count = all().count();
    if !said.is_empty() && said.len() < count {
        let what = format!(
            "a column says of {} of {count} rows to which part of the data they belong, and not of the others",
            said.len()
        );
        return Err(Error::input(what).at(dir).remedy(
            "write train, val or test there in every row, or leave out the column and the rows of other parts",
        ));
    }
    let chosen = if said.is_empty() { None } else { Some(split.choose(dir, said)?) };
    let labels = files.iter().flat_map(|file| file.labels.iter().copied());
    let kept = || all().enumerate().filter(move |(_, part)| *part == chosen).map(|(row, _)| row);
    let mut numbered = labels.enumerate();
    let lacks = |&row: &usize| {
        numbered.find(|&(other, _)| other == row).is_some_and(|(_, label)| label == NO_LABEL)
    };
    match kept().find(lacks) {
        None => Ok(chosen.map(|_| kept().collect())),
        Some(row) => {
            let what =
                format!("row {row} has no label from 0 on, though it is of this part of the data");
            Err(Error::input(what).at(dir).remedy("leave out rows without a class"))
        }
    }
}
