//! The examples do what they show.

use std::path::PathBuf;
use std::process::Command;

use swa_testing::*;

/// The output of an example, which cargo builds beside the tests.
fn example(name: &str, args: &[&str]) -> String {
    let deps = std::env::current_exe().unwrap();
    let folder: PathBuf = deps.ancestors().nth(2).unwrap().join("examples");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: cargo build --release --examples", path.display());
    let output = Command::new(path).args(args).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{name}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_model_is_recomputed_and_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let data = fixtures().join("fashion-mnist");
    let data = data.to_str().unwrap();
    let snapshot = format!("{data}/ckpt_0240.safetensors");
    let output = dir.path().join("bn.safetensors");
    let output = output.to_str().unwrap();

    let text = example("recompute", &[&snapshot, data, "fashion-mnist", output]);
    assert!(text.starts_with("preresnet-8: 300 images, moved by 0."), "{text}");

    let text = example("evaluate", &[data, "fashion-mnist", &snapshot, output]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    for (line, model) in lines.iter().zip([snapshot.as_str(), output]) {
        assert!(line.starts_with(&format!("{model}: 200 images, top-1 ")), "{text}");
    }
    assert_ne!(lines[0].split_once(": ").unwrap().1, lines[1].split_once(": ").unwrap().1);
}
