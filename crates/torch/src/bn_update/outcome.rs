//! What a pass computes: the statistics of all layers.

use tch::{Device, Kind, Tensor};

use super::methods::{Accumulator, Method, Statistics};
use super::stability::StandardError;
use crate::nn::{self, Layer, Stored};
use swa_tools::average::Float;
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind as ErrorKind, Result};

/// The statistics of all layers, and what they were computed from.
#[derive(Debug)]
pub struct Outcome {
    /// In the order of [`Model::batchnorms`](crate::nn::Model::batchnorms).
    pub layers: Vec<Statistics>,
    /// Images they were computed from.
    pub images: usize,
    /// Batches of them that had an image.
    pub batches: usize,
    /// How the batches were combined.
    pub method: Method,
    /// How certain they are; None if it was not estimated, or from a single batch.
    pub standard_error: Option<StandardError>,
}

impl Statistics {
    /// Those that a checkpoint has for the layer, if it has them.
    pub(crate) fn of(checkpoint: &Checkpoint, layer: &Layer) -> Option<Self> {
        let read = |names: &[String]| {
            let number = names.iter().find_map(|name| checkpoint.position(name))?;
            let float = Float::of(checkpoint.tensors()[number].dtype)?;
            let bytes = checkpoint.bytes(number).ok()?;
            Some(bytes.chunks_exact(float.size()).map(|value| float.decode(value)).collect())
        };
        let Stored { mean, variance, .. } = &layer.stored;
        Some(Statistics { mean: read(mean)?, variance: read(variance)? })
    }

    /// Mean and variance as a network has them: `[channels]`, f32, on its device.
    pub(crate) fn tensors(&self, device: Device) -> Result<[Tensor; 2]> {
        let tensor = |values: &[f64]| -> nn::Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_to_kind(Kind::Float)?.f_to(device)?)
        };
        Ok([tensor(&self.mean)?, tensor(&self.variance)?])
    }
}

/// Empty sums for a model's layers.
pub(crate) fn accumulator(layers: &[Layer], method: Method) -> Accumulator {
    let channels: Vec<usize> = layers.iter().map(|layer| layer.channels).collect();
    Accumulator::new(method, &channels)
}

/// The statistics of a model's layers, from sums over so many images in so many batches.
///
/// # Errors
/// `Input` if there was no image or a layer was never reached, `NotFinite`.
pub(crate) fn finish(
    layers: &[Layer],
    sums: &Accumulator,
    images: usize,
    batches: usize,
) -> Result<Outcome> {
    checked(layers, sums.finish(), sums.method(), images, batches)
}

/// The outcome, if there was an image and every layer has finite statistics.
pub(super) fn checked(
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
            let what = format!("the statistics of batchnorm layer `{}` are not finite", layer.name);
            return Err(Error::new(ErrorKind::NotFinite, what)
                .remedy("check the weights: the network overflows on this data"));
        }
    }
    let layers = statistics.into_iter().flatten().collect();
    Ok(Outcome { layers, images, batches, method, standard_error: None })
}
