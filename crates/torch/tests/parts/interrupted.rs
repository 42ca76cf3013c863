//! Updates that are interrupted, or that fail, go on from their state to the same bytes.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use swa_testing::data_tools::*;
use swa_testing::*;

use crate::scene::*;

#[test]
fn an_interrupted_update_goes_on_to_the_same_bytes() {
    let scene = Scene::new();
    scene.update(&[&SLOW[..], &[("-o", "plain.safetensors")]].concat()).assert().success();
    let slow = Slow { scene: &scene, state: "state" };
    let (model, data) = (snapshot().display().to_string(), fashion().display().to_string());
    let tool = env!("CARGO_BIN_EXE_swa-bn-update");
    let run = |changes: &[(&'static str, &'static str)]| {
        let args = with(&[&SLOW[..], changes].concat());
        [&[tool, &model, "--data", &data], &args[..]].concat().into_iter().map(String::from)
    };
    let args: Vec<String> = run(&[("-o", "out.safetensors")]).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for (signal, says) in [(Signal::INT, true), (Signal::TERM, true), (Signal::KILL, false)] {
        // Twice, one after the other.
        for _ in 0..2 {
            let said = slow.interrupted(&args, signal);
            assert_eq!(said.contains("batches are kept in `state`"), says, "{said}");
            let names = listing(scene.0.path());
            let temporary = |name: &&String| name.ends_with(".tmp");
            if says {
                assert_eq!(names.iter().find(temporary), None);
            }
            assert!(!scene.path("out.safetensors").exists());
        }
        let done = slow.resumed(&args);
        assert!(done > 0 && done < 600, "{done}");
        assert!(scene.read("out.safetensors") == scene.read("plain.safetensors"));
        fs::remove_file(scene.path("out.safetensors")).unwrap();
    }

    // A part of a shared pass.
    for shard in ["0/2", "1/2"] {
        let name = ["part_0", "part_1"][(shard == "1/2") as usize];
        let args: Vec<String> = run(&[("--shard", shard), ("--save-stats", name)]).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        slow.interrupted(&args, Signal::INT);
        slow.resumed(&args);
    }
    scene.merge(&snapshot(), &["part_1", "part_0"], "out.safetensors").assert().success();
    assert!(scene.read("out.safetensors") == scene.read("plain.safetensors"));

    // Of another pass, or none: refused, and left as it is.
    slow.interrupted(&args, Signal::INT);
    let state = scene.read("state");
    let resume = [("-o", "new.safetensors"), ("--resume", "state")];
    let refused = |changes: &[(&str, &str)], words: &[&str]| {
        let mut tool = scene.update(&[&resume[..], &SLOW, changes].concat());
        fails(&mut tool, 3, &[&["`state`: is the state of another pass: "], words].concat());
        assert!(scene.read("state") == state && !scene.path("new.safetensors").exists());
    };
    refused(&[("--seed", "7")], &["`seed` is 0, not 7"]);
    refused(&[("--samples", "1100")], &["`images` is 1200, not 1100"]);
    refused(&[("--method", "weighted")], &["`method`"]);
    refused(&[("--split", "test")], &["it is of IDX", "t10k"]);
    // Of other images under the same names: a byte that says when the file was compressed will do.
    let copy = scene.path("copy");
    fs::create_dir(&copy).unwrap();
    let images = "train-images-idx3-ubyte.gz";
    for name in [images, "train-labels-idx1-ubyte.gz"] {
        fs::copy(fashion().join(name), copy.join(name)).unwrap();
    }
    let of_copy = || {
        let mut tool = swa_bn_update();
        tool.current_dir(scene.0.path()).arg(snapshot()).args(["--data", "copy"]);
        tool.args(with(&[&resume[..], &SLOW].concat()));
        tool
    };
    let mut bytes = fs::read(copy.join(images)).unwrap();
    bytes[4] ^= 1;
    fs::write(copy.join(images), &bytes).unwrap();
    fails(&mut of_copy(), 3, &["`state`: is the state of another pass: it is of IDX", "`copy"]);
    assert!(scene.read("state") == state && !scene.path("new.safetensors").exists());
    let mut tool = scene.update(&[
        SLOW[0],
        SLOW[1],
        ("--shard", "1/2"),
        ("--save-stats", "new"),
        ("--resume", "state"),
    ]);
    fails(&mut tool, 3, &["it is part 0/1, not 1/2"]);
    let mut merge = scene.merge(&snapshot(), &["state"], "new.safetensors");
    fails(&mut merge, 3, &["`state`: is unfinished: ", " of 600 batches"]);
    for strange in [&b"notes"[..], &state[..state.len() / 2]] {
        fs::write(scene.path("state"), strange).unwrap();
        let mut tool = scene.update(&[&resume[..], &SLOW].concat());
        fails(&mut tool, 3, &["`state`: "]);
        assert!(scene.read("state") == strange);
    }
}

/// An error in mid-pass keeps what was done, too.
#[test]
fn a_pass_that_failed_goes_on_when_the_cause_is_gone() {
    let scene = Scene::new();
    let data = scene.path("data");
    let grey = |path: &Path, whole: bool| {
        // A photograph among the fixtures, or half of it.
        let photo = photo();
        let length = if whole { photo.len() } else { photo.len() / 2 };
        fs::write(path, &photo[..length]).unwrap();
    };
    for class in 0..10 {
        let folder = data.join(format!("class{class}"));
        fs::create_dir_all(&folder).unwrap();
        (0..2).for_each(|i| grey(&folder.join(format!("{i}.jpg")), true));
    }
    let run = |out: &str| {
        let mut tool = swa_bn_update();
        tool.current_dir(scene.0.path()).arg(snapshot());
        tool.args(["--data", "data", "--preset", "none", "--resize", "32", "--crop", "32"]);
        tool.args(["--order", "dataset", "--batch-size", "4", "--threads", "1", "-o", out]);
        tool
    };
    run("plain.safetensors").assert().success();
    let last = data.join("class9/0.jpg");
    grey(&last, false);
    fails(run("out.safetensors").args(["--resume", "state"]), 3, &["class9/0.jpg"]);
    assert_eq!(listing(scene.0.path()), ["data", "plain.safetensors", "state"]);
    // Mended, but for another one that is bad as well: what was done stays.
    grey(&last, true);
    let other = data.join("class9/1.jpg");
    grey(&other, false);
    fails(run("out.safetensors").args(["--resume", "state"]), 3, &["class9/1.jpg"]);
    grey(&other, true);
    let mut tool = run("out.safetensors");
    let output = tool.args(["--resume", "state"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("going on after 4 of 5 batches"));
    assert!(scene.read("out.safetensors") == scene.read("plain.safetensors"));
    assert_eq!(listing(scene.0.path()), ["data", "out.safetensors", "plain.safetensors"]);
    // What was left out by then stays so, and that is said.
    let bad = ["class0/0.jpg", "class9/0.jpg", "class9/1.jpg"].map(|name| data.join(name));
    bad.iter().for_each(|path| grey(path, false));
    let some = || {
        let mut tool = run("some.safetensors");
        tool.args(["--allow-bad", "1", "--resume", "state"]);
        tool
    };
    fails(&mut some(), 3, &["class9/0.jpg"]);
    bad.iter().for_each(|path| grey(path, true));
    let said = String::from_utf8(some().output().unwrap().stderr).unwrap();
    assert!(said.contains("what could not be read before stays left out: "), "{said}");
    assert!(said.contains("class0/0.jpg") && scene.path("some.safetensors").exists(), "{said}");
}
