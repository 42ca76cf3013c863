//! What the tests of faults share: two inputs and an old output, runs of swa-avg with faults of strace's or in little
//! memory, and what they leave.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use swa_testing::*;

pub const TOOL: &str = env!("CARGO_BIN_EXE_swa-avg");

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The files of an output by name: one without a name, or those in a folder.
pub type Content = BTreeMap<String, Vec<u8>>;

pub fn content(path: &Path) -> Content {
    if !path.is_dir() {
        return [(String::new(), std::fs::read(path).unwrap())].into();
    }
    let read = |name: String| (name.clone(), std::fs::read(path.join(name)).unwrap());
    listing(path).into_iter().map(read).collect()
}

pub fn model(shift: f32) -> Vec<Tensor> {
    let values = |n: usize| (0..n).map(|i| i as f32 * 0.25 + shift).collect::<Vec<_>>();
    vec![f32s("a", &values(600)), f32s("b", &values(3)), f32s("c", &values(50)), i64s("n", &[7])]
}

/// Two inputs, and an old output that is to be overwritten.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub inputs: [&'static str; 2],
    pub out: &'static str,
    old: Content,
    pub new: Content,
}

impl Scene {
    pub fn file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inputs = ["a.safetensors", "b.safetensors"];
        for (i, name) in inputs.iter().enumerate() {
            save(&dir.path().join(name), &model(i as f32));
        }
        let old = [(String::new(), b"old".to_vec())].into();
        Self::with(dir, inputs, "out.safetensors", old)
    }

    /// Folders as Hugging Face has them.
    pub fn folder() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inputs = ["checkpoint-1", "checkpoint-2"];
        for (i, name) in inputs.iter().enumerate() {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            save(&folder.join("model.safetensors"), &model(i as f32));
            std::fs::write(folder.join("config.json"), format!("{{\"layers\": {i}}}")).unwrap();
        }
        let names = ["model.safetensors", "config.json", "vocab.txt"];
        let old = names.map(|name| (name.to_string(), format!("old {name}").into_bytes())).into();
        Self::with(dir, inputs, "outdir", old)
    }

    fn with(
        dir: tempfile::TempDir,
        inputs: [&'static str; 2],
        out: &'static str,
        old: Content,
    ) -> Self {
        let mut scene = Scene { dir, inputs, out, old, new: Content::new() };
        scene.reset();
        let output = scene.plain().output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        scene.new = content(&scene.target());
        assert_ne!(scene.new, scene.old);
        scene.reset();
        scene
    }

    pub fn target(&self) -> PathBuf {
        self.dir.path().join(self.out)
    }

    /// The old output is back.
    pub fn reset(&self) {
        let target = self.target();
        if !self.old.contains_key("") {
            if target.exists() {
                std::fs::remove_dir_all(&target).unwrap();
            }
            std::fs::create_dir(&target).unwrap();
        }
        for (name, bytes) in &self.old {
            let path = if name.is_empty() { target.clone() } else { target.join(name) };
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn args(&self) -> Vec<&str> {
        let [a, b] = self.inputs;
        vec![a, b, "-o", self.out, "--force", "--quiet", "--threads", "1"]
    }

    pub fn plain(&self) -> Command {
        let mut command = Command::new(TOOL);
        command.current_dir(&self.dir).args(self.args());
        command
    }

    /// Traced into a log, with faults.
    pub fn traced(&self, log: &Path, trace: &str, inject: &str) -> Command {
        let mut command = Command::new("strace");
        command.current_dir(&self.dir).args(["-f", "-qq", "-o"]).arg(log);
        command.args(["-e", &format!("trace={trace}"), "-e", &format!("inject={trace}:{inject}")]);
        command.arg(TOOL).args(self.args());
        command
    }

    pub fn leftovers(&self) -> Vec<String> {
        let known = |name: &String| name == self.out || self.inputs.contains(&name.as_str());
        listing(self.dir.path()).into_iter().filter(|name| !known(name)).collect()
    }

    pub fn is_old(&self) -> bool {
        content(&self.target()) == self.old
    }

    /// Old or new as a whole; says which.
    pub fn is_new(&self, after: &str) -> bool {
        let found = content(&self.target());
        let names = || found.iter().map(|(n, b)| (n.clone(), b.len())).collect::<Vec<_>>();
        assert!(found == self.old || found == self.new, "{after}: neither: {:?}", names());
        found == self.new
    }

    /// Makes what is left behind look like that of a run long ago.
    pub fn age_leftovers(&self) -> usize {
        let left = self.leftovers();
        for name in &left {
            let ours = name.starts_with(&format!(".{}.swa-", self.out)) && name.ends_with(".tmp");
            assert!(ours, "`{name}` was left");
            let file = File::open(self.dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
        left.len()
    }

    /// A run in which a call fails must answer with 4, name the output and leave no temporary file.
    /// Returns the message and how often the call was made.
    pub fn fails_at(&self, call: &str, inject: &str) -> (String, usize) {
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("log");
        let output = self.traced(&log, call, inject).output().unwrap();
        let message = text(&output);
        assert_eq!(output.status.code(), Some(4), "{call}: {message}");
        assert!(message.starts_with("error: `"), "{call}: {message}");
        assert!(message.contains(self.out), "{call}: {message}");
        assert_eq!(self.leftovers(), [""; 0], "{call}");
        let log = std::fs::read_to_string(log).unwrap();
        let count = log.lines().filter(|line| line.contains('(')).count();
        assert!(log.contains("(INJECTED)"), "{call}: {log}");
        (message, count)
    }
}

/// swa-avg with so many KiB of address space.
pub fn limited(kib: u64, dir: &Path, args: &[&str]) -> Output {
    let line = format!("ulimit -v {kib}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("bash");
    shell.args(["-c", &line, TOOL]).args(args).current_dir(dir).output().unwrap()
}

/// A file of these bytes before the data and so many of data, all of them a hole, some at their end.
pub fn with_hole(path: &Path, header: &str, size: u64, end: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let start = 8 + header.len() as u64;
    file.set_len(start + size).unwrap();
    file.write_all_at(end, start + size - end.len() as u64).unwrap();
}

/// A child that does not outlive a panic.
pub struct Reaped(pub Option<std::process::Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
