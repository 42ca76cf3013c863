//! Batch normalisation (Ioffe & Szegedy 2015), in evaluation mode or collecting batch moments.

use tch::{Device, Kind, Tensor};

use super::fault::Result;
use super::moments::ChannelMoments;
use super::pass::{Moments, Pass, one_value};
use super::scope::Scope;

/// PyTorch's default, which every family uses.
pub const EPS: f64 = 1e-5;

/// Normalises each channel, then scales and shifts it.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    normalisation: Normalisation,
}

/// A batchnorm layer without weight and bias: what it normalises by. Inputs are [images, channels], or have any
/// dimensions after those.
#[derive(Debug)]
pub struct Normalisation {
    /// Its number among the layers that can be recomputed; None if it is frozen.
    pub layer: Option<usize>,
    /// For messages.
    pub name: String,
    /// `[channels]`, like the variance.
    pub running_mean: Tensor,
    pub running_var: Tensor,
    /// What is added to variances.
    pub eps: f64,
}

/// Weight and bias, `[channels]` each, of a layer that has them.
pub type Affine<'a> = [Option<&'a Tensor>; 2];

impl BatchNorm {
    pub fn new(mut scope: Scope, channels: usize) -> Result<Self> {
        let shape = [channels];
        scope.get_optional_count("num_batches_tracked");
        let (layer, name) = (scope.register_batch_norm(channels), scope.name().to_string());
        Ok(BatchNorm {
            weight: scope.get_wide("weight", &shape)?,
            bias: scope.get_wide("bias", &shape)?,
            normalisation: Normalisation {
                layer,
                name,
                running_mean: scope.get_wide("running_mean", &shape)?,
                running_var: scope.get_wide("running_var", &shape)?,
                eps: EPS,
            },
        })
    }

    /// What evaluation computes, as scale · x + shift, each `[channels]`, in the type that the layer was loaded in.
    pub fn scale_and_shift(&self) -> Result<(Tensor, Tensor)> {
        self.normalisation.scale_and_shift([Some(&self.weight), Some(&self.bias)])
    }

    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.normalisation.forward(x, [Some(&self.weight), Some(&self.bias)], pass)
    }
}

impl Normalisation {
    /// What evaluation computes, as scale · x + shift, each `[channels]`, in the type of the statistics.
    pub fn scale_and_shift(&self, [weight, bias]: Affine) -> Result<(Tensor, Tensor)> {
        let deviation = self.running_var.f_add_scalar(self.eps)?.f_sqrt()?;
        let scale = match weight {
            Some(weight) => weight.f_div(&deviation)?,
            None => deviation.f_reciprocal()?,
        };
        let mean = self.running_mean.f_mul(&scale)?;
        let shift = match bias {
            Some(bias) => bias.f_sub(&mean)?,
            None => mean.f_neg()?,
        };
        Ok((scale, shift))
    }

    pub fn forward(&self, x: &Tensor, affine: Affine, pass: &mut Pass) -> Result<Tensor> {
        let (layer, collected) = match (self.layer, pass) {
            (None, _) | (_, Pass::Eval) => {
                return self.normalise(x, affine, &self.running_mean, &self.running_var);
            }
            (Some(layer), Pass::Given(given)) => {
                let [mean, variance] = given(layer, x)?;
                return self.normalise(x, affine, &mean, &variance);
            }
            (Some(layer), Pass::Train(step)) => {
                self.values(x)?;
                let (mean, var) = (Some(&self.running_mean), Some(&self.running_var));
                let (momentum, [weight, bias]) = (step.momentum[layer], affine);
                return Ok(x.f_batch_norm(weight, bias, mean, var, true, momentum, self.eps, true)?);
            }
            (Some(layer), Pass::Collect(collected)) => (layer, collected),
        };
        let (size, values) = (x.size(), self.values(x)?);
        let (y, mean, variance) = if x.device() == Device::Cpu {
            let ChannelMoments { mean, squares, .. } = ChannelMoments::of(x)?;
            let mean = Tensor::f_from_slice(&mean)?;
            let squares = Tensor::f_from_slice(&squares)?;
            let biased = squares.f_div_scalar(values)?.f_to_kind(Kind::Float)?;
            let y = self.normalise(x, affine, &mean.f_to_kind(Kind::Float)?, &biased)?;
            (y, mean, squares.f_div_scalar(values - 1)?)
        } else {
            // With momentum 1 libtorch leaves the batch's mean and unbiased variance, computed as in
            // training, in the running statistics it is given.
            let mean = Tensor::f_zeros([size[1]], (Kind::Float, x.device()))?;
            let variance = mean.f_zeros_like()?;
            let y = batch_norm(x, affine, Some([&mean, &variance]), true, self.eps)?;
            (y, mean, variance)
        };
        collected.moments.push(Moments { layer, values, mean, variance });
        Ok(y)
    }

