//! The examples do what they say.

use std::path::PathBuf;
use std::process::Command;

use swa_testing::{f32s, fixtures, load, save, to_f32};

/// A plain `cargo test` builds the examples, into a folder beside the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built: cargo build --release --examples", path.display());
    Command::new(path)
}

#[test]
fn average_writes_the_mean() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, out] = ["a", "b", "out"].map(|name| dir.path().join(format!("{name}.safetensors")));
    save(&a, &[f32s("w", &[1.0, 2.0])]);
    save(&b, &[f32s("w", &[3.0, 5.0])]);
    let output = example("average").args([&out, &a, &b]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.starts_with("0.5000  ") && stdout.contains("1 tensors averaged: "), "{stdout}");
    assert_eq!(to_f32(&load(&out)["w"]), [2.0, 3.5]);
}

/// The example is a call of the library: what it averages is what the command averages.
#[test]
fn average_writes_the_bytes_of_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let inputs =
        [224, 232, 240].map(|i| fixtures().join(format!("fashion-mnist/ckpt_0{i}.safetensors")));
    let [one, other] = ["one.safetensors", "other.safetensors"].map(|name| dir.path().join(name));
    assert!(example("average").arg(&one).args(&inputs).status().unwrap().success());
    swa_testing::swa_avg().args(&inputs).arg("-o").arg(&other).assert().success();
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap());
}

#[test]
fn a_failure_says_what_is_wrong() {
    let output = example("average").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("OUTPUT CHECKPOINT..."));
}
