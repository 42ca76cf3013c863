//! How far the statistics moved: by how much the averaged ones were off.

use serde::Serialize;

use super::methods::Statistics;
use super::outcome::Outcome;
use crate::nn::Layer;
use swa_tools::checkpoint::Checkpoint;

/// Added to variances, so that a channel that never varies has a scale.
const EPS: f64 = 1e-5;

/// How far one layer's statistics moved, over its channels. σ is a channel's new standard deviation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Movement {
    /// The layer's name, or `all`.
    pub layer: String,
    /// How many channels it has.
    pub channels: usize,
    /// Root mean square of (new mean − old mean) / σ.
    pub mean_shift: f64,
    /// Geometric mean of σ / old standard deviation.
    pub std_ratio: f64,
    /// Root mean square of √(mean shift² + ln(std ratio)²); 0 if nothing moved.
    pub moved: f64,
}

/// How far each layer moved, farthest first, and all channels together.
pub(crate) fn movements(
    checkpoint: &Checkpoint,
    model: &[Layer],
    outcome: &Outcome,
) -> (Vec<Movement>, Movement) {
    let mut layers = Vec::new();
    let mut all = Sums::default();
    for (layer, new) in model.iter().zip(&outcome.layers) {
        let Some(old) = Statistics::of(checkpoint, layer) else { continue };
        let sums = Sums::of(&old, new);
        all.add(&sums);
        layers.push(sums.movement(&layer.name));
    }
    layers.sort_by(|a, b| b.moved.total_cmp(&a.moved));
    (layers, all.movement("all"))
}

/// How far all channels moved together ([`Movement::moved`]).
pub(crate) fn distance(old: &[Statistics], new: &[Statistics]) -> f64 {
    let mut all = Sums::default();
    old.iter().zip(new).for_each(|(old, new)| all.add(&Sums::of(old, new)));
    all.movement("all").moved
}

#[derive(Default)]
struct Sums {
    channels: usize,
    shift: f64,
    log: f64,
    moved: f64,
}

impl Sums {
    fn of(old: &Statistics, new: &Statistics) -> Self {
        let mut sums = Sums { channels: new.mean.len(), ..Sums::default() };
        for c in 0..sums.channels {
            let variance = new.variance[c] + EPS;
            let shift = (new.mean[c] - old.mean[c]).powi(2) / variance;
            let log = (variance / (old.variance[c].max(0.0) + EPS)).ln() / 2.0;
            sums.shift += shift;
            sums.log += log;
            sums.moved += shift + log * log;
        }
        sums
    }

    fn add(&mut self, other: &Sums) {
        self.channels += other.channels;
        self.shift += other.shift;
        self.log += other.log;
        self.moved += other.moved;
    }

    fn movement(&self, layer: &str) -> Movement {
        let n = self.channels.max(1) as f64;
        Movement {
            layer: layer.to_string(),
            channels: self.channels,
            mean_shift: (self.shift / n).sqrt(),
            std_ratio: (self.log / n).exp(),
            moved: (self.moved / n).sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_and_a_stretch_are_told_apart() {
        let of = |mean: [f64; 2], variance: [f64; 2]| Statistics {
            mean: mean.to_vec(),
            variance: variance.to_vec(),
        };
        let still = Sums::of(&of([1.0, 2.0], [1.0, 4.0]), &of([1.0, 2.0], [1.0, 4.0]));
        assert_eq!(still.movement("x").moved, 0.0);
        let shifted =
            Sums::of(&of([0.0, 0.0], [4.0, 4.0]), &of([2.0, 2.0], [4.0, 4.0])).movement("x");
        assert!((shifted.mean_shift - 1.0).abs() < 1e-5 && shifted.std_ratio == 1.0);
        let stretched =
            Sums::of(&of([0.0, 0.0], [1.0, 1.0]), &of([0.0, 0.0], [4.0, 4.0])).movement("x");
        assert!((stretched.std_ratio - 2.0).abs() < 1e-4 && stretched.mean_shift == 0.0);
    }
}
