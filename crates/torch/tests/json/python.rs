//! The same types as Python's dataclasses: python/swa_tools/reports.py.

use std::fmt::Write;

use serde_json::Value;

use super::{Report, kind, reports, required};

const INTRODUCTION: &str = "\
\"\"\"What the commands report, as frozen dataclasses: the objects of docs/json.md, field by field.

Made of the types that the commands print: `UPDATE_DOCS=1 cargo test --release -p swa-torch --test json` writes it anew.
\"\"\"

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ._report import Loads, Object, Report

";

/// Python's name of a type.
fn name(of: &str) -> String {
    let known = reports().into_iter().find(|report| report.of == of).map(|report| report.python);
    known.unwrap_or(of.strip_suffix("Report").unwrap_or(of)).to_string()
}

/// The type of a field in Python: its value is made of the JSON by it (`Object.of`).
fn field(schema: &Value, is_required: bool, key: &str) -> String {
    let (kind, object) = kind(schema);
    let is_nullable = kind.contains("null") || !is_required;
    let kind = kind.replace(" or null", "");
    let python = match (&kind[..], object.map(|object| name(&object))) {
        ("object", Some(object)) => object,
        ("list of objects", Some(object)) => format!("tuple[{object}, ...]"),
        ("string", _) => "str".into(),
        ("boolean", _) => "bool".into(),
        ("integer", _) => "int".into(),
        // What is not finite is null; where nothing may stand, too, it is None.
        ("number", _) => "float".into(),
        ("list of strings", _) => "tuple[str, ...]".into(),
        ("list of integers", _) => "tuple[int, ...]".into(),
        ("list of numbers", _) => "tuple[float, ...]".into(),
        ("object of strings by name", _) => "Mapping[str, str]".into(),
        ("any", _) => return "Any".into(),
        other => panic!("{key}: no type of Python's for {other:?}"),
    };
    if is_nullable { format!("{python} | None") } else { python }
}

/// A field that is a word of Python's.
fn attribute(key: &str) -> String {
    let words = ["with", "from", "class", "is", "in", "not", "for", "import", "global", "lambda"];
    if words.contains(&key) { format!("{key}_") } else { key.into() }
}

/// A text as lines of at most so many characters, each after an indent.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().unwrap();
        if !last.is_empty() && last.chars().count() + word.chars().count() + 1 > 100 {
            lines.push(word.into());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join(&format!("\n{indent}"))
}

/// What a field or a type is, for people who read Python.
fn about(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    // Links lead into docs/json.md.
    let text = text.replace("](#", "](docs/json.md#").replace('\\', "\\\\");
    text.replace("null", "None")
}

/// The class of a type, after those of its fields.
fn class(text: &mut String, of: &str, schema: &Value, definitions: &Value, done: &mut Vec<String>) {
    if done.iter().any(|name| name == of) {
        return;
    }
    done.push(of.to_string());
    let properties = schema["properties"].as_object().unwrap();
    for property in properties.values() {
        if let (_, Some(inner)) = kind(property) {
            class(text, &inner, &definitions[&inner], definitions, done);
        }
    }
    let report = reports().into_iter().find(|report| report.of == of);
    let bases = match &report {
        // What one of several processes wrote is no output yet.
        Some(_) if properties.contains_key("output") && !properties.contains_key("partial") => {
            "Loads, Report"
        }
        Some(_) => "Report",
        None => "Object",
    };
    let python = name(of);
    writeln!(text, "\n@dataclass(frozen=True)\nclass {python}({bases}):").unwrap();
    writeln!(text, "    \"\"\"{}\"\"\"\n", wrapped(&about(schema), "    ")).unwrap();
    if let Some(Report { table: Some(table), .. }) = report {
        writeln!(text, "    main_table: ClassVar[str] = \"{table}\"\n").unwrap();
        assert!(properties.contains_key(table), "{of} has no {table}");
    }
    let required = required(schema);
    for (key, property) in properties {
        let python = field(property, required.contains(&key.as_str()), key);
        writeln!(text, "    {}: {python}", attribute(key)).unwrap();
        writeln!(text, "    \"\"\"{}\"\"\"", wrapped(&about(property), "    ")).unwrap();
    }
    text.push('\n');
}

pub fn module() -> String {
    let mut text = INTRODUCTION.to_string();
    let done = &mut vec![];
    for report in reports() {
        class(&mut text, report.of, &report.schema, &report.schema["$defs"], done);
    }
    text.trim_end().to_string() + "\n"
}
