//! Errors of networks, data and parts can be told apart without reading their text.

use std::path::Path;

use assert_cmd::Command;
use swa_testing::data_tools::*;
use swa_testing::*;

/// Fails with this kind of error, as `--json` has it.
fn fails_as(kind: &str, code: i32, command: &mut Command) {
    let output = command.arg("--json").assert().code(code).get_output().stdout.clone();
    let value: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(value["error"]["kind"], kind, "{value}");
    assert_eq!(value["error"]["exit_code"], code, "{value}");
}

/// swa-eval on images of Fashion-MNIST.
fn eval(model: &Path, extra: &[&str]) -> Command {
    let mut command = swa_eval();
    command.arg(model).arg("--data").arg(fixtures().join("fashion-mnist"));
    command.args(["--preset", "fashion-mnist", "--samples", "300"]).args(extra);
    command
}

#[test]
fn errors_have_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = fixtures().join("fashion-mnist/ckpt_0240.safetensors");
    let other = path("other.safetensors");
    save(&other, &[f32s("x", &[1.0, 2.0])]);

    fails_as("unknown-network", 3, &mut eval(&other, &[]));
    fails_as("mismatch", 3, &mut eval(&model, &["--arch", "resnet18"]));
    fails_as("usage", 2, &mut eval(&model, &["--arch", "resnet19"]));
    fails_as("no-device", 2, &mut eval(&model, &["--device", "cuda:999"]));
    fails_as("no-match", 2, &mut eval(&model, &["--ensemble=nothing_*"]));
    fails_as("input", 3, swa_eval().arg("--merge-outcomes").arg(&model));

    let part = |shard: &str, seed: &str| {
        let name = path(&format!("part_{seed}_{}", &shard[..1]));
        let flags = ["--shard", shard, "--seed", seed, "--save-outcomes", name.to_str().unwrap()];
        eval(&model, &flags).assert().success();
        name
    };
    let (first, of_another_pass) = (part("0/2", "0"), part("1/2", "1"));
    let mut merge = swa_eval();
    fails_as("mismatch", 3, merge.arg("--merge-outcomes").args([&first, &of_another_pass]));
    let mut bytes = std::fs::read(&first).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(path("damaged"), bytes).unwrap();
    fails_as("damaged", 3, swa_eval().arg("--merge-outcomes").arg(path("damaged")));
}
