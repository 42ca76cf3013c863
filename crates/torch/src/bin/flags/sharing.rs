//! Flags that share a pass, or resume one.

use std::path::{Path, PathBuf};

use swa_base::{panics, text::shown};
use swa_cli::Common;
use swa_tools::Result;
use swa_torch::jobs::{SavedPart, Sharing};
use swa_torch::parts::{Shard, Tell};
use swa_torch::report::PartReport;

#[derive(Debug, clap::Args)]
pub struct PartArgs {
    /// Do part I of N, counted from 0: the batches I, I + N, … of the one order that --seed gives
    #[arg(long, value_name = "I/N", help_heading = "Sharing and interruption")]
    pub shard: Option<Shard>,

    /// Keep the pass in STATE while it runs, and go on from there if it was interrupted; removed when
    /// all is done
    #[arg(long, value_name = "STATE", help_heading = "Sharing and interruption")]
    pub resume: Option<PathBuf>,
}

/// A line on stderr, with settings as flags.
fn tell(line: &str) {
    panics::stderr_line(&shown(line, &swa_cli::run::flag));
}

impl PartArgs {
    /// The options that they give; `save`: where the part goes.
    pub fn sharing(&self, common: &Common, save: Option<&Path>, force: bool) -> Sharing {
        let tell: fn(&str) = tell;
        Sharing {
            shard: self.shard,
            save: save.map(Path::to_path_buf),
            force,
            resume: self.resume.clone(),
            tell: if common.quiet { Tell::Errors(tell) } else { Tell::All(tell) },
        }
    }
}

/// Prints what a part holds, and what to do next.
pub fn report(common: &Common, part: &SavedPart, next: &str) -> Result<()> {
    let report = PartReport::of(part);
    common.json(&report)?;
    common.say(report.text())?;
    common.say(format!("next, with all parts: {next}"))
}
