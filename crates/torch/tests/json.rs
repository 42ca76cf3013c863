//! docs/json.md is made of the types that the commands print: `UPDATE_DOCS=1 cargo test --release -p swa-torch --test
//! json` writes it anew. So every field is documented, and nothing is that does not exist.

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
    BnUpdateReport, ComparisonReport, EvaluationReport, LandscapeReport, PartReport, PointsReport,
    SoupReport, SwagReport, TrainReport,
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
    let required: Vec<&str> =
        object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
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
    section::<AverageReport>(&mut text, "swa-avg", done);
    section::<ShareReport>(&mut text, "swa-avg --shard", done);
    section::<FinishReport>(&mut text, "swa-avg --finish", done);
    section::<AccumulateReport>(&mut text, "swa-avg --state", done);
    section::<UpdateReport>(&mut text, "swa-avg --follow, after each update", done);
    section::<FollowReport>(&mut text, "swa-avg --follow, at the end", done);
    section::<ContentsReport>(&mut text, "swa-avg --list", done);
    section::<HeldReport>(&mut text, "swa-avg --list of a state", done);
    section::<VerifyReport>(&mut text, "swa-avg --verify", done);
    section::<BnUpdateReport>(&mut text, "swa-bn-update", done);
    section::<EvaluationReport>(&mut text, "swa-eval", done);
    section::<ComparisonReport>(&mut text, "swa-eval --compare-stats", done);
    section::<SwagReport>(&mut text, "swa-eval --swag-samples", done);
    section::<SoupReport>(&mut text, "swa-eval --soup", done);
    section::<PartReport>(&mut text, "swa-bn-update --save-stats, swa-eval --save-outcomes", done);
    section::<TrainReport>(&mut text, "swa-train", done);
    section::<LandscapeReport>(&mut text, "swa-landscape plane, line, rays, merge, draw", done);
    section::<PointsReport>(&mut text, "swa-landscape --save-points", done);
    section::<Failure>(&mut text, "Errors", done);
    text += "## Kinds of errors\n\n| kind | exit code | |\n|---|---|---|\n";
    for kind in Kind::ALL {
        writeln!(text, "| `{}` | {} | {} |", kind.name(), kind.exit_code(), kind.about()).unwrap();
    }
    text += "\n";
    section::<Line>(&mut text, "--progress json", done);
    let path = root().join("docs/json.md");
    let text = text.trim_end().to_string() + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "docs/json.md is not that of the types: UPDATE_DOCS=1 writes it anew");
}
