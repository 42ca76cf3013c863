//! Several processes write a folder together: the bytes are those of one, whatever happens on the way.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use assert_cmd::Command;
use serde_json::Value;
use swa_testing::{fails, fixtures, listing, swa_avg, text};

fn formats(name: &str) -> PathBuf {
    fixtures().join("formats").join(name)
}

/// Name and bytes of each file.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| (name.clone(), fs::read(folder.join(name)).unwrap());
    listing(folder).into_iter().map(read).collect()
}

/// A folder of its own, and copies of a fixture's checkpoints in it.
struct Scene {
    dir: tempfile::TempDir,
    inputs: Vec<String>,
}

impl Scene {
    fn new(case: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut inputs = vec![];
        for entry in fs::read_dir(formats(case)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            if name == "expected.safetensors" {
                continue;
            }
            copy(&path, &dir.path().join(&name));
            inputs.push(name);
        }
        inputs.sort();
        Scene { dir, inputs }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn average(&self, args: &[&str]) -> Command {
        let mut tool = swa_avg();
        tool.current_dir(self.dir.path()).args(&self.inputs).args(args);
        tool
    }

    fn shard(&self, shard: &str, args: &[&str]) -> Command {
        self.average(&[args, &["-o", "out", "--shard", shard]].concat())
    }

    fn finish(&self, args: &[&str]) -> Command {
        let mut tool = swa_avg();
        tool.current_dir(self.dir.path()).args(["--finish", "out"]).args(args);
        tool
    }

    /// What one process writes.
    fn alone(&self, args: &[&str]) -> BTreeMap<String, Vec<u8>> {
        self.average(&[args, &["-o", "alone", "--force"]].concat()).assert().success();
        content(&self.path("alone"))
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        copy(&path, &to.join(path.file_name().unwrap()));
    }
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&text(command.arg("--json"))).unwrap()
}

/// Sharded like the inputs, anew, from single files, and copies of a trainer's folder, its tensors cut among files by
/// rows and in two dimensions.
const CASES: [(&str, &[&str]); 8] = [
    ("hf-sharded", &[]),
    ("hf-sharded", &["--max-shard-size", "500", "--dtype", "f16"]),
    ("torch-model", &["--max-shard-size", "300"]),
    ("dcp-fsdp2", &["--max-shard-size", "1KB"]),
    ("dcp-fsdp2", &["--like", "step-100"]),
    ("dcp-grid", &["--like", "step-90"]),
    ("dcp-file-each", &["--like", "step-100"]),
    ("dcp-accelerate", &["--like", "step-100"]),
];

#[test]
fn any_number_of_processes_write_the_bytes_of_one() {
    let mut most = 0;
    for (case, args) in CASES {
        let scene = Scene::new(case);
        let alone = scene.alone(args);
        for of in [1, 2, 3, 11] {
            // The last first: the order does not matter.
            for index in (0..of).rev() {
                scene.shard(&format!("{index}/{of}"), args).assert().success();
            }
            assert!(!scene.path("out").exists());
            scene.finish(&[]).assert().success();
            assert!(content(&scene.path("out")) == alone, "{case} {args:?}: {of} processes");
            assert!(!scene.path("out.partial").exists());
            fs::remove_dir_all(scene.path("out")).unwrap();
        }
        most = most.max(alone.len());
    }
    assert!(most > 8, "no case has many files");
}

