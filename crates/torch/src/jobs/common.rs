//! What several jobs need.

use std::path::PathBuf;
use std::time::Instant;

use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Progress, Result};

use crate::session;

/// Reports which images were left out.
pub(super) fn note_skipped(progress: &dyn Progress, lines: &[String]) {
    if !lines.is_empty() {
        progress.note(&format!("warning: {} image(s) left out:", lines.len()));
        lines.iter().for_each(|line| progress.note(&format!("  {line}")));
    }
}

/// Seconds since a job began.
pub(super) fn since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64()
}

/// Opens the models' files.
pub(super) fn open(
    models: &[PathBuf],
    data: &session::Options,
    progress: &dyn Progress,
) -> Result<Vec<Checkpoint>> {
    let take = &data.networks.take;
    let checkpoints: Vec<Checkpoint> =
        models.iter().map(|path| Checkpoint::open_with(path, take)).collect::<Result<_>>()?;
    swa_tools::jobs::say_taken(progress, &checkpoints, false);
    Ok(checkpoints)
}
