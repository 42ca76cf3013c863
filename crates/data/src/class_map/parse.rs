//! The forms of the file: see [`super`].

use serde_json::{Map, Value};
use swa_tools::json;

use crate::conventions::flat::words::{first_word, is_class_heading, is_wnid};

/// A class as the file names it, and its output; None: its images are left out.
pub(super) type Entry = (String, Option<u32>);

/// What a file holds.
pub(super) struct Parsed {
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// Whether they are a list in the order of the outputs, without numbers: one for each output.
    pub is_list: bool,
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
fn numbered(entries: Vec<Entry>) -> Parsed {
    Parsed { entries, is_list: false }
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

/// A list in the order of the outputs.
fn in_order(names: Vec<String>) -> Parsed {
    let entries = names.into_iter().zip(0..).map(|(name, output)| (name, Some(output))).collect();
    Parsed { entries, is_list: true }
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

/// Where every line ends with a number or a dash, classes with outputs; where each begins with one, outputs with classes;
/// else classes in order.
fn lines(text: &str, is_class: &dyn Fn(&str) -> bool) -> Result<Parsed, String> {
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let lines = without_headings(&lines, is_class)?;
    if let Some(pairs) = lines.iter().map(|line| pair(line)).collect() {
        return Ok(numbered(pairs));
    }
    // A few lines of another form among many are a mistake.
    if lines.iter().filter(|line| pair(line).is_some()).count() * 2 > lines.len() {
        let odd = lines.iter().find(|line| pair(line).is_none()).unwrap_or(&"");
        return Err(format!("`{odd}`: expected a class and the number of its output"));
    }
    if lines.iter().any(|line| is_class(line)) {
        return Ok(in_order(lines.iter().map(|line| line.to_string()).collect()));
    }
    // `map_clsloc.txt`.
    if let Some(line) = lines.first().filter(|_| lines.iter().all(|line| has_kit_id(line))) {
        return Err(format!(
            "`{line}`: numbers of its own, those of ImageNet's development kit, which are not outputs"
        ));
    }
    let outputs: Option<Vec<(u32, &str)>> = lines.iter().map(|line| number_first(line)).collect();
    if let Some(mut outputs) = outputs {
        outputs.sort();
        if !outputs.iter().map(|(output, _)| *output).eq(0..lines.len() as u32) {
            return Err("lines begin with numbers that are not those of outputs, from 0 on".into());
        }
        let entry = |(output, name)| (class(name), Some(output));
        return Ok(numbered(outputs.into_iter().map(entry).collect()));
    }
    Ok(in_order(lines.iter().map(|line| class(line)).collect()))
}

/// The class of a line without its output: a wnid, which more names of it may follow, or all of the line.
fn class(line: &str) -> String {
    let first = first_word(line).trim_end_matches(',');
    let first = first.split(',').next().unwrap_or_default();
    if is_wnid(first) { first.into() } else { unquoted(line) }
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// A class, then its output.
fn pair(line: &str) -> Option<Entry> {
    let (name, last) = line.rsplit_once(is_separator)?;
    let output = if last == "-" { None } else { Some(last.parse().ok()?) };
    Some((unquoted(name.trim_end_matches(is_separator)), output))
}

/// An output, then its class.
fn number_first(line: &str) -> Option<(u32, &str)> {
    let (number, name) = line.split_once(|c| c == ':' || is_separator(c))?;
    Some((number.parse().ok()?, name.trim_start_matches(is_separator)))
}

/// A wnid, a number, and more.
fn has_kit_id(line: &str) -> bool {
    let mut words = line.split(is_separator).filter(|word| !word.is_empty());
    let [wnid, number] = [words.next(), words.next()].map(Option::unwrap_or_default);
    is_wnid(wnid) && number.parse::<u32>().is_ok() && words.next().is_some()
}

/// Without the quotation marks of CSV around it.
fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    inner.map_or_else(|| name.to_string(), |inner| inner.replace("\"\"", "\""))
}

/// The lines without one of headings above classes and outputs. Above a list in order it may be a class that the data lack.
fn without_headings<'l>(
    lines: &'l [&'l str],
    is_class: &dyn Fn(&str) -> bool,
) -> Result<&'l [&'l str], String> {
    let [first, rest @ ..] = lines else { return Ok(lines) };
    let mut cells = first.split(is_separator).filter(|cell| !cell.is_empty());
    let are_headings = cells.all(|cell| is_class_heading(cell.trim_matches('"')));
    if !are_headings || is_class(first) || rest.is_empty() {
        return Ok(lines);
    }
    let have_numbers = |form: &dyn Fn(&str) -> bool| rest.iter().all(|line| form(line));
    if have_numbers(&|line| pair(line).is_some())
        || have_numbers(&|line| number_first(line).is_some())
    {
        return Ok(rest);
    }
    Err(format!("`{first}` is a heading, no class; remove the line"))
}
