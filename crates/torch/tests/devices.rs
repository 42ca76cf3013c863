//! A pass that one command shares between processes on this machine ends in the bytes of one process.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::*;

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

fn snapshot() -> PathBuf {
    fashion().join("ckpt_0240.safetensors")
}

/// A folder of its own, where the tools leave their files, temporary ones included.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        Scene(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Five batches, each by one thread.
    fn quick(&self, mut tool: assert_cmd::Command, more: &[&str]) -> assert_cmd::Command {
        tool.current_dir(self.0.path()).env("TMPDIR", self.path("tmp"));
        tool.arg(snapshot()).arg("--data").arg(fashion()).args(QUICK).args(more);
        tool
    }

    fn update(&self, more: &[&str]) -> assert_cmd::Command {
        self.quick(swa_bn_update(), more)
    }

    fn evaluate(&self, more: &[&str]) -> assert_cmd::Command {
        self.quick(swa_eval(), more)
    }

    fn leaves_nothing(&self) {
        assert_eq!(listing(&self.path("tmp")), [""; 0]);
    }
}

const QUICK: [&str; 8] =
    ["--preset", "fashion-mnist", "--samples", "300", "--batch-size", "64", "--threads", "1"];

#[test]
fn statistics_of_several_processes_have_the_bytes_of_one() {
    let scene = Scene::new();
    let plain = json(&mut scene.update(&["-o", "plain.safetensors"]));
    for devices in ["cpu", "cpu,cpu", "cpu,cpu,cpu"] {
        let mut update =
            scene.update(&["-o", "shared.safetensors", "--force", "--devices", devices]);
        let report = json(&mut update);
        let [a, b] = ["plain.safetensors", "shared.safetensors"].map(|n| fs::read(scene.path(n)));
        assert!(a.unwrap() == b.unwrap(), "{devices}");
        for key in ["arch", "method", "images", "batches", "all", "layers"] {
            assert_eq!(report[key], plain[key], "{key}");
        }
        scene.leaves_nothing();
    }
}

#[test]
fn an_evaluation_by_several_processes_is_that_of_one() {
    let scene = Scene::new();
    let last = fashion().join("ckpt_0232.safetensors");
    let more = [last.to_str().unwrap(), "--ensemble"];
    let without_time = |mut report: Value| {
        for key in ["seconds", "images_per_second", "limit", "speed", "batch_size", "decoding"] {
            report.as_object_mut().unwrap().remove(key);
        }
        report
    };
    let plain = without_time(json(&mut scene.evaluate(&more)));
    let files = ["--per-class", "classes.csv", "--devices", "cpu,cpu"];
    let shared = without_time(json(&mut scene.evaluate(&[&more[..], &files].concat())));
    assert_eq!(shared["models"], plain["models"]);
    assert_eq!(shared["ensemble"], plain["ensemble"]);
    assert_eq!(shared["images"], plain["images"]);
    assert!(fs::read_to_string(scene.path("classes.csv")).unwrap().lines().count() > 20);
    scene.leaves_nothing();
}

