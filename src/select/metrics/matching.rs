//! Which row is of which checkpoint: by the name of its file, or by its number.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::ByResults;
use super::table::Table;
use crate::store::names::base_name;
use crate::{Error, Kind, Result, setting};

/// What a row and a checkpoint have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    /// Epoch or step.
    Number(u64),
    /// The checkpoint by its position, where rows name files.
    File(usize),
}

/// Results in the order of their rows' numbers, and the checkpoints.
#[derive(Debug)]
pub(super) struct Matched {
    /// The column by which they found each other.
    pub column: String,
    /// Of each checkpoint.
    pub keys: Vec<Key>,
    /// Each key's result; of several the last in the file.
    pub results: BTreeMap<Key, f64>,
    names: Vec<String>,
}

/// Columns that name a file, as swa-eval and tables of runs have them.
const FILES: [&str; 6] = ["model", "checkpoint", "file", "filename", "path", "name"];

/// Columns that count, without what stands before a dot or a slash (`trainer/global_step`).
const COUNTERS: [&str; 9] =
    ["epoch", "step", "global_step", "iteration", "iter", "round", "epochs", "steps", "iterations"];

impl Key {
    pub fn number(self) -> Option<u64> {
        match self {
            Key::Number(number) => Some(number),
            Key::File(_) => None,
        }
    }
}

impl Matched {
    /// The result of a checkpoint.
    pub fn value(&self, checkpoint: usize) -> Option<f64> {
        self.results.get(&self.keys[checkpoint]).copied()
    }

    /// A key for people.
    pub fn name(&self, key: Key) -> String {
        match key {
            Key::Number(number) => number.to_string(),
            Key::File(position) => self.names[position].clone(),
        }
    }
}

/// Finds the row of each checkpoint, and says which have none.
pub(super) fn matched(
    table: &Table,
    metric: usize,
    paths: &[PathBuf],
    by: &ByResults,
    numbers: impl FnOnce(&[PathBuf]) -> Result<(Vec<u64>, bool)>,
    notes: &mut Vec<String>,
) -> Result<Matched> {
    // Rows without the metric are of no interest: Lightning logs training and validation in lines of their own.
    let rows: Vec<usize> =
        (0..table.len()).filter(|&row| table.number(row, metric).is_some()).collect();
    let names: Vec<String> = paths.iter().map(|path| base_name(path)).collect();
    let by_name = by.number_column.is_none().then(|| by_name(table, &rows, paths)).flatten();
    let (column, keys, of_rows) = match by_name {
        Some((column, of_rows)) => {
            let column = super::clear(table, column, by)?;
            (column, (0..paths.len()).map(Key::File).collect::<Vec<_>>(), of_rows)
        }
        None => {
            let (numbers, is_named) = numbers(paths)?;
            let (column, given) = counter(table, &rows, &numbers, by)?;
            let column = super::clear(table, column, by)?;
            let of_rows: Vec<u64> =
                rows.iter().filter_map(|&row| number(table, row, column)).collect();
            let offset = match given {
                Some(offset) => offset,
                None if !is_named => 0,
                None => offset(&of_rows, &numbers, paths, &table.columns()[column], by)?,
            };
            if given.is_none() && offset > 0 {
                notes.push(format!(
                    "`{}`: Keras counts from 0 in it and from 1 in names: its epoch 0 is that of number 1",
                    by.file.display()
                ));
            }
            let number = |row| number(table, row, column)?.checked_add(offset);
            let key = |&row: &usize| number(row).map(Key::Number);
            let of_rows = rows.iter().map(key).collect();
            (column, numbers.into_iter().map(Key::Number).collect(), of_rows)
        }
    };
    let column = table.columns()[column].clone();
    let (mut results, mut repeated, mut without) = (BTreeMap::new(), 0, 0);
    for (&row, key) in rows.iter().zip(of_rows) {
        match (key, table.number(row, metric)) {
            (Some(key), Some(value)) => repeated += results.insert(key, value).is_some() as usize,
            _ => without += 1,
        }
    }
    // What lies outside the checkpoints' span is no neighbour of theirs.
    let span = keys.iter().min().copied().zip(keys.iter().max().copied());
    let all = results.len();
    let known: HashSet<Key> = keys.iter().copied().collect();
    let outside: Vec<Key> = results.keys().copied().filter(|key| !known.contains(key)).collect();
    if let Some((first, last)) = span {
        results.retain(|key, _| (first..=last).contains(key));
    }
    let matched = Matched { column, keys, results, names };
    let found = matched.keys.iter().filter(|key| matched.results.contains_key(key)).count();
    let (file, column) = (by.file.display(), &matched.column);
    notes.push(format!(
        "`{file}`: rows are of checkpoints by `{column}`; {found} of {} have one",
        paths.len()
    ));
    if repeated > 0 {
        notes.push(format!(
            "`{file}`: {repeated} row(s) repeat a `{column}` that has `{}` already: the last one counts",
            by.metric
        ));
    }
    if without > 0 {
        let of = if matches!(matched.keys.first(), Some(Key::File(_))) { "file" } else { "number" };
        notes.push(format!(
            "`{file}`: {without} row(s) have no {of} in `{column}` that could be a checkpoint's"
        ));
    }
    if !outside.is_empty() {
        let shown = some(outside.iter().map(|key| matched.name(*key)));
        notes.push(format!(
            "`{file}`: {} of {all} rows are of no checkpoint: {shown}",
            outside.len()
        ));
    }
    let lonely = (0..paths.len()).filter(|&i| matched.value(i).is_none());
    let lonely: Vec<String> = lonely.map(|i| matched.names[i].clone()).collect();
    if !lonely.is_empty() {
        let (n, shown) = (lonely.len(), some(lonely.into_iter()));
        notes.push(format!("`{file}`: {n} checkpoint(s) have no `{}` in it: {shown}", by.metric));
    }
    Ok(matched)
}