#[test]
fn what_is_there_is_kept_and_what_is_missing_is_named() {
    let scene = Scene::new("hf-sharded");
    let alone = scene.alone(&[]);
    fails(&mut scene.finish(&[]), 2, &["out.partial`", "is not there", "--shard"]);
    let report = json(&mut scene.shard("0/2", &[]));
    let names = |report: &Value, there: bool| -> Vec<String> {
        let files = report["files"].as_array().unwrap().iter();
        let files = files.filter(|file| file["was_there"] == there);
        files.map(|file| file["file"].as_str().unwrap().to_string()).collect()
    };
    let first = names(&report, false);
    assert!(!first.is_empty() && first.len() < 3, "{first:?}");
    assert_eq!((&report["all"], &report["next"]), (&3.into(), &Value::Null));
    let error =
        fails(&mut scene.finish(&[]), 3, &["of 3 files are missing", "what is there is kept"]);
    for name in alone.keys().filter(|name| name.starts_with("model-")) {
        assert_eq!(error.contains(name.as_str()), !first.contains(name), "{error}");
    }
    // Again, as after a preemption; then with another number of processes.
    let stamp =
        |name: &String| fs::metadata(scene.path("out.partial").join(name)).unwrap().modified();
    let before: Vec<_> = first.iter().map(|name| stamp(name).unwrap()).collect();
    assert_eq!(names(&json(&mut scene.shard("0/2", &[])), true), first);
    assert_eq!(first.iter().map(|name| stamp(name).unwrap()).collect::<Vec<_>>(), before);
    let report = json(&mut scene.shard("0/1", &[]));
    assert_eq!((names(&report, true).len(), &report["there"]), (first.len(), &3.into()));
    assert_eq!(report["next"], "swa-avg --finish out");
    // The name that it has until then will do.
    let mut finish = swa_avg();
    finish.current_dir(scene.dir.path()).args(["--finish", "out.partial"]);
    let report = json(&mut finish);
    assert_eq!(report["output"], "out");
    assert_eq!(report["files"], alone.len());
    assert_eq!(report["bytes"], alone.values().map(Vec::len).sum::<usize>());
    assert!(content(&scene.path("out")) == alone);
    let again = ["was finished before"];
    fails(&mut scene.finish(&[]), 2, &again);
    fails(&mut scene.shard("0/2", &[]), 2, &["exists already", "--force"]);
}

