//! What the data commands print for people and machines: their help and their JSON. A change of these is seen in
//! review: `INSTA_UPDATE=always cargo test --release -p swa-torch --test snapshots` accepts it.

use std::path::Path;

use assert_cmd::Command;
use insta::assert_snapshot;
use swa_testing::data_tools::{swa_bn_update, swa_eval, swa_landscape, swa_train};
use swa_testing::{fixtures, snapshot_json, text};

const IMAGES: [&str; 4] = ["--samples", "300", "--threads", "1"];

/// A command on the shipped data, in a folder where they lie.
fn on_fashion(mut command: Command, dir: &Path, args: &[&str]) -> Command {
    command.current_dir(dir).args(args).args(["--data", "fashion-mnist", "--json"]).args(IMAGES);
    command
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("fashion-mnist");
    std::os::unix::fs::symlink(fixtures().join("fashion-mnist"), link).unwrap();
    dir
}

#[test]
fn help() {
    assert_snapshot!("swa-bn-update-help", text(swa_bn_update().arg("--help")));
    assert_snapshot!("swa-eval-help", text(swa_eval().arg("--help")));
    assert_snapshot!("swa-train-help", text(swa_train().arg("--help")));
    assert_snapshot!("swa-landscape-help", text(swa_landscape().arg("--help")));
    assert_snapshot!("swa-landscape-plane-help", text(swa_landscape().args(["plane", "--help"])));
    assert_snapshot!("swa-landscape-rays-help", text(swa_landscape().args(["rays", "--help"])));
}

/// Figures of networks differ in their last digits between processors: they are rounded.
#[test]
fn json() {
    let dir = folder();
    let model = "fashion-mnist/ckpt_0240.safetensors";
    let preset = ["--preset", "fashion-mnist"];
    let run = |name: &str, command: Command, args: &[&str]| {
        let all = [&[model], &preset[..], args].concat();
        let printed = snapshot_json(on_fashion(command, dir.path(), &all));
        assert_snapshot!(name, rounded(&printed));
    };
    run("bn-update", swa_bn_update(), &["-o", "bn.safetensors"]);
    run("bn-update-part", swa_bn_update(), &["--shard", "0/2", "--save-stats", "part"]);
    run("eval", swa_eval(), &["bn.safetensors", "--ensemble"]);
    let compare = ["--compare-stats", "--bn-data", "fashion-mnist", "--bn-samples", "256"];
    run("eval-compare-stats", swa_eval(), &compare);
    let mut training = swa_train();
    training.current_dir(dir.path()).args(["run", "--data", "fashion-mnist", "--json"]);
    training.args(preset).args(["--arch", "preresnet-8", "--width", "4", "--epochs", "2"]);
    training.args(["--lr", "0.05", "--swa-start", "2", "--hold-out", "64"]).args(IMAGES);
    assert_snapshot!("train", rounded(&snapshot_json(training)));

    let mut line = swa_landscape();
    let models = [136, 240].map(|epoch| format!("fashion-mnist/ckpt_{epoch:04}.safetensors"));
    line.current_dir(dir.path()).arg("line").args(&models).args(["--data", "fashion-mnist"]);
    line.args(preset).args(["--points", "2", "--threads", "1", "--json"]);
    line.args(["--bn-samples", "200", "--train-samples", "200", "--test-samples", "200"]);
    assert_snapshot!("landscape", rounded(&snapshot_json(line)));
}

/// Numbers with a fraction, to two digits after the point.
fn rounded(json: &str) -> String {
    let fraction = regex::Regex::new(r"-?\d+\.\d+(e-?\d+)?").unwrap();
    let round = |found: &regex::Captures| format!("{:.2}", found[0].parse::<f64>().unwrap());
    fraction.replace_all(json, round).replace("-0.00", "0.00")
}
