//! Evaluations that are shared, or interrupted, report what one process does.

use std::fs;

use rustix::process::Signal;
use swa_testing::data_tools::*;
use swa_testing::*;

use crate::scene::*;

/// `swa-eval` of two fixtures and their ensemble.
fn evaluation(scene: &Scene, changes: &[(&str, &str)]) -> assert_cmd::Command {
    let mut tool = swa_eval();
    tool.current_dir(scene.0.path()).arg(snapshot()).arg(fashion().join("sgd.safetensors"));
    tool.arg("--data").arg(fashion()).arg("--ensemble").args(with(changes)).arg("--force");
    tool
}

fn outcomes(scene: &Scene, shard: &str, name: &str, changes: &[(&str, &str)]) {
    let part = [("--shard", shard), ("--save-outcomes", name)];
    evaluation(scene, &[&part[..], changes].concat()).assert().success();
}

fn merge_outcomes(scene: &Scene, parts: &[&str]) -> assert_cmd::Command {
    let mut tool = swa_eval();
    tool.current_dir(scene.0.path()).arg("--merge-outcomes").args(parts);
    tool
}

/// A report without what differs from run to run.
fn timeless(mut report: serde_json::Value) -> serde_json::Value {
    let fields = report.as_object_mut().unwrap();
    for key in ["seconds", "pace", "batch_size"] {
        fields.remove(key);
    }
    report
}

const FILES: [(&str, &str); 3] =
    [("--per-class", "classes.csv"), ("--confusion", "confusion.csv"), ("--reliability", "r.svg")];

#[test]
fn a_shared_evaluation_is_that_of_one_process() {
    let scene = Scene::new();
    let plain = timeless(json(&mut evaluation(&scene, &FILES)));
    assert_eq!(plain["ensemble"]["n"], 300);
    let files: Vec<_> = FILES.iter().map(|(_, name)| scene.read(name)).collect();
    for (shard, name) in [("0/3", "part_0"), ("1/3", "part_1"), ("2/3", "part_2")] {
        outcomes(&scene, shard, name, &[]);
    }
    for parts in [["part_2", "part_0", "part_1"], ["part_0", "part_1", "part_2"]] {
        let mut merge = merge_outcomes(&scene, &parts);
        merge.arg("--force").args(FILES.iter().flat_map(|(flag, name)| [flag, name]));
        assert_eq!(timeless(json(&mut merge)), plain);
        assert!(FILES.iter().zip(&files).all(|((_, name), file)| scene.read(name) == *file));
    }

    let refused = |parts: &[&str], words: &[&str]| {
        fails(&mut merge_outcomes(&scene, parts), 3, words);
    };
    refused(&["part_0", "part_2"], &["part 1/3 is missing"]);
    fs::copy(scene.path("part_1"), scene.path("copy")).unwrap();
    refused(&["part_0", "part_1", "part_2", "copy"], &["`copy`: is part 1/3, as `part_1` is"]);
    outcomes(&scene, "1/3", "other", &[("--batch-size", "32")]);
    refused(&["part_0", "other", "part_2"], &["`other`", "`batch_size` is 32, not 64"]);
    let whole = scene.read("part_1");
    fs::write(scene.path("cut"), &whole[..whole.len() / 2]).unwrap();
    refused(&["part_0", "cut", "part_2"], &["`cut`: "]);
    // Of the other tool, either way.
    scene.part("0/1", "statistics", &[]);
    refused(&["statistics"], &["`statistics`: is a part of swa-bn-update"]);
    let mut merge = scene.merge(&snapshot(), &["part_0", "part_1", "part_2"], "out.safetensors");
    fails(&mut merge, 3, &["`part_0`: is a part of swa-eval"]);
    assert!(!scene.path("out.safetensors").exists());

    let mut merge = merge_outcomes(&scene, &["part_0"]);
    fails(merge.args(["--predictions", "p.csv"]), 2, &["--predictions does not go with"]);
    let usage = |changes: &[(&str, &str)], words: &[&str]| {
        fails(&mut evaluation(&scene, changes), 2, words);
    };
    usage(&[("--shard", "0/2")], &["--shard makes a part", "--save-outcomes"]);
    usage(&[("--save-outcomes", "x"), FILES[0]], &["--per-class", "--merge-outcomes"]);
    usage(&[("--save-outcomes", "x"), ("--logits", "l")], &["--logits", "does not keep"]);
    usage(&[("--resume", "x"), ("--logits", "l")], &["--resume does not go with --logits"]);
}

#[test]
fn an_interrupted_evaluation_goes_on_to_the_same_bytes() {
    let scene = Scene::new();
    let files = [("--predictions", "predictions.csv"), FILES[1]];
    let plain = timeless(json(&mut evaluation(&scene, &[&SLOW[..], &files].concat())));
    let read = || files.map(|(_, name)| scene.read(name));
    let expected = read();
    let slow = Slow { scene: &scene, state: "state" };
    let models = [snapshot(), fashion().join("sgd.safetensors"), fashion()];
    let [a, b, data] = models.map(|path| path.display().to_string());
    let mut args = vec![env!("CARGO_BIN_EXE_swa-eval"), &a, &b, "--data", &data, "--ensemble"];
    args.extend(with(&[&SLOW[..], &files].concat()));
    for signal in [Signal::INT, Signal::KILL] {
        slow.interrupted(&args, signal);
        files.iter().for_each(|(_, name)| fs::remove_file(scene.path(name)).unwrap_or_default());
        args.push("--json");
        let output = slow.command(&args).output().unwrap();
        args.pop();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.contains("going on after "), "{said}");
        assert_eq!(timeless(serde_json::from_slice(&output.stdout).unwrap()), plain);
        assert!(read() == expected && !scene.path("state").exists());
    }
    slow.interrupted(&args, Signal::INT);
    let mut other = evaluation(&scene, &[SLOW[0], SLOW[1], ("--resume", "state"), ("--seed", "1")]);
    fails(&mut other, 3, &["`state`: is the state of another pass", "`seed` is 0, not 1"]);
}
