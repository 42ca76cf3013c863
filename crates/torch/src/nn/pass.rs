//! How a forward pass treats the batchnorm layers of a network.

use tch::Tensor;

use super::fault::Result;
use super::noise::Noise;
use swa_base::{Error, setting};

/// Gives a layer, by its number and its input, the statistics to normalise by: mean and variance, `[channels]` each,
/// f32, on the network's device.
pub type Given<'a> = dyn Fn(usize, &Tensor) -> Result<[Tensor; 2]> + 'a;

/// How a forward pass treats its batchnorm layers.
pub enum Pass<'a> {
    /// Normalise by the running statistics.
    Eval,
    /// Normalise by the batch's own statistics, as in training, and collect them; frozen layers normalise by their
    /// running statistics. Nothing else is in training mode, except for the noise if there is any.
    Collect(Collected),
    /// Normalise by these statistics in place of the running ones, except in frozen layers. Everything else is as in
    /// `Eval`.
    Given(&'a Given<'a>),
}

impl Pass<'_> {
    /// What to draw the network's training noise from; None if it draws none.
    pub(super) fn noise(&mut self) -> Option<&mut Noise> {
        match self {
            Pass::Collect(collected) => collected.noise.as_mut(),
            Pass::Eval | Pass::Given(_) => None,
        }
    }
}

/// What a pass collects, and the training noise that it collects with.
#[derive(Debug, Default)]
pub struct Collected {
    /// In the order in which the layers ran.
    pub moments: Vec<Moments>,
    /// None: no noise.
    pub noise: Option<Noise>,
}

/// The moments of one layer's input over one batch, on the network's device: f64 on the CPU, f32 on a GPU.
#[derive(Debug)]
pub struct Moments {
    /// Position in [`Model::batchnorms`](super::Model::batchnorms).
    pub layer: usize,
    /// Values a channel, m = images · height · width.
    pub values: i64,
    /// Mean of each channel, `[channels]`.
    pub mean: Tensor,
    /// Unbiased variance (divided by m − 1) of each channel, `[channels]`.
    pub variance: Tensor,
}

/// A batch of one value a channel has no variance.
pub(crate) fn one_value(layer: &str) -> Error {
    let what = "sees one value a channel, which has no variance";
    Error::input(format!("batchnorm layer `{layer}` {what}")).remedy(concat!(
        "choose ",
        setting!("batch_size"),
        " or ",
        setting!("samples"),
        " so that no batch is a single image"
    ))
}

/// A batchnorm layer of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Prefix of its tensors in the file, for instance `layer1.0.bn1`.
    pub name: String,
    /// How many channels it normalises.
    pub channels: usize,
}