#[test]
fn a_file_of_another_plan_is_refused() {
    let scene = Scene::new("hf-sharded");
    let weights = ["--weights", "1,3"];
    scene.shard("0/3", &weights).assert().success();
    let before = content(&scene.path("out.partial"));
    let refused = |args: &[&str], words: &[&str]| {
        let words = [&["out.partial`", "another plan", "begin again"], words].concat();
        fails(&mut scene.shard("1/3", args), 3, &words);
        assert!(content(&scene.path("out.partial")) == before);
    };
    refused(&[], &["weights was [1.0,3.0], not [1.0,1.0]"]);
    let with = |more: &[&'static str]| [&weights, more].concat();
    refused(&with(&["--dtype", "bf16"]), &["dtype was none, not \"BF16\""]);
    refused(&with(&["--max-shard-size", "500"]), &["files of tensors"]);
    refused(&with(&["--exclude", "bias"]), &["exclude was none"]);
    refused(&with(&["--allow-nonfinite"]), &["allow_nonfinite was false, not true"]);
    // Configuration, too: it would be that of the first process.
    let config = scene.path("checkpoint-100").join("config.json");
    let text = fs::read(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    refused(&weights, &["`config.json` has changed"]);
    fs::write(&config, text).unwrap();
    // What was there in another way.
    for (index, of) in [(1, 3), (2, 3)] {
        scene.shard(&format!("{index}/{of}"), &weights).assert().success();
    }
    scene.finish(&[]).assert().success();
    // A folder that this tool did not make.
    fs::remove_dir_all(scene.path("out")).unwrap();
    fs::create_dir(scene.path("out.partial")).unwrap();
    fails(&mut scene.shard("0/2", &[]), 2, &["in the way", "remove it"]);
    fs::write(scene.path("out.partial/swa.part"), "{}").unwrap();
    fails(&mut scene.shard("0/2", &[]), 3, &["no record", "begin again"]);
}

#[test]
fn inputs_that_changed_in_between_are_found() {
    for args in [&[][..], &["--like", "step-90"]] {
        let scene = Scene::new(if args.is_empty() { "hf-sharded" } else { "dcp-fsdp2" });
        scene.shard("0/2", args).assert().success();
        let folder = scene.path(&scene.inputs[0]);
        let name = listing(&folder).into_iter().find(|name| !name.ends_with("json")).unwrap();
        let file = File::options().append(true).open(folder.join(&name)).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        file.set_modified(time + Duration::from_nanos(1000)).unwrap();
        let name = format!("{}/{name}", scene.inputs[0]);
        let words = ["out.partial`", &name, "has another time than", "cp -p"];
        fails(&mut scene.shard("1/2", args), 5, &words);
        file.set_modified(time).unwrap();
        scene.shard("1/2", args).assert().success();
    }
}

#[test]
fn a_shard_is_written_by_one_process_at_a_time() {
    let scene = Scene::new("hf-sharded");
    scene.shard("0/2", &[]).assert().success();
    let lock = File::open(scene.path("out.partial/swa.part.0-of-2.lock")).unwrap();
    lock.lock().unwrap();
    fails(&mut scene.shard("0/2", &[]), 2, &["shard 0/2", "another process", "wait for it"]);
    scene.shard("1/2", &[]).assert().success();
    drop(lock);
    scene.shard("0/2", &[]).assert().success();
}

#[test]
fn what_an_interruption_leaves_is_no_harm() {
    let scene = Scene::new("hf-sharded");
    let alone = scene.alone(&[]);
    let partial = scene.path("out.partial");
    scene.shard("0/2", &[]).assert().success();
    // Killed while it wrote, on this machine or another.
    let name = alone.keys().find(|name| !partial.join(name).exists() && name.starts_with("model-"));
    let left = partial.join(format!(".{}.swa-0123456789abcdef.tmp", name.unwrap()));
    fs::write(&left, "half").unwrap();
    let held = File::open(&left).unwrap();
    held.lock().unwrap();
    fails(&mut scene.finish(&[]), 3, &["being written"]);
    drop(held);
    scene.shard("1/2", &[]).assert().success();
    // Killed while it finished: after some files had come into place, and after the folder had its name.
    fs::rename(partial.join("swa.part.config.json"), partial.join("config.json")).unwrap();
    copy(&partial, &scene.path("copy"));
    scene.finish(&[]).assert().success();
    assert!(content(&scene.path("out")) == alone);
    fs::copy(scene.path("copy/swa.part"), scene.path("out/swa.part")).unwrap();
    scene.finish(&[]).assert().success();
    assert!(content(&scene.path("out")) == alone);
    // Killed after old and new had changed places.
    copy(&scene.path("out"), &partial);
    fs::copy(scene.path("copy/swa.part"), scene.path("out/swa.part")).unwrap();
    // While the one that did it lives, nobody else finishes.
    let held = File::open(scene.path("out/swa.part")).unwrap();
    held.lock().unwrap();
    fails(&mut scene.finish(&[]), 2, &["is being finished by another process"]);
    drop(held);
    scene.finish(&[]).assert().success();
    assert!(content(&scene.path("out")) == alone && !partial.exists());
    // Cut by something else.
    fs::rename(scene.path("out"), scene.path("old")).unwrap();
    fs::rename(scene.path("copy"), &partial).unwrap();
    let file = File::options().write(true).open(partial.join(name.unwrap())).unwrap();
    file.set_len(100).unwrap();
    fails(&mut scene.finish(&[]), 3, &["1 of 3 files are missing", name.unwrap()]);
    fails(&mut scene.shard("0/1", &[]), 3, &["does not have its", "remove it"]);
    fs::remove_file(partial.join(name.unwrap())).unwrap();
    // And something that nobody knows.
    scene.shard("0/1", &[]).assert().success();
    fs::write(partial.join("mine.txt"), "x").unwrap();
    fails(&mut scene.finish(&[]), 2, &["mine.txt", "move it"]);
    fs::remove_file(partial.join("mine.txt")).unwrap();
    scene.finish(&[]).assert().success();
    assert!(content(&scene.path("out")) == alone);
}

#[test]
fn an_old_folder_is_replaced_at_the_end() {
    let scene = Scene::new("hf-sharded");
    scene.average(&["-o", "out", "--last", "1"]).assert().success();
    let (old, alone) = (content(&scene.path("out")), scene.alone(&[]));
    assert!(old != alone);
    fails(&mut scene.shard("0/1", &[]), 2, &["exists already"]);
    scene.shard("0/1", &["--force"]).assert().success();
    fails(&mut scene.finish(&[]), 2, &["exists already", "--force"]);
    assert!(content(&scene.path("out")) == old);
    scene.finish(&["--force"]).assert().success();
    assert!(content(&scene.path("out")) == alone);
    assert_eq!(listing(scene.dir.path()), ["alone", &scene.inputs[0], &scene.inputs[1], "out"]);
}

#[test]
fn what_has_no_files_to_deal_is_refused() {
    let scene = Scene::new("hf-sharded");
    let refused = |args: &[&str], words: &[&str]| {
        fails(&mut scene.average(args), 2, words);
        assert_eq!(listing(scene.dir.path()), scene.inputs, "{args:?}");
    };
    let one = ["-o", "out.safetensors", "--shard", "0/2"];
    refused(&one, &["this output is a file", "--max-shard-size"]);
    refused(&["-o", "a", "-o", "b", "--shard", "0/2"], &["several outputs"]);
    refused(&["-o", "out", "--shard", "2/2"], &["from 0 to 1"]);
    refused(&["-o", "out", "--shard", "2"], &["expected I/N", "or auto"]);
    refused(&["-o", "swag:2=out", "--shard", "0/2"], &[]);
}

#[test]
fn the_scheduler_says_which_shard_it_is() {
    let scene = Scene::new("hf-sharded");
    let alone = scene.alone(&[]);
    for id in ["5", "6", "7"] {
        let mut auto = scene.shard("auto", &[]);
        auto.env("SLURM_ARRAY_TASK_ID", id).env("SLURM_ARRAY_TASK_MIN", "5");
        let done = auto.env("SLURM_ARRAY_TASK_COUNT", "3").assert().success();
        let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
        let shard = id.parse::<usize>().unwrap() - 5;
        assert!(said.contains(&format!("shard {shard}/3, by SLURM_ARRAY_TASK_ID")), "{said}");
    }
    scene.finish(&[]).assert().success();
    assert!(content(&scene.path("out")) == alone);
    let mut nothing = scene.shard("auto", &["--force"]);
    fails(&mut nothing, 2, &["none of SWA_SHARD", "set SWA_SHARD=I/N"]);
}

#[test]
fn a_dry_run_says_which_files_a_shard_has() {
    let scene = Scene::new("hf-sharded");
    let mut all = vec![];
    for shard in ["0/2", "1/2"] {
        let report = json(&mut scene.shard(shard, &["--dry-run"]));
        assert_eq!((&report["written"], &report["there"]), (&false.into(), &0.into()));
        let files = report["files"].as_array().unwrap();
        all.extend(files.iter().map(|file| file["file"].as_str().unwrap().to_string()));
        assert!(report["bytes_read"].as_u64().unwrap() > 0);
    }
    all.sort();
    assert!(all.len() == 3 && all[0] == "model-00001-of-00003.safetensors", "{all:?}");
    assert_eq!(listing(scene.dir.path()), scene.inputs);
}

#[test]
fn stale_temporary_files_of_a_shard_go() {
    let scene = Scene::new("hf-sharded");
    scene.shard("0/1", &[]).assert().success();
    let stale =
        scene.path("out.partial/.model-00001-of-00003.safetensors.swa-0123456789abcdef.tmp");
    let file = File::create(&stale).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
    drop(file);
    scene.finish(&[]).assert().success();
    assert!(listing(&scene.path("out")).iter().all(|name| !name.ends_with(".tmp")));
}
