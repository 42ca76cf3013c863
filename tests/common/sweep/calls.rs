//! Each system call failing, by strace.

use std::collections::BTreeMap;
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

/// Lets calls of each way of writing fail, at most so many in all. `since`: what the first call of the tool itself looks
/// like in strace's log; calls before are the loader's.
pub fn calls_that_fail(
    ways: &[Way],
    most: usize,
    since: &str,
    scene: &dyn Fn(Way) -> (tempfile::TempDir, Scene),
) {
    let (mut numbers, mut lines, mut all_failed) = (Numbers::new(2), vec![], 0);
    for &way in ways {
        let (_dir, scene) = scene(way);
        let mut faults = faults(&scene, since);
        // A sample of them, in an order of its own.
        for i in (1..faults.len()).rev() {
            faults.swap(i, numbers.below(i as u64 + 1) as usize);
        }
        faults.truncate(most.div_ceil(ways.len()));
        let (mut met, mut failed, mut codes) = (0, 0, BTreeMap::<String, usize>::new());
        for (call, n, error) in &faults {
            let (output, log) = traced(&scene, call, &format!("error={error}:when={n}"));
            let after = format!("{call} {n} {error}");
            let message = text(&output);
            met += log.contains("(INJECTED)") as usize;
            if NOT_OURS.iter().any(|part| message.contains(part))
                || output.status.code() == Some(127)
                || log.lines().any(is_of_libtorch)
            {
                scene.is_new(&after);
                scene.age_leftovers();
                scene.reset();
                continue;
            }
            let code = output.status.code().map_or(format!("{}", output.status), |c| c.to_string());
            *codes.entry(code).or_default() += 1;
            failed += usize::from(check(&scene, &output, &after));
            if matches!(output.status.code(), Some(2 | 3)) {
                eprintln!("{}, {after}: {message}", way.name);
            }
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

/// Whether a call that failed asked what processor there is: libtorch does, and may crash without an answer.
fn is_of_libtorch(line: &str) -> bool {
    line.contains("(INJECTED)")
        && ["/sys/devices/", "/proc/cpuinfo"].iter().any(|path| line.contains(path))
}

/// What a run that met a fault may come to. Whether it failed.
fn check(scene: &Scene, output: &Output, after: &str) -> bool {
    let (name, message) = (scene.name, text(output));
    let is_new = scene.is_new(after);
    assert!(!message.contains("panicked"), "{name}, {after}: {message}");
    assert!(message.trim_end().lines().count() <= 1, "{name}, {after}: {message}");
    match output.status.code() {
        Some(0) => assert!(!is_new.contains(&false), "{name}, {after}: acknowledged"),
        Some(2..=6) => {
            assert!(message.starts_with("error: "), "{name}, {after}: {message}");
        }
        _ => panic!("{name}, {after}: {} {message}", output.status),
    }
    !output.status.success()
}

fn traced(scene: &Scene, call: &str, inject: &str) -> (Output, String) {
    let log = scene.dir.join("log");
    // One that hangs is to end.
    let mut command = Command::new("timeout");
    command.args(["60", "strace", "-f", "-qq", "-y", "-o"]).arg(&log);
    let inject = format!("inject={call}:{inject}");
    command.args(["-e", &format!("trace={call}"), "-e", &inject]);
    let output = scene.under(command).args(["--threads", "1"]).output().unwrap();
    (output, std::fs::read_to_string(&log).unwrap())
}

/// Every call that a run makes and every error: the call's name, the how manieth of a thread, the error.
fn faults(scene: &Scene, since: &str) -> Vec<(String, usize, &'static str)> {
    let (done, calls) = traced(scene, &format!("{SYSCALLS},poll"), "error=EIO:when=65535");
    assert!(done.status.success(), "{}", text(&done));
    scene.reset();
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
    assert!(!is_loader, "{}: `{since}` was never called", scene.name);
    let mut most_often = BTreeMap::<String, usize>::new();
    for ((call, _), n) in times {
        let known = most_often.entry(call).or_default();
        *known = n.max(*known);
    }
    let mut faults = vec![];
    for (call, n) in &most_often {
        let calls = 1 + loader[call]..=*n;
        faults.extend(calls.flat_map(|i| ERRORS.map(|error| (call.clone(), i, error))));
    }
    faults
}
