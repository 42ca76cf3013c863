//! The built-in networks and their own exports give the same statistics, byte for byte, and the same logits.

mod program_fixtures;

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::Command;
use program_fixtures::*;
use swa_testing::data_tools::*;
use swa_testing::*;

/// Of the largest logit.
const CLOSE: f32 = 1e-6;

/// Running means and variances, and the counters.
fn statistics(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let is_statistic = |name: &str| name.contains(".running_") || name.ends_with("_tracked");
    load(path).into_iter().filter(|(name, _)| is_statistic(name)).collect()
}

/// The same command without a program, and with it.
fn both(folder: &Folder, name: &str, base: impl Fn() -> Command) -> [Command; 2] {
    let (own, mut programmed) = (base(), base());
    programmed.arg("--program").arg(folder.program(name));
    [own, programmed]
}

/// `side`: of the export's images.
fn agree(arch: &str, export: &str, side: &str) {
    let folder = Folder::new();
    let (model, _) = folder.network(export);
    let pixels = ["--preset", "imagenet", "--resize", side, "--crop", side, "--threads", "1"];
    for method in ["cma", "weighted", "pooled", "layerwise"] {
        let outputs =
            ["own", "export"].map(|of| folder.path(&format!("{of}-{method}.safetensors")));
        let commands = both(&folder, export, || {
            let mut command = swa_bn_update();
            command.arg(&model).args(pixels).args(["--method", method, "--batch-size", "4"]);
            command.arg("--data").arg(photos());
            command
        });
        for ((mut command, output), of) in commands.into_iter().zip(&outputs).zip([arch, "program"])
        {
            let printed = json(command.arg("-o").arg(output));
            assert!(printed["arch"].as_str().unwrap().starts_with(of), "{}", printed["arch"]);
        }
        let [own, programmed] = outputs.each_ref().map(|path| statistics(path));
        assert!(!own.is_empty() && own.keys().eq(programmed.keys()), "{export}");
        for (name, bytes) in &own {
            assert!(bytes == &programmed[name], "{export} {method}: {name} differs");
        }
    }
    let logits = ["own", "export"].map(|of| folder.path(&format!("{of}.logits")));
    let swa = folder.path("own-cma.safetensors");
    let commands = both(&folder, export, || {
        let mut command = swa_eval();
        command.arg(&swa).args(pixels).arg("--data").arg(photos());
        command
    });
    for (mut command, file) in commands.into_iter().zip(&logits) {
        command.arg("--logits").arg(file).assert().success();
    }
    let [own, programmed] = logits.each_ref().map(|file| to_f32(&load(file)["logits"]));
    let largest = own.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let off = own.iter().zip(&programmed).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(off <= CLOSE * largest, "{export}: logits off by {off} of {largest}");
}

#[test]
fn resnet18_and_its_export() {
    agree("resnet18", "resnet18", "64");
}

#[test]
fn densenet121_and_its_export() {
    agree("densenet121", "densenet121", "64");
}

#[test]
fn mobilenet_v2_and_its_export() {
    agree("mobilenet_v2", "mobilenet-v2", "96");
}
