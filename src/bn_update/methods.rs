//! From batch moments to running statistics: pure arithmetic in f64.
//!
//! Of batch b a layer sees m_b = N_b·H·W values a channel, with mean μ_b and unbiased variance u_b.

/// How batches are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Method {
    /// Mean of the batches' statistics, every batch counting the same (PyTorch's update_bn)
    Cma,
    /// The same, each batch counting by its images (the SWA authors' code)
    Weighted,
    /// Mean and variance of all values together (precise batchnorm)
    Pooled,
    /// The same, one layer after the other, all before it normalising by their new statistics: what
    /// the model sees in use
    Layerwise,
}

impl Method {
    pub const ALL: [Method; 4] = [Method::Cma, Method::Weighted, Method::Pooled, Method::Layerwise];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Method::Cma => "cma",
            Method::Weighted => "weighted",
            Method::Pooled => "pooled",
            Method::Layerwise => "layerwise",
        }
    }
}

/// One layer's running statistics, one value a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    pub mean: Vec<f64>,
    /// Unbiased.
    pub variance: Vec<f64>,
}

/// Sums over batches, for all layers of a network.
#[derive(Debug)]
pub struct Accumulator {
    method: Method,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Total weight so far: batches, images or values, by method.
    weight: f64,
    mean: Vec<f64>,
    /// `cma`, `weighted`: the mean of u_b. Else: Σ (x − mean)² over all values.
    spread: Vec<f64>,
}

impl Accumulator {
    /// `channels`: of each layer.
    pub fn new(method: Method, channels: &[usize]) -> Self {
        let layer = |&n: &usize| Layer { weight: 0.0, mean: vec![0.0; n], spread: vec![0.0; n] };
        Accumulator { method, layers: channels.iter().map(layer).collect() }
    }

    /// Adds what a layer saw of a batch of `images` with `values` values a channel.
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
            Method::Cma => 1.0,
            Method::Weighted => images as f64,
            Method::Pooled | Method::Layerwise => values as f64,
        };
        let before = layer.weight;
        layer.weight += weight;
        let share = weight / layer.weight;
        let channels = layer.mean.iter_mut().zip(&mut layer.spread).zip(mean.iter().zip(variance));
        for ((m, s), (&mean, &variance)) in channels {
            let delta = mean - *m;
            *m += delta * share;
            match self.method {
                Method::Cma | Method::Weighted => *s += (variance - *s) * share,
                // Chan, Golub & LeVeque 1979: nothing cancels.
                Method::Pooled | Method::Layerwise => {
                    *s += variance * (weight - 1.0) + delta * delta * before * share
                }
            }
        }
    }

    /// None for a layer that saw nothing.
    pub fn finish(self) -> Vec<Option<Statistics>> {
        let finish = |Layer { weight, mean, mut spread }| {
            if matches!(self.method, Method::Pooled | Method::Layerwise) {
                // Σm/(Σm−1) times the variance of all values: unbiased, as PyTorch's is.
                spread.iter_mut().for_each(|s| *s /= weight - 1.0);
            }
            (weight > 0.0).then_some(Statistics { mean, variance: spread })
        };
        self.layers.into_iter().map(finish).collect()
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
