//! Label files in JSON.
//!
//! | form | example |
//! |---|---|
//! | an object a line (`metadata.jsonl` of Hugging Face) | `{"file_name": "1.png", "label": 3}` |
//! | an array of objects | `[{"file_name": "1.png", "label": 3}]` |
//! | an object of names and labels | `{"1.png": 3}` |
//! | an array of pairs, also below `labels` (StyleGAN's `dataset.json`) | `{"labels": [["1.png", 3]]}` |

use std::collections::HashMap;

use serde_json::Value;

use super::table::{MAX_CELLS, Table};
use crate::pairs::Pairs;
use swa_base::text::printable;
use swa_base::{Error, Kind, Result};

/// The largest JSON document that is read as a whole, in bytes; a file of a document a line may be larger.
const MAX_JSON: usize = 1 << 25;

/// The headings of a form whose columns have no names.
const PAIR: [&str; 2] = ["image", "label"];

pub(super) fn read(text: &str) -> Result<Table> {
    let text = text.trim();
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with('{')
        && let Ok(Value::Object(_)) = serde_json::from_str(first)
        && first.len() < text.len()
    {
        return of_lines(text);
    }
    if text.len() > MAX_JSON {
        let what = format!("JSON of {} bytes, above {MAX_JSON}", text.len());
        return Err(Error::limit(what).remedy("write an object a line (`.jsonl`), or CSV"));
    }
    let bad = |error: serde_json::Error| Error::input(format!("is no JSON: {error}"));
    if text.starts_with('{') {
        let Pairs(pairs) = serde_json::from_str(text).map_err(bad)?;
        // A single line of JSON lines.
        if pairs.iter().any(|(key, value)| key == "file_name" && value.is_string()) {
            return of_records(1, &[Pairs(pairs)]);
        }
        if let Some((_, Value::Array(entries))) = pairs.iter().find(|(key, _)| key == "labels") {
            return of_array(entries);
        }
        if pairs.iter().any(|(key, value)| key == "annotations" && value.is_array()) {
            let what = "annotations in COCO's form, which are not one label an image";
            return Err(Error::new(Kind::Unsupported, what)
                .remedy("write a CSV of two columns, `image` and `label`"));
        }
        let rows = pairs.iter().map(|(name, label)| (0, [name.clone(), cell(label)]));
        return of_pairs(rows);
    }
    // As pairs: an object forgets that it had a name twice.
    if let Ok(records) = serde_json::from_str::<Vec<Pairs>>(text)
        && !records.is_empty()
    {
        return of_records(0, &records);
    }
    match serde_json::from_str(text).map_err(bad)? {
        Value::Array(entries) => of_array(&entries),
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::input("JSON of no known form").remedy(
        "give an object a line, such as {\"file_name\": \"1.png\", \"label\": 3}, or {\"1.png\": 3, …}",
    )
}

fn of_array(entries: &[Value]) -> Result<Table> {
    if entries.iter().all(Value::is_object) && !entries.is_empty() {
        let record = |entry: &Value| {
            let fields = entry.as_object().into_iter().flatten();
            Pairs(fields.map(|(key, value)| (key.clone(), value.clone())).collect())
        };
        return of_records(0, &entries.iter().map(record).collect::<Vec<_>>());
    }
    let pair = |entry: &Value| match entry.as_array().map(|pair| &pair[..]) {
        Some([Value::String(name), label]) => Some((0, [name.clone(), cell(label)])),
        _ => None,
    };
    let rows: Option<Vec<_>> = entries.iter().map(pair).collect();
    of_pairs(rows.ok_or_else(unknown)?.into_iter())
}

fn of_pairs(rows: impl Iterator<Item = (usize, [String; 2])>) -> Result<Table> {
    let mut table = Table::default();
    table.headings = Some(PAIR.map(String::from).to_vec());
    table.width = 2;
    for (line, cells) in rows {
        table.push(line, cells.iter().map(String::as_str))?;
    }
    Ok(table)
}

fn of_lines(text: &str) -> Result<Table> {
    let lines = || text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let parse = |(line, number): (&str, usize)| {
        let Pairs(pairs) = serde_json::from_str(line)
            .map_err(|error| Error::input(format!("line {number}: is no JSON object: {error}")))?;
        Ok((number, pairs))
    };
    // Twice, so that one row at a time is in memory.
    let mut headings = Headings::default();
    for line in lines() {
        let (number, pairs) = parse(line)?;
        headings.note(number, &pairs)?;
    }
    let mut table = Table::default();
    for line in lines() {
        let (number, pairs) = parse(line)?;
        headings.add(&mut table, number, &pairs)?;
    }
    table.headings = Some(headings.names);
    Ok(table)
}

/// Records that are in one line of the file, or in lines that nobody counted (0).
fn of_records(line: usize, rows: &[Pairs]) -> Result<Table> {
    let mut headings = Headings::default();
    for Pairs(pairs) in rows {
        headings.note(line, pairs)?;
    }
    let mut table = Table::default();
    for Pairs(pairs) in rows {
        headings.add(&mut table, line, pairs)?;
    }
    table.headings = Some(headings.names);
    Ok(table)
}

/// More keys than this are no columns.
const MAX_HEADINGS: usize = 1 << 12;

/// The names of the columns, in the order in which they come up.
#[derive(Default)]
struct Headings {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Headings {
    fn note(&mut self, line: usize, pairs: &[(String, Value)]) -> Result<()> {
        let mut values = HashMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            // Which of them counts, nobody can know.
            if values.insert(key, value).is_some_and(|other| other != value) {
                let at = if line > 0 { format!("line {line}: ") } else { String::new() };
                let what = format!("{at}two values of `{}` in one object", printable(key));
                return Err(Error::input(what));
            }
            if !self.places.contains_key(key) {
                if self.names.len() == MAX_HEADINGS {
                    return Err(Error::limit(format!("records of more than {MAX_HEADINGS} names")));
                }
                self.places.insert(key.clone(), self.names.len());
                self.names.push(key.clone());
            }
        }
        Ok(())
    }

    fn add(&self, table: &mut Table, line: usize, pairs: &[(String, Value)]) -> Result<()> {
        if table.rows().saturating_mul(self.names.len()) > MAX_CELLS {
            return Err(Error::limit(format!("a label file of more than {MAX_CELLS} cells")));
        }
        let mut cells = vec![String::new(); self.names.len()];
        for (key, value) in pairs {
            cells[self.places[key]] = cell(value);
        }
        table.push(line, cells.iter().map(String::as_str))
    }
}

/// What a value is in a table. A list of one value is that value; other lists and objects stay JSON.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => match &values[..] {
            [one] if !one.is_array() && !one.is_object() => cell(one),
            _ => value.to_string(),
        },
        _ => value.to_string(),
    }
}
