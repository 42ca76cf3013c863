//! Faults that only the system can make: a process killed at each system call, a device that fails or is
//! full, memory that is refused, a power cut. They need strace or root, and say so where they lack it;
//! with SWA_TESTS_MUST_RUN they fail then. With SWA_TESTS_LONG the sweeps leave nothing out.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use swa_testing::faults::{long, needs, needs_strace};
use swa_testing::*;

const TOOL: &str = env!("CARGO_BIN_EXE_swa-avg");

/// Where a run may be killed. A question mark: not every machine has it.
const SYSCALLS: &str = "?openat,?read,?pread64,?write,?pwrite64,?mmap,?madvise,?fallocate,?fsync,\
    ?rename,?renameat,?renameat2,?ftruncate,?flock,?fchmod,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,\
    ?getdents64,?statx,?newfstatat,?munmap,?close";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The files of an output by name: one without a name, or those in a folder.
type Content = BTreeMap<String, Vec<u8>>;

fn content(path: &Path) -> Content {
    if !path.is_dir() {
        return [(String::new(), std::fs::read(path).unwrap())].into();
    }
    let read = |name: String| (name.clone(), std::fs::read(path.join(name)).unwrap());
    listing(path).into_iter().map(read).collect()
}

fn model(shift: f32) -> Vec<Tensor> {
    let values = |n: usize| (0..n).map(|i| i as f32 * 0.25 + shift).collect::<Vec<_>>();
    vec![f32s("a", &values(600)), f32s("b", &values(3)), f32s("c", &values(50)), i64s("n", &[7])]
}

/// Two inputs, and an old output that is to be overwritten.
struct Scene {
    dir: tempfile::TempDir,
    inputs: [&'static str; 2],
    out: &'static str,
    old: Content,
    new: Content,
}

impl Scene {
    fn file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inputs = ["a.safetensors", "b.safetensors"];
        for (i, name) in inputs.iter().enumerate() {
            save(&dir.path().join(name), &model(i as f32));
        }
        let old = [(String::new(), b"old".to_vec())].into();
        Self::with(dir, inputs, "out.safetensors", old)
    }

