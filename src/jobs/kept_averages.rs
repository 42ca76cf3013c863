//! Lightning's `StochasticWeightAveraging` keeps its average beside the weights of each checkpoint, and is found in two
//! states that make no snapshots: its last epoch, which refreshes batchnorm's statistics, has the average in place of the
//! weights; and before it begins to average, what it keeps are the weights that the training began with.

use std::path::PathBuf;

use crate::Result;
use crate::checkpoint::same::tensors_are_equal;
use crate::checkpoint::{Checkpoint, Dtype, Take};
use crate::weights::AVERAGE;

/// Checkpoints that hold no snapshot, or no average where `take` asks for it, each with the reason.
///
/// # Errors
/// Those of reading. What cannot be opened another way is as it was taken.
pub(super) fn find(inputs: &[Checkpoint], take: &Take) -> Result<Vec<(PathBuf, &'static str)>> {
    let mut found = vec![];
    for input in inputs {
        let why = match take.ema {
            true if input.taken().is_empty => {
                "has no average yet, but what the training began with"
            }
            false if is_average(input, take)? => {
                "has the average of Lightning's callback in place of its weights"
            }
            _ => continue,
        };
        found.push((input.path().to_path_buf(), why));
    }
    // Of nothing else there is a mean.
    Ok(if found.len() == inputs.len() { vec![] } else { found })
}

/// Whether the weights are the average beside them, but for batchnorm's statistics.
fn is_average(input: &Checkpoint, take: &Take) -> Result<bool> {
    let has_callbacks = input.taken().others.iter().any(|(key, _)| key == "callbacks");
    if !input.taken().has_average || !has_callbacks {
        return Ok(false);
    }
    let take = Take { ema: true, ..take.clone() };
    let Ok(average) = Checkpoint::open_with(input.path(), &take) else { return Ok(false) };
    if !average.taken().key.ends_with(AVERAGE) {
        return Ok(false);
    }
    let mut pairs = vec![];
    for (i, info) in input.tensors().iter().enumerate() {
        let is_float = matches!(info.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16);
        let last = info.name.rsplit('.').next().unwrap_or_default();
        if is_float && !last.starts_with("running_") {
            let Some(j) = average.position(&info.name) else { return Ok(false) };
            pairs.push((i, j));
        }
    }
    // What is small is read quickly, and training changes it as well.
    pairs.sort_by_key(|&(i, _)| input.tensors()[i].size());
    Ok(!pairs.is_empty() && tensors_are_equal((input, &average), &pairs)?)
}
