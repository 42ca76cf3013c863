//! Recomputing batchnorm's running statistics: the averaged weights never saw data in training
//! mode, so the statistics that were averaged with them are not theirs.

pub mod layerwise;
mod methods;
mod movement;
mod stability;

use std::collections::HashMap;

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::average::{Float, kernel};
use crate::checkpoint::{Checkpoint, Dtype};
use crate::data::Batch;
use crate::nn::batch_norm::Moments;
use crate::nn::input::Input;
use crate::nn::{Model, Pass};
use crate::output::{FileTarget, rewrite};
use crate::{Error, METADATA_KEY, Result};
pub use methods::{Accumulator, Method, Statistics};
pub use movement::{Movement, distance, movements};
pub use stability::{Stability, StandardError};

/// Statistics of all layers, and what they were computed from.
#[derive(Debug)]
pub struct Outcome {
    /// In the order of [`Model::batchnorms`].
    pub layers: Vec<Statistics>,
    pub images: usize,
    pub batches: usize,
    /// How certain they are; None where it was not watched, or one batch was all.
    pub standard_error: Option<StandardError>,
}

/// One pass over the batches with every batchnorm layer in training mode, and nothing else. It ends
/// with the batches, or once the standard error is below `until_stable`. `progress` is told how many
/// images were done.
pub fn run(
    model: &Model,
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    method: Method,
    until_stable: Option<f64>,
    progress: &dyn Fn(usize),
) -> Result<Outcome> {
    let _guard = tch::no_grad_guard();
    let channels: Vec<usize> = model.batchnorms.iter().map(|layer| layer.channels).collect();
    let mut sums = Accumulator::new(method, &channels);
    let mut stability = Stability::new(&channels);
    let (mut images, mut count) = (0, 0);
    for batch in batches {
        let batch = batch?;
        for seen in observe(model, input, &batch)? {
            sums.add(seen.layer, batch.n, seen.values, &seen.mean, &seen.variance);
            stability.add(seen.layer, seen.values, &seen.mean, &seen.variance);
        }
        images += batch.n;
        count += 1;
        progress(batch.n);
        if until_stable.is_some_and(|eps| stability.is_below(eps)) {
            break;
        }
    }
    let outcome = checked(model, sums.finish(), images, count)?;
    Ok(Outcome { standard_error: stability.largest(), ..outcome })
}

impl Statistics {
    /// Those that a checkpoint has for the layer of this name.
    pub fn of(checkpoint: &Checkpoint, layer: &str) -> Option<Self> {
        let read = |part: &str| {
            let number = checkpoint.position(&format!("{layer}.{part}"))?;
            let float = Float::of(checkpoint.tensors()[number].dtype)?;
            let bytes = checkpoint.bytes(number).ok()?;
            Some(bytes.chunks_exact(float.size()).map(|value| float.decode(value)).collect())
        };
        Some(Statistics { mean: read("running_mean")?, variance: read("running_var")? })
    }

    /// Mean and variance as a network has them, rounded to f32.
    pub fn tensors(&self, device: Device) -> Result<[Tensor; 2]> {
        let tensor = |values: &[f64]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?.f_to(device)?)
        };
        Ok([tensor(&self.mean)?, tensor(&self.variance)?])
    }
}

/// What a layer saw of one batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Position in [`Model::batchnorms`].
    pub layer: usize,
    /// Values a channel.
    pub values: usize,
    /// Of each channel.
    pub mean: Vec<f64>,
    /// Of each channel, unbiased.
    pub variance: Vec<f64>,
}

/// Runs a batch through the network, each batchnorm layer normalising by it.
pub fn observe(model: &Model, input: &Input, batch: &Batch) -> Result<Vec<Observed>> {
    let mut pass = Pass::Collect(Vec::with_capacity(model.batchnorms.len()));
    let _logits = model.network.forward(&input.tensor(batch)?, &mut pass)?;
    let Pass::Collect(moments) = pass else { unreachable!("the pass stays what it is") };
    // All layers in one transfer: a GPU is waited for once a batch.
    let tensors: Vec<&Tensor> = moments.iter().flat_map(|m| [&m.mean, &m.variance]).collect();
    let all = Vec::<f64>::try_from(Tensor::f_cat(&tensors, 0)?.f_to_kind(Kind::Double)?)?;
    let mut rest = &all[..];
    let mut take = |n: usize| {
        let (own, others) = rest.split_at(n);
        rest = others;
        own.to_vec()
    };
    let observed = |m: &Moments| {
        let channels = model.batchnorms[m.layer].channels;
        let (mean, variance) = (take(channels), take(channels));
        Observed { layer: m.layer, values: m.values as usize, mean, variance }
    };
    Ok(moments.iter().map(observed).collect())
}

/// The outcome, if every layer has statistics and all are numbers.
pub fn checked(
    model: &Model,
    layers: Vec<Option<Statistics>>,
    images: usize,
    batches: usize,
) -> Result<Outcome> {
    if batches == 0 {
        return Err(Error::input("no image was left to compute statistics from"));
    }
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
    let layers = layers.into_iter().flatten().collect();
    Ok(Outcome { layers, images, batches, standard_error: None })
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
