//! Writing a model again with new statistics.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::outcome::Outcome;
use crate::nn::{Layer, Stored};
use swa_tools::average::{Float, count_nonfinite, round_to_float};
use swa_tools::checkpoint::{Checkpoint, Dtype};
use swa_tools::output::{FileTarget, rewrite};
use swa_tools::{Error, Kind, METADATA_KEY, Result};

/// Writes the checkpoint again with the new statistics, each rounded once to the type it has in the
/// file. `num_batches_tracked` becomes the number of batches, as PyTorch's `update_bn` leaves it. `record`
/// goes into the metadata.
///
/// # Errors
/// `NotFinite` if a value is too large for its type in the file; those of reading and writing.
pub fn write(
    checkpoint: &Checkpoint,
    layers: &[Layer],
    outcome: &Outcome,
    record: Map<String, Value>,
    target: &FileTarget,
) -> Result<()> {
    let mut replaced: HashMap<String, Vec<u8>> = HashMap::new();
    for (layer, statistics) in layers.iter().zip(&outcome.layers) {
        let Stored { mean, variance, counter } = &layer.stored;
        let means = mean.iter().map(|name| (name, &statistics.mean));
        let variances = variance.iter().map(|name| (name, &statistics.variance));
        for (name, values) in means.chain(variances) {
            let Some(info) = checkpoint.get(name) else { continue };
            let Some(float) = Float::of(info.dtype).filter(|float| float.is_written()) else {
                continue;
            };
            let bytes = round_to_float(values, float);
            if count_nonfinite(&bytes, float) > 0 {
                let what = format!("the new values do not fit {:?}", info.dtype);
                return Err(Error::new(Kind::NotFinite, what)
                    .at(checkpoint.path())
                    .tensor(name)
                    .remedy("convert the model to F32 first"));
            }
            replaced.insert(name.clone(), bytes);
        }
        // A layer at several places counts each of them.
        let count = (outcome.batches * layer.calls) as i64;
        for name in counter {
            if checkpoint.get(name).is_some_and(|info| info.dtype == Dtype::I64) {
                replaced.insert(name.clone(), count.to_le_bytes().to_vec());
            }
        }
    }
    rewrite_with(checkpoint, record, target, &replaced)
}

/// Writes a checkpoint that has no statistics to recompute again: the same tensors, byte for byte.
/// `record` goes into the metadata.
pub(crate) fn write_unchanged(
    checkpoint: &Checkpoint,
    record: Map<String, Value>,
    target: &FileTarget,
) -> Result<()> {
    rewrite_with(checkpoint, record, target, &HashMap::new())
}

fn rewrite_with(
    checkpoint: &Checkpoint,
    record: Map<String, Value>,
    target: &FileTarget,
    replaced: &HashMap<String, Vec<u8>>,
) -> Result<()> {
    let mut metadata = checkpoint.metadata().clone();
    let mut provenance = checkpoint.provenance();
    provenance.extend(record);
    metadata.insert(METADATA_KEY.into(), Value::Object(provenance).to_string());
    rewrite(checkpoint, target, &metadata, replaced)
}
