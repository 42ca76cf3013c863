//! What the tests of passes in parts share: a folder of its own for each, quick runs in it, and slow ones that are
//! interrupted.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use swa_testing::data_tools::*;
use swa_testing::*;

pub fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

pub fn snapshot() -> PathBuf {
    fashion().join("ckpt_0240.safetensors")
}

/// A folder of its own, where runs of the tools leave their files.
pub struct Scene(pub tempfile::TempDir);

/// Five batches.
const QUICK: [(&str, &str); 5] = [
    ("--preset", "fashion-mnist"),
    ("--samples", "300"),
    ("--batch-size", "64"),
    ("--seed", "0"),
    ("--threads", "1"),
];

/// The arguments of [`QUICK`] with some changed, or more.
pub fn with<'a>(changes: &[(&'a str, &'a str)]) -> Vec<&'a str> {
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
    pub fn new() -> Self {
        Scene(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// `swa-bn-update` of a fixture, on fixtures.
    pub fn update(&self, changes: &[(&str, &str)]) -> assert_cmd::Command {
        let mut tool = swa_bn_update();
        tool.current_dir(self.0.path()).arg(snapshot()).arg("--data").arg(fashion());
        tool.args(with(changes)).arg("--force");
        tool
    }

    pub fn part(&self, shard: &str, name: &str, changes: &[(&str, &str)]) {
        let args = [&[("--shard", shard), ("--save-stats", name)], changes].concat();
        self.update(&args).assert().success();
    }

    pub fn merge(&self, model: &Path, parts: &[&str], out: &str) -> assert_cmd::Command {
        let mut tool = swa_bn_update();
        tool.current_dir(self.0.path()).arg(model).arg("--merge-stats").args(parts);
        tool.args(["-o", out]);
        tool
    }
}

/// A JPEG photograph among the fixtures.
pub fn photo() -> Vec<u8> {
    fs::read(fixtures().join("pixels/photos/rocket/rocket.jpg")).unwrap()
}

/// A pass of hundreds of batches, interrupted when its state appears: after the first of them.
pub struct Slow<'a> {
    pub scene: &'a Scene,
    pub state: &'a str,
}

pub const SLOW: [(&str, &str); 2] = [("--samples", "1200"), ("--batch-size", "2")];

impl Slow<'_> {
    pub fn command(&self, args: &[&str]) -> Command {
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
    pub fn interrupted(&self, args: &[&str], signal: Signal) -> String {
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
    pub fn resumed(&self, args: &[&str]) -> usize {
        let output = self.command(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(!self.scene.path(self.state).exists(), "the state is left over");
        let done = said.split("going on after ").nth(1).expect("it went on");
        done.split(' ').next().unwrap().parse().unwrap()
    }
}
