//! A pass that was shared, or interrupted, ends in the same bytes as one that was neither.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use swa_testing::data_tools::*;
use swa_testing::*;

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

fn snapshot() -> PathBuf {
    fashion().join("ckpt_0240.safetensors")
}

/// A folder of its own, where runs of the tools leave their files.
struct Scene(tempfile::TempDir);

/// Five batches.
const QUICK: [(&str, &str); 5] = [
    ("--preset", "fashion-mnist"),
    ("--samples", "300"),
    ("--batch-size", "64"),
    ("--seed", "0"),
    ("--threads", "1"),
];

/// The arguments of [`QUICK`] with some changed, or more.
fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let mut args = QUICK.to_vec();
    for &(flag, value) in changes {
        match args.iter_mut().find(|(other, _)| *other == flag) {
            Some(pair) => pair.1 = value,
            None => args.push((flag, value)),
        }
    }
    args.into_iter().flat_map(|(flag, value)| [flag, value]).collect()
}

impl Scene {
    fn new() -> Self {
        Scene(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// `swa-bn-update` of a fixture, on fixtures.
    fn update(&self, changes: &[(&str, &str)]) -> assert_cmd::Command {
        let mut tool = swa_bn_update();
        tool.current_dir(self.0.path()).arg(snapshot()).arg("--data").arg(fashion());
        tool.args(with(changes)).arg("--force");
        tool
    }

    fn part(&self, shard: &str, name: &str, changes: &[(&str, &str)]) {
        let args = [&[("--shard", shard), ("--save-stats", name)], changes].concat();
        self.update(&args).assert().success();
    }

    fn merge(&self, model: &Path, parts: &[&str], out: &str) -> assert_cmd::Command {
        let mut tool = swa_bn_update();
        tool.current_dir(self.0.path()).arg(model).arg("--merge-stats").args(parts);
        tool.args(["-o", out]);
        tool
    }
}

#[test]
fn a_shared_update_has_the_bytes_of_one_process() {
    let scene = Scene::new();
    for method in ["cma", "weighted", "pooled"] {
        scene.update(&[("--method", method), ("-o", "plain.safetensors")]).assert().success();
        for (shard, name) in [("0/3", "part_0"), ("1/3", "part_1"), ("2/3", "part_2")] {
            scene.part(shard, name, &[("--method", method)]);
        }
        for parts in [["part_2", "part_0", "part_1"], ["part_0", "part_1", "part_2"]] {
            let mut merge = scene.merge(&snapshot(), &parts, "merged.safetensors");
            merge.arg("--force").assert().success();
            assert!(
                scene.read("merged.safetensors") == scene.read("plain.safetensors"),
                "{method}"
            );
        }
    }
    // The report, too.
    let parts = ["part_0", "part_1", "part_2"];
    let merged = json(&mut scene.merge(&snapshot(), &parts, "other.safetensors"));
    let plain = json(&mut scene.update(&[("-o", "other.safetensors")]));
    for key in ["arch", "method", "images", "batches", "skipped", "all", "layers"] {
        assert_eq!(merged[key], plain[key], "{key}");
    }
}

#[test]
fn more_processes_than_batches_are_no_harm() {
    let scene = Scene::new();
    let few = [("--samples", "100")];
    scene.update(&[few[0], ("-o", "plain.safetensors")]).assert().success();
    let names = ["part_0", "part_1", "part_2", "part_3"];
    for (i, name) in names.iter().enumerate() {
        scene.part(&format!("{i}/4"), name, &few);
    }
    scene.merge(&snapshot(), &names, "merged.safetensors").assert().success();
    assert!(scene.read("merged.safetensors") == scene.read("plain.safetensors"));
}

#[test]
fn parts_that_are_not_those_of_a_pass_are_refused_by_name() {
    let scene = Scene::new();
    let refused = |model: &Path, parts: &[&str], words: &[&str]| {
        fails(&mut scene.merge(model, parts, "out.safetensors"), 3, words);
        assert!(!scene.path("out.safetensors").exists());
    };
    scene.part("0/2", "a", &[]);
    scene.part("1/2", "b", &[]);
    refused(&snapshot(), &["b"], &["part 0/2 is missing"]);
    fs::copy(scene.path("b"), scene.path("c")).unwrap();
    refused(&snapshot(), &["a", "b", "c"], &["`c`: is part 1/2, as `b` is"]);

    let other = |changes: &[(&str, &str)], words: &[&str]| {
        scene.part("1/2", "other", changes);
        refused(&snapshot(), &["a", "other"], &[&["`other`: ", "`a`"], words].concat());
    };
    other(&[("--seed", "1")], &["`seed` is 1, not 0"]);
    other(&[("--batch-size", "32")], &["`batch_size` is 32, not 64", "`batches` is 10, not 5"]);
    other(&[("--method", "cma")], &["`method` is \"cma\", not \"pooled\""]);
    other(&[("--samples", "200")], &["`images` is 200, not 300"]);
    other(&[("--order", "dataset")], &["`order` is \"dataset\", not \"shuffled\""]);
    other(&[("--mean", "0.25")], &["`transform.mean` is [0.25], not [0.286"]);
    other(&[("--split", "test")], &["it is of IDX", "t10k", "not of IDX"]);
    scene.part("1/3", "other", &[]);
    refused(&snapshot(), &["a", "other"], &["`other`", "it is part 1/3, not one of 2"]);

    let stranger = fashion().join("ckpt_0232.safetensors");
    let mut tool = swa_bn_update();
    tool.current_dir(scene.0.path()).arg(&stranger).arg("--data").arg(fashion());
    tool.args(with(&[("--shard", "1/2"), ("--save-stats", "other")])).arg("--force");
    tool.assert().success();
    let models = ["ckpt_0232.safetensors", "ckpt_0240.safetensors"];
    refused(&snapshot(), &["a", "other"], &["it is of ckpt_0232.safetensors, not of ckpt_0240"]);
    refused(&stranger, &["a", "b"], &["`a`", models[1], models[0]]);
    // Other weights under the same name.
    let path = scene.path("ckpt_0240.safetensors");
    fs::copy(&stranger, &path).unwrap();
    refused(&path, &["a", "b"], &["`a`: ckpt_0240.safetensors had other weights"]);

    // What is no part, or damaged.
    fs::copy(snapshot(), scene.path("model")).unwrap();
    refused(&snapshot(), &["a", "model"], &["`model`: is neither a part nor the state"]);
    let whole = scene.read("b");
    for length in (0..whole.len()).step_by(whole.len() / 9) {
        fs::write(scene.path("cut"), &whole[..length]).unwrap();
        refused(&snapshot(), &["a", "cut"], &["`cut`: "]);
    }
    for at in [whole.len() - 1, whole.len() / 2] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(scene.path("flipped"), flipped).unwrap();
        refused(&snapshot(), &["a", "flipped"], &["`flipped`: ", "damaged"]);
    }
    // In metadata, the digest tells.
    let at = whole.windows(8).position(|w| w == b"shuffled").unwrap();
    let mut flipped = whole.clone();
    flipped[at] ^= 1;
    fs::write(scene.path("flipped"), flipped).unwrap();
    refused(&snapshot(), &["a", "flipped"], &["`flipped`: its metadata do not match"]);
}

#[test]
fn flags_that_make_no_sense_are_usage_errors() {
    let scene = Scene::new();
    let usage = |changes: &[(&str, &str)], words: &[&str]| {
        fails(&mut scene.update(changes), 2, words);
    };
    usage(&[("--shard", "2/2"), ("--save-stats", "a")], &["counted from 0 to 1"]);
    usage(&[("--shard", "x"), ("--save-stats", "a")], &["I/N"]);
    usage(&[("--shard", "0/2"), ("-o", "a")], &["--save-stats"]);
    usage(&[("--save-stats", "a"), ("-o", "b")], &["cannot be used with"]);
    usage(&[("-o", "a"), ("--resume", "a")], &["is the state as well as the output"]);
    let mut merge = scene.merge(&snapshot(), &["a"], "out");
    fails(merge.args(["--method", "cma"]), 2, &["--method does not go with --merge-stats"]);
    let mut merge = scene.merge(&snapshot(), &["a"], "out");
    fails(merge.args(["--batch-size", "3"]), 2, &["--batch-size does not go with --merge-stats"]);
    assert!(listing(scene.0.path()).is_empty());
}

/// Images that were left out count over all parts.
#[test]
fn bad_images_are_added_up() {
    let scene = Scene::new();
    let photo = photo();
    for class in 0..10 {
        let folder = scene.path("data").join(format!("class{class}"));
        fs::create_dir_all(&folder).unwrap();
        for image in 0..2 {
            let length = if class < 2 && image == 0 { photo.len() / 2 } else { photo.len() };
            fs::write(folder.join(format!("{image}.jpg")), &photo[..length]).unwrap();
        }
    }
    let run = |changes: &[&str]| {
        let mut tool = swa_bn_update();
        tool.current_dir(scene.0.path()).arg(snapshot());
        tool.args(["--data", "data", "--preset", "none", "--resize", "32", "--crop", "32"]);
        tool.args(["--batch-size", "4", "--threads", "1", "--force"]).args(changes);
        tool
    };
    let plain = json(&mut run(&["--allow-bad", "2", "-o", "plain.safetensors"]));
    assert_eq!(plain["skipped"].as_array().unwrap().len(), 2);
    for (shard, name) in [("0/2", "part_0"), ("1/2", "part_1")] {
        for allowed in ["1", "2"] {
            let name = format!("{name}_{allowed}");
            let mut part = run(&["--shard", shard, "--save-stats", &name, "--allow-bad", allowed]);
            // Each part has one of them.
            part.assert().success();
        }
    }
    let merged = json(&mut scene.merge(&snapshot(), &["part_1_2", "part_0_2"], "m.safetensors"));
    assert_eq!(merged["skipped"], plain["skipped"]);
    assert!(scene.read("m.safetensors") == scene.read("plain.safetensors"));
    let mut merge = scene.merge(&snapshot(), &["part_1_1", "part_0_1"], "n.safetensors");
    fails(&mut merge, 3, &["2 bad images, --allow-bad is 1"]);
    merge.args(["--allow-bad", "2"]).assert().success();
}

/// A pass of hundreds of batches, interrupted when its state appears: after the first of them.
struct Slow<'a> {
    scene: &'a Scene,
    state: &'a str,
}

