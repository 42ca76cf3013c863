//! Flags that share a pass, or resume one.

use std::path::{Path, PathBuf};

use swa_base::{panics, text::shown};
use swa_cli::{Common, ShardArg};
use swa_tools::Result;
use swa_torch::jobs::{SavedPart, Sharing};
use swa_torch::parts::{Shard, Tell};
use swa_torch::report::PartReport;

#[derive(Debug, clap::Args)]
pub struct PartArgs {
    // clap takes an i in braces for a line break.
    /// Do part I of N, counted from 0: the batches I, I + N, … of the one order that --seed gives; or auto: the part that
    /// the environment says (Slurm, Kubernetes, MPI, torchrun, …). An i in braces stands for I in PART and STATE
    #[arg(long, value_name = "I/N", help_heading = "Sharing and interruption")]
    pub shard: Option<ShardArg>,

    /// Keep the pass in STATE while it runs, and go on from there if it was interrupted; removed when
    /// all is done
    #[arg(long, value_name = "STATE", help_heading = "Sharing and interruption")]
    pub resume: Option<PathBuf>,
}

/// A line on stderr, with settings as flags.
fn tell(line: &str) {
    panics::stderr_line(&shown(line, &swa_cli::run::flag));
}

/// A path with the number of the part in the place of `{i}`. What is no Unicode has none.
fn numbered(path: &Path, shard: Shard) -> PathBuf {
    match path.to_str() {
        Some(text) => text.replace("{i}", &shard.index.to_string()).into(),
        None => path.to_path_buf(),
    }
}

impl PartArgs {
    /// The options that they give; `save`: where the part goes.
    pub fn sharing(&self, common: &Common, save: Option<&Path>, force: bool) -> Result<Sharing> {
        let tell: fn(&str) = tell;
        let shard = self.shard.map(|shard| shard.shard(common)).transpose()?;
        let numbered = |path: &Path| match shard {
            Some(shard) => numbered(path, shard),
            None => path.to_path_buf(),
        };
        Ok(Sharing {
            shard,
            save: save.map(numbered),
            force,
            resume: self.resume.as_deref().map(numbered),
            tell: if common.quiet { Tell::Errors(tell) } else { Tell::All(tell) },
        })
    }
}

/// Prints what a part holds, and what to do next.
pub fn report(common: &Common, part: &SavedPart, next: &str) -> Result<()> {
    let report = PartReport::of(part);
    common.json(&report)?;
    common.say(report.text())?;
    common.say(format!("next, with all parts: {next}"))
}
