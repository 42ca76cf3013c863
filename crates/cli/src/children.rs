//! A command that runs itself several times, each with a part of the work: `--devices`.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use swa_base::{Choice, Error, Kind, Progress, Result, Unit};

/// Between two looks at whether children have ended.
const PAUSE: Duration = Duration::from_millis(20);

/// The arguments that were given on the command line, but for those named by their fields: for a child.
pub fn arguments(command: &clap::Command, matches: &ArgMatches, without: &[&str]) -> Vec<OsString> {
    let (mut flags, mut positional) = (vec![], vec![]);
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        if without.contains(&id) || matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        match (arg.get_long(), arg.get_action()) {
            (None, _) => positional.extend(values.map(OsStr::to_os_string)),
            (Some(long), ArgAction::SetTrue) => flags.push(format!("--{long}").into()),
            (Some(long), _) => flags.extend(values.map(|value| {
                let mut flag = OsString::from(format!("--{long}="));
                flag.push(value);
                flag
            })),
        }
    }
    if !positional.is_empty() {
        flags.push("--".into());
    }
    flags.extend(positional);
    flags
}

/// Children at work. A thread that waits for signals may [stop](Children::stop) them.
#[derive(Clone, Default)]
pub struct Children {
    running: Arc<Mutex<Vec<Running>>>,
    /// This process is about to die by a signal.
    stopped: Arc<AtomicBool>,
}

/// A child.
struct Running {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    output: Option<JoinHandle<String>>,
}

/// How far all children are.
struct Told<'a> {
    progress: &'a dyn Progress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of each child.
    done: Vec<u64>,
    total: u64,
    /// How much was said of it.
    said: Option<u64>,
    notes: HashSet<String>,
}

/// A line of `--progress json`.
#[derive(Deserialize)]
struct Line {
    done: u64,
    total: u64,
    unit: String,
    stage: String,
}

impl Children {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs this program once for each list of arguments, under a name for messages, and waits for all. Children show
    /// their progress as JSON, which becomes one progress, and print their errors as JSON. What several of them note is
    /// noted once.
    ///
    /// # Errors
    /// That of the first child that fails, with its name; the others are ended then. `Io` where one cannot be started,
    /// or was ended by a signal; `OutOfMemory` where that was SIGKILL.
    pub fn run(
        &self,
        program: &Path,
        arguments: &[(String, Vec<OsString>)],
        progress: &dyn Progress,
    ) -> Result<()> {
        let state = State { done: vec![0; arguments.len()], ..State::default() };
        let told = Told { progress, state: Mutex::new(state) };
        let result = thread::scope(|scope| {
            for (number, (name, arguments)) in arguments.iter().enumerate() {
                let mut command = Command::new(program);
                command.args(["--json", "--progress=json"]).args(arguments);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let child = command.spawn().map_err(|e| Error::io(program, "start", e));
                let mut child = child.inspect_err(|_| self.end())?;
                let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
                let output = thread::spawn(move || {
                    let mut text = String::new();
                    // A child that dies in the middle of a line has failed, which its status says.
                    let _ = stdout.map(|mut stdout| stdout.read_to_string(&mut text));
                    text
                });
                let (name, ended, output) = (name.clone(), None, Some(output));
                self.running().push(Running { name, child, ended, output });
                let told = &told;
                scope.spawn(move || {
                    let lines =
                        stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines());
                    lines.map_while(|line| line.ok()).for_each(|line| told.line(number, &line));
                });
            }
            let failed = self.wait();
            if failed.is_err() {
                // A terminal signals the whole group: this process may be about to die as its children did.
                thread::sleep(10 * PAUSE);
                if self.stopped.load(Ordering::Acquire) {
                    return self.wait();
                }
                self.end();
            }
            failed
        });
        if told.state().said.is_some() {
            progress.end();
        }
        result
    }

    /// Until all have ended well, or one has not.
    fn wait(&self) -> Result<()> {
        loop {
            let mut running = self.running();
            if self.stopped.load(Ordering::Acquire) {
                drop(running);
                thread::sleep(PAUSE); // until the signal's default ends this process
                continue;
            }
            for one in running.iter_mut().filter(|one| one.ended.is_none()) {
                one.ended = match one.child.try_wait() {
                    Ok(ended) => ended,
                    Err(e) => return Err(Error::io(Path::new(&one.name), "wait for", e)),
                };
                if let Some(status) = one.ended.filter(|status| !status.success()) {
                    let output = one.output.take().and_then(|output| output.join().ok());
                    return Err(failure(&one.name, status, &output.unwrap_or_default()));
                }
            }
            if running.iter().all(|one| one.ended.is_some()) {
                return Ok(());
            }
            drop(running);
            thread::sleep(PAUSE);
        }
    }

    /// Ends those that run, since this process is about to die: [`Children::run`] does not return.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.end();
    }

    /// Ends those that run, as SIGTERM does, and waits for them.
    fn end(&self) {
        let mut running = self.running();
        let left = || running.iter().filter(|one| one.ended.is_none());
        for one in left() {
            if let Some(pid) = i32::try_from(one.child.id()).ok().and_then(Pid::from_raw) {
                // One that has ended in the meantime is what is wanted.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for one in running.iter_mut().filter(|one| one.ended.is_none()) {
            one.ended = one.child.wait().ok();
        }
    }
}

impl Told<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A line that a child wrote on stderr.
    fn line(&self, number: usize, line: &str) {
        let mut state = self.state();
        let Ok(Line { done, total, unit, stage }) = serde_json::from_str(line) else {
            // Its error comes as JSON as well.
            if !line.starts_with("error: ") && state.notes.insert(line.to_string()) {
                self.progress.note(line);
            }
            return;
        };
        let unit = match unit {
            _ if unit == Unit::Bytes.name() => Unit::Bytes,
            _ if unit == Unit::Images.name() => Unit::Images,
            // The files of the data, at which each looks by itself.
            _ => return,
        };
        // Each says how many images the whole pass has.
        state.done[number] = done;
        let (sum, largest) = (state.done.iter().sum(), state.total.max(total));
        match state.said {
            Some(said) if largest == state.total => {
                self.progress.advance(u64::saturating_sub(sum, said));
                state.said = Some(said.max(sum));
            }
            _ => {
                self.progress.begin(&stage, largest, sum, unit);
                state.said = Some(sum);
            }
        }
        state.total = largest;
    }
}

/// Why a child failed.
fn failure(name: &str, status: ExitStatus, output: &str) -> Error {
    #[derive(Deserialize)]
    struct Failed {
        error: Said,
    }
    #[derive(Deserialize)]
    struct Said {
        kind: String,
        message: String,
    }
    if let Ok(Failed { error }) = serde_json::from_str(output.trim()) {
        let kind = Kind::named(&error.kind).unwrap_or(Kind::Input);
        return Error::new(kind, format!("{name}: {}", error.message));
    }
    match status.signal() {
        Some(9) => Error::new(Kind::OutOfMemory, format!("{name}: its process was killed"))
            .remedy("see whether memory ran out: fewer processes, or smaller batches, need less"),
        _ => Error::new(Kind::Io, format!("{name}: its process ended: {status}")),
    }
}