#[test]
fn what_a_process_says_is_said_once() {
    let scene = Scene::new();
    let mut update =
        scene.update(&["-o", "x.safetensors", "--devices", "cpu,cpu", "--progress", "json"]);
    let output = update.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let (lines, notes): (Vec<&str>, Vec<&str>) =
        stderr.lines().partition(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!((&last["done"], &last["total"]), (&300.into(), &300.into()), "{stderr}");
    assert!(lines.windows(2).all(|pair| pair[0]["done"].as_u64() <= pair[1]["done"].as_u64()));
    let device = notes.iter().filter(|line| line.starts_with("device: cpu")).count();
    assert_eq!(device, 1, "{stderr}");
}

#[test]
fn a_process_that_fails_is_named_and_the_others_end() {
    let scene = Scene::new();
    let mut update = scene.update(&["-o", "x.safetensors", "--devices", "cpu,0"]);
    update.env("CUDA_VISIBLE_DEVICES", "");
    fails(&mut update, 2, &["cuda:0: --device cuda:0: "]);
    let mut all = scene.update(&["-o", "x.safetensors", "--devices", "all"]);
    all.env("CUDA_VISIBLE_DEVICES", "");
    fails(&mut all, 2, &["--devices all: "]);
    // Of several, the first.
    let missing = scene.path("none");
    let mut tool = swa_eval();
    tool.env("TMPDIR", scene.path("tmp")).arg(snapshot()).arg("--data").arg(&missing);
    let words = ["cpu, process ", " of 2: ", "none"];
    let error = fails(tool.args(["--devices", "cpu,cpu"]), 2, &words);
    assert_eq!(error.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{error}");
    scene.leaves_nothing();
    assert_eq!(listing(scene.0.path()), ["tmp"]);
}

#[test]
fn what_cannot_be_shared_is_refused_before_anything_is_read() {
    let scene = Scene::new();
    let update = |more: &[&str], words: &[&str]| {
        let args = [&["-o", "x.safetensors", "--devices"], more].concat();
        fails(&mut scene.update(&args), 2, words);
    };
    update(&["gpu"], &["`gpu` is no device", "cpu,cpu"]);
    update(&["auto"], &["no device"]);
    update(&["0,0"], &["cuda:0 occurs twice"]);
    update(&["0,cuda:0"], &["cuda:0 occurs twice"]);
    update(&["cpu,cpu", "--method", "layerwise"], &["--method layerwise"]);
    update(&["cpu,cpu", "--until-stable", "0.1"], &["--until-stable"]);
    update(&["cpu,cpu", "--shard", "0/2"], &["cannot be used with"]);
    update(&["cpu,cpu", "--device", "cpu"], &["cannot be used with"]);
    update(&["cpu,cpu", "--resume", "x"], &["cannot be used with"]);
    fs::write(scene.path("old.safetensors"), "old").unwrap();
    let args = ["-o", "old.safetensors", "--devices", "cpu,cpu"];
    fails(&mut scene.update(&args), 2, &["exists already"]);
    let labels = ["-o", "old.safetensors", "--force", "--labels", "old.safetensors"];
    let args = [&labels[..], &["--devices", "cpu,cpu"]].concat();
    fails(&mut scene.update(&args), 2, &["is an input as well as the output"]);
    let evaluate = |more: &[&str], words: &[&str]| {
        fails(&mut scene.evaluate(&[&["--devices", "cpu,cpu"], more].concat()), 2, words);
    };
    evaluate(&["--logits", "x.safetensors"], &["--logits"]);
    evaluate(&["--per-class", "old.safetensors"], &["exists already"]);
    evaluate(&["--soup", "x", "--bn-data", "x"], &["--soup", "--devices"]);
    assert_eq!(listing(scene.0.path()), ["old.safetensors", "tmp"]);
    scene.leaves_nothing();
}

/// Processes whose parent is this one.
fn children(of: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let parent = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    numbers.filter(|process| parent(process) == Some(of)).collect()
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_signal_reaches_all_processes_and_nothing_is_left() {
    let scene = Scene::new();
    let mut tool = Command::new(binary("swa-bn-update"));
    tool.current_dir(scene.0.path()).env("TMPDIR", scene.path("tmp"));
    tool.arg(snapshot()).arg("--data").arg(fashion()).args(["--preset", "fashion-mnist"]);
    tool.args(["--threads", "1", "--batch-size", "16", "--devices", "cpu,cpu", "-o", "x.pth"]);
    let mut parent = tool.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    until("two children", || children(parent.id()).len() == 2);
    let both = children(parent.id());
    kill_process(Pid::from_raw(parent.id() as i32).unwrap(), Signal::TERM).unwrap();
    let status = parent.wait().unwrap();
    assert_eq!(status.signal(), Some(15), "{status}");
    let lives = |process: &u32| Path::new(&format!("/proc/{process}")).exists();
    until("the children's end", || !both.iter().any(lives));
    assert_eq!(listing(scene.0.path()), ["tmp"]);
    scene.leaves_nothing();
}

#[test]
fn the_environment_says_which_part_a_process_is() {
    let scene = Scene::new();
    scene.update(&["-o", "plain.safetensors"]).assert().success();
    for rank in ["0", "1"] {
        let mut part = scene.update(&["--shard", "auto", "--save-stats", "bn_{i}.part"]);
        part.env("RANK", rank).env("WORLD_SIZE", "2").assert().success();
    }
    let mut merge = swa_bn_update();
    merge.current_dir(scene.0.path()).arg(snapshot());
    merge.args(["--merge-stats", "bn_0.part", "bn_1.part", "-o", "merged.safetensors"]);
    merge.assert().success();
    let [a, b] = ["plain.safetensors", "merged.safetensors"].map(|n| fs::read(scene.path(n)));
    assert!(a.unwrap() == b.unwrap());
    let mut nowhere = scene.update(&["--shard", "auto", "--save-stats", "x"]);
    let schedulers = ["RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_ARRAY_TASK_ID"];
    schedulers.iter().for_each(|name| {
        nowhere.env_remove(name);
    });
    fails(&mut nowhere, 2, &["none of SWA_SHARD", "set SWA_SHARD=I/N"]);
}
