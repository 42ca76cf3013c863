//! How a command begins and ends: arguments, threads, errors, exit codes.

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};
use schemars::JsonSchema;
use serde::Serialize;
use swa_base::text::printable;
use swa_base::{Choice, Error, Kind, Result, panics};

use crate::{Common, generate, parent, print};

/// What `--json` prints when a command fails.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    /// What went wrong.
    pub error: ErrorReport,
}

/// What went wrong, for machines.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorReport {
    /// What happened: one of the [kinds of errors](#kinds-of-errors).
    pub kind: &'static str,
    /// The command's exit code.
    pub exit_code: u8,
    /// The message, as on stderr.
    pub message: String,
    /// The file that caused the error; null if no single file did.
    pub file: Option<String>,
    /// The tensor that caused the error; null if no single tensor did.
    pub tensor: Option<String>,
    /// What to do about it, as an imperative; null if the message says it all.
    pub remedy: Option<String>,
}

impl Failure {
    /// Of an error of a job.
    pub fn of(error: &Error) -> Self {
        Failure {
            error: ErrorReport {
                kind: error.kind().name(),
                exit_code: error.kind().exit_code(),
                message: error.message(&flag),
                file: error.file().map(|path| path.to_string_lossy().into_owned()),
                tensor: error.tensor_name().map(String::from),
                remedy: error.remedy_text(&flag),
            },
        }
    }

    fn of_usage(message: String) -> Self {
        let (kind, exit_code) = (Kind::Usage.name(), Kind::Usage.exit_code());
        let error =
            ErrorReport { kind, exit_code, message, file: None, tensor: None, remedy: None };
        Failure { error }
    }

    /// Prints it on stdout. If that fails, the error is already on stderr.
    fn print(&self) {
        let _ = crate::json(self).and_then(print);
    }
}

/// A setting as the command line spells it: `batch_size` becomes `--batch-size`.
pub fn flag(name: &str, value: Option<&str>) -> String {
    let flag = format!("--{}", name.replace('_', "-"));
    match value {
        None => flag,
        Some(value) => format!("{flag} {value}"),
    }
}

/// What `--version` prints after the command's name: what it was given, and how this binary was built. A macro, since
/// only the binary's own crate knows.
#[macro_export]
macro_rules! long_version {
    ($version:expr) => {{
        let form = if cfg!(target_feature = "crt-static") { ", static" } else { "" };
        let commit = match option_env!("SWA_COMMIT") {
            None | Some("") => String::new(),
            Some(commit) => format!(", commit {commit}"),
        };
        let (processor, system) = (std::env::consts::ARCH, std::env::consts::OS);
        format!("{}\nbuilt for {system} on {processor}{form}{commit}", $version)
    }};
}

/// Parses the arguments; the matches tell which of them were given. `long_version` is what `--version` prints. Ends the
/// process if they cannot be parsed, or if help, the version or something generated was asked for.
pub fn parse_with<Args: CommandFactory + FromArgMatches>(
    long_version: fn() -> String,
) -> (Args, ArgMatches) {
    panics::in_one_line();
    parent::end_with_parent();
    let mut command = Args::command();
    if std::env::args_os().nth(1).is_some_and(|argument| generate::is_flag(&argument)) {
        generate::run(command);
    }
    // Finding out the version takes time: only if it is asked for.
    if std::env::args_os().any(|argument| argument == "--version") {
        let version: &'static str = long_version().leak();
        command = command.long_version(version);
    }
    let parsed = command.try_get_matches();
    match parsed.and_then(|matches| Ok((Args::from_arg_matches(&matches)?, matches))) {
        Ok(parsed) => parsed,
        Err(error) => {
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                let text = error.render().to_string();
                // What is missing is listed below the first line; the usage follows after an empty one.
                let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
                let line = lines.collect::<Vec<_>>().join(" ");
                let line = line.strip_prefix("error: ").unwrap_or(&line);
                Failure::of_usage(printable(line)).print();
            }
            error.exit()
        }
    }
}

/// Runs a command: starts its threads, prints its error as one line (and, with --json, as an object) and returns its
/// exit code.
pub fn run(common: &Common, command: impl FnOnce() -> Result<()>) -> ExitCode {
    match threads(common).and_then(|()| command()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe: it has read enough.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            panics::stderr_line(&format!("error: {}", error.message(&flag)));
            if common.json {
                Failure::of(&error).print();
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn threads(common: &Common) -> Result<()> {
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = common.threads {
        pool = pool.num_threads(threads.into());
    }
    pool.build_global().map_err(|e| Error::limit(format!("cannot start threads: {e}")))
}

fn is_closed_pipe(error: &Error) -> bool {
    use std::error::Error as _;
    let source = error.source().and_then(|e| e.downcast_ref::<std::io::Error>());
    error.kind() == Kind::Io && source.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