/// The first few.
fn some(names: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 10;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.take(SHOWN).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// A column that names checkpoints' files, and the key of each row.
fn by_name(table: &Table, rows: &[usize], paths: &[PathBuf]) -> Option<(usize, Vec<Option<Key>>)> {
    let mut named: HashMap<String, Option<usize>> = HashMap::new();
    let mut whole: HashMap<&Path, usize> = HashMap::new();
    for (i, path) in paths.iter().enumerate() {
        whole.entry(path).or_insert(i);
        // Files of one name in several folders are told apart by their paths alone.
        named.entry(base_name(path)).and_modify(|own| *own = None).or_insert(Some(i));
    }
    let key = |text: &str| {
        let path = Path::new(text);
        let same = whole.get(path).copied();
        same.or_else(|| named.get(&base_name(path)).copied().flatten()).map(Key::File)
    };
    let of = |column: usize| -> Vec<Option<Key>> {
        rows.iter().map(|&row| table.text(row, column).and_then(key)).collect()
    };
    let columns = FILES.iter().filter_map(|name| table.column(name));
    let found = columns.map(|column| (column, of(column)));
    found.into_iter().find(|(_, keys)| keys.iter().any(Option::is_some))
}

/// The whole number that a row has in a column.
fn number(table: &Table, row: usize, column: usize) -> Option<u64> {
    let number = table.number(row, column)?;
    // Above that not every whole number is an f64.
    let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    is_whole.then_some(number as u64)
}

/// What is to be added to the rows' numbers: 1 where they count from 0, and names from 1, as Keras's `CSVLogger` and its
/// `ModelCheckpoint` do.
///
/// # Errors
/// `Usage` where that is not clear.
fn offset(
    rows: &[u64],
    numbers: &[u64],
    paths: &[PathBuf],
    column: &str,
    by: &ByResults,
) -> Result<u64> {
    let Some(last) = rows.iter().max() else { return Ok(0) };
    // The last row is of the last name, or both begin with 0.
    let is_after = numbers.iter().max() == Some(&(last + 1));
    let ends = ["keras", "h5"];
    let is_keras = |path: &PathBuf| {
        path.extension().is_some_and(|own| ends.iter().any(|end| own.eq_ignore_ascii_case(end)))
    };
    let are_keras = column == "epoch" && paths.iter().all(is_keras);
    if numbers.contains(&0) || !(are_keras || is_after && rows.contains(&0)) {
        return Ok(0);
    }
    if are_keras && is_after {
        return Ok(1);
    }
    let smallest = rows.iter().min().unwrap_or(last);
    let (from, to) = (numbers.iter().min().unwrap_or(last), numbers.iter().max().unwrap_or(last));
    let what = format!(
        "`{column}` goes from {smallest} to {last}, the checkpoints from {from} to {to}: do these count from 1, and `{column}` from 0?"
    );
    let flag = setting!("metrics_number");
    Err(Error::usage(what)
        .at(&by.file)
        .remedy(format!("if so, say {flag} '{column}+1', else {flag} '{column}'")))
}

/// The column that holds the checkpoints' numbers: the one that is named, with what is to be added to them (`epoch+1`), or
/// the one of the known names in which most of them are found.
fn counter(
    table: &Table,
    rows: &[usize],
    numbers: &[u64],
    by: &ByResults,
) -> Result<(usize, Option<u64>)> {
    if let Some(name) = &by.number_column {
        let with_offset = || {
            let (name, offset) = name.rsplit_once('+')?;
            Some((table.column(name)?, offset.parse().ok()?))
        };
        if let Some((column, offset)) = with_offset().filter(|_| table.column(name).is_none()) {
            return Ok((column, Some(offset)));
        }
        return table.column(name).map(|column| (column, Some(0))).ok_or_else(|| {
            let what = format!("has no column `{name}`");
            Error::input(what)
                .at(&by.file)
                .list(table.columns().iter().map(|c| format!("`{c}`")).collect())
        });
    }
    let is_counter = |name: &str| {
        let last = name.rsplit(['.', '/']).next().unwrap_or(name);
        COUNTERS.contains(&last.to_ascii_lowercase().as_str())
    };
    let candidates: Vec<usize> =
        (0..table.columns().len()).filter(|&c| is_counter(&table.columns()[c])).collect();
    // Which row each checkpoint finds.
    let of = |column: usize| -> Vec<Option<usize>> {
        let of_number: HashMap<u64, usize> =
            rows.iter().filter_map(|&row| Some((number(table, row, column)?, row))).collect();
        numbers.iter().map(|number| of_number.get(number).copied()).collect()
    };
    let found: Vec<(usize, Vec<Option<usize>>)> =
        candidates.into_iter().map(|column| (column, of(column))).collect();
    let count = |rows: &[Option<usize>]| rows.iter().flatten().count();
    let most = found.iter().map(|(_, rows)| count(rows)).max().unwrap_or(0);
    let best: Vec<_> = found.iter().filter(|(_, rows)| count(rows) == most).collect();
    let named = |columns: &[usize]| {
        columns.iter().map(|&c| format!("`{}`", table.columns()[c])).collect::<Vec<_>>().join(", ")
    };
    let columns: Vec<usize> = found.iter().map(|(column, _)| *column).collect();
    let remedy = concat!(
        "name the column with ",
        setting!("metrics_number"),
        ", or another number in the names with ",
        setting!("number")
    );
    if most == 0 {
        let what = match columns.is_empty() {
            true => "no column counts epochs or steps, or names the checkpoints".to_string(),
            false => {
                let span = |all: &[u64]| match (all.iter().min(), all.iter().max()) {
                    (Some(first), Some(last)) => format!("{first} to {last}"),
                    _ => "none".into(),
                };
                let of = |&c: &usize| {
                    let all: Vec<u64> = rows.iter().filter_map(|&r| number(table, r, c)).collect();
                    format!("`{}` has {}", table.columns()[c], span(&all))
                };
                let of = columns.iter().map(of).collect::<Vec<_>>().join(", ");
                format!("no row is of any checkpoint: {of}, the checkpoints are {}", span(numbers))
            }
        };
        return Err(Error::new(Kind::NoMatch, what).at(&by.file).remedy(remedy));
    }
    if best.iter().any(|(_, rows)| *rows != best[0].1) {
        let best: Vec<usize> = best.iter().map(|(column, _)| *column).collect();
        let what = format!("{} could all be the checkpoints' numbers", named(&best));
        return Err(Error::usage(what).at(&by.file).remedy(remedy));
    }
    Ok((best[0].0, None))
}