    /// Folders as Hugging Face has them.
    fn folder() -> Self {
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

    fn target(&self) -> PathBuf {
        self.dir.path().join(self.out)
    }

    /// The old output is back.
    fn reset(&self) {
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

    fn plain(&self) -> Command {
        let mut command = Command::new(TOOL);
        command.current_dir(&self.dir).args(self.args());
        command
    }

    /// Traced into a log, with faults.
    fn traced(&self, log: &Path, trace: &str, inject: &str) -> Command {
        let mut command = Command::new("strace");
        command.current_dir(&self.dir).args(["-f", "-qq", "-o"]).arg(log);
        command.args(["-e", &format!("trace={trace}"), "-e", &format!("inject={trace}:{inject}")]);
        command.arg(TOOL).args(self.args());
        command
    }

    fn leftovers(&self) -> Vec<String> {
        let known = |name: &String| name == self.out || self.inputs.contains(&name.as_str());
        listing(self.dir.path()).into_iter().filter(|name| !known(name)).collect()
    }

    fn is_old(&self) -> bool {
        content(&self.target()) == self.old
    }

    /// Old or new as a whole; says which.
    fn is_new(&self, after: &str) -> bool {
        let found = content(&self.target());
        let names = || found.iter().map(|(n, b)| (n.clone(), b.len())).collect::<Vec<_>>();
        assert!(found == self.old || found == self.new, "{after}: neither: {:?}", names());
        found == self.new
    }

    /// Makes what is left behind look like that of a run long ago.
    fn age_leftovers(&self) -> usize {
        let left = self.leftovers();
        for name in &left {
            let ours = name.starts_with(&format!(".{}.swa-", self.out)) && name.ends_with(".tmp");
            assert!(ours, "`{name}` was left");
            let file = File::open(self.dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
        left.len()
    }

    /// Kills runs at the N-th call of each kind, for N = 1, 2, … until a run survives (strace counts by
    /// thread and by call). A run meets what the last one left. Some calls from before the temporary
    /// file are left out where time is short.
    fn killed_at_each_call(&self) {
        let (mut kills, mut new, mut left) = (0, 0, 0);
        for (call, early) in self.calls() {
            let mut n = 1;
            loop {
                let inject = format!("signal=KILL:when={n}");
                let output = self.traced(Path::new("/dev/null"), &call, &inject).output().unwrap();
                let after = format!("killed at {call} {n}");
                let is_new = self.is_new(&after);
                if output.status.signal() != Some(9) {
                    assert!(output.status.success() && is_new, "{after}: {}", text(&output));
                    self.reset();
                    break;
                }
                kills += 1;
                left += self.age_leftovers();
                if is_new {
                    new += 1;
                    self.reset();
                }
                n += if n + 8 <= early && !long() { 8 } else { 1 };
            }
        }
        let (out, old) = (self.out, kills - new);
        eprintln!("{out}: {kills} kills: {old} old, {new} new; {left} times something was left");
        assert!(old > 0 && new > 0 && left > 0);
        let output = self.plain().output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!((content(&self.target()), self.leftovers()), (self.new.clone(), vec![]));
    }

    /// The calls of a run, and how many of each it makes before it has a temporary file.
    fn calls(&self) -> BTreeMap<String, usize> {
        let logs = tempfile::tempdir().unwrap();
        let log = logs.path().join("log");
        // With an injection that never comes.
        self.traced(&log, SYSCALLS, "signal=KILL:when=65535").output().unwrap();
        self.reset();
        let mut calls = BTreeMap::<String, usize>::new();
        let mut is_early = true;
        for line in std::fs::read_to_string(log).unwrap().lines() {
            // "PID call(arguments) = result"
            let Some((call, _)) = line.split_once('(') else { continue };
            let Some(call) = call.split(' ').next_back() else { continue };
            is_early &= !line.contains(".tmp\"");
            // A resumed call has its name elsewhere.
            if !call.is_empty() && call.bytes().all(|b| b.is_ascii_alphanumeric()) {
                *calls.entry(call.to_string()).or_default() += is_early as usize;
            }
        }
        assert!(calls.contains_key("fsync") && calls.contains_key("pwrite64"), "{calls:?}");
        calls
    }

    /// A run in which a call fails must answer with 4, name the output and leave no temporary file.
    /// Returns the message and how often the call was made.
    fn fails_at(&self, call: &str, inject: &str) -> (String, usize) {
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

#[test]
fn a_kill_at_any_call_leaves_the_old_file_or_the_new_one() {
    if needs_strace("a kill at any call (file)") {
        Scene::file().killed_at_each_call();
    }
}

#[test]
fn a_kill_at_any_call_leaves_the_old_folder_or_the_new_one() {
    if needs_strace("a kill at any call (folder)") {
        Scene::folder().killed_at_each_call();
    }
}

/// What gives an output its name.
const RENAMES: &str = "?rename,?renameat,?renameat2";

#[test]
fn a_device_error_is_named_and_the_old_output_stays() {
    if !needs_strace("a device error") {
        return;
    }
    for scene in [Scene::file(), Scene::folder()] {
        for call in ["pwrite64", "fsync", RENAMES] {
            scene.fails_at(call, "error=EIO:when=1");
            assert!(scene.is_old(), "{call}");
        }
    }
}

#[test]
fn an_fsync_that_failed_is_not_tried_again() {
    if needs_strace("a failed fsync") {
        let scene = Scene::file();
        let (message, count) = scene.fails_at("fsync", "error=EIO:when=1");
        assert!(message.contains("cannot fsync: ") && !message.contains(".swa-"), "{message}");
        assert_eq!(count, 1);
        assert!(scene.is_old());
    }
}

#[test]
fn a_folder_that_cannot_be_made_durable_is_an_error_though_the_output_is_whole() {
    if needs_strace("a failed fsync of the folder") {
        let scene = Scene::file();
        let (message, count) = scene.fails_at("fsync", "error=EIO:when=2");
        assert!(message.contains("cannot fsync its folder"), "{message}");
        assert_eq!(count, 2);
        assert!(scene.is_new("the folder's fsync failed"));
        // A folder: model, configuration, itself.
        let scene = Scene::folder();
        for n in 1..=3 {
            let (_, count) = scene.fails_at("fsync", &format!("error=EIO:when={n}"));
            assert_eq!((count, scene.is_new("an fsync failed")), (n, false));
        }
        // The folder that it is in, after the exchange: the next run removes the old one at last.
        let log = Path::new("/dev/null");
        let output = scene.traced(log, "fsync", "error=EIO:when=4").output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
        assert!(text(&output).contains("outdir`: cannot fsync its folder"), "{}", text(&output));
        assert!(scene.is_new("the parent's fsync failed"));
        scene.age_leftovers();
        assert!(scene.plain().status().unwrap().success());
        assert_eq!(scene.leftovers(), [""; 0]);
    }
}

#[test]
fn a_full_device_is_noticed_before_anything_is_written() {
    if !needs_strace("a full device") {
        return;
    }
    let scene = Scene::file();
    for error in ["ENOSPC", "EDQUOT"] {
        let (message, _) = scene.fails_at("fallocate", &format!("error={error}:when=1"));
        let size = scene.new[""].len();
        assert!(message.contains(&format!("needs {size} bytes")), "{message}");
        assert!(scene.is_old());
    }
    // Where nothing can be reserved, the file is written all the same.
    let unsupported = "error=EOPNOTSUPP:when=1";
    let output = scene.traced(Path::new("/dev/null"), "fallocate", unsupported).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(scene.is_new("fallocate is not supported"));
}

/// A mounted file system; it goes when the value does.
struct Mount(PathBuf);

impl Mount {
    fn new(args: &[&str], at: &Path) -> Option<Self> {
        let output = Command::new("mount").args(args).arg(at).output();
        output.is_ok_and(|output| output.status.success()).then(|| Mount(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A child of another test holds every descriptor for a moment, between fork and exec.
        let umount = |args: &[&str]| {
            let output = Command::new("umount").args(args).arg(&self.0).output();
            output.is_ok_and(|output| output.status.success())
        };
        for _ in 0..100 {
            if umount(&[]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // No mount is left behind, but neither is this one to be used again.
        umount(&["-l"]);
        eprintln!("`{}` stayed busy", self.0.display());
    }
}

#[test]
fn a_device_that_is_too_small_keeps_the_old_output() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("device");
    std::fs::create_dir(&at).unwrap();
    let values = vec![0.5f32; 9000];
    for name in ["a.safetensors", "b.safetensors"] {
        save(&dir.path().join(name), &[f32s("w", &values), f32s("v", &values[..77])]);
    }
    let has_strace = needs_strace("a small device without reservation");
    let (mut full, mut done) = (0, 0);
    let sizes = (1..=24).step_by(if long() { 1 } else { 3 }).map(|pages| format!("{}k", 4 * pages));
    for (size, reserves) in sizes.flat_map(|size| [(size.clone(), true), (size, false)]) {
        if !reserves && !has_strace {
            continue;
        }
        let options = format!("size={size}");
        let mounted = Mount::new(&["-t", "tmpfs", "-o", &options, "tmpfs"], &at);
        if !needs(mounted.is_some(), "a small device", "root, and leave to mount") {
            return;
        }
        std::fs::write(at.join("out.safetensors"), "old").unwrap();
        let mut command = match reserves {
            true => Command::new(TOOL),
            false => {
                let mut command = Command::new("strace");
                let inject = "inject=fallocate:error=EOPNOTSUPP";
                command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fallocate", "-e"]);
                command.args([inject, TOOL]);
                command
            }
        };
        command.args(["a.safetensors", "b.safetensors", "-qo", "device/out.safetensors"]);
        let output = command.arg("--force").current_dir(&dir).output().unwrap();
        match output.status.code() {
            Some(0) => {
                assert_eq!(load(&at.join("out.safetensors"))["w"].len(), 36_000);
                done += 1;
            }
            Some(4) => {
                let message = text(&output);
                assert!(message.contains("out.safetensors"), "{message}");
                assert!(!reserves || message.contains("needs "), "{message}");
                assert_eq!(std::fs::read(at.join("out.safetensors")).unwrap(), b"old");
                full += 1;
            }
            other => panic!("{size}: {other:?} {}", text(&output)),
        }
        assert_eq!(listing(&at), ["out.safetensors"], "{size}");
        let kib: usize = size.trim_end_matches('k').parse().unwrap();
        assert!(kib >= 36 || !output.status.success(), "{size}");
        assert!(kib < 48 || output.status.success(), "{size}: {}", text(&output));
    }
    eprintln!("small devices: {full} runs found them full, {done} had room");
    assert!(full > 0 && done > 0);
}

/// swa-avg with so many KiB of address space.
fn limited(kib: u64, dir: &Path, args: &[&str]) -> Output {
    let line = format!("ulimit -v {kib}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("bash");
    shell.args(["-c", &line, TOOL]).args(args).current_dir(dir).output().unwrap()
}

/// A file of these bytes before the data and so many of data, all of them a hole, some at their end.
fn with_hole(path: &Path, header: &str, size: u64, end: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let start = 8 + header.len() as u64;
    file.set_len(start + size).unwrap();
    file.write_all_at(end, start + size - end.len() as u64).unwrap();
}

#[test]
fn inputs_that_cannot_be_mapped_are_read_by_position() {
    let dir = tempfile::tempdir().unwrap();
    // 600 MB of hole and 6 MB to average: more than the limit, which is more than the tool takes.
    let (hole, count) = (600_000_000u64, 1_500_000usize);
    let size = hole + 4 * count as u64;
    let header = format!(
        "{{\"hole\":{{\"dtype\":\"U8\",\"shape\":[{hole}],\"data_offsets\":[0,{hole}]}},\
         \"w\":{{\"dtype\":\"F32\",\"shape\":[{count}],\"data_offsets\":[{hole},{size}]}}}}"
    );
    for (i, name) in ["a.safetensors", "b.safetensors"].iter().enumerate() {
        let values = (0..count).flat_map(|n| (n as f32 / 3.0 + i as f32).to_le_bytes());
        with_hole(&dir.path().join(name), &header, size, &values.collect::<Vec<_>>());
    }
    let out = dir.path().join("out.safetensors");
    let line = "a.safetensors b.safetensors -o out.safetensors --force --quiet --threads 2";
    let args: Vec<&str> = line.split(' ').chain(["--include", "^w$"]).collect();
    let run = |kib: u64| {
        std::fs::write(&out, "old").unwrap();
        let output = limited(kib, dir.path(), &args);
        assert!(output.status.success(), "{kib}: {}", text(&output));
        std::fs::read(&out).unwrap()
    };
    let mapped = run(64_000_000);
    // Two of the inputs, one of them and none fit.
    for kib in [1_700_000, 1_000_000, 560_000] {
        assert!(run(kib) == mapped, "{kib}");
    }
    assert_eq!(load(&out)["w"].len(), 4 * count);
    assert_eq!(listing(dir.path()), ["a.safetensors", "b.safetensors", "out.safetensors"]);
}

/// Changes an input while a run is about to write, which must then end with 5.
fn changed(change: impl Fn(&Path), part: &str) {
    let scene = Scene::file();
    let mut command = scene.traced(Path::new("/dev/null"), "pwrite64", "delay_enter=500000:when=1");
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Reaped(Some(child));
    // The temporary file appears when the inputs are open.
    while scene.leftovers().is_empty() && child.0.as_mut().unwrap().try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    change(&scene.dir.path().join("b.safetensors"));
    let output = child.0.take().unwrap().wait_with_output().unwrap();
    let message = text(&output);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains(&format!("`b.safetensors`: {part}")), "{message}");
    assert!(scene.is_old());
    assert_eq!(scene.leftovers(), [""; 0]);
}

/// A child that does not outlive a panic.
struct Reaped(Option<std::process::Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn an_input_that_is_rewritten_at_the_same_size_is_noticed() {
    if needs_strace("an input rewritten in place") {
        let rewrite = |path: &Path| {
            let whole = std::fs::read(path).unwrap();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&whole, 0).unwrap();
        };
        changed(rewrite, "was written to while it was read");
    }
}

#[test]
fn an_input_that_is_replaced_is_noticed() {
    if needs_strace("an input replaced") {
        let replace = |path: &Path| {
            let other = path.with_file_name("other");
            std::fs::copy(path, &other).unwrap();
            std::fs::rename(other, path).unwrap();
        };
        changed(replace, "was replaced while it was read");
        changed(|path| std::fs::remove_file(path).unwrap(), "was removed while it was read");
    }
}

/// Cuts the file system off from its device, as a power cut does: what is not there yet is lost.
fn cut(folder: &Path) -> bool {
    const EXT4_IOC_SHUTDOWN: u32 = 0x8004_587d;
    const NO_LOG_FLUSH: u32 = 2;
    use std::os::fd::AsRawFd;
    let (folder, flags) = (File::open(folder).unwrap(), NO_LOG_FLUSH);
    // SAFETY: the call reads 4 bytes through its pointer, which are those of `flags`.
    unsafe { libc::ioctl(folder.as_raw_fd(), EXT4_IOC_SHUTDOWN as _, &raw const flags) == 0 }
}

#[test]
fn what_was_reported_written_survives_a_power_cut() {
    if !long() {
        return eprintln!("left out: a power cut runs with SWA_TESTS_LONG");
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, at) = (dir.path().join("image"), dir.path().join("device"));
    std::fs::create_dir(&at).unwrap();
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
    let mount = || Mount::new(&["-o", "loop", image.to_str().unwrap()], &at);
    let ready = made.is_ok_and(|output| output.status.success()) && mount().is_some();
    if !needs(ready, "a power cut", "root, mkfs.ext4 and leave to mount") {
        return;
    }
    let (mut sizes, mut midway, mut time) = (vec![], [0, 0], Duration::from_millis(5));
    for round in 0..20u64 {
        let n = 100 + (round * round * round * 400) as usize;
        for (i, name) in ["a.safetensors", "b.safetensors"].iter().enumerate() {
            let values: Vec<f32> = (0..n).map(|x| x as f32 + i as f32 + round as f32).collect();
            save(&dir.path().join(name), &[f32s("w", &values), f32s("v", &[1.0, 2.0])]);
        }
        let run = |out: &str| {
            let mut command = Command::new(TOOL);
            let args = ["a.safetensors", "b.safetensors", "-q", "--force", "-o", out];
            command.current_dir(&dir).args(args);
            command
        };
        assert!(run("expected.safetensors").status().unwrap().success());
        let expected = std::fs::read(dir.path().join("expected.safetensors")).unwrap();
        let out = at.join("out.safetensors");

        // In the middle of a run: old or new.
        let mounted = mount().unwrap();
        let old = std::fs::read(&out).unwrap_or_default();
        let mut child = run("device/out.safetensors").stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time.mul_f64((round % 10) as f64 / 6.0));
        assert!(cut(&at), "the file system could not be cut off");
        child.wait().unwrap();
        drop(mounted);
        let mounted = mount().unwrap();
        let found = std::fs::read(&out).unwrap_or_default();
        assert!(found == old || found == expected, "round {round}: neither old nor new");
        midway[(found == expected) as usize] += 1;

        // After it: new.
        let started = Instant::now();
        let output = run("device/out.safetensors").output().unwrap();
        time = started.elapsed();
        assert!(output.status.success(), "{}", text(&output));
        assert!(cut(&at));
        drop(mounted);
        let mounted = mount().unwrap();
        assert!(std::fs::read(&out).unwrap() == expected, "round {round}");
        assert_eq!(load(&out)["w"].len(), 4 * n);
        let verify = Command::new(TOOL).arg("--verify").arg(&out).output().unwrap();
        assert!(verify.status.success(), "{}", text(&verify));
        drop(mounted);
        sizes.push(expected.len());
    }
    let [old, new] = midway;
    eprintln!(
        "20 power cuts after a run, 20 within ({old} old, {new} new), outputs of {sizes:?} B"
    );
}

#[test]
fn two_runs_for_one_output_both_succeed_and_one_of_them_wins() {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["a", "b", "c", "d"].iter().enumerate() {
        save(&dir.path().join(name), &model(i as f32));
    }
    let run = |inputs: [&str; 2]| {
        let mut command = Command::new(TOOL);
        command.current_dir(&dir).args(inputs).args(["-qo", "out", "--force", "--threads", "1"]);
        command.stderr(Stdio::piped());
        command
    };
    let pairs = [["a", "b"], ["c", "d"]];
    let expected = pairs.map(|pair| {
        assert!(run(pair).status().unwrap().success());
        std::fs::read(dir.path().join("out")).unwrap()
    });
    assert_ne!(expected[0], expected[1]);
    let mut wins = [0, 0];
    for _ in 0..if long() { 500 } else { 50 } {
        let children = pairs.map(|pair| run(pair).spawn().unwrap());
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
        }
        let found = std::fs::read(dir.path().join("out")).unwrap();
        let winner = expected.iter().position(|e| *e == found).expect("one of the two");
        wins[winner] += 1;
        assert_eq!(listing(dir.path()), ["a", "b", "c", "d", "out"]);
    }
    eprintln!("races: {} won by the first, {} by the second", wins[0], wins[1]);
}

#[test]
fn two_runs_for_one_folder_both_succeed() {
    if !needs_strace("two runs for one folder") {
        return;
    }
    let scene = Scene::folder();
    for path in [scene.target(), scene.target().join("model.safetensors")] {
        let old = SystemTime::now() - Duration::from_secs(60);
        File::open(path).unwrap().set_modified(old).unwrap();
    }
    // Its fourth fsync follows the exchange; the old folder goes after it.
    let delay = "delay_enter=1000000:when=4";
    let mut command = scene.traced(Path::new("/dev/null"), "fsync", delay);
    let mut first = Reaped(Some(command.stderr(Stdio::piped()).spawn().unwrap()));
    while scene.is_old() {
        assert!(first.0.as_mut().unwrap().try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = scene.plain().output().unwrap();
    assert!(second.status.success(), "{}", text(&second));
    let first = first.0.take().unwrap().wait_with_output().unwrap();
    assert!(first.status.success(), "{}", text(&first));
    assert!(scene.is_new("two runs"));
    assert_eq!(scene.leftovers(), [""; 0]);
}

#[test]
fn memory_does_not_depend_on_the_number_and_size_of_inputs() {
    let dir = tempfile::tempdir().unwrap();
    // 40 × 5 MB.
    let values: Vec<f32> = (0..1_250_000).map(|i| i as f32).collect();
    for i in 0..40 {
        save(&dir.path().join(format!("{i}.safetensors")), &[f32s("w", &values)]);
    }
    let out = ["-qo", "out", "--force", "--threads"];
    for (threads, stacks) in [("1", 2), ("8", 16), ("64", 128)] {
        // What a process may write to and shares with none: 64 MiB, and 2 MiB of stack a thread.
        let line = format!("ulimit -d {}; exec \"$0\" \"$@\"", (64 + stacks) << 10);
        let mut shell = Command::new("bash");
        shell.args(["-c", &line, TOOL, "*.safetensors"]).args(out).arg(threads);
        let output = shell.current_dir(&dir).output().unwrap();
        assert!(output.status.success(), "{threads} threads: {}", text(&output));
    }
    assert_eq!(to_f32(&load(&dir.path().join("out"))["w"]), values);
}

#[test]
fn a_huge_header_in_little_memory_ends_without_an_abort() {
    let dir = tempfile::tempdir().unwrap();
    let text_of_90_mb = format!(
        "{{\"__metadata__\":{{\"notes\":\"{}\"}},\
         \"w\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}",
        "x".repeat(90_000_000)
    );
    // Names so long that the output's header, which has digests, is over the limit; and shorter ones.
    let many = |name: &str| {
        let tensors: Vec<String> = (0..500_000)
            .map(|i| {
                let place = format!("\"data_offsets\":[{},{}]", 4 * i, 4 * i + 4);
                format!("\"{name}{i:06}\":{{\"dtype\":\"F32\",\"shape\":[1],{place}}}")
            })
            .collect();
        format!("{{{}}}", tensors.join(","))
    };
    let [long, short] = [110, 80].map(|length| many(&"n".repeat(length)));
    let headers = [(text_of_90_mb, 4), (long, 2_000_000), (short, 2_000_000)];
    let inputs = ["a.safetensors", "b.safetensors"];
    for (header, size) in headers {
        for name in inputs {
            with_hole(&dir.path().join(name), &header, size, &[]);
        }
        for inputs in [&inputs[..1], &inputs[..]] {
            let out = dir.path().join("out.safetensors");
            std::fs::write(&out, "old").unwrap();
            let mut args = inputs.to_vec();
            args.extend(["-q", "--force", "--threads", "1", "--allow-duplicates"]);
            args.extend(["-o", "out.safetensors"]);
            let output = limited(2_000_000, dir.path(), &args);
            let message = text(&output);
            let (code, n) = (output.status.code(), inputs.len());
            eprintln!(
                "{} B of header, {n} input(s): {code:?} {}",
                header.len(),
                message.trim_end()
            );
            match code {
                Some(0) => assert!(out.metadata().unwrap().len() > 3),
                Some(3 | 6) => assert_eq!(std::fs::read(&out).unwrap(), b"old", "{message}"),
                _ => panic!("{:?} {message}", output.status),
            }
            assert_eq!(listing(dir.path()).len(), 3);
        }
    }
}

#[test]
fn a_folder_that_cannot_be_closed_or_read_is_no_panic() {
    if !needs_strace("a folder that cannot be closed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for i in 1..=3 {
        let folder = dir.path().join(format!("run/checkpoint-{i}"));
        std::fs::create_dir_all(&folder).unwrap();
        save(&folder.join("model.safetensors"), &model(i as f32));
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        save(&dir.path().join(format!("c_{i}.safetensors")), &model(i as f32));
    }
    let mut met = 0;
    let line = "--follow run --until 3 --poll 0.01 -qo followed --force";
    for arguments in
        ["run -qo out --force", "run/* -qo out --force", "c_*.safetensors -qo x --force", line]
    {
        let all = [
            ("close", "error=EIO"),
            ("getdents64", "error=EIO"),
            ("close", "error=EINTR"),
            ("getdents64", "error=ENOMEM"),
        ];
        for (call, inject) in &all[..if long() { 4 } else { 2 }] {
            // What the loader closes comes first.
            let mut n = if *call == "close" && !long() { 5 } else { 1 };
            loop {
                let log = dir.path().join("log");
                let mut command = Command::new("strace");
                command.current_dir(&dir).args(["-f", "-qq", "-o"]).arg(&log).args(["-e"]);
                command.args([&format!("trace={call}"), "-e"]);
                command.args([&format!("inject={call}:{inject}:when={n}"), TOOL]);
                // A follower goes on when what failed passes.
                let output = command.args(arguments.split(' ')).output().unwrap();
                let (after, message) = (format!("{arguments}: {call} {inject} {n}"), text(&output));
                // Before the tool begins the loader has folders of its own.
                if message.contains("error while loading shared libraries") {
                    n += 1;
                    continue;
                }
                let is_one_line = message.trim_end().lines().count() <= 1;
                assert!(matches!(output.status.code(), Some(0 | 3 | 4)), "{after}: {message}");
                assert!(!message.contains("panicked") && is_one_line, "{after}: {message}");
                assert!(output.status.success() || message.contains("error: "), "{after}");
                if !std::fs::read_to_string(log).unwrap().contains("(INJECTED)") {
                    break;
                }
                (met, n) = (met + 1, n + if long() { 1 } else { 2 });
            }
        }
    }
    eprintln!("folders that cannot be closed or read: {met} faults");
    assert!(met > 20);
}
