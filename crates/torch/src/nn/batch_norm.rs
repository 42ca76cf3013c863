//! Batch normalisation (Ioffe & Szegedy 2015), in evaluation mode or collecting batch moments.

use tch::{Device, Kind, Tensor};

use super::fault::Result;
use super::moments::ChannelMoments;
use super::pass::{Moments, Pass, one_value};
use super::scope::Scope;

/// PyTorch's default, which every model here uses.
const EPS: f64 = 1e-5;

/// Normalises each channel, then scales and shifts it.
#[derive(Debug)]
pub struct BatchNorm {
    /// Its number among the layers that can be recomputed; None if it is frozen.
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

    /// What evaluation computes, as scale · x + shift, each `[channels]`, in the type that the layer was loaded in.
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
