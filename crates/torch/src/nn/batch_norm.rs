//! Batch normalisation (Ioffe & Szegedy 2015), in evaluation mode or collecting batch moments.

use tch::{Device, Kind, Tensor};

use super::moments::ChannelMoments;
use super::noise::Noise;
use super::weights::Scope;
use crate::nn::Result;
use swa_base::Error;

/// PyTorch's default, which every model here uses.
const EPS: f64 = 1e-5;

/// What a layer is to normalise by, told its number and its input: mean and variance, f32, one value a
/// channel, on the network's device.
pub type Given<'a> = dyn Fn(usize, &Tensor) -> Result<[Tensor; 2]> + 'a;

/// How a forward pass treats its batchnorm layers.
pub enum Pass<'a> {
    /// Normalise by the running statistics.
    Eval,
    /// Normalise by the batch's own statistics, as in training, and keep them; frozen layers by their
    /// running statistics. Nothing else is in training mode, unless there is noise.
    Collect(Collected),
    /// Normalise by other statistics than the model's own, but for frozen layers; everything else is as
    /// in `Eval`.
    Given(&'a Given<'a>),
}

impl Pass<'_> {
    /// What to draw the network's training noise from; None: there is none.
    pub fn noise(&mut self) -> Option<&mut Noise> {
        match self {
            Pass::Collect(collected) => collected.noise.as_mut(),
            Pass::Eval | Pass::Given(_) => None,
        }
    }
}

/// What a pass collects, and the training noise that it is collected with.
#[derive(Debug, Default)]
pub struct Collected {
    pub moments: Vec<Moments>,
    pub noise: Option<Noise>,
}

/// What one layer saw of one batch, on the network's device: f64 on the CPU, f32 on a GPU.
#[derive(Debug)]
pub struct Moments {
    /// Position in [`super::Model::batchnorms`].
    pub layer: usize,
    /// Values a channel, m = images · height · width.
    pub values: i64,
    /// Mean of each channel, `[channels]`.
    pub mean: Tensor,
    /// Unbiased variance (divided by m − 1) of each channel, `[channels]`.
    pub variance: Tensor,
}

/// What a layer has to say to a single value.
pub fn one_value(layer: &str) -> Error {
    let what = "sees one value a channel, which has no variance";
    Error::input(format!("batchnorm layer `{layer}` {what}"))
        .remedy("choose --batch-size or --samples so that no batch is a single image")
}

/// Names a batchnorm layer of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Prefix of its tensors in the file, for instance `layer1.0.bn1`.
    pub name: String,
    pub channels: usize,
}

#[derive(Debug)]
pub struct BatchNorm {
    /// None: frozen.
    layer: Option<usize>,
    name: String,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
}

impl BatchNorm {
    pub fn new(mut scope: Scope, channels: usize) -> Result<Self> {
        let shape = [channels];
        scope.get_optional_count("num_batches_tracked");
        Ok(BatchNorm {
            layer: scope.register_batch_norm(channels),
            name: scope.name().to_string(),
            weight: scope.get_wide("weight", &shape)?,
            bias: scope.get_wide("bias", &shape)?,
            running_mean: scope.get_wide("running_mean", &shape)?,
            running_var: scope.get_wide("running_var", &shape)?,
        })
    }

    /// Evaluation as scale · x + shift, each `[channels]`, in the type that the layer was loaded in.
    pub fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        let deviation = self.running_var.f_add_scalar(EPS)?.f_sqrt()?;
        let scale = self.weight.f_div(&deviation)?;
        let shift = self.bias.f_sub(&self.running_mean.f_mul(&scale)?)?;
        Ok((scale, shift))
    }

    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (layer, collected) = match (self.layer, pass) {
            (None, _) | (_, Pass::Eval) => {
                return self.normalise(x, &self.running_mean, &self.running_var);
            }
            (Some(layer), Pass::Given(given)) => {
                let [mean, variance] = given(layer, x)?;
                return self.normalise(x, &mean, &variance);
            }
            (Some(layer), Pass::Collect(collected)) => (layer, collected),
        };
        let size = x.size();
        let values = size.iter().product::<i64>() / size[1];
        if values < 2 {
            return Err(one_value(&self.name).into());
        }
        let (y, mean, variance) = if x.device() == Device::Cpu {
            let ChannelMoments { mean, squares, .. } = ChannelMoments::of(x)?;
            let mean = Tensor::f_from_slice(&mean)?;
            let squares = Tensor::f_from_slice(&squares)?;
            let biased = squares.f_div_scalar(values)?.f_to_kind(Kind::Float)?;
            let y = self.normalise(x, &mean.f_to_kind(Kind::Float)?, &biased)?;
            (y, mean, squares.f_div_scalar(values - 1)?)
        } else {
            // With momentum 1 libtorch leaves the batch's mean and unbiased variance, computed as in
            // training, in the running statistics it is given.
            let mean = Tensor::f_zeros([size[1]], (Kind::Float, x.device()))?;
            let variance = mean.f_zeros_like()?;
            let (weight, bias) = (Some(&self.weight), Some(&self.bias));
            let y =
                x.f_batch_norm(weight, bias, Some(&mean), Some(&variance), true, 1.0, EPS, true)?;
            (y, mean, variance)
        };
        collected.moments.push(Moments { layer, values, mean, variance });
        Ok(y)
    }

    fn normalise(&self, x: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        Ok(x.f_batch_norm(weight, bias, Some(mean), Some(variance), false, 0.0, EPS, true)?)
    }
}
