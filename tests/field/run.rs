//! A folder in which swa-avg is run, and the checkpoints that tests of several kinds put there.

use std::path::{Path, PathBuf};

use swa_testing::*;

use crate::pickle::{dict, torch_file};

pub struct Run(tempfile::TempDir);

impl Run {
    pub fn new() -> Self {
        Run(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn avg(&self, arguments: &[&str]) -> assert_cmd::Command {
        let mut command = swa_avg();
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    /// What is noted; it must end well.
    pub fn notes(&self, arguments: &[&str]) -> String {
        let done = self.avg(arguments).arg("--force").output().unwrap();
        let notes = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{notes}");
        notes
    }

    /// The mean of `bn.weight`, and what was noted.
    pub fn mean(&self, arguments: &[&str]) -> (f32, String) {
        let notes = self.notes(&[arguments, &["-o", "out.safetensors"]].concat());
        let output = self.path("out.safetensors");
        let value = to_f32(&load(&output)["bn.weight"])[0];
        std::fs::remove_file(output).unwrap();
        (value, notes)
    }

    /// Two PyTorch files of a dict, `a_1.pth` and `a_2.pth`, whose values are 1 and 2.
    pub fn pair(&self, items: &[(&str, Vec<u8>)]) -> [&'static str; 2] {
        torch_file(&self.path("a_1.pth"), 1.0, &dict(items));
        torch_file(&self.path("a_2.pth"), 2.0, &dict(items));
        ["a_1.pth", "a_2.pth"]
    }
}

/// Writes `w`, large enough to have several blocks, and a counter.
pub fn write(path: &Path, value: f32, counter: i64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let w: Vec<f32> = (0..3000).map(|i| value + i as f32).collect();
    save(path, &[f32s("bn.weight", &[value]), f32s("w", &w), i64s("n", &[counter])]);
}

/// epoch 0 to 4, each with its number as value, and copies of the last one.
pub fn epochs() -> Run {
    let run = Run::new();
    for n in 0..5 {
        write(&run.path(&format!("d/epoch={n}-step={}.safetensors", 40 * n)), n as f32, n);
    }
    run
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats").join(name)
}
