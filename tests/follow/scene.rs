//! A folder that a stand-in for a trainer writes to, and the follower beside it.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use swa_testing::{Tensor, f32s, i64s, listing, save, swa_avg};

pub const TOOL: &str = env!("CARGO_BIN_EXE_swa-avg");

/// Nothing here takes so long; a test that hangs is to end.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn model(i: usize) -> Vec<Tensor> {
    let values: Vec<f32> =
        (0..3000).map(|k| ((k * 7919 + i * 104729) % 1000) as f32 / 999.0 - 0.3).collect();
    vec![f32s("w", &values), f32s("bn.running_mean", &values[..5]), i64s("n", &[i as i64])]
}

/// A folder of checkpoints as they would be at the end, and one that a trainer writes to.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub count: usize,
}

impl Scene {
    pub fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["all", "run", "ack"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for i in 1..=count {
            save(&dir.path().join(format!("all/c_{i}.safetensors")), &model(i));
        }
        Scene { dir, count }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn bytes(&self, i: usize) -> Vec<u8> {
        std::fs::read(self.path(&format!("all/c_{i}.safetensors"))).unwrap()
    }

    /// Renamed into place.
    pub fn put(&self, i: usize) {
        let temporary = self.path("run/writing");
        std::fs::write(&temporary, self.bytes(i)).unwrap();
        std::fs::rename(temporary, self.path(&format!("run/c_{i}.safetensors"))).unwrap();
    }

    /// What all of them at once, or the first so many, come to.
    pub fn expected(&self, numbers: impl Iterator<Item = usize>, flags: &[&str]) -> Vec<u8> {
        let inputs = numbers.map(|i| self.path(&format!("all/c_{i}.safetensors")));
        let out = self.path("expected.safetensors");
        let mut command = swa_avg();
        command.args(inputs).arg("-qo").arg(&out).arg("--force").args(flags);
        command.assert().success();
        std::fs::read(out).unwrap()
    }

    pub fn command(&self, flags: &[&str]) -> Command {
        // What a shell or nohup has ignored stays ignored: here nothing is.
        let mut command = Command::new("env");
        command.current_dir(&self.dir).args([
            "--default-signal=HUP,INT,TERM",
            TOOL,
            "--follow",
            "run/c_*.safetensors",
            "-o",
            "swa.safetensors",
        ]);
        command.args(["--poll", "0.02"]).args(flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn follow(&self, flags: &[&str]) -> Follower {
        Follower(Some(self.command(flags).spawn().unwrap()))
    }

    pub fn output(&self) -> Option<Vec<u8>> {
        std::fs::read(self.path("swa.safetensors")).ok()
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, follower: &mut Follower, mut is_so: impl FnMut() -> bool) {
        let started = Instant::now();
        while !is_so() {
            if let Some(status) = follower.0.as_mut().unwrap().try_wait().unwrap() {
                let output = follower.0.take().unwrap().wait_with_output().unwrap();
                panic!(
                    "{what}: it ended with {status}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{what}: not within {PATIENCE:?}: {:?}",
                listing(self.dir.path())
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A child that does not outlive a panic.
pub struct Follower(pub Option<Child>);

impl Follower {
    pub fn signal(&self, signal: &str) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    pub fn kill(mut self) {
        let mut child = self.0.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn ended_well(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    stderr
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
