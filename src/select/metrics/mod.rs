//! Selection by results: a trainer's file of metrics says which checkpoints to take.
//!
//! `table` is what every kind of file becomes; `csv`, `json_lines`, `trainer_state` and `evaluation` read one each;
//! `matching` finds the row of each checkpoint; `top` and `swad` choose.

mod csv;
mod evaluation;
mod json;
mod json_lines;
mod matching;
mod swad;
mod table;
mod top;
mod trainer_state;

use std::path::{Path, PathBuf};

use serde_json::Value;
use swa_base::text::printable;
use swa_base::{choices, text_file};

use crate::{Error, Result, setting};
use matching::{Key, Matched};
pub use swad::Swad;
use table::Table;

/// Which checkpoints to take by a trainer's results.
#[derive(Debug, Clone)]
pub struct ByResults {
    /// CSV with a line of names, an object of JSON a line, a list of objects, a `trainer_state.json`, or what swa-eval
    /// prints as JSON.
    pub file: PathBuf,
    /// The name of the results that decide.
    pub metric: String,
    /// What they decide.
    pub choice: Choice,
    /// The column with the numbers that checkpoints have in their names; None: found by its name and its numbers.
    pub number_column: Option<String>,
}

/// How results choose checkpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// So many of the best.
    Top(Direction, usize),
    /// Those from where a loss has reached its valley to where it leaves it.
    Swad(Swad),
}

choices! {
    /// Which results are the best.
    pub enum Direction {
        Max = "max": "The largest: an accuracy",
        Min = "min": "The smallest: a loss",
    }
}

/// What was chosen by results, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The file of results.
    pub file: PathBuf,
    /// The name of those that decided.
    pub metric: String,
    /// The column by which rows and checkpoints found each other.
    pub column: String,
    /// Results that took part.
    pub results: usize,
    /// The checkpoints that were taken, in their order; the value is absent where no row is of this checkpoint.
    pub taken: Vec<ChosenCheckpoint>,
    /// Why these.
    pub reason: Reason,
}

/// A checkpoint that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct ChosenCheckpoint {
    /// A file, or the folder of a model.
    pub path: PathBuf,
    /// Its number, where rows are found by number.
    pub number: Option<u64>,
    /// Its result.
    pub value: Option<f64>,
}

/// Why checkpoints were chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// Their results are the best.
    Top(Direction),
    /// They lie in the valley of the loss.
    Swad {
        /// The rule's settings.
        settings: Swad,
        /// Where averaging starts: the number or name of a row.
        start: String,
        /// The mean of the losses there.
        level: f64,
        /// The loss that the end is decided by.
        threshold: f64,
        /// Where it ends.
        end: String,
        /// Whether the loss left the valley; else the end is the last row.
        left: bool,
    },
}

/// Chooses among checkpoints in natural order. `numbers` gives the number of each, and whether it stands in its name.
///
/// # Errors
/// Those of reading the file; `Input` if it is none of the known kinds or holds no such results; `NoMatch` if no row
/// is of any of the checkpoints, or nothing is chosen; `Usage` if several columns could be the numbers'.
pub(super) fn choose(
    paths: Vec<PathBuf>,
    by: &ByResults,
    numbers: impl FnOnce(&[PathBuf]) -> Result<(Vec<u64>, bool)>,
    notes: &mut Vec<String>,
) -> Result<(Vec<PathBuf>, Chosen)> {
    let table = read(&by.file, notes)?;
    let metric = metric(&table, by)?;
    let matched = matching::matched(&table, metric, &paths, by, numbers, notes)?;
    let (taken, reason) = match by.choice {
        Choice::Top(direction, count) => {
            (top::best(&matched, direction, count, by, notes)?, Reason::Top(direction))
        }
        Choice::Swad(settings) => in_valley(&matched, settings, by)?,
    };
    let chosen = |&i: &usize| ChosenCheckpoint {
        path: paths[i].clone(),
        number: matched.keys[i].number(),
        value: matched.value(i),
    };
    let taken: Vec<ChosenCheckpoint> = taken.iter().map(chosen).collect();
    let paths = taken.iter().map(|checkpoint| checkpoint.path.clone()).collect();
    let chosen = Chosen {
        file: by.file.clone(),
        metric: by.metric.clone(),
        column: matched.column.clone(),
        results: matched.results.len(),
        taken,
        reason,
    };
    Ok((paths, chosen))
}

