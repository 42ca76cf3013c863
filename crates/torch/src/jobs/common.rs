//! What several jobs need.

use std::path::PathBuf;
use std::time::Instant;

use swa_tools::average::{Float, count_nonfinite};
use swa_tools::checkpoint::{Checkpoint, is_running_statistic};
use swa_tools::{Error, Kind, Progress, Result};

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

/// The error of a pass. Where logits are not finite since a weight is not, new statistics would not help: it is named.
pub(super) fn with_weight(error: Error, checkpoints: &[Checkpoint]) -> Error {
    if error.kind() != Kind::NotFinite {
        return error;
    }
    let model = checkpoints.iter().find(|model| error.file() == Some(model.path()));
    match model.and_then(|model| Some((model, weight_not_finite(model)?))) {
        Some((model, weight)) => Error::new(Kind::NotFinite, "has values that are not finite")
            .at(model.path())
            .tensor(weight)
            .remedy("leave the model out, or take a checkpoint from before it diverged"),
        None => error,
    }
}

/// The first weight that is not finite. Statistics are none.
fn weight_not_finite(model: &Checkpoint) -> Option<&str> {
    let mut weights = model.tensors().iter().enumerate();
    let found = weights.find(|(number, info)| {
        let float = Float::of(info.dtype).filter(|_| !is_running_statistic(&info.name));
        float.is_some_and(|float| {
            model.bytes(*number).is_ok_and(|bytes| {
                // A mask of minus infinity is meant.
                let is_odd = |value: &[u8]| {
                    count_nonfinite(value, float) > 0 && float.infinity(value) != Some(-1.0)
                };
                bytes.chunks_exact(float.size()).any(is_odd)
            })
        })
    });
    found.map(|(_, info)| info.name.as_str())
}
