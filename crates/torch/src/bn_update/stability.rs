//! Were there enough images? The standard error of the statistics, estimated from how batches differ.
//!
//! In batch b a layer gets m_b values a channel, with mean μ_b and biased variance v_b. The estimate
//! of the mean is M = Σ m_b μ_b / W, that of the variance V = Σ m_b (v_b + (μ_b − M)²) / W, W = Σ m_b.
//! Batches are independent draws, so that over B of them
//!
//! SE²(M) = Σ m_b (μ_b − M)² / ((B − 1) W), SE²(V) = Σ m_b (v_b + (μ_b − M)² − V)² / ((B − 1) W);
//!
//! the second is the delta method, in which a smaller last batch counts by its values. Values within a
//! batch are not taken as independent: pixels of an image are not.

use crate::nn;

/// Added to variances, so that a channel that never varies has a scale.
const EPS: f64 = 1e-5;

/// Fewer batches say too little about how batches differ.
pub(crate) const MIN_BATCHES: usize = 10;

/// The standard error of a layer's statistics, in standard deviations of its channels: the root mean square over them
/// of √(SE(mean)² + SE(σ)²) / σ, comparable to [`Movement::moved`](super::Movement::moved).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StandardError {
    /// Position in [`Model::batchnorms`](crate::nn::Model::batchnorms).
    pub layer: usize,
    /// The error.
    pub error: f64,
}

/// The estimate of the standard error, batch by batch.
#[derive(Debug)]
pub(crate) struct Stability {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    batches: usize,
    /// W.
    weight: f64,
    channels: Vec<Channel>,
}

/// Of d_b = μ_b − pivot and t_b = v_b + d_b²: weighted means, and sums of weighted products of their
/// deviations (West 1979). The pivot is the first batch's mean, so that nothing cancels.
#[derive(Debug, Clone, Default)]
struct Channel {
    pivot: f64,
    d: f64,
    t: f64,
    dd: f64,
    dt: f64,
    tt: f64,
}

impl Stability {
    /// For a model's layers.
    pub fn new(layers: &[nn::Layer]) -> Self {
        Self::of(&layers.iter().map(|layer| layer.channels).collect::<Vec<_>>())
    }

    /// `channels`: of each layer.
    fn of(channels: &[usize]) -> Self {
        let layer =
            |&n: &usize| Layer { batches: 0, weight: 0.0, channels: vec![Channel::default(); n] };
        Stability { layers: channels.iter().map(layer).collect() }
    }

    /// Adds the moments of a layer over a batch with `values` values a channel; `variance` is unbiased.
    pub fn add(&mut self, layer: usize, values: usize, mean: &[f64], variance: &[f64]) {
        let Layer { batches, weight, channels } = &mut self.layers[layer];
        let m = values as f64;
        *batches += 1;
        *weight += m;
        for (channel, (&mean, &variance)) in channels.iter_mut().zip(mean.iter().zip(variance)) {
            if *batches == 1 {
                channel.pivot = mean;
            }
            channel.add(m, m / *weight, mean, variance * (m - 1.0) / m);
        }
    }

    /// The error of the layer whose statistics are least certain; None before all layers have two batches.
    pub fn largest(&self) -> Option<StandardError> {
        let errors = self.layers.iter().map(Layer::error).enumerate();
        let errors = errors.map(|(layer, error)| Some(StandardError { layer, error: error? }));
        let errors = errors.collect::<Option<Vec<_>>>()?;
        errors.into_iter().max_by(|a, b| a.error.total_cmp(&b.error))
    }

    /// Whether all layers are that certain, after at least `MIN_BATCHES` batches.
    pub fn is_below(&self, eps: f64) -> bool {
        self.layers.iter().all(|layer| layer.batches >= MIN_BATCHES)
            && self.largest().is_some_and(|largest| largest.error < eps)
    }
}

impl Layer {
    fn error(&self) -> Option<f64> {
        let divisor = (self.batches.checked_sub(1).filter(|n| *n > 0)?) as f64 * self.weight;
        let squares = self.channels.iter().map(|channel| channel.error(divisor)).sum::<f64>();
        Some((squares / self.channels.len().max(1) as f64).sqrt())
    }
}

impl Channel {
    fn add(&mut self, m: f64, share: f64, mean: f64, variance: f64) {
        let d = mean - self.pivot;
        let t = variance + d * d;
        let (from_d, from_t) = (d - self.d, t - self.t);
        self.d += from_d * share;
        self.t += from_t * share;
        self.dd += m * from_d * (d - self.d);
        self.dt += m * from_d * (t - self.t);
        self.tt += m * from_t * (t - self.t);
    }

