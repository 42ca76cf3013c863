//! JSON as trainers write it: with Python's `NaN` and `Infinity`, which JSON has no word for.

use std::borrow::Cow;

use crate::json;
use serde_json::{Map, Value};

use super::table::Cell;

/// Reads one value. NaN and infinities become text, which [`cells`] makes numbers of.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    json::parse(text).or_else(|error| match quoted(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(text) => json::parse(&text),
    })
}

/// Puts Python's words for numbers that JSON lacks between quotation marks.
fn quoted(text: &str) -> Cow<'_, str> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let (mut out, mut done, mut at) = (String::new(), 0, 0);
    let (mut inside, mut escaped) = (false, false);
    while at < text.len() {
        let byte = text.as_bytes()[at];
        if inside {
            inside = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
            at += 1;
        } else if let Some(word) =
            WORDS.iter().find(|word| text.as_bytes()[at..].starts_with(word.as_bytes()))
        {
            out += &text[done..at];
            out += &format!("\"{word}\"");
            at += word.len();
            done = at;
        } else {
            inside = byte == b'"';
            at += 1;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    Cow::Owned(out + &text[done..])
}

/// The numbers and texts of an object; those of objects in it under both names, joined by a dot.
pub(super) fn cells(object: &Map<String, Value>) -> Vec<(String, Cell)> {
    fn add(object: &Map<String, Value>, before: &str, found: &mut Vec<(String, Cell)>) {
        for (name, value) in object {
            let name = format!("{before}{name}");
            match value {
                Value::Number(number) => {
                    found.extend(number.as_f64().map(|number| (name, Cell::Number(number))));
                }
                Value::String(text) => found.extend(Cell::of_text(text).map(|cell| (name, cell))),
                Value::Object(inner) => add(inner, &format!("{name}."), found),
                Value::Null | Value::Bool(_) | Value::Array(_) => {}
            }
        }
    }
    let mut found = vec![];
    add(object, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_read() {
        let value =
            parse(r#"{"a": NaN, "b": [-Infinity], "c": "say \"NaN\\", "d": Infinity}"#).unwrap();
        assert_eq!(value["b"][0], "-Infinity");
        assert_eq!(value["c"], "say \"NaN\\");
        let cells = cells(value.as_object().unwrap());
        assert!(matches!(cells[0], (_, Cell::Number(x)) if x.is_nan()));
        assert_eq!(cells[2], ("d".into(), Cell::Number(f64::INFINITY)));
        assert!(parse("{NaNs}").is_err() && parse("é").is_err());
    }

    #[test]
    fn objects_within_are_named_by_both() {
        let value =
            parse(r#"{"val": {"acc": 1, "more": {"x": "y"}}, "list": [1], "on": true}"#).unwrap();
        let expected = [("val.acc", Cell::Number(1.0)), ("val.more.x", Cell::Text("y".into()))];
        assert_eq!(cells(value.as_object().unwrap()), expected.map(|(n, c)| (n.to_string(), c)));
    }
}
