//! The command after each update.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::Stop;

/// Runs a line of the shell and waits for it; what it prints goes to stderr. If the job is to end, so is the command.
/// What went wrong is an error in a few words.
pub(super) fn run(line: &str, environment: &[(&str, OsString)], stop: &Stop) -> Result<(), String> {
    // Results are this process's own.
    let script = format!("exec >&2\n{line}");
    let start = || -> io::Result<Child> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&script).stdin(Stdio::null()).process_group(0);
        command.envs(environment.iter().map(|(name, value)| (name, value))).spawn()
    };
    let mut child = start().map_err(|e| format!("cannot be started: {e}"))?;
    let status = wait(&mut child, stop).map_err(|e| format!("cannot be waited for: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed: {status}")) }
}

fn wait(child: &mut Child, stop: &Stop) -> io::Result<ExitStatus> {
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop.is_set() {
            // Its whole group: a shell that is ended leaves what it runs.
            let _ = kill_process_group(Pid::from_child(child), Signal::TERM);
            return child.wait();
        }
        stop.wait(pause, None);
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}
