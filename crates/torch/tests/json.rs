//! docs/json.md is made of the types that the commands print, and so is python/swa_tools/reports.py: `UPDATE_DOCS=1 cargo
//! test --release -p swa-torch --test json` writes them anew. So every field is documented, and nothing is that does not
//! exist.

#[path = "json/python.rs"]
mod python;

use std::fmt::Write;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;
use swa_cli::progress::Line;
use swa_cli::run::Failure;
use swa_testing::root;
use swa_tools::report::{
    AccumulateReport, AverageReport, ContentsReport, FinishReport, FollowReport, HeldReport,
    ShareReport, UpdateReport, VerifyReport,
};
use swa_tools::{Choice, Kind};
use swa_torch::report::{
    BnUpdateReport, ComparisonReport, CurvesReport, EvaluationReport, LandscapeReport, PartReport,
    PointsReport, SoupReport, SwagReport, TrainReport,
};

const INTRODUCTION: &str = "\
# JSON

With `--json` every command prints one object on stdout, in one line, in place of the text. This page is made of
the types that are printed, by a test that fails where they differ.

`schema` is the first field of every object: the version of this page, SCHEMA. It grows when a field changes its
meaning or goes; new fields do not change it, so ignore fields that you do not know. Fields that may be null or absent
say so. Numbers are plain JSON numbers; sizes are in bytes, times in seconds.

";

fn properties<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12();
    SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value()
}

/// What a command prints.
struct Report {
    /// Its heading.
    title: &'static str,
    /// The type.
    of: &'static str,
    schema: Value,
    /// Python's name of it.
    python: &'static str,
    /// The list in it that people look at.
    table: Option<&'static str>,
}

macro_rules! report {
    ($title:expr, $type:ident, $python:expr, $table:expr) => {
        Report {
            title: $title,
            of: stringify!($type),
            schema: properties::<$type>(),
            python: $python,
            table: $table,
        }
    };
}

fn reports() -> Vec<Report> {
    vec![
        report!("swa-avg", AverageReport, "Averaged", Some("outputs")),
        report!("swa-avg --shard", ShareReport, "ShareWritten", None),
        report!("swa-avg --finish", FinishReport, "Finished", None),
        report!("swa-avg --state", AccumulateReport, "Accumulated", None),
        report!("swa-avg --follow, after each update", UpdateReport, "FollowUpdate", None),
        report!("swa-avg --follow, at the end", FollowReport, "Followed", None),
        report!("swa-avg --list", ContentsReport, "Contents", Some("checkpoints")),
        report!("swa-avg --list of a state", HeldReport, "StateContents", None),
        report!("swa-avg --verify", VerifyReport, "Verified", None),
        report!("swa-bn-update", BnUpdateReport, "BnUpdated", Some("layers")),
        report!("swa-eval", EvaluationReport, "Evaluated", Some("models")),
        report!("swa-eval --compare-stats", ComparisonReport, "StatsCompared", Some("statistics")),
        report!("swa-eval --swag-samples", SwagReport, "SwagSampled", Some("models")),
        report!("swa-eval --soup", SoupReport, "SoupMade", Some("trials")),
        report!(
            "swa-bn-update --save-stats, swa-eval --save-outcomes",
            PartReport,
            "PartSaved",
            None
        ),
        report!("swa-train", TrainReport, "Trained", Some("epochs")),
        report!(
            "swa-landscape plane, line, rays, merge, draw",
            LandscapeReport,
            "Landscape",
            Some("models")
        ),
        report!("swa-landscape --save-points", PointsReport, "PointsSaved", None),
        report!("swa-landscape curves", CurvesReport, "CurvesDrawn", None),
    ]
}

/// The fields that an object always has.
fn required(object: &Value) -> Vec<&str> {
    object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a field's value is, in a word, and the type that describes it, if it is an object.
fn kind(schema: &Value) -> (String, Option<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap().to_string();
        return ("object".into(), Some(name));
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let object = any.iter().find(|schema| schema["type"] != "null").unwrap();
        let (text, name) = kind(object);
        return (format!("{text} or null"), name);
    }
    let plain = |name: &str| match name {
        "integer" => "integer".to_string(),
        "array" => {
            let (of, _) = kind(&schema["items"]);
            format!("list of {of}s")
        }
        other => other.to_string(),
    };
    let name = schema["items"].get("$ref").and_then(|_| kind(&schema["items"]).1);
    match &schema["type"] {
        Value::String(one) if one == "object" && schema["additionalProperties"].is_object() => {
            (format!("object of {}s by name", kind(&schema["additionalProperties"]).0), None)
        }
        Value::String(one) => (plain(one), name),
        Value::Array(types) => {
            let types: Vec<String> = types.iter().map(|t| plain(t.as_str().unwrap())).collect();
            (types.join(" or "), name)
        }
        _ => ("any".into(), None),
    }
}

/// The table of an object's fields, and then those of the objects in it.
fn table(
    text: &mut String,
    title: &str,
    object: &Value,
    definitions: &Value,
    done: &mut Vec<String>,
) {
    let about = object["description"].as_str().unwrap_or_default().replace('\n', " ");
    writeln!(text, "{title}\n\n{about}\n\n| field | type | |\n|---|---|---|").unwrap();
    let mut inner = vec![];
    let required = required(object);
    for (field, schema) in object["properties"].as_object().unwrap() {
        let (mut kind, name) = kind(schema);
        let nullable = kind.contains("null") || kind == "any";
        if !required.contains(&field.as_str()) && !nullable {
            kind += ", may be absent";
        }
        let about = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        assert!(!about.is_empty(), "{title}: {field} has no description");
        let kind = match &name {
            Some(name) => format!("[{kind}](#{})", name.to_lowercase()),
            None => kind,
        };
        writeln!(text, "| `{field}` | {kind} | {about} |").unwrap();
        inner.extend(name);
    }
    writeln!(text).unwrap();
    for name in inner {
        if !done.contains(&name) {
            done.push(name.clone());
            table(text, &format!("### {name}"), &definitions[&name], definitions, done);
        }
    }
}

fn section<T: JsonSchema>(text: &mut String, title: &str, done: &mut Vec<String>) {
    let schema = properties::<T>();
    table(text, &format!("## {title}"), &schema, &schema["$defs"], done);
}

#[test]
fn the_document_is_that_of_the_types() {
    let mut text = INTRODUCTION.replace("SCHEMA", &swa_cli::SCHEMA.to_string());
    let done = &mut vec![];
    for Report { title, schema, .. } in reports() {
        table(&mut text, &format!("## {title}"), &schema, &schema["$defs"], done);
    }
    section::<Failure>(&mut text, "Errors", done);
    text += "## Kinds of errors\n\n| kind | exit code | |\n|---|---|---|\n";
    for kind in Kind::ALL {
        writeln!(text, "| `{}` | {} | {} |", kind.name(), kind.exit_code(), kind.about()).unwrap();
    }
    text += "\n";
    section::<Line>(&mut text, "--progress json", done);
    compare("docs/json.md", &(text.trim_end().to_string() + "\n"));
}

#[test]
fn the_dataclasses_of_python_are_those_of_the_types() {
    compare("python/swa_tools/reports.py", &python::module());
}

/// Holds a file to a text, or writes it.
fn compare(file: &str, text: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{file} is not that of the types: UPDATE_DOCS=1 writes it anew");
}
