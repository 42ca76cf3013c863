//! From batch moments to running statistics: exact sums of f64 moments, one rounding at the end.
//!
//! In batch b a layer gets m_b = N_b·H·W values a channel, with mean μ_b and unbiased variance u_b.

use num_bigint::BigInt;
use rayon::prelude::*;

use swa_base::choices;

use super::fixed::{Fixed, UNIT};
use swa_tools::average::quotient;

choices! {
    /// How the statistics of batches are combined. In batch b, with N_b images, a layer gets m_b = N_b·H·W values a
    /// channel, with mean μ_b and unbiased variance u_b. Each method assumes something else:
    ///
    /// - `cma` takes the means of μ_b and of u_b, every batch counting the same. It assumes that all batches have the
    ///   same size: images of a smaller last batch count more. The variance between batches is missing, so it expects
    ///   batches large enough for their means to agree. This is `torch.optim.swa_utils.update_bn`.
    /// - `weighted` weights both means by N_b. It assumes only that images have the same number of values; the variance
    ///   between batches is missing here too. This is the SWA authors' code.
    /// - `pooled` takes mean and variance of all values together, (Σx² − (Σx)²/W) / (W − 1) with W = Σ m_b. How images
    ///   are split into batches does not matter for this layer's input, but that input still depends on the split:
    ///   every earlier layer normalises by its batch, as in training. This is precise batchnorm (Wu & Johnson 2021,
    ///   "Rethinking 'Batch' in BatchNorm").
    /// - `layerwise` is `pooled` one layer after the other, all layers before it normalising by their new statistics. It
    ///   assumes nothing about batches: each layer gets what it gets at inference. All images must be at hand for every
    ///   layer ([`layerwise`](super::layerwise)).
    #[derive(Default)]
    pub enum Method {
        Cma = "cma":
            "Mean of the batches' statistics, every batch counting the same (PyTorch's update_bn)",
        Weighted = "weighted":
            "The same, each batch counting by its images (the SWA authors' code)",
        #[default]
        Pooled = "pooled": "Mean and variance of all values together (precise batchnorm)",
        Layerwise = "layerwise":
            "The same, one layer after the other, all before it normalising by their new statistics: what the model sees in use",
    }
}

/// One layer's running statistics, one value a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// `[channels]`.
    pub mean: Vec<f64>,
    /// Unbiased, `[channels]`.
    pub variance: Vec<f64>,
}

/// Sums over batches, for all layers of a network: exact, so that neither the order of the batches nor
/// their distribution over processes changes a bit of the result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Accumulator {
    method: Method,
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    /// Total weight so far: batches, images or values, by method.
    pub weight: u64,
    /// Σ w·μ_b.
    pub means: Vec<Fixed>,
    /// `cma`, `weighted`: Σ w·u_b. Else: Σ x² over all values.
    pub squares: Vec<Fixed>,
}

impl Accumulator {
    /// `channels`: of each layer.
    pub fn new(method: Method, channels: &[usize]) -> Self {
        let zeros = |n: usize| vec![Fixed::ZERO; n];
        let layer = |&n: &usize| Layer { weight: 0, means: zeros(n), squares: zeros(n) };
        Accumulator { method, layers: channels.iter().map(layer).collect() }
    }

    /// Adds the moments of a layer over a batch of `images` with `values` values a channel; `variance` is unbiased.
    pub fn add(
        &mut self,
        layer: usize,
        images: usize,
        values: usize,
        mean: &[f64],
        variance: &[f64],
    ) {
        let layer = &mut self.layers[layer];
        let weight = match self.method {
            Method::Cma => 1,
            Method::Weighted => images as u64,
            Method::Pooled | Method::Layerwise => values as u64,
        };
        layer.weight += weight;
        let channels =
            layer.means.iter_mut().zip(&mut layer.squares).zip(mean.iter().zip(variance));
        for ((m, s), (&mean, &variance)) in channels {
            m.add(weight, mean);
            match self.method {
                Method::Cma | Method::Weighted => s.add(weight, variance),
                // Σ x² of the batch: u_b·(m_b − 1) + m_b·μ_b².
                Method::Pooled | Method::Layerwise => {
                    s.add(weight - 1, variance);
                    s.add_square(weight, mean);
                }
            }
        }
    }

