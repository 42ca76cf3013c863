//! The forms of the file: see [`super`].

use serde_json::{Map, Value};
use swa_tools::json;

/// A class as the file names it, and its output; None: its images are left out.
pub(super) type Entry = (String, Option<u32>);

/// The entries in the order of the file; an error says what is wrong, without the file.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let text = text.trim();
    let entries = if text.starts_with(['{', '[']) {
        match json::parse(text).map_err(|error| json::what(&error, 1))? {
            Value::Object(object) => of_object(object)?,
            list => in_order(serde_json::from_value(list).map_err(|error| error.to_string())?),
        }
    } else {
        lines(text)?
    };
    if entries.is_empty() { Err("it holds no classes".into()) } else { Ok(entries) }
}

fn of_object(mut object: Map<String, Value>) -> Result<Vec<Entry>, String> {
    // A whole configuration of Hugging Face.
    for key in ["label2id", "id2label"] {
        if let Some(Value::Object(inner)) = object.get_mut(key) {
            return of_object(std::mem::take(inner));
        }
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

fn in_order(names: Vec<String>) -> Vec<Entry> {
    names.into_iter().zip(0..).map(|(name, output)| (name, Some(output))).collect()
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

/// Where every line ends with a number or a dash, classes with outputs; else classes in order.
fn lines(text: &str) -> Result<Vec<Entry>, String> {
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let is_separator = |c: char| c == ',' || c.is_whitespace();
    let pair = |line: &&str| -> Option<(String, Option<u32>)> {
        let (name, last) = line.rsplit_once(is_separator)?;
        let output = if last == "-" { None } else { Some(last.parse().ok()?) };
        Some((name.trim_end_matches(is_separator).to_string(), output))
    };
    match lines.iter().map(pair).collect() {
        Some(pairs) => Ok(pairs),
        // A few lines of another form among many are a mistake.
        None if lines.iter().filter(|line| pair(line).is_some()).count() * 2 > lines.len() => {
            let odd = lines.iter().find(|line| pair(line).is_none()).unwrap_or(&"");
            Err(format!("`{odd}`: expected a class and the number of its output"))
        }
        None => Ok(in_order(lines.into_iter().map(str::to_string).collect())),
    }
}
