//! The running average beside a training run: each checkpoint is counted once it is complete.

mod command;
mod follower;
mod stop;
#[cfg_attr(not(target_os = "linux"), path = "watch_nothing.rs")]
mod watch;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

pub use stop::Stop;

use super::{Output, StateSize};
use crate::average;
use crate::checkpoint::Take;
use crate::select::Criteria;
use crate::store::unmapped;
use crate::{Error, Progress, Result, choices};

/// What to wait for, and what to make of it.
#[derive(Debug, Clone)]
pub struct Follow {
    /// Files, folders and patterns; what does not exist yet is waited for.
    pub checkpoints: Vec<PathBuf>,
    /// Which of them count. With `last` the output is the mean of so many, read anew for each update.
    pub criteria: Criteria,
    /// Which of the weights in a file are meant.
    pub take: Take,
    /// How to average.
    pub options: average::Options,
    /// What to write: the mean.
    pub output: Output,
    /// Replace what is there at the beginning, whatever it is.
    pub force: bool,
    /// Where the sum is kept, so that a later job goes on. Without one it goes with the job.
    pub state: Option<PathBuf>,
    /// Ends when so many checkpoints are counted.
    pub until: Option<NonZeroUsize>,
    /// Ends when nothing has come for so long.
    pub idle: Option<Duration>,
    /// A line of the shell to run after each update, with `SWA_OUTPUT`, `SWA_COUNT` and `SWA_NEWEST` in its environment.
    pub exec: Option<String>,
    /// A folder that gets an empty file for each checkpoint that is counted, of its path below the folder that all
    /// that is followed shares.
    pub ack: Option<PathBuf>,
    /// Time between two looks at a file that is not known to be complete, and at folders of which the system does not
    /// tell what changes in them.
    pub pause: Duration,
}

/// An update of the output.
#[derive(Debug, Clone)]
pub struct Update {
    /// The output.
    pub output: PathBuf,
    /// How many checkpoints it is the mean of.
    pub count: usize,
    /// Those that this update added, in natural order.
    pub added: Vec<PathBuf>,
    /// The largest number in their names, or the name of the last one if they have none.
    pub newest: String,
    /// Size of the output.
    pub bytes: u64,
    /// The state; None if the output is the mean of the last ones.
    pub state: Option<StateSize>,
    /// Tensors whose means are not finite, and how many values.
    pub nonfinite: Vec<(String, u64)>,
    /// Batchnorm layers, whose statistics no longer match the averaged weights.
    pub batchnorm_layers: usize,
    /// How long it took.
    pub seconds: f64,
}

choices! {
    /// Why a job that follows a run ended.
    pub enum Ended {
        Count = "count": "As many checkpoints are counted as were asked for",
        Idle = "idle": "Nothing has come for as long as was asked for",
        Stopped = "stopped": "It was told to",
    }
}

/// What following a run came to.
#[derive(Debug)]
pub struct Followed {
    /// The output.
    pub output: PathBuf,
    /// The checkpoints in it, in natural order; none: nothing was written.
    pub inputs: Vec<PathBuf>,
    /// How many updates there were.
    pub updates: usize,
    /// The state; None if the output is the mean of the last ones.
    pub state: Option<StateSize>,
    /// Checkpoints that are complete and were not counted, and why.
    pub refused: Vec<(PathBuf, Error)>,
    /// Checkpoints that were not complete when the job ended, and what is wrong with them.
    pub unfinished: Vec<(PathBuf, String)>,
    /// How many times the command failed.
    pub failed_commands: usize,
    /// Why it ended.
    pub ended: Ended,
    /// Batchnorm layers, whose statistics no longer match the averaged weights.
    pub batchnorm_layers: usize,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// Follows a training run: counts each checkpoint once it is complete, and replaces the output after each. A checkpoint
/// is complete when it was renamed into place, or when it is whole by its own format and two looks found the same
/// sizes and times. It may be deleted once it is counted. `told` hears of each update; an error of it ends the job.
///
/// Output and state are whole at any time; see [`RunningAverage`](crate::running::RunningAverage). What is wrong with
/// a checkpoint does not end the job: it is not counted, and said at the end. While the job runs, no file that this
/// process opens is mapped.
///
/// # Errors
/// `Usage` and `OutputExists` before anything is read; `NoMatch` if nothing that is complete came until the time was over; those of a
/// state that is damaged or in use; `NotFinite` for means too large for their type; `Io` where the output cannot have
/// its name. A full disk ends nothing: the update is tried again.
pub fn follow(
    options: &Follow,
    stop: &Stop,
    progress: &dyn Progress,
    told: &mut dyn FnMut(&Update) -> Result<()>,
) -> Result<Followed> {
    let _unmapped = unmapped();
    follower::Follower::begin(options, stop, progress)?.run(told)
}
