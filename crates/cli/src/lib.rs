//! What the commands share: flags ([`Common`]), what they print, progress on a terminal ([`progress`]), and how they
//! begin and end ([`mod@run`]).

#![deny(missing_docs)]

pub mod children;
mod generate;
mod parent;
pub mod progress;
pub mod run;
pub mod shard;
pub mod take;
pub mod value;

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use swa_base::text::{printable, shown};
use swa_base::{Error, Result, panics};

pub use progress::{Shown, Terminal};
pub use run::{parse_with, run};
pub use shard::ShardArg;
pub use take::TakeArgs;
pub use value::{at_least_one, choice, one_of, parse_size, positive};

/// The version of the JSON that the commands print. It increases when a field is removed or changes its meaning.
pub const SCHEMA: u32 = 1;

/// Flags of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// Print one JSON object instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Print nothing but errors (and JSON, with --json)
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,

    /// How to show progress on stderr
    #[arg(long, value_name = "HOW", value_parser = choice::<Shown>(), default_value = "bar",
          help_heading = "Output")]
    pub progress: Shown,

    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl Common {
    /// A line for people, on stdout; silent with --quiet or --json.
    pub fn say(&self, line: impl Display) -> Result<()> {
        if self.quiet || self.json {
            return Ok(());
        }
        let text = line.to_string();
        print(text.lines().map(|line| shown(line, &run::flag)).collect::<Vec<_>>().join("\n"))
    }

    /// A note about what is going on, on stderr; silent with --quiet.
    pub fn note(&self, line: impl Display) {
        if !self.quiet {
            // One line, whatever stands in a path.
            panics::stderr_line(&printable(&shown(&line.to_string(), &run::flag)));
        }
    }

    /// The result for machines, if asked for.
    pub fn json<T: Serialize>(&self, report: &T) -> Result<()> {
        if self.json { print(json(report)?) } else { Ok(()) }
    }

    /// Shows the progress of jobs in the way that the flags ask for.
    pub fn terminal(&self) -> Terminal<'_> {
        Terminal::new(self)
    }
}

/// A report as the commands print it: with the version of the schema as its first field.
pub fn json<T: Serialize>(report: &T) -> Result<String> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        schema: u32,
        #[serde(flatten)]
        report: &'a T,
    }
    serde_json::to_string(&Versioned { schema: SCHEMA, report })
        .map_err(|e| Error::usage(format!("cannot write the report as JSON: {e}")))
}

/// Prints a line on stdout.
pub fn print(line: impl Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|e| Error::io(Path::new("stdout"), "write", e))
}
