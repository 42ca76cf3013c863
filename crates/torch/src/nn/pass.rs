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
    /// Training: normalise by the batch's own statistics, which gradients flow through, and move the running ones
    /// towards them; frozen layers normalise by their running statistics. Noise and dropout are drawn.
    Train(&'a mut Step),
}

impl Pass<'_> {
    /// What to draw the network's training noise from; None if it draws none.
    pub(super) fn noise(&mut self) -> Option<&mut Noise> {
        match self {
            Pass::Collect(collected) => collected.noise.as_mut(),
            Pass::Train(step) => Some(&mut step.noise),
            Pass::Eval | Pass::Given(_) => None,
        }
    }

    /// Sets half of the values to zero and doubles the others, in training; else they stay (dropout with p = ½).
    pub(super) fn dropout(&mut self, x: Tensor) -> Result<Tensor> {
        match self {
            Pass::Train(step) => Ok(x.f_mul(&step.noise.halves(&x)?)?),
            _ => Ok(x),
        }
    }
}

/// What a step of training needs beside the weights.
#[derive(Debug)]
pub struct Step {
    /// Of each layer of [`Model::batchnorms`](super::Model::batchnorms): how far the running statistics move
    /// towards the batch's, from 0 to 1.
    pub momentum: Vec<f64>,
    /// What is drawn at random within the network.
    pub noise: Noise,
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
    /// Prefix of its tensors in the file, for instance `layer1.0.bn1`; the name of its running mean where that does
    /// not end in `.running_mean`.
    pub name: String,
    /// How many channels it normalises.
    pub channels: usize,
    /// How often a forward pass runs it: more than once where a network has it at several places.
    pub calls: usize,
    /// Its statistics in the file.
    pub stored: Stored,
}

/// The names of a layer's statistics in the file: one each, or more where tied modules keep the same values twice. The
/// file may lack all but one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Of the running mean.
    pub mean: Vec<String>,
    /// Of the running variance.
    pub variance: Vec<String>,
    /// Of the counter of batches.
    pub counter: Vec<String>,
}

impl Layer {
    /// A layer whose tensors have the names that PyTorch's modules give them, and which runs once.
    pub fn named(name: &str, channels: usize) -> Self {
        let part = |part: &str| vec![format!("{name}.{part}")];
        let (mean, variance) = (part("running_mean"), part("running_var"));
        let stored = Stored { mean, variance, counter: part("num_batches_tracked") };
        Layer { name: name.to_string(), channels, calls: 1, stored }
    }

    /// The same layer under other names: `rename` gives those in the file.
    pub(super) fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        let Stored { mean, variance, counter } = &mut self.stored;
        let names = mean.iter_mut().chain(variance).chain(counter).chain([&mut self.name]);
        names.for_each(|name| *name = rename(name));
        self
    }
}
