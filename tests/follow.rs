//! Following a run: a stand-in for a trainer writes, renames and deletes checkpoints while the follower runs, is killed
//! and starts again. The end is always the file that averaging everything at once writes.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use swa_testing::{Tensor, f32s, i64s, listing, save, swa_avg};

const TOOL: &str = env!("CARGO_BIN_EXE_swa-avg");

/// Nothing here takes so long; a test that hangs is to end.
const PATIENCE: Duration = Duration::from_secs(120);

fn model(i: usize) -> Vec<Tensor> {
    let values: Vec<f32> =
        (0..3000).map(|k| ((k * 7919 + i * 104729) % 1000) as f32 / 999.0 - 0.3).collect();
    vec![f32s("w", &values), f32s("bn.running_mean", &values[..5]), i64s("n", &[i as i64])]
}

/// A folder of checkpoints as they would be at the end, and one that a trainer writes to.
struct Scene {
    dir: tempfile::TempDir,
    count: usize,
}

impl Scene {
    fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["all", "run", "ack"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for i in 1..=count {
            save(&dir.path().join(format!("all/c_{i}.safetensors")), &model(i));
        }
        Scene { dir, count }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bytes(&self, i: usize) -> Vec<u8> {
        std::fs::read(self.path(&format!("all/c_{i}.safetensors"))).unwrap()
    }

    /// Renamed into place.
    fn put(&self, i: usize) {
        let temporary = self.path("run/writing");
        std::fs::write(&temporary, self.bytes(i)).unwrap();
        std::fs::rename(temporary, self.path(&format!("run/c_{i}.safetensors"))).unwrap();
    }

    /// What all of them at once, or the first so many, come to.
    fn expected(&self, numbers: impl Iterator<Item = usize>, flags: &[&str]) -> Vec<u8> {
        let inputs = numbers.map(|i| self.path(&format!("all/c_{i}.safetensors")));
        let out = self.path("expected.safetensors");
        let mut command = swa_avg();
        command.args(inputs).arg("-qo").arg(&out).arg("--force").args(flags);
        command.assert().success();
        std::fs::read(out).unwrap()
    }

    fn command(&self, flags: &[&str]) -> Command {
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

    fn follow(&self, flags: &[&str]) -> Follower {
        Follower(Some(self.command(flags).spawn().unwrap()))
    }

    fn output(&self) -> Option<Vec<u8>> {
        std::fs::read(self.path("swa.safetensors")).ok()
    }

    /// Waits until something is so.
    fn until(&self, what: &str, follower: &mut Follower, mut is_so: impl FnMut() -> bool) {
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
struct Follower(Option<Child>);

impl Follower {
    fn signal(&self, signal: &str) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    fn kill(mut self) {
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

fn ended_well(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    stderr
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// A trainer that writes some in place, a piece at a time, and renames others; deletes what is counted.
fn train(scene: &Scene, random: &mut Random) {
    for i in 1..=scene.count {
        if random.below(2) == 0 {
            scene.put(i);
        } else {
            let bytes = scene.bytes(i);
            let mut file =
                std::fs::File::create(scene.path(&format!("run/c_{i}.safetensors"))).unwrap();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at((1 + random.below(6000) as usize).min(rest.len()));
                file.write_all(now).unwrap();
                rest = later;
                std::thread::sleep(Duration::from_millis(random.below(4)));
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(40)));
        for name in listing(&scene.path("ack")) {
            let _ = std::fs::remove_file(scene.path("run").join(name));
        }
    }
}

#[test]
fn killed_and_started_again_at_random_it_comes_to_the_same_file() {
    let rounds = if std::env::var_os("SWA_TESTS_LONG").is_some() { 20 } else { 3 };
    let mut kills = 0;
    for round in 0..rounds {
        let scene = Scene::new(24);
        let expected = scene.expected(1..=24, &[]);
        let flags = ["--state", "swa.state", "--ack", "ack", "--until", "24", "-q"];
        std::thread::scope(|scope| {
            let trainer = scope.spawn(|| train(&scene, &mut Random(round + 1)));
            let mut random = Random(round + 1000);
            loop {
                let follower = scene.follow(&flags);
                std::thread::sleep(Duration::from_millis(20 + random.below(150)));
                // Whole at any time.
                if let Some(bytes) = scene.output() {
                    safetensors::SafeTensors::deserialize(&bytes).unwrap();
                }
                if trainer.is_finished() {
                    ended_well(&follower.end());
                    break;
                }
                follower.kill();
                kills += 1;
            }
        });
        assert!(scene.output().unwrap() == expected, "round {round}");
        let names: Vec<String> = (1..=24).map(|i| format!("c_{i}.safetensors")).collect();
        let mut marked = listing(&scene.path("ack"));
        marked.sort_by_key(|name| names.iter().position(|other| other == name));
        assert_eq!(marked, names);
    }
    eprintln!("{rounds} runs, {kills} kills");
    assert!(kills > rounds as usize);
}

#[test]
fn a_command_is_told_what_there_is_and_its_failure_ends_nothing() {
    let scene = Scene::new(4);
    // The second fails.
    let line = "echo $SWA_OUTPUT $SWA_COUNT $SWA_NEWEST >> log; test $SWA_NEWEST != 3";
    let mut follower =
        scene.follow(&["--exec", line, "--until", "4", "--start", "2", "--every", "1", "--json"]);
    // The first is before the start.
    scene.put(1);
    for i in 2..=4 {
        scene.put(i);
        if i < 4 {
            let lines =
                || std::fs::read_to_string(scene.path("log")).unwrap_or_default().lines().count();
            scene.until("the command", &mut follower, || lines() == i - 1);
        }
    }
    scene.put(3); // the same again
    let is_third = |bytes: Vec<u8>| bytes == scene.expected(2..=4, &[]);
    scene.until("all", &mut follower, || scene.output().is_some_and(is_third));
    std::fs::copy(scene.path("all/c_1.safetensors"), scene.path("run/c_5.safetensors")).unwrap();
    let output = follower.end();
    let stderr = ended_well(&output);
    assert!(
        stderr.contains("note: the command after the update failed: exit status: 1"),
        "{stderr}"
    );
    let log = std::fs::read_to_string(scene.path("log")).unwrap();
    assert_eq!(log.lines().next_back(), Some("swa.safetensors 4 5"), "{log}");
    assert!(
        log.starts_with("swa.safetensors 1 2\nswa.safetensors 2 3\nswa.safetensors 3 4\n"),
        "{log}"
    );
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() == 5, "{lines:?}");
    assert!(lines[..4].iter().all(|line| line["event"] == "update"));
    let added: Vec<&Value> = lines[..4].iter().map(|line| &line["added"][0]).collect();
    assert_eq!(
        added,
        [
            "run/c_2.safetensors",
            "run/c_3.safetensors",
            "run/c_4.safetensors",
            "run/c_5.safetensors"
        ]
    );
    let end = &lines[4];
    assert_eq!(
        (&end["event"], &end["ended"], &end["failed_commands"]),
        (&"end".into(), &"count".into(), &1.into())
    );
}

#[test]
fn a_signal_ends_it_with_everything_that_is_there() {
    for (signal, in_place) in [("-TERM", false), ("-INT", true), ("-HUP", false)] {
        let scene = Scene::new(3);
        let mut follower = scene.follow(&["--state", "s"]);
        scene.put(1);
        scene.until("the first", &mut follower, || scene.output().is_some());
        // The last ones come just before the signal.
        scene.put(2);
        match in_place {
            true => std::fs::write(scene.path("run/c_3.safetensors"), scene.bytes(3)).unwrap(),
            false => scene.put(3),
        }
        follower.signal(signal);
        let output = follower.end();
        ended_well(&output);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("ended: swa.safetensors is the mean of 3 checkpoint(s)"), "{said}");
        assert!(scene.output().unwrap() == scene.expected(1..=3, &[]), "{signal}");
        let left = listing(scene.dir.path());
        assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
    }
}

#[test]
fn a_signal_ends_the_command_too() {
    let scene = Scene::new(1);
    let mut follower = scene.follow(&["--exec", "echo > begun; sleep 1000; echo > survived"]);
    scene.put(1);
    scene.until("the command", &mut follower, || scene.path("begun").exists());
    follower.signal("-TERM");
    let stderr = ended_well(&follower.end());
    assert!(stderr.contains("the command after the update failed: signal: 15"), "{stderr}");
    assert!(!scene.path("survived").exists());
}

#[test]
fn what_is_not_complete_or_not_of_the_model_is_not_counted_and_said() {
    let scene = Scene::new(3);
    let whole = scene.bytes(2);
    // Half written when the trainer died, complete from the beginning, and of another model.
    std::fs::write(scene.path("run/c_2.safetensors"), &whole[..whole.len() / 2]).unwrap();
    scene.put(1);
    let mut follower = scene.follow(&["--state", "s", "--json"]);
    scene.until("the first", &mut follower, || scene.output().is_some());
    save(&scene.path("other"), &[f32s("w", &[1.0])]);
    std::fs::rename(scene.path("other"), scene.path("run/c_9.safetensors")).unwrap();
    std::fs::write(scene.path("run/c_8.safetensors"), b"").unwrap();
    scene.put(3);
    let expected = scene.expected([1, 3].into_iter(), &[]);
    scene.until("the third", &mut follower, || scene.output().unwrap() == expected);
    follower.signal("-TERM");
    let output = follower.end();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // The output lacks a checkpoint that is complete: that is an error, at the end.
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("c_9.safetensors`: 3 difference(s) from the checkpoints that were counted"),
        "{stderr}"
    );
    let stdout = String::from_utf8(output.stdout).unwrap();
    let end: Value = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|line| line["event"] == "end")
        .unwrap();
    let paths = |key: &str| {
        end[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["path"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(paths("unfinished"), ["run/c_2.safetensors", "run/c_8.safetensors"]);
    assert_eq!(paths("refused"), ["run/c_9.safetensors"]);
    assert!(end["unfinished"][0]["reason"].as_str().unwrap().contains("truncated"), "{end}");
    assert!(scene.output().unwrap() == expected);
    // It is finished later: a restart counts it.
    std::fs::write(scene.path("run/c_2.safetensors"), &whole).unwrap();
    std::fs::remove_file(scene.path("run/c_9.safetensors")).unwrap();
    let output = scene.follow(&["--state", "s", "--until", "3"]).end();
    ended_well(&output);
    assert!(scene.output().unwrap() == scene.expected(1..=3, &[]));
}

#[test]
fn a_window_is_the_mean_of_the_last_ones() {
    let scene = Scene::new(5);
    let mut follower = scene.follow(&["--last", "2", "--until", "5"]);
    for i in 1..=5 {
        scene.put(i);
        let expected = scene.expected(i.saturating_sub(1).max(1)..=i, &[]);
        if i < 5 {
            scene.until("the window", &mut follower, || {
                scene.output().is_some_and(|bytes| bytes == expected)
            });
        }
    }
    let stderr = ended_well(&follower.end());
    assert!(stderr.contains("the mean of the last 2 checkpoints, which are read anew"), "{stderr}");
    assert!(scene.output().unwrap() == scene.expected(4..=5, &[]));
}

#[test]
fn two_on_one_state_are_refused() {
    let scene = Scene::new(2);
    let mut first = scene.follow(&["--state", "s"]);
    // Locked before anything has come.
    scene.until("the state", &mut first, || scene.path("s").exists());
    for _ in 0..2 {
        let second = scene.command(&["--state", "s", "--idle", "60"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
        assert_eq!(second.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("`s`: is in use: another run adds to it"), "{stderr}");
        // Nor does a single addition come between.
        let mut once = swa_avg();
        once.current_dir(&scene.dir).args(["all/c_2.safetensors", "--state", "s", "-o", "x"]);
        once.assert().code(2);
        scene.put(1);
        scene.until("the first", &mut first, || scene.output().is_some());
    }
    first.signal("-TERM");
    ended_well(&first.end());
    let mut once = swa_avg();
    once.current_dir(&scene.dir).args([
        "all/c_2.safetensors",
        "--state",
        "s",
        "-qo",
        "swa.safetensors",
    ]);
    once.assert().success();
}

#[test]
fn what_cannot_be_followed_is_refused_at_once() {
    let scene = Scene::new(1);
    scene.put(1);
    for (flags, part) in [
        (
            &["--every", "2"][..],
            "--every counts from the smallest number, which may be deleted; give --start as well",
        ),
        (&["--by-position", "--start", "1"], "--by-position: positions change"),
        (&["--last", "2", "--state", "s"], "--last needs the files"),
        (&["--ack", "none", "--state", "s"], "--ack is no folder"),
        (&["--state", "swa.safetensors"], "name the same file"),
        (&["--weights", "1,2"], "cannot be used with"),
        (&["--ack", "ack"], "--state <FILE>"),
    ] {
        let output = scene.command(flags).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
        assert!(stderr.contains(part), "{flags:?}: {stderr}");
    }
    std::fs::write(scene.path("swa.safetensors"), "mine").unwrap();
    let output = scene.command(&["--idle", "9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(scene.output().unwrap(), b"mine");
    std::fs::remove_file(scene.path("swa.safetensors")).unwrap();
    std::fs::remove_file(scene.path("run/c_1.safetensors")).unwrap();
    let output = scene.command(&["--idle", "0.1"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && stderr.contains("no checkpoint has come"),
        "{stderr}"
    );
}

/// The output and the state may lie among the checkpoints, and a folder may be watched.
#[test]
fn its_own_files_are_no_checkpoints() {
    let scene = Scene::new(2);
    scene.put(1);
    scene.put(2);
    let mut command = Command::new(TOOL);
    command.current_dir(scene.path("run")).args([
        "--follow",
        ".",
        "-o",
        "swa.safetensors",
        "--state",
        "s.ckpt",
    ]);
    let output = command.args(["--poll", "0.02", "--idle", "0.5"]).output().unwrap();
    // Of a folder with two kinds of files it is not known which is meant.
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    std::fs::remove_file(scene.path("run/s.ckpt")).unwrap();
    let mut command = Command::new(TOOL);
    command.current_dir(scene.path("run")).args([
        "--follow",
        ".",
        "-o",
        "swa.safetensors",
        "--state",
        "s",
    ]);
    let output = command.args(["--poll", "0.02", "--idle", "0.5"]).output().unwrap();
    ended_well(&output);
    assert!(
        std::fs::read(scene.path("run/swa.safetensors")).unwrap() == scene.expected(1..=2, &[])
    );
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Folders as trainers of language models write them, file by file.
#[test]
fn folders_of_models_are_followed() {
    let scene = Scene::new(0);
    let write = |folder: &str, i: usize| {
        let folder = scene.path(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        save(&folder.join("model.safetensors"), &model(i));
    };
    let mut command = Command::new(TOOL);
    command.current_dir(&scene.dir).args([
        "--follow",
        "run/checkpoint-*",
        "-o",
        "swa.safetensors",
        "--poll",
        "0.02",
    ]);
    command.args(["--until", "3"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let follower = Follower(Some(command.spawn().unwrap()));
    (1..=3).for_each(|i| write(&format!("run/checkpoint-{i}00"), i));
    ended_well(&follower.end());
    let once = scene.path("once.safetensors");
    swa_avg()
        .current_dir(&scene.dir)
        .args(["run/checkpoint-*", "-qo"])
        .arg(&once)
        .assert()
        .success();
    assert!(scene.output().unwrap() == std::fs::read(once).unwrap());
}

/// A Python that has torch: `PYTHON`, or python3.
fn python_with_torch() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    let found = Command::new(&python).args(["-c", "import torch"]).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

const LOOP: &str = "
import os, sys, time, torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.BatchNorm1d(30), torch.nn.ReLU(), torch.nn.Linear(30, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(1, 13):
    x = torch.randn(64, 40)
    loss = torch.nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long())
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    state = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), 'epoch': epoch}
    torch.save(state, f'all/e_{epoch}.pt')
    torch.save(state, f'run/e_{epoch}.pt')
    for name in os.listdir('ack'):
        if os.path.exists('run/' + name): os.remove('run/' + name)
    time.sleep(0.03)
";

#[test]
fn a_pytorch_loop_is_followed_to_the_same_file() {
    let Some(python) = python_with_torch() else {
        eprintln!("skipped: a real training loop needs a python3 with torch (or PYTHON)");
        return;
    };
    let scene = Scene::new(0);
    let mut trainer =
        Command::new(python).args(["-c", LOOP]).current_dir(&scene.dir).spawn().unwrap();
    let mut random = Random(5);
    let mut kills = 0;
    let output = loop {
        let mut command = Command::new(TOOL);
        command.current_dir(&scene.dir).args([
            "--follow",
            "run/e_*.pt",
            "-o",
            "swa.safetensors",
            "--poll",
            "0.02",
        ]);
        command.args(["--state", "s", "--ack", "ack", "--until", "12", "--quiet"]);
        let follower =
            Follower(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()));
        if trainer.try_wait().unwrap().is_some_and(|status| status.success()) {
            break follower.end();
        }
        std::thread::sleep(Duration::from_millis(40 + random.below(120)));
        follower.kill();
        kills += 1;
    };
    ended_well(&output);
    let once = scene.path("once.safetensors");
    swa_avg().current_dir(&scene.dir).args(["all/e_*.pt", "-qo"]).arg(&once).assert().success();
    assert!(scene.output().unwrap() == std::fs::read(once).unwrap());
    eprintln!("a PyTorch loop, {kills} kills");
}

#[test]
fn a_name_that_is_taken_by_another_checkpoint_is_refused_and_the_rest_goes_on() {
    let scene = Scene::new(3);
    scene.put(1);
    ended_well(&scene.follow(&["--state", "s", "--until", "1"]).end());
    // The trainer began anew.
    save(&scene.path("run/c_1.safetensors"), &model(77));
    scene.put(2);
    let mut follower = scene.follow(&["--state", "s"]);
    let expected = scene.expected(1..=2, &[]);
    scene.until("the second", &mut follower, || scene.output().unwrap() == expected);
    follower.signal("-TERM");
    let output = follower.end();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("run/c_1.safetensors`: another checkpoint was counted under this name"),
        "{stderr}"
    );
}

#[test]
fn a_counted_name_that_is_written_again_is_said_once() {
    let scene = Scene::new(3);
    let mut follower = scene.follow(&["--idle", "1"]);
    scene.put(1);
    scene.until("the first", &mut follower, || scene.output().is_some());
    for i in [2, 3] {
        let temporary = scene.path("run/writing");
        std::fs::write(&temporary, scene.bytes(i)).unwrap();
        std::fs::rename(temporary, scene.path("run/c_1.safetensors")).unwrap();
        std::thread::sleep(Duration::from_millis(150));
    }
    let said = ended_well(&follower.end());
    let note =
        "note: `run/c_1.safetensors` was written again after it was counted: the first one stays";
    assert_eq!(said.matches(note).count(), 1, "{said}");
    assert!(scene.output().unwrap() == scene.expected(1..=1, &[]));
}
