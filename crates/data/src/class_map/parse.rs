//! The forms of the file: see [`super`].

use std::collections::HashMap;

use serde_json::{Map, Value};
use swa_tools::json;

use super::lines::lines;

/// A class as the file names it, and its output; None: its images are left out.
pub(super) type Entry = (String, Option<u32>);

/// What a file holds.
pub(super) struct Parsed {
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// Whether they are a list in the order of the outputs, without numbers: one for each output.
    pub is_list: bool,
    /// The same with classes and outputs the other way round, where nothing says which is which.
    pub other_way: Option<Vec<Entry>>,
}

/// Reads the entries; an error says what is wrong, without the file. `is_class`: whether the data have a
/// class of that name.
pub(super) fn parse(text: &str, is_class: &dyn Fn(&str) -> bool) -> Result<Parsed, String> {
    let text = text.trim();
    let parsed = if text.starts_with(['{', '[']) {
        match json::parse(text).map_err(|error| json::what(&error, 1))? {
            Value::Object(object) => numbered(of_object(object)?),
            list => in_order(serde_json::from_value(list).map_err(|error| error.to_string())?),
        }
    } else {
        lines(text, is_class)?
    };
    if parsed.entries.is_empty() { Err("it holds no classes".into()) } else { Ok(parsed) }
}

/// Entries with numbers of their own.
pub(super) fn numbered(entries: Vec<Entry>) -> Parsed {
    Parsed { entries, is_list: false, other_way: None }
}

fn of_object(mut object: Map<String, Value>) -> Result<Vec<Entry>, String> {
    // A whole configuration of Hugging Face.
    let mut inner = |key| match object.get_mut(key) {
        Some(Value::Object(inner)) => Some(std::mem::take(inner)),
        _ => None,
    };
    match (inner("label2id"), inner("id2label")) {
        (Some(by_label), Some(by_id)) if !by_label.is_empty() && !by_id.is_empty() => {
            let (by_label, by_id) = (of_object(by_label)?, of_object(by_id)?);
            check_agree(&by_label, &by_id)?;
            return Ok(by_label);
        }
        (Some(inner), None) | (None, Some(inner)) => return of_object(inner),
        (Some(by_label), Some(by_id)) => {
            return of_object(if by_label.is_empty() { by_id } else { by_label });
        }
        (None, None) => {}
    }
    // Outputs in quotation marks look like names.
    let number = |text: &str| text.parse::<u32>().ok();
    let outputs: Option<Vec<(&String, u32)>> =
        object.iter().map(|(key, value)| Some((key, number(value.as_str()?)?))).collect();
    let Some(outputs) = outputs else {
        return object.into_iter().map(json_entry).collect();
    };
    if outputs.iter().any(|(key, _)| number(key).is_none()) {
        let entry = |(key, output): (&String, u32)| (key.clone(), Some(output));
        return Ok(outputs.into_iter().map(entry).collect());
    }
    let is_one_way = |(key, output): &&(&String, u32)| {
        object.get(&output.to_string()).and_then(Value::as_str) != Some(key)
    };
    match outputs.iter().find(is_one_way) {
        None => object.into_iter().map(json_entry).collect(),
        Some((key, output)) => Err(format!(
            "`{key}` → `{output}`: either may be the class; write the output without quotation marks"
        )),
    }
}

/// Fails if `label2id` and `id2label` contradict each other. A class that several outputs are called by has one of them in
/// the first.
fn check_agree(by_label: &[Entry], by_id: &[Entry]) -> Result<(), String> {
    let names: HashMap<Option<u32>, &str> =
        by_id.iter().map(|(name, output)| (*output, name.as_str())).collect();
    let outputs: HashMap<&str, Option<u32>> =
        by_label.iter().map(|(name, output)| (name.as_str(), *output)).collect();
    let contradicts = |entry: &&Entry| match names.get(&entry.1) {
        Some(name) => *name != entry.0,
        None => by_id.iter().any(|(name, _)| *name == entry.0),
    };
    let odd = by_label.iter().find(contradicts).or_else(|| {
        by_id.iter().find(|(name, _)| {
            outputs
                .get(name.as_str())
                .is_some_and(|&output| names.get(&output).is_none_or(|other| other != name))
        })
    });
    let Some((name, output)) = odd else { return Ok(()) };
    let shown = |output: Option<u32>| output.map_or("null".into(), |output| output.to_string());
    let output = outputs.get(name.as_str()).copied().unwrap_or(*output);
    let other = names.get(&output).map_or_else(
        || "does not have it".to_string(),
        |other| format!("calls {} `{other}`", shown(output)),
    );
    Err(format!(
        "`label2id` and `id2label` contradict each other: the first gives `{name}` the output {}, the second {other}; \
         remove the one that is wrong",
        shown(output)
    ))
}

/// A list in the order of the outputs.
pub(super) fn in_order(names: Vec<String>) -> Parsed {
    let entries = names.into_iter().zip(0..).map(|(name, output)| (name, Some(output))).collect();
    Parsed { entries, is_list: true, other_way: None }
}

fn json_entry((key, value): (String, Value)) -> Result<Entry, String> {
    let output = |n: Option<u64>| n.and_then(|n| u32::try_from(n).ok());
    let name = match &value {
        Value::Array(names) => names.first().and_then(Value::as_str),
        other => other.as_str(),
    };
    match (&value, name) {
        (Value::Null, _) => Ok((key, None)),
        (Value::Number(n), _) => match output(n.as_u64()) {
            Some(output) => Ok((key, Some(output))),
            None => Err(format!("class `{key}`: {n} is not the number of an output")),
        },
        (_, Some(name)) => match output(key.parse().ok()) {
            Some(output) => Ok((name.to_string(), Some(output))),
            None => Err(format!("`{key}` → `{name}`: neither is the number of an output")),
        },
        _ => Err(format!("`{key}`: expected the number of an output, found {value}")),
    }
}