    /// How the batches are combined.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Each value rounded once; NaN where the moments were not finite. None for a layer that was never reached.
    pub fn finish(&self) -> Vec<Option<Statistics>> {
        let finish = |layer: &Layer| {
            let weight = BigInt::from(layer.weight);
            let mean = |sum: &Fixed| {
                sum.to_integer().map_or(f64::NAN, |sum| quotient(sum, weight.clone(), UNIT))
            };
            // (Σx² − (Σx)²/W) / (W − 1), unbiased as PyTorch's is. Integers: nothing cancels.
            let pooled = |(sum, squares): (&Fixed, &Fixed)| {
                let (Some(sum), Some(squares)) = (sum.to_integer(), squares.to_integer()) else {
                    return f64::NAN;
                };
                if layer.weight < 2 {
                    return f64::NAN;
                }
                let spread = ((squares * &weight) << -UNIT) - &sum * &sum;
                quotient(spread.max(BigInt::ZERO), &weight * (&weight - 1), 2 * UNIT)
            };
            (layer.weight > 0).then(|| Statistics {
                mean: layer.means.par_iter().map(mean).collect(),
                variance: match self.method {
                    Method::Cma | Method::Weighted => layer.squares.par_iter().map(mean).collect(),
                    Method::Pooled | Method::Layerwise => {
                        layer.means.par_iter().zip(&layer.squares).map(pooled).collect()
                    }
                },
            })
        };
        self.layers.iter().map(finish).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let square = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        (mean, square / (values.len() - 1) as f64)
    }

    /// Batches of uneven size, two values an image.
    fn run(method: Method, batches: &[&[f64]]) -> (f64, f64) {
        let mut sums = Accumulator::new(method, &[1]);
        for values in batches {
            let (mean, variance) = moments(values);
            sums.add(0, values.len() / 2, values.len(), &[mean], &[variance]);
        }
        let statistics = sums.finish().remove(0).unwrap();
        (statistics.mean[0], statistics.variance[0])
    }

    const A: &[f64] = &[1.0, 2.0, 4.0, 9.0];
    const B: &[f64] = &[-3.0, 5.0];

    fn close(found: (f64, f64), expected: (f64, f64)) {
        assert!((found.0 - expected.0).abs() < 1e-6, "{found:?} {expected:?}");
        assert!((found.1 - expected.1).abs() < 1e-5, "{found:?} {expected:?}");
    }

    #[test]
    fn cma_counts_batches() {
        // Means 4 and 1; unbiased variances 38/3 and 32.
        close(run(Method::Cma, &[A, B]), (2.5, (38.0 / 3.0 + 32.0) / 2.0));
    }

    #[test]
    fn weighted_counts_images() {
        let third = 1.0 / 3.0;
        close(run(Method::Weighted, &[A, B]), (3.0, 2.0 * third * 38.0 / 3.0 + third * 32.0));
    }

    #[test]
    fn pooled_is_the_variance_of_all_values_however_they_are_split() {
        let all = [A, B].concat();
        let expected = moments(&all);
        close(run(Method::Pooled, &[A, B]), expected);
        close(run(Method::Pooled, &[B, A]), expected);
        close(run(Method::Pooled, &[&all[..2], &all[2..4], &all[4..]]), expected);
    }

    #[test]
    fn pooled_survives_a_mean_far_from_zero() {
        let shifted = |values: &[f64]| values.iter().map(|x| x + 4096.0).collect::<Vec<_>>();
        let (a, b) = (shifted(A), shifted(B));
        let all = moments(&[A, B].concat());
        close(run(Method::Pooled, &[&a, &b]), (all.0 + 4096.0, all.1));
    }

    #[test]
    fn a_layer_never_reached_has_none() {
        assert_eq!(Accumulator::new(Method::Cma, &[3]).finish(), [None]);
    }
}
