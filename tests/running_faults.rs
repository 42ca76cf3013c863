//! Faults in the middle of an update of a running average: killed at each system call, a full disk, a device that
//! fails. Whatever happens, state and output are each whole, and the next run makes the output follow from the state.
//! With SWA_TESTS_LONG the sweeps leave nothing out.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use swa_testing::faults::{long, needs, needs_strace};
use swa_testing::{f32s, i64s, listing, save};

const TOOL: &str = env!("CARGO_BIN_EXE_swa-avg");

/// Where a run may be killed. A question mark: not every machine has it.
const SYSCALLS: &str = "?openat,?read,?pread64,?write,?pwrite64,?mmap,?madvise,?fallocate,?fsync,\
    ?rename,?renameat,?renameat2,?ftruncate,?flock,?fchmod,?unlink,?unlinkat,?getdents64,?statx,?newfstatat,\
    ?munmap,?close";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a file holds, if it is there.
type Content = Option<Vec<u8>>;

/// Three checkpoints, and a state and an output of the first so many, to which the others are added.
struct Scene {
    dir: tempfile::TempDir,
    args: Vec<String>,
    /// State and output.
    old: [Content; 2],
    new: [Content; 2],
}

const FILES: [&str; 2] = ["s", "out.safetensors"];

impl Scene {
    /// `follows`: the run that is killed follows the folder, else it adds the checkpoints.
    fn new(counted: usize, follows: bool, threads: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        for i in 1..=3 {
            let values: Vec<f32> = (0..3000).map(|k| (k * i) as f32 * 0.37 - i as f32).collect();
            let tensors = [f32s("a", &values), f32s("b", &values[..3]), i64s("n", &[i])];
            save(&dir.path().join(format!("run/c_{i}.safetensors")), &tensors);
        }
        let line = match follows {
            true => "--follow run/c_*.safetensors --until 3 --poll 0.001",
            false => "run/c_*.safetensors",
        };
        let line = format!("{line} --state s -o out.safetensors -q --threads {threads}");
        let args = line.split(' ').map(String::from).collect();
        let mut scene = Scene { dir, args, old: [None, None], new: [None, None] };
        for i in 1..=counted {
            let line = format!("run/c_{i}.safetensors --state s -o out.safetensors -q");
            let done =
                Command::new(TOOL).current_dir(&scene.dir).args(line.split(' ')).output().unwrap();
            assert!(done.status.success(), "{}", text(&done));
        }
        scene.old = scene.content();
        let done = scene.plain().output().unwrap();
        assert!(done.status.success(), "{}", text(&done));
        scene.new = scene.content();
        assert!(scene.old != scene.new);
        // What the state must come to: all at once.
        let line = "run/c_1.safetensors run/c_2.safetensors run/c_3.safetensors -qo once";
        assert!(
            Command::new(TOOL)
                .current_dir(&scene.dir)
                .args(line.split(' '))
                .status()
                .unwrap()
                .success()
        );
        assert!(scene.new[1] == std::fs::read(scene.path("once")).ok());
        std::fs::remove_file(scene.path("once")).unwrap();
        scene.reset();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn content(&self) -> [Content; 2] {
        FILES.map(|name| std::fs::read(self.path(name)).ok())
    }

    fn reset(&self) {
        for (name, old) in FILES.iter().zip(&self.old) {
            match old {
                Some(bytes) => std::fs::write(self.path(name), bytes).unwrap(),
                None => drop(std::fs::remove_file(self.path(name))),
            }
        }
    }

    fn plain(&self) -> Command {
        let mut command = Command::new(TOOL);
        command.current_dir(&self.dir).args(&self.args);
        command
    }

    fn traced(&self, log: &Path, trace: &str, inject: &str) -> Command {
        let mut command = Command::new("strace");
        command.current_dir(&self.dir).args(["-f", "-qq", "-o"]).arg(log);
        command.args(["-e", &format!("trace={trace}"), "-e", &format!("inject={trace}:{inject}")]);
        command.arg(TOOL).args(&self.args);
        command
    }

    fn leftovers(&self) -> Vec<String> {
        let known = |name: &String| name == "run" || FILES.contains(&name.as_str());
        listing(self.dir.path()).into_iter().filter(|name| !known(name)).collect()
    }

    /// Makes what is left behind look like that of a run long ago.
    fn age_leftovers(&self) -> usize {
        let left = self.leftovers();
        for name in &left {
            assert!(
                FILES.iter().any(|file| name.starts_with(&format!(".{file}.swa-"))),
                "`{name}` was left"
            );
            let file = File::open(self.path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
        left.len()
    }

    /// Whether state and output are the new ones. Each is old or new as a whole (a follower that has just begun
    /// leaves an empty state), and the output is never ahead.
    fn is_new(&self, after: &str) -> [bool; 2] {
        let found = self.content();
        let is = |i: usize, which: &[Content; 2]| found[i] == which[i];
        for (i, name) in FILES.iter().enumerate() {
            let begun = i == 0 && found[0].as_ref().is_some_and(|bytes| bytes.len() < 500);
            let is_whole = is(i, &self.old) || is(i, &self.new) || begun;
            assert!(is_whole, "{after}: `{name}` is neither");
        }
        let new = [is(0, &self.new), is(1, &self.new)];
        assert!(new != [false, true], "{after}: the output is ahead of the state");
        new
    }

    /// Kills runs at the N-th call of each kind, for N = 1, 2, … until a run survives. After each kill the next run
    /// comes to the right end.
    fn killed_at_each_call(&self, name: &str) {
        let (mut kills, mut left, mut counts) = (0usize, 0, BTreeMap::<[bool; 2], usize>::new());
        for (call, early) in self.calls() {
            let mut n = 1;
            loop {
                let inject = format!("signal=KILL:when={n}");
                let output = self.traced(Path::new("/dev/null"), &call, &inject).output().unwrap();
                let after = format!("killed at {call} {n}");
                let new = self.is_new(&after);
                if output.status.signal() != Some(9) {
                    assert!(
                        output.status.success() && new == [true; 2],
                        "{after}: {}",
                        text(&output)
                    );
                    self.reset();
                    break;
                }
                kills += 1;
                *counts.entry(new).or_default() += 1;
                left += self.age_leftovers();
                if long() || kills % 4 == 0 || new == [true, false] {
                    let again = self.plain().output().unwrap();
                    assert!(again.status.success(), "{after}: {}", text(&again));
                    assert!(self.content() == self.new, "{after}, and run again");
                    assert_eq!(self.leftovers(), [""; 0], "{after}, and run again");
                }
                self.reset();
                n += if n + 8 <= early && !long() { 8 } else { 1 };
            }
        }
        let count = |new: [bool; 2]| counts.get(&new).copied().unwrap_or(0);
        eprintln!(
            "{name}: {kills} kills: {} both old, {} the state new, {} both new; {left} times something was left",
            count([false; 2]),
            count([true, false]),
            count([true; 2])
        );
        assert!(
            count([false; 2]) > 0 && count([true, false]) > 0 && count([true; 2]) > 0 && left > 0
        );
    }

    /// The calls of a run, and how many of each it makes before it has a temporary file.
    fn calls(&self) -> BTreeMap<String, usize> {
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("log");
        self.traced(&log, SYSCALLS, "signal=KILL:when=65535").output().unwrap();
        self.reset();
        let mut calls = BTreeMap::<String, usize>::new();
        let mut is_early = true;
        for line in std::fs::read_to_string(log).unwrap().lines() {
            let Some((call, _)) = line.split_once('(') else { continue };
            let Some(call) = call.split(' ').next_back() else { continue };
            is_early &= !line.contains(".tmp\"");
            if !call.is_empty() && call.bytes().all(|b| b.is_ascii_alphanumeric()) {
                *calls.entry(call.to_string()).or_default() += is_early as usize;
            }
        }
        assert!(calls.contains_key("fsync") && calls.contains_key("pwrite64"), "{calls:?}");
        calls
    }
}

fn sweep(counted: usize, follows: bool, name: &str) {
    for threads in 1..=if long() { 2 } else { 1 } {
        Scene::new(counted, follows, threads)
            .killed_at_each_call(&format!("{name}, {threads} thread(s)"));
    }
}

#[test]
fn a_kill_at_any_call_of_an_update_loses_at_most_that_update() {
    if needs_strace("a kill at any call (update)") {
        sweep(2, false, "an update");
    }
}

#[test]
fn a_kill_at_any_call_of_the_first_update_leaves_nothing_or_all() {
    if needs_strace("a kill at any call (first update)") {
        sweep(0, false, "the first update");
    }
}

#[test]
fn a_kill_at_any_call_of_a_follower_loses_at_most_that_update() {
    if needs_strace("a kill at any call (follower)") {
        sweep(2, true, "a follower");
    }
}

#[test]
fn a_device_error_leaves_both_as_they_were() {
    if !needs_strace("a device error in an update") {
        return;
    }
    let scene = Scene::new(2, false, 1);
    for (call, times) in [("pwrite64", 4), ("fsync", 2), ("fallocate", 2), ("?renameat2", 2)] {
        for n in 1..=times {
            let inject = format!("error=EIO:when={n}");
            let output = scene.traced(Path::new("/dev/null"), call, &inject).output().unwrap();
            let after = format!("{call} {n}: {}", text(&output));
            assert_eq!(output.status.code(), Some(4), "{after}");
            // The second name cannot be had: the first is given back.
            assert!(scene.content() == scene.old, "{after}");
            assert_eq!(scene.leftovers(), [""; 0], "{after}");
        }
    }
    let again = scene.plain().output().unwrap();
    assert!(again.status.success() && scene.content() == scene.new, "{}", text(&again));
}

/// A mounted file system; it goes when the value does.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        for _ in 0..100 {
            if Command::new("umount")
                .arg(&self.0)
                .output()
                .is_ok_and(|output| output.status.success())
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_keeps_both_and_the_next_update_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("disk");
    std::fs::create_dir(&at).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=400k", "tmpfs"]).arg(&at).output();
    if !needs(
        mounted.is_ok_and(|output| output.status.success()),
        "a full disk",
        "root, and leave to mount",
    ) {
        return;
    }
    let _mount = Mount(at.clone());
    for i in 1..=3 {
        let values: Vec<f32> = (0..12_000).map(|k| (k * i) as f32 * 0.1).collect();
        save(&dir.path().join(format!("c_{i}.safetensors")), &[f32s("w", &values)]);
    }
    let line = "--follow c_*.safetensors --state disk/s -o disk/out -q --poll 0.02 --until";
    let follow = |until: &str| {
        let mut command = Command::new(TOOL);
        command.current_dir(&dir).args(line.split(' ').chain([until]));
        command.stderr(std::process::Stdio::piped());
        command
    };
    assert!(follow("2").status().unwrap().success());
    let both = || ["s", "out"].map(|name| std::fs::read(at.join(name)).unwrap());
    let old = both();
    // What is left is too little for a second copy of both.
    let free =
        400 * 1024 - old.iter().map(|bytes| bytes.len().next_multiple_of(4096)).sum::<usize>();
    std::fs::write(at.join("filling"), vec![1; free - (64 << 10)]).unwrap();
    let mut once = Command::new(TOOL);
    let line = "c_3.safetensors --state disk/s -o disk/out";
    let output = once.current_dir(&dir).args(line.split(' ')).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert!(both() == old);
    // A follower waits for room.
    let mut child = follow("3").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none() && both() == old);
    std::fs::remove_file(at.join("filling")).unwrap();
    assert!(child.wait().unwrap().success());
    let line = "c_1.safetensors c_2.safetensors c_3.safetensors -qo once";
    assert!(Command::new(TOOL).current_dir(&dir).args(line.split(' ')).status().unwrap().success());
    assert!(both()[1] == std::fs::read(dir.path().join("once")).unwrap());
    assert_eq!(listing(&at), ["out", "s"]);
}
