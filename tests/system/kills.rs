//! A kill at any system call leaves the old output or the new one, as a whole.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use swa_testing::faults::{long, needs_strace};

use crate::scene::*;

/// Where a run may be killed. A question mark: not every machine has it.
const SYSCALLS: &str = "?openat,?read,?pread64,?write,?pwrite64,?mmap,?madvise,?fallocate,?fsync,\
    ?rename,?renameat,?renameat2,?ftruncate,?flock,?fchmod,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,\
    ?getdents64,?statx,?newfstatat,?munmap,?close";

impl Scene {
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