    /// How many values a channel has; fewer than two have no variance.
    fn values(&self, x: &Tensor) -> Result<i64> {
        let size = x.size();
        // A view may claim more values than there can be; libtorch refuses them.
        let values = size.iter().fold(1i64, |all, &n| all.saturating_mul(n)) / size[1].max(1);
        if values < 2 {
            return Err(one_value(&self.name).into());
        }
        Ok(values)
    }

    fn normalise(&self, x: &Tensor, affine: Affine, mean: &Tensor, var: &Tensor) -> Result<Tensor> {
        batch_norm(x, affine, Some([mean, var]), false, self.eps)
    }
}

/// Normalises by the statistics, or in `training` by the batch's own, which the statistics then become.
pub fn batch_norm(
    x: &Tensor,
    [weight, bias]: Affine,
    statistics: Option<[&Tensor; 2]>,
    training: bool,
    eps: f64,
) -> Result<Tensor> {
    let [mean, variance] = statistics.map_or([None, None], |s| s.map(Some));
    let momentum = if training { 1.0 } else { 0.0 };
    Ok(x.f_batch_norm(weight, bias, mean, variance, training, momentum, eps, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::pass::Collected;

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 3.0 + 1.0
    }

    /// In evaluation and with the batch's own statistics, as libtorch's own.
    #[test]
    fn every_rank_and_eps_with_and_without_weight_and_bias_as_libtorch_has_it() {
        tch::manual_seed(1);
        let (weight, bias) = (random(&[3]), random(&[3]));
        let normalisation = |eps| Normalisation {
            layer: Some(0),
            name: "bn".into(),
            running_mean: random(&[3]),
            running_var: random(&[3]).abs() + 0.1,
            eps,
        };
        for shape in [&[40, 3][..], &[4, 3, 9], &[4, 3, 5, 6], &[2, 3, 4, 5, 6]] {
            for eps in [1e-5, 1e-3, 0.5] {
                for affine in [[None, None], [Some(&weight), None], [Some(&weight), Some(&bias)]] {
                    let (x, bn) = (random(shape), normalisation(eps));
                    let own = |training| {
                        let [mean, var] = [&bn.running_mean, &bn.running_var].map(Tensor::copy);
                        let y = batch_norm(&x, affine, Some([&mean, &var]), training, eps);
                        (y.unwrap(), mean, var)
                    };
                    let y = bn.forward(&x, affine, &mut Pass::Eval).unwrap();
                    assert_eq!(y, own(false).0);
                    let (scale, shift) = bn.scale_and_shift(affine).unwrap();
                    let mut channels = vec![1; shape.len()];
                    channels[1] = 3;
                    let folded = &x * scale.view(&channels[..]) + shift.view(&channels[..]);
                    assert!(folded.allclose(&y, 1e-5, 1e-5, false), "{shape:?}");

                    let mut pass = Pass::Collect(Collected::default());
                    let y = bn.forward(&x, affine, &mut pass).unwrap();
                    let Pass::Collect(Collected { mut moments, .. }) = pass else { unreachable!() };
                    let Moments { values, mean, variance, layer } = moments.remove(0);
                    let (expected, own_mean, own_variance) = own(true);
                    assert!(y.allclose(&expected, 1e-5, 1e-5, false), "{shape:?}");
                    let close = |a: &Tensor, b: Tensor| {
                        a.allclose(&b.to_kind(Kind::Double), 1e-5, 1e-6, false)
                    };
                    assert!(close(&mean, own_mean) && close(&variance, own_variance), "{shape:?}");
                    assert_eq!((layer, values), (0, shape.iter().product::<i64>() / 3));
                }
            }
        }
    }

    #[test]
    fn one_value_a_channel_is_refused_in_every_rank() {
        let ones = || Tensor::ones([3], (Kind::Float, Device::Cpu));
        let (running_mean, running_var) = (ones(), ones());
        let bn = Normalisation {
            layer: Some(0),
            name: "bn".into(),
            running_mean,
            running_var,
            eps: EPS,
        };
        for shape in [&[1, 3][..], &[1, 3, 1], &[1, 3, 1, 1], &[1, 3, 1, 1, 1]] {
            let mut pass = Pass::Collect(Collected::default());
            let error = bn.forward(&random(shape), [None, None], &mut pass).unwrap_err();
            assert!(swa_base::Error::from(error).to_string().contains("`bn` sees one value"));
        }
    }
}
