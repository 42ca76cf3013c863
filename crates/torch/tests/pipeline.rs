//! What keeps the device busy and memory bounded: precision, batches, the figures of a pass.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::*;

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

/// Model, data and pixels of a quick run.
fn quick(samples: usize) -> Vec<String> {
    let model = fashion().join("ckpt_0240.safetensors").display().to_string();
    let data = fashion().display().to_string();
    let samples = samples.to_string();
    let args = [&model, "--preset", "fashion-mnist", "--samples", &samples, "--data", &data];
    args.map(String::from).to_vec()
}

fn eval(args: &[&str], logits: &Path) -> (Value, Vec<f32>) {
    let report = json(swa_eval().args(quick(500)).args(args).arg("--logits").arg(logits));
    (report, to_f32(&load(logits)["logits"]))
}

#[test]
fn precision_is_what_the_network_computes_in() {
    let dir = tempfile::tempdir().unwrap();
    let (reference, exact) = eval(&[], &dir.path().join("fp32"));
    assert_eq!(reference["precision"], "fp32");
    let largest = exact.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    // Of the largest logit, what so many bits of mantissa cost at least and at most.
    for (name, least, most) in [("bf16", 1e-4, 3e-2), ("fp16", 1e-5, 4e-3)] {
        let (report, logits) = eval(&["--precision", name], &dir.path().join(name));
        assert_eq!(report["precision"], name);
        let errors = exact.iter().zip(&logits).map(|(a, b)| (a - b).abs());
        let error = errors.fold(0f32, f32::max) / largest;
        println!("{name}: logits off by {error:.1e} of the largest");
        assert!(least < error && error < most, "{name}: {error}");
        let top1 = |report: &Value| report["models"][0]["top1"].as_f64().unwrap();
        assert!((top1(&report) - top1(&reference)).abs() <= 1.0, "{name}");
    }
}

#[test]
fn tf32_is_refused_without_a_gpu() {
    let parts = ["--precision tf32", "--device cuda"];
    fails(swa_eval().args(quick(10)).args(["--device", "cpu", "--precision", "tf32"]), 2, &parts);
    fails(swa_eval().args(quick(10)).args(["--precision", "int8"]), 2, &["bf16"]);
}

#[test]
fn statistics_are_fp32_unless_asked() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, args: &[&str]| {
        let out = dir.path().join(name);
        let report = json(swa_bn_update().args(quick(300)).args(args).arg("-o").arg(&out));
        let record: Value = serde_json::from_str(&metadata(&out)["swa"]).unwrap();
        assert_eq!(record["bn_update"]["precision"], report["precision"]);
        (report["precision"].clone(), to_f32(&load(&out)["bn.running_var"]))
    };
    let (name, exact) = run("fp32", &[]);
    assert_eq!(name, "fp32");
    let (name, coarse) = run("bf16", &["--precision", "bf16"]);
    assert_eq!(name, "bf16");
    let off = |(a, b): (&f32, &f32)| (a - b).abs() / a;
    let error = exact.iter().zip(&coarse).map(off).fold(0f32, f32::max);
    assert!(1e-5 < error && error < 0.05, "{error}");
}

#[test]
fn a_pass_says_how_fast_it_was_and_what_it_waited_for() {
    let report = json(swa_eval().args(quick(300)));
    let pace = &report["pace"];
    assert!(pace["images_per_second"].as_f64().unwrap() > 10.0, "{pace}");
    assert!(["decoding", "network"].contains(&pace["limit"].as_str().unwrap()), "{pace}");
    let share = |what: &str| pace["waiting"][what].as_f64().unwrap();
    assert!((share("decoding") + share("network") - 1.0).abs() < 1e-9, "{pace}");
    let output = swa_eval().args(quick(300)).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().last().unwrap();
    assert!(line.contains("300 images in") && line.contains("images/s, limited by"), "{line}");
}

/// Runs a tool that may map so many MiB.
fn limited(tool: &str, mebibytes: usize) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {} && exec \"$0\" \"$@\"", mebibytes * 1024);
    command.args(["-c", &script, tool]).env("OMP_WAIT_POLICY", "passive");
    // Each thread's heap reserves address space.
    command.env("MALLOC_ARENA_MAX", "1");
    command
}

/// Images blown up, so that a batch needs gigabytes that are never touched.
const LARGE: [&str; 6] = ["--resize", "384", "--crop", "384", "--threads", "2"];

#[test]
fn statistics_that_do_not_fit_name_a_smaller_batch() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    let mut command = limited(env!("CARGO_BIN_EXE_swa-bn-update"), 4096);
    command.args(quick(600)).args(LARGE).args(["--batch-size", "600", "-o"]).arg(&out);
    fails(&mut command, 6, &["ran out of memory", "--batch-size 300"]);
    assert!(!out.exists());
}

#[test]
fn an_evaluation_goes_on_with_fewer_images_at_a_time_unless_told_how_many() {
    let run = |args: &[&str]| {
        let mut command = limited(env!("CARGO_BIN_EXE_swa-eval"), 2816);
        command.args(quick(96)).args(LARGE).args(args);
        command
    };
    fails(&mut run(&["--batch-size", "96"]), 6, &["ran out of memory", "--batch-size 48"]);
    let output = run(&["--json"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let size = report["batch_size"].as_u64().unwrap();
    assert!(size < 96, "{size}");
    assert!(stderr.contains(&format!("--batch-size {size}")), "{stderr}");
    assert_eq!(report["models"][0]["n"], 96);
}
