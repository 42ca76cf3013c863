//! Flags of the running average: a state, and the run to follow.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use swa_cli::at_least_one;
use swa_tools::jobs::{Accumulate, Average, Follow, Output};
use swa_tools::{Error, Result};

/// Flags of the running average.
#[derive(Debug, Clone, clap::Args)]
pub struct FollowArgs {
    /// Keep the exact sum and the list of what is in it in FILE, and go on from there: checkpoints are added to those
    /// that were counted before, and none is counted twice
    #[arg(long, value_name = "FILE", conflicts_with_all = ["weights", "weights_file", "explain", "dry_run", "verify", "list", "max_shard_size"], help_heading = "Running average")]
    pub state: Option<PathBuf>,

    /// Wait for checkpoints while a trainer writes them, count each once it is complete, and replace the output
    /// after each
    #[arg(long, conflicts_with_all = ["weights", "weights_file", "explain", "dry_run", "verify", "list"], help_heading = "Running average")]
    pub follow: bool,

    /// End when COUNT checkpoints are counted
    #[arg(long, value_name = "COUNT", value_parser = at_least_one::<NonZeroUsize>, requires = "follow", help_heading = "Running average")]
    pub until: Option<NonZeroUsize>,

    /// End when nothing has come for SECONDS
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "follow", help_heading = "Running average")]
    pub idle: Option<Duration>,

    /// Run CMD with sh after each update, with SWA_OUTPUT, SWA_COUNT (how many are in it) and SWA_NEWEST (the number
    /// of the last one) in its environment. What it prints goes to stderr
    #[arg(long, value_name = "CMD", requires = "follow", help_heading = "Running average")]
    pub exec: Option<String>,

    /// Leave an empty file in DIR for each checkpoint that is counted, of its path below what is followed: it may be
    /// deleted
    #[arg(
        long,
        value_name = "DIR",
        requires = "follow",
        requires = "state",
        help_heading = "Running average"
    )]
    pub ack: Option<PathBuf>,

    /// Time between two looks at a file that was not renamed into place, and at folders on NFS, Lustre and the like
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "2", requires = "follow", help_heading = "Running average")]
    pub poll: Duration,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("expected more than 0 seconds".into()),
    }
}

impl FollowArgs {
    /// What an average of these options becomes with a state.
    pub fn accumulate(&self, average: &Average) -> Result<Option<Accumulate>> {
        let Some(state) = self.state.clone() else { return Ok(None) };
        let output = only(average)?;
        let Average { checkpoints, criteria, take, options, force, .. } = average.clone();
        Ok(Some(Accumulate { checkpoints, criteria, take, options, output, force, state }))
    }

    /// What it becomes if a run is followed.
    pub fn follow(&self, average: Average) -> Result<Follow> {
        let output = only(&average)?;
        let Average { checkpoints, criteria, take, options, force, .. } = average;
        Ok(Follow {
            checkpoints,
            criteria,
            take,
            options,
            output,
            force,
            state: self.state.clone(),
            until: self.until,
            idle: self.idle,
            exec: self.exec.clone(),
            ack: self.ack.clone(),
            pause: self.poll,
        })
    }
}

/// The only output.
fn only(average: &Average) -> Result<Output> {
    match &average.outputs[..] {
        [output] => Ok(output.clone()),
        _ => Err(Error::usage("a running average has one --output")
            .remedy("average all checkpoints at once for several")),
    }
}
