//! Sweeps over everything that is written: killed at random times, each system call failing in each way, inputs that
//! shrink while they are mapped, power cuts on ext4 and XFS. After each an output is the old one or the new one as a
//! whole, nothing acknowledged is lost, no message is more than a line, and there is no panic.
//!
//! How many of each, SWA_SWEEP_KILLS, SWA_SWEEP_FAULTS, SWA_SWEEP_CUTS and SWA_SWEEP_TRUNCATIONS say; by default few,
//! with SWA_TESTS_LONG some hundreds. SWA_SWEEP_SEED chooses others.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use swa_testing::faults::{long, needs, needs_strace};
use swa_testing::*;

const TOOL: &str = env!("CARGO_BIN_EXE_swa-avg");

/// Where a call may fail. A question mark: not every machine has it.
const SYSCALLS: &str = "?openat,?read,?pread64,?write,?pwrite64,?mmap,?madvise,?fallocate,?fsync,?rename,?renameat,\
    ?renameat2,?ftruncate,?flock,?fchmod,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?getdents64,?statx,?newfstatat,?fstat,\
    ?munmap,?close,?lseek,?fcntl,?link,?linkat,?readlink,?copy_file_range,?clone3,?statfs";

const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EINTR", "ENOMEM"];

fn count(name: &str, few: usize, some: usize) -> usize {
    let given = std::env::var(format!("SWA_SWEEP_{name}")).ok();
    let default = if long() { some } else { few };
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// Numbers that look random (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn new(stream: u64) -> Self {
        let seed =
            std::env::var("SWA_SWEEP_SEED").map_or(0, |text| text.parse().expect("a number"));
        Numbers(stream << 40 ^ seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// Between 0 and 1.
    fn part(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The files of an output by name: one without a name, those in a folder, or none.
type Content = BTreeMap<String, Vec<u8>>;

fn content(path: &Path) -> Content {
    if !path.is_dir() {
        return std::fs::read(path).map(|bytes| (String::new(), bytes)).into_iter().collect();
    }
    let read = |name: String| (name.clone(), std::fs::read(path.join(name)).unwrap());
    listing(path).into_iter().map(read).collect()
}

fn put(path: &Path, content: &Content) {
    match path.is_dir() {
        true => std::fs::remove_dir_all(path).unwrap(),
        false => drop(std::fs::remove_file(path)),
    }
    for (name, bytes) in content {
        if name.is_empty() {
            return std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join(name), bytes).unwrap();
    }
}

/// What a way of writing writes: a name, the run before, the run, and the outputs of both.
type Way = (&'static str, &'static str, &'static str, &'static [&'static str]);

const WAYS: [Way; 6] = [
    ("a file", "a -o out", "a b c -o out", &["out"]),
    ("a PyTorch file", "a -o out.pth", "a b c -o out.pth", &["out.pth"]),
    ("a folder", "d-1 -o dir", "d-1 d-2 -o dir", &["dir"]),
    (
        "a folder of shards",
        "d-1 -o dir --max-shard-size 2kB",
        "d-1 d-2 -o dir --max-shard-size 2kB",
        &["dir"],
    ),
    (
        "several files",
        "a -o mean=x -o ema:0.5=y.pth",
        "a b c -o mean=x -o ema:0.5=y.pth",
        &["x", "y.pth"],
    ),
    // The state first: the output is never ahead of it.
    ("a state and its output", "a --state s -o out", "b c --state s -o out", &["s", "out"]),
];

/// Inputs, outputs of a run before, and what the run makes of them.
struct Scene {
    dir: PathBuf,
    name: &'static str,
    line: &'static str,
    outputs: &'static [&'static str],
    old: Vec<Content>,
    new: Vec<Content>,
}

/// Tensors of so many values, and some small ones.
fn model(n: usize, shift: f32) -> Vec<Tensor> {
    let values = |n: usize| (0..n).map(|i| (i % 9973) as f32 * 0.25 + shift).collect::<Vec<_>>();
    vec![f32s("a", &values(n)), f32s("b", &values(3)), f32s("c", &values(50)), i64s("n", &[7])]
}

impl Scene {
    /// In a folder, with inputs of so many values beside it.
    fn new(way: Way, dir: &Path, n: usize) -> Self {
        let (name, before, line, outputs) = way;
        for (i, name) in ["a", "b", "c"].iter().enumerate() {
            save(&dir.join(name), &model(n, (i * i) as f32));
        }
        for i in 1..=2 {
            let folder = dir.join(format!("d-{i}"));
            std::fs::create_dir_all(&folder).unwrap();
            save(&folder.join("model.safetensors"), &model(n, i as f32));
            std::fs::write(folder.join("config.json"), format!("{{\"layers\": {i}}}")).unwrap();
        }
        let mut scene = Scene { dir: dir.into(), name, line, outputs, old: vec![], new: vec![] };
        outputs.iter().for_each(|output| put(&dir.join(output), &Content::new()));
        for line in [before, line] {
            let done = scene.command(line).output().unwrap();
            assert!(done.status.success(), "{name}: {}", text(&done));
            let found = scene.contents();
            scene.old = std::mem::replace(&mut scene.new, found);
        }
        for (old, new) in scene.old.iter().zip(&scene.new) {
            assert!(old != new && !old.is_empty(), "{name}");
        }
        scene.reset();
        scene
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(TOOL);
        command.current_dir(&self.dir).args(line.split(' ')).args(["-q", "--force"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn contents(&self) -> Vec<Content> {
        self.outputs.iter().map(|output| content(&self.dir.join(output))).collect()
    }

    fn reset(&self) {
        for (output, old) in self.outputs.iter().zip(&self.old) {
            put(&self.dir.join(output), old);
        }
    }

    /// Which outputs are the new ones: each is old or new as a whole, and those after a state are not ahead of it.
    fn is_new(&self, after: &str) -> Vec<bool> {
        let found = self.contents();
        let mut new = vec![];
        for (i, output) in self.outputs.iter().enumerate() {
            let is_whole = found[i] == self.old[i] || found[i] == self.new[i];
            let sizes: Vec<_> = found[i].iter().map(|(name, b)| (name.clone(), b.len())).collect();
            assert!(is_whole, "{}, {after}: `{output}` is neither: {sizes:?}", self.name);
            new.push(found[i] == self.new[i]);
        }
        assert!(new[0] || !new.contains(&true), "{}, {after}: ahead of the first", self.name);
        new
    }

    /// Temporary files, which are the tool's own. They are made to look old, so that the next run removes them.
    fn age_leftovers(&self) -> usize {
        let known = ["a", "b", "c", "d-1", "d-2", "log", "lost+found"];
        let mut left = listing(&self.dir);
        left.retain(|name| !known.contains(&&**name) && !self.outputs.contains(&&**name));
        for name in &left {
            let own = |output: &&&str| name.starts_with(&format!(".{output}.swa-"));
            assert!(self.outputs.iter().any(|o| own(&o)), "{}: `{name}` was left", self.name);
            let file = File::open(self.dir.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
        left.len()
    }

    /// The next run comes to the right end.
    fn goes_on(&self, after: &str) {
        self.age_leftovers();
        let again = self.command(self.line).output().unwrap();
        assert!(again.status.success(), "{}, {after}: {}", self.name, text(&again));
        assert!(self.contents() == self.new, "{}, {after}, and run again", self.name);
        assert_eq!(self.age_leftovers(), 0, "{}, {after}, and run again", self.name);
        self.reset();
    }

    /// How long a run takes.
    fn time(&self) -> Duration {
        let started = Instant::now();
        assert!(self.command(self.line).status().unwrap().success());
        self.reset();
        started.elapsed()
    }
}

#[test]
fn kills_at_any_time_leave_each_output_whole() {
    let all = count("KILLS", 60, 600);
    let (mut numbers, mut lines, mut hit) = (Numbers::new(1), vec![], 0);
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let scene = Scene::new(way, dir.path(), 60_000);
        let time = scene.time();
        let (mut killed, mut new, mut left) = (0, 0, 0);
        for round in 0..all.div_ceil(WAYS.len()) {
            let mut child = scene.command(scene.line).spawn().unwrap();
            std::thread::sleep(time.mul_f64(1.3 * numbers.part()));
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let after = format!("killed, round {round}");
            let is_new = scene.is_new(&after);
            killed += (output.status.signal() == Some(9)) as usize;
            new += is_new.contains(&true) as usize;
            left += scene.age_leftovers();
            if output.status.success() {
                assert!(!is_new.contains(&false), "{}, {after}: acknowledged", scene.name);
            }
            match round % 8 {
                0 => scene.goes_on(&after),
                _ => scene.reset(),
            }
        }
        hit += killed;
        lines.push(format!("{}: {killed} ({new} new, {left} left something)", scene.name));
    }
    assert!(hit > 0, "all had ended before they were killed");
    eprintln!("kills at random times: {}", lines.join("; "));
}

#[test]
fn any_call_that_fails_in_any_way_leaves_each_output_whole() {
    if !needs_strace("any call that fails") {
        return;
    }
    let most = count("FAULTS", 120, 100_000);
    let (mut numbers, mut lines) = (Numbers::new(2), vec![]);
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let scene = Scene::new(way, dir.path(), 600);
        let log = dir.path().join("log");
        let traced = |call: &str, inject: &str| {
            // One that hangs is to end.
            let mut command = Command::new("timeout");
            command.current_dir(&scene.dir).args(["60", "strace", "-f", "-qq", "-o"]).arg(&log);
            command.args([
                "-e",
                &format!("trace={call}"),
                "-e",
                &format!("inject={call}:{inject}"),
            ]);
            command.arg(TOOL).args(scene.line.split(' ')).args(["-q", "--force", "--threads", "1"]);
            let output = command.output().unwrap();
            (output, std::fs::read_to_string(&log).unwrap())
        };
        // Which calls, and how often by one thread.
        let (done, calls) = traced(&format!("{SYSCALLS},poll"), "error=EIO:when=65535");
        assert!(done.status.success(), "{}", text(&done));
        scene.reset();
        let mut times = BTreeMap::<(String, String), usize>::new();
        // Before its first look at stdin the process is the loader's, whose faults are not ours.
        let (mut loader, mut is_loader) = (BTreeMap::<String, usize>::new(), true);
        for line in calls.lines() {
            let Some((head, _)) = line.split_once('(') else { continue };
            let Some((pid, call)) = head.split_once(' ') else { continue };
            let call = call.trim();
            is_loader &= call != "poll";
            if !call.is_empty() && call != "poll" && call.bytes().all(|b| b.is_ascii_alphanumeric())
            {
                *times.entry((call.into(), pid.into())).or_default() += 1;
                *loader.entry(call.into()).or_default() += is_loader as usize;
            }
        }
        let mut most_often = BTreeMap::<String, usize>::new();
        for ((call, _), n) in times {
            let known = most_often.entry(call).or_default();
            *known = n.max(*known);
        }
        let mut faults: Vec<(String, usize, &str)> = vec![];
        for (call, n) in &most_often {
            let calls = 1 + loader[call]..=*n;
            faults.extend(calls.flat_map(|i| ERRORS.map(|error| (call.clone(), i, error))));
        }
        // A sample of them, in an order of its own.
        for i in (1..faults.len()).rev() {
            faults.swap(i, numbers.below(i as u64 + 1) as usize);
        }
        faults.truncate(most.div_ceil(WAYS.len()));
        let (mut met, mut failed, mut codes) = (0, 0, BTreeMap::<String, usize>::new());
        for (call, n, error) in &faults {
            let (output, log) = traced(call, &format!("error={error}:when={n}"));
            let after = format!("{call} {n} {error}");
            let message = text(&output);
            met += log.contains("(INJECTED)") as usize;
            // Before the tool is asked, the loader and the language's runtime set a thread up.
            const NOT_OURS: [&str; 2] =
                ["error while loading shared libraries", "failed to allocate an alternative stack"];
            if NOT_OURS.iter().any(|part| message.contains(part))
                || output.status.code() == Some(127)
            {
                scene.is_new(&after);
                continue;
            }
            let code = output.status.code().map_or(format!("{}", output.status), |c| c.to_string());
            *codes.entry(code).or_default() += 1;
            let is_new = scene.is_new(&after);
            assert!(!message.contains("panicked"), "{}, {after}: {message}", scene.name);
            assert!(message.trim_end().lines().count() <= 1, "{}, {after}: {message}", scene.name);
            match output.status.code() {
                Some(0) => {
                    assert!(!is_new.contains(&false), "{}, {after}: acknowledged", scene.name)
                }
                Some(2..=6) => {
                    failed += 1;
                    assert!(message.starts_with("error: "), "{}, {after}: {message}", scene.name);
                }
                _ => panic!("{}, {after}: {} {message}", scene.name, output.status),
            }
            match met % 16 {
                0 => scene.goes_on(&after),
                _ => {
                    scene.age_leftovers();
                    scene.reset();
                }
            }
        }
        assert!(met > 0 && failed > 0, "{}: {met} {failed}", scene.name);
        lines.push(format!("{}: {met} of {} ({codes:?})", scene.name, faults.len()));
    }
    eprintln!("calls that fail: {}", lines.join("; "));
}

#[test]
fn inputs_that_shrink_while_they_are_mapped_are_named() {
    let all = count("TRUNCATIONS", 40, 400);
    let (mut numbers, mut lines) = (Numbers::new(3), vec![]);
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let scene = Scene::new(way, dir.path(), 400_000);
        let inputs: &[&str] = match scene.line.starts_with("d-1") {
            true => &["d-1/model.safetensors", "d-2/model.safetensors"],
            false => &["b", "c"],
        };
        let wholes: Vec<Vec<u8>> =
            inputs.iter().map(|name| std::fs::read(dir.path().join(name)).unwrap()).collect();
        let times: Vec<SystemTime> = (inputs.iter())
            .map(|name| dir.path().join(name).metadata().unwrap().modified().unwrap())
            .collect();
        let time = scene.time();
        let mut codes = BTreeMap::<i32, usize>::new();
        for round in 0..all.div_ceil(WAYS.len()) {
            let number = numbers.below(inputs.len() as u64) as usize;
            let path = dir.path().join(inputs[number]);
            let file = File::options().write(true).open(&path).unwrap();
            let length = numbers.below(wholes[number].len() as u64);
            let child = scene.command(scene.line).spawn().unwrap();
            std::thread::sleep(time.mul_f64(numbers.part()));
            file.set_len(length).unwrap();
            let output = child.wait_with_output().unwrap();
            let (after, message) = (format!("round {round}, to {length}"), text(&output));
            let is_new = scene.is_new(&after);
            let code = output.status.code().unwrap_or(-1);
            *codes.entry(code).or_default() += 1;
            assert!(
                matches!(code, 0 | 3 | 5),
                "{}, {after}: {} {message}",
                scene.name,
                output.status
            );
            assert!(message.trim_end().lines().count() <= 1, "{}, {after}: {message}", scene.name);
            let all_new = !is_new.contains(&false);
            assert!((code == 0) == all_new, "{}, {after}: {code} {is_new:?}", scene.name);
            if code != 0 {
                assert!(message.contains(inputs[number]), "{}, {after}: {message}", scene.name);
                assert_eq!(scene.age_leftovers(), 0, "{}, {after}", scene.name);
            }
            // A state knows its inputs by their times, too.
            std::fs::write(&path, &wholes[number]).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(times[number]).unwrap();
            scene.reset();
        }
        lines.push(format!("{}: {codes:?}", scene.name));
    }
    eprintln!("inputs that shrink, exit codes: {}", lines.join("; "));
}

/// A mounted file system; it goes when the value does.
struct Mount(PathBuf);

impl Mount {
    fn new(image: &Path, at: &Path) -> Option<Self> {
        let output = Command::new("mount").args(["-o", "loop"]).arg(image).arg(at).output();
        output.is_ok_and(|output| output.status.success()).then(|| Mount(at.to_path_buf()))
    }

    /// Cuts the file system off from its device, as a power cut does: what is not there yet is lost. One call for both
    /// (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN).
    fn cut(self) -> bool {
        const SHUTDOWN: u32 = 0x8004_587d;
        const NO_LOG_FLUSH: u32 = 2;
        use std::os::fd::AsRawFd;
        let (folder, flags) = (File::open(&self.0).unwrap(), NO_LOG_FLUSH);
        // SAFETY: the call reads 4 bytes through its pointer, which are those of `flags`.
        unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN as _, &raw const flags) == 0 }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let umount = |args: &[&str]| {
            let output = Command::new("umount").args(args).arg(&self.0).output();
            output.is_ok_and(|output| output.status.success())
        };
        // A child of another test holds every descriptor for a moment, between fork and exec.
        for _ in 0..100 {
            if umount(&[]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        umount(&["-l"]);
    }
}

#[test]
fn what_is_acknowledged_survives_a_power_cut() {
    let all = count("CUTS", 0, 240);
    if all == 0 {
        return eprintln!("left out: power cuts run with SWA_TESTS_LONG or SWA_SWEEP_CUTS");
    }
    let (mut numbers, mut lines) = (Numbers::new(4), vec![]);
    for (system, megabytes) in [("ext4", 64), ("xfs", 320)] {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("device"));
        std::fs::create_dir(&at).unwrap();
        File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let made = Command::new(format!("mkfs.{system}")).arg("-q").arg(&image).output();
        let ready =
            made.is_ok_and(|output| output.status.success()) && Mount::new(&image, &at).is_some();
        // Not every machine that can cut the power of one has the other.
        if system == "xfs" && !ready {
            lines.push("no xfs here".into());
            continue;
        }
        if !needs(ready, "power cuts", "root, mkfs.ext4 and leave to mount") {
            return;
        }
        for way in WAYS {
            let mount = || Mount::new(&image, &at).expect("mounted before");
            let mounted = mount();
            for other in WAYS.iter().flat_map(|(.., outputs)| outputs.iter()) {
                put(&at.join(other), &Content::new());
            }
            let scene = Scene::new(way, &at, 20_000);
            let time = scene.time();
            let sync = || assert!(Command::new("sync").status().unwrap().success());
            sync();
            drop(mounted);
            let (mut within, mut new, mut after_end) = (0, 0, 0);
            for round in 0..all.div_ceil(2 * WAYS.len()) {
                let mounted = mount();
                let mut child = scene.command(scene.line).spawn().unwrap();
                let ends = round % 3 == 0;
                match ends {
                    true => drop(child.wait().unwrap()),
                    false => std::thread::sleep(time.mul_f64(1.2 * numbers.part())),
                }
                // Whether it has said that all is written by the time of the cut.
                let acknowledged = child.try_wait().unwrap().is_some_and(|status| status.success());
                assert!(mounted.cut(), "the file system could not be cut off");
                let _ = child.wait();
                let mounted = mount();
                let after = format!("{system}, cut {round}");
                let is_new = scene.is_new(&after);
                if acknowledged {
                    assert!(!is_new.contains(&false), "{}, {after}: acknowledged", scene.name);
                    after_end += 1;
                } else {
                    within += 1;
                    new += is_new.contains(&true) as usize;
                }
                if round % 4 == 0 {
                    scene.goes_on(&after);
                }
                scene.age_leftovers();
                scene.reset();
                for left in listing(&at).iter().filter(|name| name.contains(".swa-")) {
                    let path = at.join(left);
                    match path.is_dir() {
                        true => std::fs::remove_dir_all(path).unwrap(),
                        false => std::fs::remove_file(path).unwrap(),
                    }
                }
                sync();
                drop(mounted);
            }
            lines.push(format!(
                "{system}, {}: {within} within ({new} new), {after_end} after",
                scene.name
            ));
        }
    }
    eprintln!("power cuts: {}", lines.join("; "));
}
