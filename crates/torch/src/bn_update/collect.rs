//! One pass over training images: the moments of every batch, and the statistics that they make.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use tch::{Kind, Tensor};

use super::methods::{Accumulator, Method};
use super::outcome::{Outcome, accumulator, finish};
use super::stability::Stability;
use crate::nn::input::Input;
use crate::nn::{self, ChannelMoments, Collected, Model, Moments, Noise, Pass, with_smaller_batch};
use swa_base::Result;
use swa_data::Batch;

/// The moments of all layers over one batch.
#[derive(Debug)]
pub(crate) struct BatchMoments {
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
    /// Whether the batch has other moments of this layer, too.
    repeated: bool,
}

impl BatchMoments {
    fn of(model: &Model, images: usize, moments: &[Moments]) -> Result<Self> {
        // All layers in one transfer, so that the host waits for a GPU once a batch.
        let tensors: Vec<&Tensor> = moments.iter().flat_map(|m| [&m.mean, &m.variance]).collect();
        let all = Tensor::f_cat(&tensors, 0).and_then(|all| all.f_to_kind(Kind::Double));
        let values = all.and_then(Vec::<f64>::try_from).map_err(nn::Fault::from)?;
        let layer = |m: &Moments| LayerMoments {
            layer: m.layer,
            channels: model.batchnorms[m.layer].channels,
            values: m.values as usize,
            repeated: model.batchnorms[m.layer].calls > 1,
        };
        Ok(BatchMoments { images, layers: moments.iter().map(layer).collect(), values })
    }

    /// Adds the batch to the sums.
    pub fn add_to(&self, sums: &mut Accumulator) {
        self.each(|m, mean, variance| sums.add(m.layer, self.images, m.values, mean, variance));
    }

    /// Adds the batch to the estimate of the standard error.
    pub fn watch(&self, stability: &mut Stability) {
        // What a layer gets at several places depends on the same images: it is one batch.
        let mut together: BTreeMap<usize, ChannelMoments> = BTreeMap::new();
        self.each(|m, mean, variance| {
            if !m.repeated {
                return stability.add(m.layer, m.values, mean, variance);
            }
            let squares = variance.iter().map(|v| v * (m.values - 1) as f64).collect();
            let own = ChannelMoments { values: m.values, mean: mean.to_vec(), squares };
            let all = together.remove(&m.layer).map_or(own.clone(), |others| others.merge(own));
            together.insert(m.layer, all);
        });
        for (layer, ChannelMoments { values, mean, squares }) in together {
            let variance: Vec<f64> = squares.iter().map(|s| s / (values - 1) as f64).collect();
            stability.add(layer, values, &mean, &variance);
        }
    }

    /// Gives moments one by one, with means and variances.
    fn each(&self, mut take: impl FnMut(&LayerMoments, &[f64], &[f64])) {
        let mut rest = &self.values[..];
        for moments in &self.layers {
            let (own, others) = rest.split_at(2 * moments.channels);
            let (mean, variance) = own.split_at(moments.channels);
            take(moments, mean, variance);
            rest = others;
        }
    }
}

/// One pass over the batches with every batchnorm layer in training mode, and nothing else except for training
/// noise with the seed `noise`, if there is one. `take` gets each batch with its moments, and may end the pass.
pub(crate) fn collect(
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

/// The statistics of one pass over the batches by any method but the layerwise one. `noise`: the seed of the
/// network's training noise; None draws none.
///
/// # Errors
/// `Input` if there was no image, a layer was never reached or got a single value a channel; `NotFinite`,
/// `OutOfMemory`; those of the batches and of libtorch.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Layer;

    /// Mean and unbiased variance.
    fn moments(values: &[f64]) -> [f64; 2] {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        [mean, values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)]
    }

    fn batch(parts: &[&[f64]]) -> BatchMoments {
        let repeated = parts.len() > 1;
        let layer =
            |part: &&[f64]| LayerMoments { layer: 0, channels: 1, values: part.len(), repeated };
        let layers = parts.iter().map(layer).collect();
        let values = parts.iter().flat_map(|part| moments(part)).collect();
        BatchMoments { images: 4, layers, values }
    }

    #[test]
    fn what_a_layer_gets_at_two_places_is_one_batch_of_the_standard_error_and_two_of_the_sums() {
        let layer = Layer { calls: 2, ..Layer::named("bn", 1) };
        let batches = [[1.0, 4.0, 2.0, 9.0, -3.0], [0.5, 2.0, 8.0, 7.0, 1.0]];
        let layers = std::slice::from_ref(&layer);
        let (mut apart, mut together) = (Stability::new(layers), Stability::new(layers));
        let mut sums = accumulator(layers, Method::Cma);
        for all in &batches {
            let (a, b) = all.split_at(2);
            batch(&[a, b]).watch(&mut apart);
            batch(&[all]).watch(&mut together);
            batch(&[a, b]).add_to(&mut sums);
        }
        let [apart, together] = [apart, together].map(|s| s.largest().unwrap().error);
        assert!((apart / together - 1.0).abs() < 1e-12, "{apart} {together}");
        let parts = batches.iter().flat_map(|all| [moments(&all[..2]), moments(&all[2..])]);
        let expected = parts.map(|[mean, _]| mean).sum::<f64>() / 4.0;
        assert!((sums.finish()[0].as_ref().unwrap().mean[0] - expected).abs() < 1e-12);
    }
}
