//! Recomputing batchnorm's running statistics: the averaged weights never saw data in training
//! mode, so the statistics that were averaged with them are not theirs.

mod fixed;
pub mod layerwise;
mod methods;
mod movement;
mod parts;
mod stability;

use std::collections::HashMap;
use std::ops::ControlFlow;

use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use crate::nn::batch_norm::{Layer, Moments};
use crate::nn::input::Input;
use crate::nn::{self, Collected, Model, Noise, Pass, with_smaller_batch};
pub use methods::{Accumulator, Method, Statistics};
pub use movement::{Movement, distance, movements};
pub use stability::{MIN_BATCHES, Stability, StandardError};
use swa_data::Batch;
use swa_tools::average::{Float, count_nonfinite, round_to_float};
use swa_tools::checkpoint::{Checkpoint, Dtype};
use swa_tools::output::{FileTarget, rewrite};
use swa_tools::{Error, METADATA_KEY, Result};

/// Statistics of all layers, and what they were computed from.
#[derive(Debug)]
pub struct Outcome {
    /// In the order of [`Model::batchnorms`].
    pub layers: Vec<Statistics>,
    pub images: usize,
    pub batches: usize,
    pub method: Method,
    /// How certain they are; None where it was not watched, or one batch was all.
    pub standard_error: Option<StandardError>,
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
        let tensor = |values: &[f64]| -> nn::Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?.f_to(device)?)
        };
        Ok([tensor(&self.mean)?, tensor(&self.variance)?])
    }
}

/// Channels of each layer.
fn channels(layers: &[Layer]) -> Vec<usize> {
    layers.iter().map(|layer| layer.channels).collect()
}

/// Empty sums for a model's layers.
pub fn accumulator(layers: &[Layer], method: Method) -> Accumulator {
    Accumulator::new(method, &channels(layers))
}

/// What all layers saw of a batch.
#[derive(Debug)]
pub struct BatchMoments {
    images: usize,
    layers: Vec<LayerMoments>,
    /// Mean and variance of each of them, one after the other.
    values: Vec<f64>,
}

#[derive(Debug)]
struct LayerMoments {
    layer: usize,
    channels: usize,
    /// Values a channel.
    values: usize,
}

impl BatchMoments {
    fn of(model: &Model, images: usize, moments: &[Moments]) -> Result<Self> {
        // All layers in one transfer: a GPU is waited for once a batch.
        let tensors: Vec<&Tensor> = moments.iter().flat_map(|m| [&m.mean, &m.variance]).collect();
        let all = Tensor::f_cat(&tensors, 0).and_then(|all| all.f_to_kind(Kind::Double));
        let values = all.and_then(Vec::<f64>::try_from).map_err(nn::Fault::from)?;
        let layer = |m: &Moments| LayerMoments {
            layer: m.layer,
            channels: model.batchnorms[m.layer].channels,
            values: m.values as usize,
        };
        Ok(BatchMoments { images, layers: moments.iter().map(layer).collect(), values })
    }

    pub fn add_to(&self, sums: &mut Accumulator) {
        self.each(|layer, values, mean, variance| {
            sums.add(layer, self.images, values, mean, variance);
        });
    }

    pub fn watch(&self, stability: &mut Stability) {
        self.each(|layer, values, mean, variance| stability.add(layer, values, mean, variance));
    }

    /// Gives each layer's number, values a channel, means and variances.
    fn each(&self, mut take: impl FnMut(usize, usize, &[f64], &[f64])) {
        let mut rest = &self.values[..];
        for &LayerMoments { layer, channels, values } in &self.layers {
            let (own, others) = rest.split_at(2 * channels);
            let (mean, variance) = own.split_at(channels);
            take(layer, values, mean, variance);
            rest = others;
        }
    }
}

/// One pass over the batches with every batchnorm layer in training mode, and nothing else but training
/// noise of the seed `noise`, if there is one. `take` gets each batch and what was seen of it, and may
/// end the pass.
pub fn collect(
    model: &Model,
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    noise: Option<u64>,
    take: &mut dyn FnMut(&Batch, &BatchMoments) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    let _guard = tch::no_grad_guard();
    let mut uploaded = input.uploads(batches);
    let mut next = uploaded.next();
    while let Some(item) = next {
        let (batch, bytes) = item?;
        let noise = noise.map(|seed| Noise::new(seed, &batch.indices));
        let mut pass = Pass::Collect(Collected { moments: vec![], noise });
        let _logits = input
            .normalise(&bytes)
            .and_then(|x| model.forward(&x, &mut pass))
            .map_err(|e| with_smaller_batch(e, batch.n))?;
        let Pass::Collect(Collected { moments, .. }) = pass else {
            unreachable!("the pass stays what it is")
        };
        // On a GPU its copy is queued behind the forward pass.
        next = uploaded.next();
        if take(&batch, &BatchMoments::of(model, batch.n, &moments)?)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The statistics of one pass over the batches; `noise` as in [`collect`].
pub fn run(
    model: &Model,
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    method: Method,
    noise: Option<u64>,
) -> Result<Outcome> {
    let (mut sums, mut images, mut count) = (accumulator(&model.batchnorms, method), 0, 0);
    let _to_the_end = collect(model, input, batches, noise, &mut |batch, moments| {
        moments.add_to(&mut sums);
        images += batch.n;
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    finish(&model.batchnorms, &sums, images, count)
}

/// The statistics of a model's layers, from the sums over so many images in so many batches.
pub fn finish(
    layers: &[Layer],
    sums: &Accumulator,
    images: usize,
    batches: usize,
) -> Result<Outcome> {
    checked(layers, sums.finish(), sums.method(), images, batches)
}

/// The outcome, if there was an image and every layer has statistics that are numbers.
fn checked(
    layers: &[Layer],
    statistics: Vec<Option<Statistics>>,
    method: Method,
    images: usize,
    batches: usize,
) -> Result<Outcome> {
    if images == 0 {
        return Err(Error::input("no image was left to compute statistics from"));
    }
    for (layer, statistics) in layers.iter().zip(&statistics) {
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
    let layers = statistics.into_iter().flatten().collect();
    Ok(Outcome { layers, images, batches, method, standard_error: None })
}

/// Writes the checkpoint again with the new statistics, each rounded once to the type it has in the
/// file. `num_batches_tracked` becomes the number of batches, as `update_bn` leaves it. `record`
/// goes into the metadata.
pub fn write(
    checkpoint: &Checkpoint,
    layers: &[Layer],
    outcome: &Outcome,
    record: Map<String, Value>,
    target: &FileTarget,
) -> Result<()> {
    let mut replaced: HashMap<String, Vec<u8>> = HashMap::new();
    for (layer, statistics) in layers.iter().zip(&outcome.layers) {
        let parts = [("running_mean", &statistics.mean), ("running_var", &statistics.variance)];
        for (part, values) in parts {
            let name = format!("{}.{part}", layer.name);
            let Some(info) = checkpoint.get(&name) else { continue };
            let Some(float) = Float::of(info.dtype).filter(|float| float.is_written()) else {
                continue;
            };
            let bytes = round_to_float(values, float);
            if count_nonfinite(&bytes, float) > 0 {
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
    rewrite_with(checkpoint, record, target, &replaced)
}

/// Writes a checkpoint again that has no statistics to recompute: the same tensors, byte for byte.
/// `record` goes into the metadata.
pub fn write_unchanged(
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
