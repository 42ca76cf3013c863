//! Each system call failing, by strace.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use super::{Numbers, Scene, Way, text};

/// Where a call may fail. A question mark: not every machine has it.
const SYSCALLS: &str = "?openat,?read,?pread64,?write,?pwrite64,?mmap,?madvise,?fallocate,?fsync,?rename,?renameat,\
    ?renameat2,?ftruncate,?flock,?fchmod,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?getdents64,?statx,?newfstatat,?fstat,\
    ?munmap,?close,?lseek,?fcntl,?link,?linkat,?readlink,?copy_file_range,?clone3,?statfs";

const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EINTR", "ENOMEM"];

/// Before the tool is asked, the loader and the language's runtime set a thread up.
const NOT_OURS: [&str; 2] =
    ["error while loading shared libraries", "failed to allocate an alternative stack"];

/// libtorch asks what processor there is, and its oneDNN takes memory for each kernel that it writes.
const LIBTORCH: [&str; 3] =
    ["/sys/devices/", "/proc/cpuinfo", "mmap(NULL, 262144, PROT_READ|PROT_WRITE, "];

/// A command as the last arguments of another.
pub type Under<'a> = &'a dyn Fn(Command) -> Command;

/// A call that fails.
pub struct Fault {
    call: String,
    /// The how manieth of a thread.
    number: usize,
    error: &'static str,
}

/// What came of it.
pub struct Met {
    pub output: Output,
    /// Whether the call was made at all.
    pub is_met: bool,
    pub cause: Cause,
}

/// Whose call it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Tool,
    /// The loader's or the runtime's: the tool has not begun.
    Loader,
    /// libtorch's: it computes in another way then, so that a success has other bytes, or crashes.
    Libtorch,
}

impl Fault {
    pub fn name(&self) -> String {
        format!("{} {} {}", self.call, self.number, self.error)
    }

    /// A run in which it fails, of a tool that may load libtorch.
    pub fn meet(&self, log: &Path, under: Under, has_libtorch: bool) -> Met {
        let inject = format!("error={}:when={}", self.error, self.number);
        let (output, log) = traced(log, under, &self.call, &inject);
        let message = text(&output);
        let injected: Vec<&str> = log.lines().filter(|line| line.contains("(INJECTED)")).collect();
        let is_libtorch = |line: &&str| LIBTORCH.iter().any(|part| line.contains(part));
        let is_loader = NOT_OURS.iter().any(|part| message.contains(part));
        let cause = if has_libtorch && injected.iter().any(is_libtorch) {
            Cause::Libtorch
        } else if is_loader || output.status.code() == Some(127) {
            Cause::Loader
        } else {
            Cause::Tool
        };
        Met { is_met: !injected.is_empty(), output, cause }
    }
}

/// Every call that a run makes and every error, in an order of its own. `since`: what the first call of the tool itself
/// looks like in strace's log; calls before are the loader's.
pub fn faults(log: &Path, under: Under, since: &str, numbers: &mut Numbers) -> Vec<Fault> {
    let (done, calls) = traced(log, under, &format!("{SYSCALLS},poll"), "error=EIO:when=65535");
    assert!(done.status.success(), "{}", text(&done));
    let mut times = BTreeMap::<(String, String), usize>::new();
    let (mut loader, mut is_loader) = (BTreeMap::<String, usize>::new(), true);
    for line in calls.lines() {
        is_loader &= !line.contains(since);
        let Some((head, _)) = line.split_once('(') else { continue };
        let Some((pid, call)) = head.split_once(' ') else { continue };
        let call = call.trim();
        if !call.is_empty() && call != "poll" && call.bytes().all(|b| b.is_ascii_alphanumeric()) {
            *times.entry((call.into(), pid.into())).or_default() += 1;
            *loader.entry(call.into()).or_default() += usize::from(is_loader);
        }
    }
    assert!(!is_loader, "`{since}` was never called");
    let mut most_often = BTreeMap::<String, usize>::new();
    for ((call, _), n) in times {
        let known = most_often.entry(call).or_default();
        *known = n.max(*known);
    }
    let mut faults = vec![];
    for (call, n) in &most_often {
        for number in 1 + loader[call]..=*n {
            faults.extend(ERRORS.map(|error| Fault { call: call.clone(), number, error }));
        }
    }
    for i in (1..faults.len()).rev() {
        faults.swap(i, numbers.below(i as u64 + 1) as usize);
    }
    faults
}