/// Checkpoints from the first to the last of the valley, those without a row between them included.
fn in_valley(matched: &Matched, settings: Swad, by: &ByResults) -> Result<(Vec<usize>, Reason)> {
    let none = |what: String| Error::input(what).at(&by.file);
    let losses: Vec<f64> = matched.results.values().copied().collect();
    let Some(valley) = settings.valley(&losses) else {
        let (n, m) = (losses.len(), settings.converge);
        let what =
            format!("no `{}` of {n} is the least of {m} in a row: it falls to the end", by.metric);
        return Err(none(what).remedy(concat!(
            "train on, give a smaller ",
            setting!("swad_converge"),
            ", or choose with ",
            setting!("by")
        )));
    };
    if valley.level < 0.0 {
        let what = format!("the mean of `{}` at the start is {}", by.metric, valley.level);
        return Err(none(what).remedy("SWAD takes a loss, which is not below zero"));
    }
    let keys: Vec<Key> = matched.results.keys().copied().collect();
    let (start, end) = (keys[valley.start], keys[valley.end]);
    let within = |&i: &usize| (start..=end).contains(&matched.keys[i]);
    let taken: Vec<usize> = (0..matched.keys.len()).filter(within).collect();
    let (start, end) = (matched.name(start), matched.name(end));
    if taken.is_empty() {
        let what =
            format!("no checkpoint lies between {start} and {end}, the valley of `{}`", by.metric);
        return Err(Error::new(crate::Kind::NoMatch, what).at(&by.file));
    }
    let swad::Valley { level, threshold, left, .. } = valley;
    Ok((taken, Reason::Swad { settings, start, level, threshold, end, left }))
}

/// The column of the results that decide.
fn metric(table: &Table, by: &ByResults) -> Result<usize> {
    let metrics = table.metrics();
    match table.column(&by.metric) {
        Some(column) if metrics.contains(&by.metric.as_str()) => {
            numeric(table, column, by)?;
            clear(table, column, by)
        }
        found => {
            let what = match found {
                Some(column) => {
                    numeric(table, column, by)?;
                    format!("`{}` holds no number", by.metric)
                }
                None => format!("has no results `{}`", by.metric),
            };
            let list = metrics.iter().map(|name| format!("`{name}`")).collect();
            let remedy = match metrics.is_empty() {
                true => {
                    "give CSV with a line of names and a row a checkpoint, or an object of JSON a line"
                }
                false => "name one of those that it has",
            };
            Err(Error::input(what).at(&by.file).remedy(remedy).list(list))
        }
    }
}

/// Refuses results with digits that are no number, such as `1,5` and `90%`: without them the best would be chosen among
/// the others. Words such as `n/a` are no result.
fn numeric(table: &Table, column: usize, by: &ByResults) -> Result<()> {
    let texts = (0..table.len()).filter_map(|row| table.text(row, column));
    match texts.into_iter().find(|text| text.contains(|c: char| c.is_ascii_digit())) {
        None => Ok(()),
        Some(text) => {
            let what =
                format!("`{}` has a value `{}`, which is no number", by.metric, printable(text));
            Err(Error::input(what).at(&by.file).remedy(
                "write numbers with a point, without units and without signs between thousands",
            ))
        }
    }
}

/// A column of which each row has one value.
fn clear(table: &Table, column: usize, by: &ByResults) -> Result<usize> {
    let Some([one, other]) = table.ambiguous(column) else { return Ok(column) };
    let name = &table.columns()[column];
    let what = format!("two columns are called `{name}`: a row has {one} and {other}");
    Err(Error::input(what).at(&by.file).remedy("give each column a name of its own"))
}

/// Reads a file of any of the kinds, by what is in it.
fn read(path: &Path, notes: &mut Vec<String>) -> Result<Table> {
    let text = text_file::read(path)?;
    let table = parse(&text, path, notes)?;
    match table.len() {
        0 => Err(Error::input("holds no results").at(path)),
        _ => Ok(table),
    }
}

fn parse(text: &str, path: &Path, notes: &mut Vec<String>) -> Result<Table> {
    if !text.trim_start().starts_with(['{', '[']) {
        return csv::read(text, path);
    }
    match json::parse(text) {
        Ok(Value::Object(object)) => trainer_state::of(&object, path)
            .or_else(|| evaluation::of(&object, path))
            .unwrap_or_else(|| json_lines::of_list(&[Value::Object(object)], path)),
        Ok(Value::Array(list)) => json_lines::of_list(&list, path),
        Err(e) if e.is_data() => Err(Error::input(crate::json::what(&e, 1)).at(path)),
        Ok(_) | Err(_) => json_lines::read(text, path, notes),
    }
}

#[cfg(test)]
mod tests;
