//! Checkpoints of every trainer, written by its own library (fixtures/formats), average to what PyTorch
//! makes of the same tensors in f64, bit for bit; what cannot be read is refused by name.

mod common;

use std::path::{Path, PathBuf};

use common::swa_avg;
use safetensors::SafeTensors;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats")
}

struct Case {
    label: String,
    inputs: Vec<PathBuf>,
    args: Vec<String>,
    expected: Option<PathBuf>,
    refused: Option<String>,
}

fn cases() -> Vec<Case> {
    let text = std::fs::read_to_string(fixtures().join("cases.json")).unwrap();
    let cases: Value = serde_json::from_str(&text).unwrap();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_string()).collect()
    };
    let case = |case: &Value| {
        let args = texts(&case["args"]);
        let name = case["case"].as_str().unwrap();
        Case {
            label: format!("{name} {}", args.join(" ")).trim_end().to_string(),
            inputs: texts(&case["inputs"]).iter().map(|path| fixtures().join(path)).collect(),
            args,
            expected: case["expected"].as_str().map(|path| fixtures().join(path)),
            refused: case["refused"].as_str().map(str::to_string),
        }
    };
    cases.as_array().unwrap().iter().map(case).collect()
}

/// What differs between two safetensors files, names of tensors first.
fn difference(found: &[u8], expected: &[u8]) -> Option<String> {
    let (found, expected) =
        (SafeTensors::deserialize(found).unwrap(), SafeTensors::deserialize(expected).unwrap());
    let sorted = |file: &SafeTensors| {
        let mut names: Vec<String> = file.names().iter().map(|n| n.to_string()).collect();
        names.sort();
        names
    };
    let (a, b) = (sorted(&found), sorted(&expected));
    if a != b {
        return Some(format!("names {a:?}, expected {b:?}"));
    }
    for name in a {
        let (a, b) = (found.tensor(&name).unwrap(), expected.tensor(&name).unwrap());
        if a.dtype() != b.dtype() || a.shape() != b.shape() {
            let (x, y) = ((a.dtype(), a.shape()), (b.dtype(), b.shape()));
            return Some(format!("`{name}`: {x:?}, expected {y:?}"));
        }
        if a.data() != b.data() {
            return Some(format!("`{name}`: other values"));
        }
    }
    None
}

#[test]
fn every_trainers_checkpoints_average_to_what_pytorch_makes_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut problems, mut read, mut refused) = (vec![], 0, 0);
    for case in cases() {
        let output = dir.path().join("out.safetensors");
        let mut run = swa_avg();
        run.args(&case.inputs).args(&case.args).arg("-o").arg(&output).arg("--force");
        let done = run.output().unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        let label = &case.label;
        match (&case.expected, &case.refused) {
            (Some(_), _) if !done.status.success() => problems.push(format!("{label}: {stderr}")),
            (Some(expected), _) => {
                let (a, b) = (std::fs::read(&output).unwrap(), std::fs::read(expected).unwrap());
                match difference(&a, &b) {
                    Some(what) => problems.push(format!("{label}: {what}")),
                    None => read += 1,
                }
            }
            (None, Some(why)) => {
                let code = done.status.code();
                if !matches!(code, Some(2 | 3))
                    || stderr.lines().next().is_none_or(|l| !l.starts_with("error: "))
                {
                    problems.push(format!("{label}: should be refused ({why}): {code:?} {stderr}"));
                } else {
                    if std::env::var_os("SWA_SHOW").is_some() {
                        println!("{label} [{why}]: {stderr}");
                    }
                    refused += 1;
                }
            }
            (None, None) => {}
        }
        let _ = std::fs::remove_file(&output);
    }
    assert!(
        problems.is_empty(),
        "{} wrong, {read} right, {refused} refused:\n{}",
        problems.len(),
        problems.join("\n")
    );
    assert!(read > 50 && refused > 20, "{read} read, {refused} refused");
}
