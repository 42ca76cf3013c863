//! Which pass a part belongs to.

use serde_json::{Map, Value, json};
use swa_base::{Progress, Result};
use swa_data::{Dataset, digest};

/// The field with the digests of the programs that the models run.
pub(crate) const PROGRAMS_KEY: &str = "programs";

/// What tells a dataset from others.
///
/// # Errors
/// `Io`.
pub(crate) fn of_data(dataset: &dyn Dataset, progress: &dyn Progress) -> Result<Value> {
    Ok(json!({
        "images": dataset.len(),
        "names": digest::of_names(dataset),
        "files": digest::of_files(dataset, progress)?,
    }))
}

/// Whether two such records differ in nothing but the files' bytes.
pub(super) fn differs_in_files_alone(a: &Value, b: &Value) -> bool {
    let is_same = |key: &str| !a[key].is_null() && a[key] == b[key];
    is_same("images") && is_same("names") && a != b
}

/// Everything that determines what a pass collects: tool, models, data, transform and settings. The parts of one
/// pass agree in all of it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// As it stands in the file: numbers are printed once, so that every part has the same text.
    text: String,
    fields: Map<String, Value>,
}

impl Identity {
    /// Of these fields.
    pub fn new(fields: Map<String, Value>) -> Self {
        Self::parse(Value::Object(fields).to_string()).expect("it was printed a moment ago")
    }

    /// None if the text is not that of a JSON object.
    pub(super) fn parse(text: String) -> Option<Self> {
        let fields = serde_json::from_str(&text).ok()?;
        Some(Identity { text, fields })
    }

    /// Batches in the whole pass.
    pub(super) fn batches(&self) -> usize {
        self.get("batches").as_u64().unwrap_or(0) as usize
    }

    /// What those are in this pass: batches, or points.
    pub fn unit(&self) -> &str {
        self.get("unit").as_str().unwrap_or("batches")
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A field; `Null` if there is none of that name.
    pub fn get(&self, key: &str) -> &Value {
        self.fields.get(key).unwrap_or(&Value::Null)
    }

    /// How this one differs from `other`: "`seed` is 1, not 0". Models, programs and data are left out: these are
    /// digests, about which the caller can say more.
    pub(super) fn differences(&self, other: &Identity) -> Vec<String> {
        let mut found = Vec::new();
        if self.text != other.text {
            for key in keys(&self.fields, &other.fields) {
                if !["models", "data", PROGRAMS_KEY].contains(&key) {
                    compare(key, self.get(key), other.get(key), &mut found);
                }
            }
        }
        found
    }
}

fn keys<'a>(a: &'a Map<String, Value>, b: &'a Map<String, Value>) -> Vec<&'a str> {
    let more = b.keys().filter(|key| !a.contains_key(*key));
    a.keys().chain(more).map(String::as_str).collect()
}

fn compare(name: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for key in keys(a, b) {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                let name = if name == "settings" { key } else { &format!("{name}.{key}") };
                compare(name, &of(a), &of(b), found);
            }
        }
        _ if a == b => {}
        _ => found.push(format!("`{name}` is {}, not {}", shown(a), shown(b))),
    }
}

/// A value for people: of a long list its length and its ends.
fn shown(value: &Value) -> String {
    match value.as_array().map(Vec::as_slice) {
        Some([first, .., last]) if value.to_string().len() > 80 => {
            let n = value.as_array().map_or(0, Vec::len);
            format!("{n} values from {first} to {last}")
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(value: Value) -> Identity {
        Identity::new(value.as_object().unwrap().clone())
    }

    #[test]
    fn differences_are_named() {
        let a =
            identity(json!({"settings": {"seed": 0}, "t": {"crop": 32, "mean": [0.5]}, "x": 1}));
        let b =
            identity(json!({"settings": {"seed": 1}, "t": {"crop": 28, "mean": [0.5]}, "y": 2}));
        assert!(a.differences(&a).is_empty());
        let expected = [
            "`seed` is 1, not 0",
            "`t.crop` is 28, not 32",
            "`y` is 2, not null",
            "`x` is null, not 1",
        ];
        assert_eq!(b.differences(&a), expected);
    }

    #[test]
    fn of_long_lists_the_ends_are_shown() {
        let list = |n: u32| json!({ "x": (0..n).map(|i| f64::from(i) / 4.0).collect::<Vec<_>>() });
        let differences = identity(list(41)).differences(&identity(list(2)));
        assert_eq!(differences, ["`x` is 41 values from 0.0 to 10.0, not [0.0,0.25]"]);
    }

    #[test]
    fn numbers_keep_their_digits() {
        let a = identity(json!({"mean": [0.2860f32, 0.1f32 + 0.2f32, 1e-7f32]}));
        let read = Identity::parse(a.text().to_string()).unwrap();
        assert_eq!((read.text(), read.get("mean")), (a.text(), a.get("mean")));
    }
}
