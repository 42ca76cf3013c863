//! Models drawn by SWAG, and greedy soups, on the shipped snapshots.

use std::path::{Path, PathBuf};

use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::*;

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

/// The shipped snapshots, of every eighth epoch, counted from 1.
fn snapshots(numbers: std::ops::RangeInclusive<u32>) -> Vec<PathBuf> {
    numbers.map(|n| fashion().join(format!("ckpt_{:04}.safetensors", 128 + 8 * n))).collect()
}

/// Held-out and training images of a quick run.
fn quick(models: &[PathBuf], args: &[&str]) -> assert_cmd::Command {
    let mut command = swa_eval();
    command.args(models).arg("--data").arg(fashion()).arg("--bn-data").arg(fashion());
    command
        .args(["--preset", "fashion-mnist", "--samples", "500", "--bn-samples", "300"])
        .args(args);
    command
}

fn average(out: &Path, args: &[&str], inputs: &[PathBuf]) {
    swa_avg().args(inputs).arg("-o").arg(out).args(args).assert().success();
}

fn figure(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap()
}

#[test]
fn samples_have_statistics_of_their_own_and_are_averaged() {
    let dir = tempfile::tempdir().unwrap();
    let swag = [dir.path().join("swag.safetensors")];
    average(&swag[0], &["--scheme", "swag:5"], &snapshots(1..=8));
    let report = json(&mut quick(&swag, &["--swag-samples", "3"]));
    assert_eq!((&report["deviations"], &report["bn_images"]), (&Value::from(5), &Value::from(300)));
    let (mean, together) = (&report["models"][0], &report["models"][1]);
    let draws = report["draws"].as_array().unwrap();
    assert_eq!((draws.len(), mean["n"].as_u64()), (3, Some(500)));
    // The samples are models of their own, and as a whole no worse than the worst of them.
    let nll = |row: &Value| figure(row, "nll");
    assert!(draws.iter().all(|draw| nll(draw) != nll(mean)));
    let worst = draws.iter().map(nll).fold(0.0, f64::max);
    assert!(nll(together) <= worst && nll(together) != nll(mean), "{report}");
    // With stale statistics a sample of this network is close to guessing.
    assert!(draws.iter().all(|draw| figure(draw, "top1") > 60.0), "{report}");
    // The same numbers by the same seed, whatever the threads; others by another.
    let again = json(&mut quick(&swag, &["--swag-samples", "3", "--threads", "1"]));
    for (a, b) in draws.iter().zip(again["draws"].as_array().unwrap()) {
        assert!((nll(a) - nll(b)).abs() < 1e-5, "{a} {b}");
    }
    let other = json(&mut quick(&swag, &["--swag-samples", "1", "--seed", "1"]));
    assert!((nll(&other["draws"][0]) - nll(&draws[0])).abs() > 1e-4);
    // More samples begin with the same.
    let one = json(&mut quick(&swag, &["--swag-samples", "1"]));
    assert_eq!(nll(&one["draws"][0]), nll(&draws[0]));
}

#[test]
fn without_scale_every_sample_is_the_mean_with_recomputed_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let swag = [dir.path().join("swag.safetensors")];
    average(&swag[0], &["--scheme", "swag:3"], &snapshots(1..=4));
    let report = json(&mut quick(&swag, &["--swag-samples", "2", "--swag-scale", "0"]));
    let (mean, together) = (&report["models"][0], &report["models"][1]);
    assert!((figure(mean, "nll") - figure(together, "nll")).abs() < 1e-9, "{report}");
    assert_eq!(figure(together, "only_first_right") + figure(together, "only_this_right"), 0.0);
    // That is what the two commands arrive at one after the other.
    let (plain, updated) = (dir.path().join("swa.safetensors"), dir.path().join("bn.safetensors"));
    average(&plain, &[], &snapshots(1..=4));
    let mut update = swa_bn_update();
    update.arg(&plain).arg("--data").arg(fashion()).args([
        "--preset",
        "fashion-mnist",
        "--samples",
        "300",
    ]);
    update.arg("-o").arg(&updated).assert().success();
    let mut eval = swa_eval();
    eval.arg(&updated).arg("--data").arg(fashion()).args(["--samples", "500"]);
    let expected = &json(&mut eval)["models"][0];
    assert!((figure(mean, "nll") - figure(expected, "nll")).abs() < 1e-4, "{mean} {expected}");
}