    /// SE(M)²/σ² + SE(σ)²/σ², with SE(σ) = SE(V)/2σ.
    fn error(&self, divisor: f64) -> f64 {
        let scale = (self.t - self.d * self.d).max(0.0) + EPS;
        // v_b + (μ_b − M)² = t_b − 2 D d_b + D², with D the mean of d.
        let of_variance = self.tt - 4.0 * self.d * self.dt + 4.0 * self.d * self.d * self.dd;
        self.dd / divisor / scale + of_variance.max(0.0) / divisor / (4.0 * scale * scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bn_update::methods::{Accumulator, Method};

    /// The formulas of the head of this file, word for word.
    fn plain(batches: &[(usize, f64, f64)]) -> f64 {
        let total: f64 = batches.iter().map(|b| b.0 as f64).sum();
        let mean = batches.iter().map(|&(m, mean, _)| m as f64 * mean).sum::<f64>() / total;
        let seen = |&(m, mu, u): &(usize, f64, f64)| {
            let m = m as f64;
            (m, mu - mean, u * (m - 1.0) / m + (mu - mean).powi(2))
        };
        let seen: Vec<_> = batches.iter().map(seen).collect();
        let variance = seen.iter().map(|(m, _, s)| m * s).sum::<f64>() / total;
        let divisor = (batches.len() - 1) as f64 * total;
        let of_mean = seen.iter().map(|(m, d, _)| m * d * d).sum::<f64>() / divisor;
        let of_variance =
            seen.iter().map(|(m, _, s)| m * (s - variance).powi(2)).sum::<f64>() / divisor;
        let scale = variance + EPS;
        of_mean / scale + of_variance / (4.0 * scale * scale)
    }

    #[test]
    fn the_error_is_that_of_the_formula_even_far_from_zero() {
        let batches = [(40, 1.0, 2.0), (40, 1.5, 2.5), (40, 0.25, 1.0), (10, 3.0, 4.0)];
        for offset in [0.0, 1e6] {
            let mut stability = Stability::of(&[2]);
            assert!(stability.largest().is_none());
            for (m, mean, variance) in batches {
                stability.add(0, m, &[mean + offset, 0.0], &[variance, 0.0]);
            }
            let expected = (plain(&batches) / 2.0).sqrt(); // one channel is constant
            let StandardError { layer, error } = stability.largest().unwrap();
            assert!(layer == 0 && (error / expected - 1.0).abs() < 1e-9, "{error} {expected}");
        }
    }

    #[test]
    fn the_least_certain_layer_is_found() {
        let mut stability = Stability::of(&[1, 1]);
        for mean in [0.0, 1.0, 2.0] {
            stability.add(0, 10, &[mean / 10.0], &[1.0]);
            assert!(stability.largest().is_none() || mean > 0.0);
            stability.add(1, 10, &[mean], &[1.0]);
        }
        assert_eq!(stability.largest().unwrap().layer, 1);
    }

    #[test]
    fn a_few_batches_that_agree_are_not_enough() {
        let mut stability = Stability::of(&[1]);
        for batch in 1..=MIN_BATCHES {
            stability.add(0, 10, &[1.0], &[1.0]);
            assert_eq!(stability.is_below(1e-3), batch == MIN_BATCHES);
        }
        assert!(!stability.is_below(0.0));
    }

    /// Is the estimate what the statistics' distance from the truth is? 400 trials of 30 batches of
    /// correlated values (an offset each) with known mean 0 and variance 2.
    #[test]
    fn the_estimate_is_the_true_error_on_average() {
        let mut state = 7u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut normal = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        let (mut estimated, mut true_squares) = (0.0, 0.0);
        const TRIALS: usize = 400;
        for _ in 0..TRIALS {
            let mut stability = Stability::of(&[1]);
            let mut sums = Accumulator::new(Method::Pooled, &[1]);
            for _ in 0..30 {
                // Four images of eight values, each with an offset of its own.
                let mut values = Vec::new();
                for _ in 0..4 {
                    let offset = normal();
                    values.extend((0..8).map(|_| offset + normal()));
                }
                let mean = values.iter().sum::<f64>() / 32.0;
                let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 31.0;
                stability.add(0, 32, &[mean], &[variance]);
                sums.add(0, 4, 32, &[mean], &[variance]);
            }
            estimated += stability.largest().unwrap().error.powi(2);
            let found = sums.finish().remove(0).unwrap();
            let off = (found.variance[0] / 2.0).ln() / 2.0;
            true_squares += found.mean[0].powi(2) / 2.0 + off * off;
        }
        let ratio = (estimated / true_squares).sqrt();
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }
}
