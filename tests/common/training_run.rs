//! A training run of seconds, as often as wanted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::data_tools::swa_train;
use assert_cmd::Command;
use serde_json::Value;

/// Images of CIFAR's binary format, of three classes that differ in their colours; 96 to train on, 32 to test on.
fn data(dir: &Path) -> PathBuf {
    let folder = dir.join("cifar");
    fs::create_dir(&folder).unwrap();
    let mut state = 1u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for (name, images) in [("data_batch_1.bin", 96u8), ("test_batch.bin", 32)] {
        let mut bytes = vec![];
        for image in 0..images {
            let class = image % 3;
            bytes.push(class);
            for channel in 0..3 {
                bytes.extend((0..1024).map(|_| random() / if channel == class { 1 } else { 3 }));
            }
        }
        fs::write(folder.join(name), bytes).unwrap();
    }
    folder
}

/// A folder with data, and the same run of six epochs as often as wanted.
pub struct Scene {
    pub dir: tempfile::TempDir,
}

/// Its files but for the lock and the figures of time.
pub type Files = Vec<(String, Vec<u8>)>;

impl Scene {
    pub fn in_a_folder() -> Self {
        let dir = tempfile::tempdir().unwrap();
        data(dir.path());
        Scene { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self, run: &str, schedule: &[&str]) -> Command {
        let mut command = swa_train();
        command.current_dir(self.dir.path()).args([run, "--data", "cifar", "--preset", "cifar10"]);
        command.args(["--arch", "preresnet-8", "--width", "4", "--batch-size", "16"]);
        command.args(["--swa-lr", "0.02", "--eval-every", "2", "--threads", "1"]);
        if !schedule.contains(&"--lr") {
            command.args(["--lr", "0.05"]);
        }
        command.args(schedule).arg("--resume");
        command
    }

    pub fn swa(&self, run: &str) -> Command {
        self.command(run, &["--epochs", "6", "--swa-start", "4"])
    }

    /// Three epochs.
    pub fn small(&self, run: &str) -> Command {
        let mut command = self.command(run, &["--epochs", "3", "--swa-start", "2"]);
        command.arg("--quiet");
        command
    }

    pub fn files(&self, run: &str) -> Files {
        let mut files = vec![];
        for folder in [self.path(run), self.path(run).join("results")] {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_string();
                if path.is_file() && name != "lock" {
                    files.push((name, fs::read(path).unwrap()));
                }
            }
        }
        for (name, bytes) in &mut files {
            if name == "log.jsonl" {
                *bytes = without_speed(bytes).into_bytes();
            }
        }
        files.sort();
        files
    }

    pub fn log(&self, run: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(run).join("results/log.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn without_speed(log: &[u8]) -> String {
    let speed = regex::Regex::new("\"images_per_second\":[0-9.e+]+").unwrap();
    speed.replace_all(std::str::from_utf8(log).unwrap(), "").into_owned()
}

pub fn same(found: Files, expected: &Files) {
    let names = |files: &Files| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(expected));
    for ((name, found), (_, expected)) in found.iter().zip(expected) {
        assert!(found == expected, "{name} differs");
    }
}

pub fn spawn(command: &Command) -> Child {
    let mut process = std::process::Command::new(command.get_program());
    process.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
