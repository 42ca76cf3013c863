//! The forms of label files that are in use.
//!
//! | lines | example |
//! |---|---|
//! | name, label | `ILSVRC2012_val_00000001.JPEG 65` (Caffe's `val.txt`), also with a comma or a tab |
//! | name, wnid, more | `LOC_val_solution.csv` of Kaggle, `val_annotations.txt` of Tiny ImageNet |
//! | wnid, in the order of the images | `imagenet_2012_validation_synset_labels.txt` |
//! | number, in the order of the images | `ILSVRC2012_validation_ground_truth.txt` of the development kit |
//!
//! A first line that names no image, where the others do, is a heading. Names count without their folder
//! and without an image's ending.

use std::ffi::OsStr;
use std::path::Path;

use crate::listing::image_stem;
use crate::text;
use swa_base::{Error, Result};

/// A label file, read.
pub(super) struct Table {
    /// The images' names, where there is one a line; else the lines are in the order of the images.
    pub keys: Option<Vec<String>>,
    pub labels: Labels,
}

/// What the lines say: all of one kind.
pub(super) enum Labels {
    Numbers(Vec<u32>),
    /// Such as `n01440764`.
    Words(Vec<String>),
}

impl Labels {
    pub fn len(&self) -> usize {
        match self {
            Labels::Numbers(numbers) => numbers.len(),
            Labels::Words(words) => words.len(),
        }
    }

    /// The labels of some rows.
    pub fn in_order(self, rows: impl Iterator<Item = usize>) -> Labels {
        match self {
            Labels::Numbers(numbers) => Labels::Numbers(rows.map(|row| numbers[row]).collect()),
            Labels::Words(words) => Labels::Words(rows.map(|row| words[row].clone()).collect()),
        }
    }
}

/// What an image is looked up by: its name without folder and ending.
pub(super) fn key(name: &str) -> String {
    let base = name.rsplit('/').next().unwrap_or(name);
    let stem = image_stem(OsStr::new(base)).map(String::from_utf8_lossy);
    stem.map_or(base.to_string(), |stem| stem.into_owned())
}

/// Reads a label file. `known` says whether a key is that of an image.
pub(super) fn read(path: &Path, known: impl Fn(&str) -> bool) -> Result<Table> {
    let text = text::read(path)?;
    let lines = text.lines().zip(1..).map(|(line, number)| (line.trim(), number));
    let mut rows: Vec<(Option<String>, &str, usize)> = Vec::new();
    for (line, number) in lines.filter(|(line, _)| !line.is_empty()) {
        let (name, label) = fields(line);
        rows.push((name.map(key), label, number));
    }
    let of_image = |row: &(Option<String>, &str, usize)| row.0.as_deref().is_some_and(&known);
    if let [first, second, ..] = &rows[..]
        && !of_image(first)
        && of_image(second)
    {
        rows.remove(0);
    }
    let Some((first_name, first_label, _)) = rows.first() else {
        return Err(Error::input("it holds no labels").at(path));
    };
    let (named, numbers) = (first_name.is_some(), is_number(first_label));
    let odd = rows.iter().find(|(name, label, _)| {
        name.is_some() != named || is_number(label) != numbers || label.is_empty()
    });
    if let Some((name, label, line)) = odd {
        let what = match (name.is_some() == named, label.is_empty()) {
            (false, _) => "it has another number of columns than the first line".to_string(),
            (_, true) => "it has no label".to_string(),
            _ => format!("the label `{label}`, where the first is `{first_label}`"),
        };
        return Err(Error::input(format!("line {line}: {what}")).at(path));
    }
    let labels = match numbers {
        true => {
            let number = |(_, label, line): &(_, &str, usize)| {
                label.parse().map_err(|_| {
                    let what = format!("line {line}: the label {label}, expected 0 or more");
                    Error::input(what).at(path)
                })
            };
            Labels::Numbers(rows.iter().map(number).collect::<Result<_>>()?)
        }
        false => Labels::Words(rows.iter().map(|(_, label, _)| label.to_string()).collect()),
    };
    let keys = named.then(|| rows.into_iter().filter_map(|(name, _, _)| name).collect());
    Ok(Table { keys, labels })
}

/// The name, if there are two fields or more, and the label.
fn fields(line: &str) -> (Option<&str>, &str) {
    let split = line.split_once(',').or_else(|| line.split_once('\t'));
    match split.or_else(|| line.split_once(char::is_whitespace)) {
        None => (None, bare(line)),
        Some((name, rest)) => {
            let rest = bare(rest);
            let end = rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len());
            (Some(bare(name)), bare(&rest[..end]))
        }
    }
}

/// Without blanks and quotation marks around it.
fn bare(field: &str) -> &str {
    field.trim().trim_matches('"').trim()
}

fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix(['-', '+']).unwrap_or(label);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}
