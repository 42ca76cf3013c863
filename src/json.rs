//! JSON that people and their trainers wrote: an object must not give one name two values.
//!
//! RFC 8259, section 4, leaves open which of them counts, and readers differ: most take the last one in silence.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Error, Map, Number, Value};

use swa_base::text::printable;

/// Reads one value; the entries of objects stay in their order.
///
/// # Errors
/// Those of serde_json; and one of its kind `Data` for an object with two different values of one name, however deep.
/// [`what`] says either.
pub fn parse(text: &str) -> Result<Value, Error> {
    let Unique(value) = serde_json::from_str(text)?;
    Ok(value)
}

/// What is wrong with a text that [`parse`] does not take, and where; `line` is the number of the text's first line in its
/// file.
pub fn what(error: &Error, line: usize) -> String {
    let text = error.to_string();
    let own = format!(" at line {} column {}", error.line(), error.column());
    let (text, line) = (text.strip_suffix(&own).unwrap_or(&text), line + error.line().max(1) - 1);
    let kind = if error.is_data() { "" } else { "is no JSON: " };
    format!("{kind}{text} at line {line} column {}", error.column())
}

/// A value without two meanings.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Collect).map(Unique)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Unique(value))) = entries.next_entry::<String, Unique>()? {
            if object.get(&name).is_some_and(|other| *other != value) {
                let what = format!("two values of `{}` in one object", printable(&name));
                return Err(A::Error::custom(what));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_serde_json() {
        for text in [
            "null",
            "[true, -1, 18446744073709551615, 0.1, 1e300, \"\\u00e9\", \"a\"]",
            "{\"b\": {\"z\": [], \"a\": {}}, \"a\": 1, \"b\": {\"z\": [], \"a\": {}}}",
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text).unwrap().to_string(), expected.to_string());
        }
        let deep = "[".repeat(100_000);
        for text in ["", "{", "[1,]", "NaN", "1 2", &deep] {
            let expected = serde_json::from_str::<Value>(text).unwrap_err().to_string();
            assert_eq!(what(&parse(text).unwrap_err(), 1), format!("is no JSON: {expected}"));
        }
    }

    #[test]
    fn two_values_of_one_name_are_refused_at_any_depth() {
        for (text, name) in [
            ("{\"a\": 1, \"a\": 2}", "a"),
            ("[{\"a\": [{\"b\": 1, \"c\": 0, \"b\": null}]}]", "b"),
            ("{\"a\": {\"x\": 1}, \"a\": {\"x\": 2}}", "a"),
            ("{\"\\u001b[2J\": 1, \"\\u001b[2J\": 2}", "\\u{1b}[2J"),
        ] {
            let error = what(&parse(text).unwrap_err(), 1);
            let expected = format!("two values of `{name}` in one object at line 1 column ");
            assert!(error.starts_with(&expected), "{error}");
        }
        let error = parse("{\n\"a\": 1,\n\"a\": 2}").unwrap_err();
        assert_eq!(what(&error, 8), "two values of `a` in one object at line 10 column 7");
        // The same value twice has one meaning.
        assert_eq!(parse("{\"a\": [1], \"a\": [1]}").unwrap().to_string(), "{\"a\":[1]}");
    }
}
