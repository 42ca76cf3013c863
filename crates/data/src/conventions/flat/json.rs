//! Label files in JSON.
//!
//! | form | example |
//! |---|---|
//! | an object a line (`metadata.jsonl` of Hugging Face) | `{"file_name": "1.png", "label": 3}` |
//! | an array of objects | `[{"file_name": "1.png", "label": 3}]` |
//! | an object of names and labels | `{"1.png": 3}` |
//! | an array of pairs, also below `labels` (StyleGAN's `dataset.json`) | `{"labels": [["1.png", 3]]}` |

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::table::{MAX_CELLS, Table};
use swa_base::{Error, Kind, Result};
use swa_tools::json;

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
    match json::parse(text).map_err(|error| Error::input(json::what(&error, 1)))? {
        Value::Object(object) => of_object(&object),
        Value::Array(entries) => of_array(&entries),
        _ => Err(unknown()),
    }
}

fn of_object(object: &Map<String, Value>) -> Result<Table> {
    // A single line of JSON lines.
    if object.get("file_name").is_some_and(Value::is_string) {
        return of_records(1, &[object]);
    }
    if let Some(Value::Array(entries)) = object.get("labels") {
        return of_array(entries);
    }
    if object.get("annotations").is_some_and(Value::is_array) {
        let what = "annotations in COCO's form, which are not one label an image";
        return Err(Error::new(Kind::Unsupported, what)
            .remedy("write a CSV of two columns, `image` and `label`"));
    }
    of_pairs(object.iter().map(|(name, label)| (0, [name.clone(), cell(label)])))
}

fn unknown() -> Error {
    Error::input("JSON of no known form").remedy(
        "give an object a line, such as {\"file_name\": \"1.png\", \"label\": 3}, or {\"1.png\": 3, …}",
    )
}

fn of_array(entries: &[Value]) -> Result<Table> {
    let records: Option<Vec<_>> = entries.iter().map(Value::as_object).collect();
    if let Some(records) = records.filter(|records| !records.is_empty()) {
        return of_records(0, &records);
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
    let parse = |(line, number): (&str, usize)| match json::parse(line)
        .map_err(|error| Error::input(json::what(&error, number)))?
    {
        Value::Object(object) => Ok((number, object)),
        _ => Err(Error::input(format!("line {number} is no JSON object"))),
    };
    // Twice, so that one row at a time is in memory.
    let mut headings = Headings::default();
    for line in lines() {
        let (_, object) = parse(line)?;
        headings.note(&object)?;
    }
    let mut table = Table::default();
    for line in lines() {
        let (number, object) = parse(line)?;
        headings.add(&mut table, number, &object)?;
    }
    table.headings = Some(headings.names);
    Ok(table)
}

/// Records that are in one line of the file, or in lines that nobody counted (0).
fn of_records(line: usize, rows: &[&Map<String, Value>]) -> Result<Table> {
    let mut headings = Headings::default();
    for object in rows {
        headings.note(object)?;
    }
    let mut table = Table::default();
    for object in rows {
        headings.add(&mut table, line, object)?;
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
    fn note(&mut self, object: &Map<String, Value>) -> Result<()> {
        for key in object.keys() {
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

    fn add(&self, table: &mut Table, line: usize, object: &Map<String, Value>) -> Result<()> {
        if table.rows().saturating_mul(self.names.len()) > MAX_CELLS {
            return Err(Error::limit(format!("a label file of more than {MAX_CELLS} cells")));
        }
        let mut cells = vec![String::new(); self.names.len()];
        for (key, value) in object {
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
