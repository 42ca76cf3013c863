//! Warmup-stable and merge: a merge of snapshots at a constant learning rate that stands in for decaying it (Tian et
//! al. 2025, "WSM: Decay-Free Learning Rate Schedule via Checkpoint Merging for LLM Pre-training", arXiv 2507.17634).
//!
//! With a decay shape f that falls from f(0) = 1 to f(1) = 0, and N snapshots, oldest first, the gradients between
//! snapshots j − 1 and j count for w_j = f(j/N). So c_0 = 1 − w_1, c_j = w_j − w_{j+1} and c_{N−1} = w_{N−1}: which is
//! f(j/N) − f((j+1)/N) for all of them.

use swa_base::choices;

use super::reals::Real;
use crate::Result;
use crate::average::{self, Column};

choices! {
    /// The shape of the learning-rate decay that a merge stands in for.
    pub enum Shape {
        Linear = "linear": "f(x) = 1 − x: all snapshots count the same",
        OneMinusSqrt = "1-sqrt": "f(x) = 1 − √x: the oldest counts most, ever less after it",
        Cosine = "cosine": "f(x) = (1 + cos πx)/2: those in the middle count most",
    }
}

pub(super) fn column(shape: Shape, n: usize) -> Result<Column> {
    let count = n as u64;
    let weight = |j: u64| match shape {
        Shape::Linear => 1.0,
        // (√((j+1)N) − √(jN)) / N
        Shape::OneMinusSqrt => {
            let difference = Real::sqrt((j + 1) * count).minus(&Real::sqrt(j * count));
            difference.times(&Real::ratio(1, count)).to_f64()
        }
        // (cos(πj/N) − cos(π(j+1)/N)) / 2 = sin(π(2j+1)/2N) · sin(π/2N)
        Shape::Cosine => {
            let sin = |odd: u64| {
                // Symmetric, and the series wants small angles.
                let odd = odd.min(2 * count - odd);
                Real::pi().times(&Real::ratio(odd, 2 * count)).sin()
            };
            sin(2 * j + 1).times(&sin(1)).to_f64()
        }
    };
    match n {
        0 => Ok(average::mean(0)?.into()),
        _ => Column::new((0..count).map(|j| Some(weight(j)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the paper's scripts print them, for eight snapshots.
    #[test]
    fn the_weights_are_those_of_the_paper() {
        let rounded = |shape| -> Vec<f64> {
            let column = column(shape, 8).unwrap();
            column.coefficients().weights().iter().map(|w| (w * 1000.0).round()).collect()
        };
        assert_eq!(
            rounded(Shape::OneMinusSqrt),
            [354.0, 146.0, 112.0, 95.0, 83.0, 75.0, 69.0, 65.0]
        );
        assert_eq!(rounded(Shape::Cosine), [38.0, 108.0, 162.0, 191.0, 191.0, 162.0, 108.0, 38.0]);
        assert_eq!(rounded(Shape::Linear), [1000.0; 8]);
        for shape in [Shape::OneMinusSqrt, Shape::Cosine] {
            assert_eq!(column(shape, 1).unwrap().coefficients().weights(), [1.0]);
            assert!(column(shape, 0).is_err());
        }
    }
}