#[test]
fn a_soup_is_the_mean_of_those_that_do_not_make_it_worse() {
    let dir = tempfile::tempdir().unwrap();
    let mut candidates = snapshots(1..=4);
    candidates.push(fashion().join("sgd.safetensors"));
    let out = dir.path().join("soup.safetensors");
    let soup = ["--soup", out.to_str().unwrap()];
    let report = json(&mut quick(&candidates, &soup));
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 5);
    // The best first, each tried once; a trial is judged by its difference on the same images.
    let alone: Vec<f64> = trials.iter().map(|trial| figure(trial, "alone")).collect();
    assert!(alone.is_sorted_by(|a, b| a >= b), "{alone:?}");
    assert_eq!((&trials[0]["accepted"], &trials[0]["with"]), (&Value::Bool(true), &Value::Null));
    let mut best = alone[0];
    for trial in &trials[1..] {
        let (with, accepted) = (figure(trial, "with"), trial["accepted"].as_bool().unwrap());
        assert_eq!(accepted, with >= best, "{trial}");
        let difference = figure(trial, "only_with_right") - figure(trial, "only_without_right");
        assert!((difference / 5.0 - (with - best)).abs() < 1e-9, "{trial}");
        best = if accepted { with } else { best };
    }
    assert!((figure(&report["models"][1], "top1") - best).abs() < 1e-9);
    // The file is the one of averaging those that stayed.
    let members: Vec<PathBuf> = (trials.iter())
        .filter(|trial| trial["accepted"] == true)
        .map(|trial| PathBuf::from(trial["candidate"].as_str().unwrap()))
        .collect();
    assert_eq!(report["members"].as_u64(), Some(members.len() as u64));
    let expected = dir.path().join("expected.safetensors");
    average(&expected, &[], &members);
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&expected).unwrap());
    // With too little memory for the held-out images (392 kB) they are decoded for each trial.
    let other = dir.path().join("other.safetensors");
    let output =
        quick(&candidates, &["--soup", other.to_str().unwrap(), "--memory", "300kB", "--json"])
            .output()
            .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("memory does not hold the images: they are decoded for each trial"),
        "{said}"
    );
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again["trials"], report["trials"]);
    let said = text(&mut quick(&candidates[..2], &["--soup", other.to_str().unwrap(), "--force"]));
    assert!(
        said.contains("these images chose the soup: report its accuracy on others than"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_drawn_or_mixed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("soup.safetensors").display().to_string();
    let two = snapshots(1..=2);
    let one = &two[..1];
    fails(&mut quick(one, &["--swag-samples", "2"]), 2, &["holds no moments to draw from"]);
    fails(&mut quick(&two, &["--swag-samples", "2"]), 2, &["--swag-samples takes one model"]);
    fails(&mut quick(one, &["--soup", &out]), 2, &["a soup has two candidates at least"]);
    fails(&mut quick(&two, &["--soup", &out, "--swag-samples", "2"]), 2, &["cannot be used with"]);
    fails(&mut quick(&two, &["--soup", &out, "--ensemble"]), 2, &["do not go with --soup"]);
    let mut bare = swa_eval();
    bare.args(&two).arg("--data").arg(fashion()).args([
        "--preset",
        "fashion-mnist",
        "--soup",
        &out,
    ]);
    fails(
        &mut bare,
        2,
        &["has 7 batchnorm layers, whose statistics must be computed", "--bn-data"],
    );
    std::fs::write(&out, "old").unwrap();
    fails(&mut quick(&two, &["--soup", &out]), 2, &["--force"]);
    assert_eq!(std::fs::read(&out).unwrap(), b"old");
}