const SLOW: [(&str, &str); 2] = [("--samples", "1200"), ("--batch-size", "2")];

impl Slow<'_> {
    fn command(&self, args: &[&str]) -> Command {
        // Where the tests run in the background, SIGINT may be ignored, and stay so.
        let mut command = Command::new("env");
        command.env("OMP_WAIT_POLICY", "passive").current_dir(self.scene.0.path());
        command
            .arg("--default-signal=INT,TERM")
            .args(args)
            .args(["--resume", self.state, "--force"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it, and ends it by the signal when it has written its state. Returns what it said.
    fn interrupted(&self, args: &[&str], signal: Signal) -> String {
        let state = self.scene.path(self.state);
        // Written anew, it is another file.
        let inode = || fs::metadata(&state).ok().map(|meta| meta.ino());
        let before = inode();
        let mut child = self.command(args).spawn().unwrap();
        let start = Instant::now();
        while inode().is_none() || inode() == before {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            assert!(start.elapsed() < Duration::from_secs(120), "no state");
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal.as_raw()), "it ended before the signal");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs it to its end. Returns how many batches it did not need to do again.
    fn resumed(&self, args: &[&str]) -> usize {
        let output = self.command(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(!self.scene.path(self.state).exists(), "the state is left over");
        let done = said.split("going on after ").nth(1).expect("it went on");
        done.split(' ').next().unwrap().parse().unwrap()
    }
}

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

/// An image that was mended may go on; one that was exchanged between two parts is other data.
#[test]
fn parts_of_other_images_do_not_belong_together() {
    let scene = Scene::new();
    let data = scene.path("data");
    for class in 0..10 {
        let folder = data.join(format!("class{class}"));
        fs::create_dir_all(&folder).unwrap();
        (0..2).for_each(|i| fs::write(folder.join(format!("{i}.jpg")), photo()).unwrap());
    }
    let part = |shard: &str, name: &str| {
        let mut tool = swa_bn_update();
        tool.current_dir(scene.0.path()).arg(snapshot());
        tool.args(["--data", "data", "--preset", "none", "--resize", "32", "--crop", "32"]);
        tool.args(["--batch-size", "4", "--threads", "1", "--seed", "0", "--shard", shard]);
        tool.args(["--save-stats", name, "--force"]).assert().success();
    };
    part("0/2", "part_0");
    // It decodes to the same pixels, which nobody can know beforehand.
    fs::write(data.join("class3/1.jpg"), [photo(), vec![0]].concat()).unwrap();
    part("1/2", "part_1");
    let mut merge = scene.merge(&snapshot(), &["part_0", "part_1"], "new.safetensors");
    fails(&mut merge, 3, &["had other names, labels or images"]);
    part("0/2", "part_0");
    scene.merge(&snapshot(), &["part_0", "part_1"], "new.safetensors").assert().success();
}

/// A JPEG photograph among the fixtures.
fn photo() -> Vec<u8> {
    fs::read(fixtures().join("pixels/photos/rocket/rocket.jpg")).unwrap()
}

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

/// The blocks of a document in bash.
fn blocks(document: &str) -> Vec<&str> {
    let starts = document.split("```bash\n").skip(1);
    starts.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A folder as the document has it: a model that says which pixels it takes, and data.
fn site() -> Scene {
    let scene = Scene::new();
    scene.update(&[("-o", "swa.safetensors")]).assert().success();
    for name in ["train", "val"] {
        std::os::unix::fs::symlink(fashion(), scene.path(name)).unwrap();
    }
    scene
}

/// What the document's commands are to end in.
fn check_site(scene: &Scene, printed: &str) {
    let few = ["--samples", "400", "--threads", "1", "--data"];
    let mut update = swa_bn_update();
    update.current_dir(scene.0.path()).arg("swa.safetensors").args(few);
    update.args(["train", "-o", "expected.safetensors"]).assert().success();
    assert!(scene.read("swa_bn.safetensors") == scene.read("expected.safetensors"));
    let mut eval = swa_eval();
    eval.current_dir(scene.0.path()).args(["swa_bn.safetensors", "swa.safetensors"]).args(few);
    let output = eval.arg("val").output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let rows = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| line.starts_with("swa"))
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&table).len(), 2, "{table}");
    assert!(rows(&table).iter().all(|row| printed.contains(row)), "{table}\n{printed}");
}

/// The scripts' commands on few images and one thread, as quick as a test should be.
fn quick(script: &str) -> String {
    let script = script.replace("--threads 4", "--threads 1").replace("--array=0-7", "--array=0-1");
    let script = script.replace("--parts 8", "--parts 2");
    script
        .replace("--data train", "--data train --samples 400")
        .replace("--data val", "--data val --samples 400")
}

fn path_with(folders: &[&Path]) -> std::ffi::OsString {
    let tools = Path::new(env!("CARGO_BIN_EXE_swa-eval")).parent().unwrap();
    let own = std::env::var_os("PATH").unwrap();
    let own = std::env::split_paths(&own).collect::<Vec<_>>();
    let first = folders.iter().copied().chain([tools]).map(Path::to_path_buf);
    std::env::join_paths(first.chain(own)).unwrap()
}

fn document() -> String {
    fs::read_to_string(swa_testing::root().join("docs/scale.md")).unwrap()
}

#[test]
fn the_slurm_script_of_the_document_does_what_it_says() {
    let scene = site();
    let document = document();
    let blocks = blocks(&document);
    let block = |with: &str| quick(blocks.iter().find(|block| block.contains(with)).unwrap());
    fs::write(scene.path("swa.sbatch"), block("#SBATCH")).unwrap();
    // Slurm, as far as the script sees it.
    let bin = scene.path("bin");
    fs::create_dir(&bin).unwrap();
    let slurm = [
        ("srun", "exec \"$@\""),
        (
            "sbatch",
            "last=0\nwhile :; do case $1 in --array=*) last=${1#--array=0-};; --*) ;; *) break;; esac; shift; done\n\
             for i in $(seq 0 $last); do\n\
             SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=$((last + 1)) bash \"$@\" >>job.out 2>>job.err || exit 1\n\
             done; echo 7",
        ),
    ];
    for (name, script) in slurm {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut shell = Command::new("bash");
    shell
        .current_dir(scene.0.path())
        .env("PATH", path_with(&[&bin]))
        .args(["-euc", &block("swa.sbatch update")]);
    let output = shell.output().unwrap();
    let errors = fs::read_to_string(scene.path("job.err")).unwrap_or_default();
    assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(&output.stderr));
    check_site(&scene, &String::from_utf8(scene.read("job.out")).unwrap());
}

#[test]
fn the_ray_script_of_the_document_does_what_it_says() {
    let given = ["SWA_RAY_PYTHON", "PYTHON"].into_iter().find_map(|name| std::env::var(name).ok());
    let python = given.unwrap_or("python3".into());
    let ray = Command::new(&python).args(["-c", "import ray"]).output();
    let found = ray.is_ok_and(|output| output.status.success());
    if !swa_testing::faults::needs(
        found,
        "the_ray_script_of_the_document_does_what_it_says",
        "a python3 with ray (or SWA_RAY_PYTHON)",
    ) {
        return;
    }
    let scene = site();
    let script = swa_testing::root().join("docs/scale/ray_pass.py");
    fs::copy(script, scene.path("ray_pass.py")).unwrap();
    let document = document();
    let block = blocks(&document).into_iter().find(|block| block.contains("--folder")).unwrap();
    let commands = quick(block).replace("python ", &format!("{python} "));
    let mut shell = Command::new("bash");
    shell.current_dir(scene.0.path()).env("PATH", path_with(&[])).args(["-euc", &commands]);
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    check_site(&scene, &String::from_utf8(output.stdout).unwrap());
}
