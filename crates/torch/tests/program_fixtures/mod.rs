//! Exported programs of `fixtures/programs` in a folder, and checkpoints for them with weights by formula.
#![allow(dead_code)] // each test uses some of them

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use swa_testing::data_tools::{swa_bn_update, swa_eval};
use swa_testing::golden::write_formula;
use swa_testing::*;

/// Names and shapes of a model's tensors.
pub type Layout = Vec<(String, Vec<usize>)>;

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = vec![];
    let file = fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn programs() -> PathBuf {
    fixtures().join("programs")
}

pub fn photos() -> PathBuf {
    fixtures().join("pixels/photos")
}

/// The state dict of a network that was exported.
pub fn layout(name: &str) -> Layout {
    let all: Value =
        serde_json::from_slice(&unpacked(&programs().join("programs.json.gz"))).unwrap();
    let tensors = all["cases"][name]["tensors"].as_object().unwrap();
    let shape = |value: &Value| serde_json::from_value(value[1].clone()).unwrap();
    tensors.iter().map(|(name, value)| (name.clone(), shape(value))).collect()
}

/// A folder with programs and checkpoints.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// An exported program.
    pub fn program(&self, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}.pt2"));
        fs::write(&path, unpacked(&programs().join(format!("{name}.pt2.gz")))).unwrap();
        path
    }

    /// A checkpoint of these tensors.
    pub fn checkpoint(&self, name: &str, layout: Layout) -> PathBuf {
        let path = self.path(name);
        write_formula(&path, layout);
        path
    }

    /// A network's checkpoint and program.
    pub fn network(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.checkpoint(&format!("{name}.safetensors"), layout(name)), self.program(name))
    }
}

/// Mean and deviation of a network of colour images; size and the rest come from the program.
pub const PIXELS: [&str; 4] = ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"];

/// swa-bn-update on the ten photographs, five at a time.
pub fn update(model: &Path, program: &Path, out: &Path, extra: &[&str]) -> Command {
    let mut command = swa_bn_update();
    command.arg(model).arg("--program").arg(program).arg("-o").arg(out);
    command.args(["--threads", "1", "--data"]).arg(photos());
    if !extra.contains(&"--batch-size") {
        command.args(["--batch-size", "5"]);
    }
    if !extra.contains(&"--mean") && !extra.contains(&"--preset") {
        command.args(PIXELS);
    }
    command.args(extra);
    command
}

/// swa-eval on the ten photographs.
pub fn eval(models: &[&Path], programs: &[&Path], extra: &[&str]) -> Command {
    let mut command = swa_eval();
    command.args(models).args(["--threads", "1", "--data"]).arg(photos());
    for program in programs {
        command.arg("--program").arg(program);
    }
    if !extra.contains(&"--mean") && !extra.contains(&"--preset") {
        command.args(PIXELS);
    }
    command.args(extra);
    command
}

/// What a command writes to stderr, which must end well.
pub fn notes(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    stderr
}
