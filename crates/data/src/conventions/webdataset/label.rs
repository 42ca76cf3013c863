//! The label in a description of an image.

use swa_base::text::printable;
use swa_tools::json;

/// A label in a description.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InJson {
    Number(u32),
    /// No number, as its text shows.
    Text(String),
    /// No class's number, as JSON shows it.
    Other(String),
    /// The description cannot be read: why.
    Broken(String),
}

/// What to do about a label that is no class's number.
pub(super) const WRITE: &str =
    "write the class's number from 0, without quotation marks; leave out samples without a class";

/// The label in a description.
pub(super) fn in_json(text: &str) -> Option<InJson> {
    let value = match json::parse(text) {
        Ok(value) => value,
        Err(error) => return Some(InJson::Broken(printable(&json::what(&error, 1)))),
    };
    let label = value.get("label").or_else(|| value.get("cls"))?;
    let start = |text: &str| printable(&text.chars().take(40).collect::<String>());
    let number = label.as_u64().and_then(|number| number.try_into().ok());
    Some(match (number, label.as_str()) {
        (Some(number), _) => InJson::Number(number),
        (None, Some(text)) => InJson::Text(start(text)),
        (None, None) => InJson::Other(start(&label.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_in_json_is_a_number() {
        assert_eq!(in_json(r#"{"label": 7, "caption": "x"}"#), Some(InJson::Number(7)));
        for label in ["cat", "3"] {
            let text = format!(r#"{{"label": "{label}"}}"#);
            assert_eq!(in_json(&text), Some(InJson::Text(label.into())));
        }
        for text in ["[]", r#"{"id": 7}"#] {
            assert_eq!(in_json(text), None, "{text}");
        }
        for label in ["-1", "1.5", "true", "null", "[1,2]"] {
            let text = format!(r#"{{"label": {label}}}"#);
            assert_eq!(in_json(&text), Some(InJson::Other(label.into())));
        }
        for text in ["{", r#"{"label": 1, "label": 2}"#] {
            assert!(matches!(in_json(text), Some(InJson::Broken(_))), "{text}");
        }
    }
}
