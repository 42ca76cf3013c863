//! Recomputing batchnorm's running statistics: the averaged weights never saw data in training
//! mode, so the statistics that were averaged with them are not theirs.

mod methods;
mod movement;

use std::collections::HashMap;

use serde_json::{Map, Value};
use tch::{Kind, Tensor};

use crate::average::{Float, kernel};
use crate::checkpoint::{Checkpoint, Dtype};
use crate::data::Batch;
use crate::nn::input::Input;
use crate::nn::{Model, Pass, with_smaller_batch};
use crate::output::{FileTarget, rewrite};
use crate::{Error, METADATA_KEY, Result};
pub use methods::{Accumulator, Method, Statistics};
pub use movement::{Movement, movements};

/// Statistics of all layers, and what they were computed from.
#[derive(Debug)]
pub struct Outcome {
    /// In the order of [`Model::batchnorms`].
    pub layers: Vec<Statistics>,
    pub images: usize,
    pub batches: usize,
}

/// One pass over the batches with every batchnorm layer in training mode, and nothing else.
/// `progress` is told how many images were done.
pub fn run(
    model: &Model,
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    method: Method,
    progress: &dyn Fn(usize),
) -> Result<Outcome> {
    let _guard = tch::no_grad_guard();
    let channels: Vec<usize> = model.batchnorms.iter().map(|layer| layer.channels).collect();
    let mut sums = Accumulator::new(method, &channels);
    let (mut images, mut count) = (0, 0);
    let mut uploaded = batches.map(|batch| {
        let mut batch = batch?;
        let bytes = input.upload(&batch)?;
        batch.pixels = vec![];
        Ok::<_, Error>((batch, bytes))
    });
    let mut next = uploaded.next();
    while let Some(item) = next {
        let (batch, bytes) = item?;
        let mut pass = Pass::Collect(Vec::with_capacity(channels.len()));
        let _logits = input
            .normalise(&bytes)
            .and_then(|x| model.forward(&x, &mut pass))
            .map_err(|e| with_smaller_batch(e, batch.n))?;
        let Pass::Collect(moments) = pass else { unreachable!("the pass stays what it is") };
        // On a GPU its copy is queued behind the forward pass.
        next = uploaded.next();
        // All layers in one transfer: a GPU is waited for once a batch.
        let tensors: Vec<&Tensor> = moments.iter().flat_map(|m| [&m.mean, &m.variance]).collect();
        let all = Vec::<f64>::try_from(Tensor::f_cat(&tensors, 0)?.f_to_kind(Kind::Double)?)?;
        let mut at = 0;
        for m in &moments {
            let channels = channels[m.layer];
            let (mean, variance) = all[at..at + 2 * channels].split_at(channels);
            sums.add(m.layer, batch.n, m.values as usize, mean, variance);
            at += 2 * channels;
        }
        images += batch.n;
        count += 1;
        progress(batch.n);
    }
    if count == 0 {
        return Err(Error::input("no image was left to compute statistics from"));
    }
    let layers = sums.finish();
    for (layer, statistics) in model.batchnorms.iter().zip(&layers) {
        let Some(statistics) = statistics else {
            return Err(Error::input(format!(
                "batchnorm layer `{}` was never reached: it has no statistics",
                layer.name
            )));
        };
        if !statistics.mean.iter().chain(&statistics.variance).all(|x| x.is_finite()) {
            return Err(Error::input(format!(
                "the statistics of batchnorm layer `{}` are not finite",
                layer.name
            ))
            .remedy("check the weights: the network overflows on this data"));
        }
    }
    Ok(Outcome { layers: layers.into_iter().flatten().collect(), images, batches: count })
}

/// Writes the checkpoint again with the new statistics, each rounded once to the type it has in the
/// file. `num_batches_tracked` becomes the number of batches, as `update_bn` leaves it. `record`
/// goes into the metadata.
pub fn write(
    checkpoint: &Checkpoint,
    model: &Model,
    outcome: &Outcome,
    record: Map<String, Value>,
    target: &FileTarget,
) -> Result<()> {
    let mut replaced: HashMap<String, Vec<u8>> = HashMap::new();
    for (layer, statistics) in model.batchnorms.iter().zip(&outcome.layers) {
        let parts = [("running_mean", &statistics.mean), ("running_var", &statistics.variance)];
        for (part, values) in parts {
            let name = format!("{}.{part}", layer.name);
            let Some(info) = checkpoint.get(&name) else { continue };
            let Some(float) = Float::of(info.dtype).filter(|float| float.is_written()) else {
                continue;
            };
            let mut bytes = vec![0; info.size() as usize];
            kernel::finish_exact(values, 1.0, float, &mut bytes);
            if kernel::count_nonfinite(&bytes, float) > 0 {
                return Err(Error::input(format!("the new values do not fit {:?}", info.dtype))
                    .at(checkpoint.path())
                    .tensor(&name)
                    .remedy("convert the model to F32 first"));
            }
            replaced.insert(name, bytes);
        }
        let name = format!("{}.num_batches_tracked", layer.name);
        if checkpoint.get(&name).is_some_and(|info| info.dtype == Dtype::I64) {
            replaced.insert(name, (outcome.batches as i64).to_le_bytes().to_vec());
        }
    }
    let mut metadata = checkpoint.metadata().clone();
    let mut provenance = checkpoint.provenance();
    provenance.extend(record);
    metadata.insert(METADATA_KEY.into(), Value::Object(provenance).to_string());
    rewrite(checkpoint, target, &metadata, &replaced)
}
