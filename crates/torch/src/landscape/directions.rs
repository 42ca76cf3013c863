//! Random directions, and in which units they are walked.

use swa_base::choices;
use swa_data::random::SplitMix64;

use super::vectors::norm;

choices! {
    /// What a distance of 1 along a ray is.
    #[derive(Default)]
    pub enum Units {
        #[default]
        Distance = "distance": "Euclidean distance in weight space, as in the paper",
        Norm = "norm": "The length of the model's weight vector: models of different length are comparable",
        Filter = "filter": "The length of each filter (Li et al. 2018): rescaling a layer changes nothing; biases and batchnorm's weights stay",
    }
}

/// Keeps the numbers apart from those that the same seed gives for other things.
const STREAM: u64 = 0x7379_6172_6c6f_7373;

/// Directions drawn by a seed: the same for all models of one architecture.
#[derive(Debug)]
pub(crate) struct Directions {
    seed: u64,
    /// Of each parameter tensor, in the order of the weight vector, where convolutions lie filter by filter.
    shapes: Vec<Vec<usize>>,
    /// The last one, unscaled.
    last: Option<(usize, Vec<f32>)>,
}

impl Directions {
    pub fn new(seed: u64, shapes: Vec<Vec<usize>>) -> Self {
        Directions { seed: seed ^ STREAM, shapes, last: None }
    }

    /// Direction `number`, as the step of distance 1 from these weights:
    ///
    /// - `distance`: z/‖z‖, with z of independent standard normal numbers, one a parameter. Its direction is uniform on
    ///   the sphere.
    /// - `norm`: ‖w‖·z/‖z‖.
    /// - `filter`: z_f·‖w_f‖/‖z_f‖ for each filter f: what makes one output of a convolution or of a linear layer. 0 for
    ///   tensors of one dimension.
    pub fn step(&mut self, number: usize, weights: &[f32], units: Units) -> Vec<f32> {
        let drawn = self.drawn(number);
        match units {
            Units::Distance => scaled(drawn, 1.0 / norm(drawn)),
            Units::Norm => scaled(drawn, norm(weights) / norm(drawn)),
            Units::Filter => {
                let drawn = drawn.to_vec();
                by_filter(&drawn, weights, &self.shapes)
            }
        }
    }

    fn drawn(&mut self, number: usize) -> &[f32] {
        if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
            let count = self.shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
            let mut random = SplitMix64::of_image(self.seed, number);
            self.last = Some((number, random.normal(1.0, count)));
        }
        self.last.as_ref().map_or(&[], |(_, drawn)| drawn)
    }
}

fn scaled(values: &[f32], factor: f64) -> Vec<f32> {
    values.iter().map(|&value| (f64::from(value) * factor) as f32).collect()
}

fn by_filter(drawn: &[f32], weights: &[f32], shapes: &[Vec<usize>]) -> Vec<f32> {
    let mut step = Vec::with_capacity(drawn.len());
    for shape in shapes {
        let (start, count) = (step.len(), shape.iter().product::<usize>());
        if shape.len() < 2 {
            step.resize(start + count, 0.0);
            continue;
        }
        let filter = (count / shape[0].max(1)).max(1);
        let all = start..start + count;
        for (z, w) in drawn[all.clone()].chunks(filter).zip(weights[all].chunks(filter)) {
            let length = norm(z);
            step.extend(scaled(z, if length > 0.0 { norm(w) / length } else { 0.0 }));
        }
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 1;

    fn directions() -> Directions {
        Directions::new(SEED, vec![vec![2, 1, 1, 2], vec![3], vec![1, 3]])
    }

    const W: [f32; 10] = [3.0, 4.0, 0.0, 2.0, 9.0, 9.0, 9.0, 1.0, 2.0, 2.0];

    #[test]
    fn a_step_has_the_length_of_its_unit() {
        let mut all = directions();
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
        };
        close(norm(&all.step(0, &W, Units::Distance)), 1.0);
        close(norm(&all.step(0, &W, Units::Norm)), norm(&W));
        let step = all.step(0, &W, Units::Filter);
        for (filter, expected) in [(0..2, 5.0), (2..4, 2.0), (7..10, 3.0)] {
            close(norm(&step[filter]), expected);
        }
        assert_eq!(step[4..7], [0.0; 3]);
        // One draw in all units.
        let distance = all.step(0, &W, Units::Distance);
        assert!((step[0] / step[1] - distance[0] / distance[1]).abs() < 1e-5);
    }

    #[test]
    fn directions_follow_from_seed_and_number_alone() {
        let (mut a, mut b) = (directions(), directions());
        let first = a.step(0, &W, Units::Distance);
        let second = a.step(1, &W, Units::Distance);
        assert_ne!(first, second);
        assert_eq!(b.step(1, &[0.0; 10], Units::Distance), second);
        assert_eq!(a.step(0, &W, Units::Distance), first);
        assert_ne!(Directions::new(2, a.shapes.clone()).step(0, &W, Units::Distance), first);
    }
}