/// Lets calls of each way of writing fail, at most so many in all.
pub fn calls_that_fail(
    ways: &[Way],
    most: usize,
    since: &str,
    scene: &dyn Fn(Way) -> (tempfile::TempDir, Scene),
) {
    let (mut numbers, mut lines, mut all_failed) = (Numbers::new(2), vec![], 0);
    for &way in ways {
        let (_dir, scene) = scene(way);
        let log = scene.dir.join("log");
        let under = |command| {
            let mut command = scene.under(command);
            command.args(["--threads", "1"]);
            command
        };
        let mut faults = faults(&log, &under, since, &mut numbers);
        scene.reset();
        faults.truncate(most.div_ceil(ways.len()));
        let (mut met, mut failed, mut codes) = (0, 0, BTreeMap::<String, usize>::new());
        for fault in &faults {
            let met_now = fault.meet(&log, &under, way.tool != "swa-avg");
            let (Met { output, is_met, cause }, after) = (met_now, fault.name());
            met += usize::from(is_met);
            if cause != Cause::Tool {
                if !output.status.success() || cause == Cause::Loader {
                    scene.is_new(&after);
                }
                scene.age_leftovers();
                scene.reset();
                continue;
            }
            let (code, message) = (code(&output), text(&output));
            failed += usize::from(check(&scene, &output, &after));
            if matches!(output.status.code(), Some(2 | 3)) {
                eprintln!("{}, {after}: {message}", way.name);
            }
            *codes.entry(code).or_default() += 1;
            match met % 16 {
                0 => scene.goes_on(&after),
                _ => {
                    scene.age_leftovers();
                    scene.reset();
                }
            }
        }
        assert!(met > 0, "{}: no call failed", way.name);
        all_failed += failed;
        lines.push(format!("{}: {met} of {} ({codes:?})", way.name, faults.len()));
    }
    assert!(all_failed > 0, "no command failed: {lines:?}");
    eprintln!("calls that fail: {}", lines.join("; "));
}

/// The exit code, or the signal in words.
pub fn code(output: &Output) -> String {
    output.status.code().map_or(format!("{}", output.status), |code| code.to_string())
}

/// How a run may end: with success, or with one line that says why. Whether it failed.
pub fn check_end(output: &Output, after: &str) -> bool {
    let message = text(output);
    assert!(!message.contains("panicked"), "{after}: {message}");
    assert!(message.trim_end().lines().count() <= 1, "{after}: {message}");
    match output.status.code() {
        Some(0) => {}
        Some(2..=6) => assert!(message.starts_with("error: "), "{after}: {message}"),
        _ => panic!("{after}: {} {message}", output.status),
    }
    !output.status.success()
}

/// What a run that met a fault may come to. Whether it failed.
fn check(scene: &Scene, output: &Output, after: &str) -> bool {
    let is_new = scene.is_new(after);
    let failed = check_end(output, &format!("{}, {after}", scene.name));
    assert!(failed || !is_new.contains(&false), "{}, {after}: acknowledged", scene.name);
    failed
}

fn traced(log: &Path, under: Under, call: &str, inject: &str) -> (Output, String) {
    // One that hangs is to end.
    let mut command = Command::new("timeout");
    command.args(["60", "strace", "-f", "-qq", "-y", "-o"]).arg(log);
    let inject = format!("inject={call}:{inject}");
    command.args(["-e", &format!("trace={call}"), "-e", &inject]);
    let output = under(command).output().unwrap();
    (output, std::fs::read_to_string(log).unwrap())
}
