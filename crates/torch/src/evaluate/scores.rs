//! The score of one image: pure arithmetic on a network's outputs.

/// How many of the best outputs count for top-5.
pub const TOP: usize = 5;

/// How a model did on one image. Outputs are numbered as the network has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// The output with the largest score.
    pub predicted: u32,
    /// Whether that is the label.
    pub top1: bool,
    /// Whether the label is among the first [`TOP`].
    pub top5: bool,
    /// −ln of the probability given to the label, in nats.
    pub nll: f64,
    /// The probability given to `predicted`.
    pub confidence: f64,
}

impl Outcome {
    /// `scores` are ranked, `log_p` are the logarithms of their probabilities: logits that differ may have
    /// probabilities that do not.
    pub(super) fn of<T: Score>(scores: &[T], log_p: &[f64], label: u32) -> Self {
        let own = scores[label as usize];
        let ahead =
            |(output, &score): (usize, &T)| score > own || score == own && output < label as usize;
        let rank = scores.iter().enumerate().filter(|&pair| ahead(pair)).count();
        let mut predicted = 0;
        for (output, score) in scores.iter().enumerate() {
            if *score > scores[predicted] {
                predicted = output;
            }
        }
        Outcome {
            predicted: predicted as u32,
            top1: rank == 0,
            top5: rank < TOP,
            nll: -log_p[label as usize],
            confidence: log_p[predicted].exp(),
        }
    }
}

/// Logits, or logarithms of probabilities; never NaN. −∞ is an output that does not compete.
pub trait Score: PartialOrd + Copy {}
impl Score for f32 {}
impl Score for f64 {}

/// The `count` outputs with the largest scores, the best first; of equal scores the output with the lower
/// number counts as the larger.
pub fn largest<T: Score>(scores: &[T], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(count + 1);
    for (output, score) in scores.iter().enumerate() {
        if best.len() == count && best.last().is_none_or(|&last| *score <= scores[last as usize]) {
            continue;
        }
        let place = best.partition_point(|&other| scores[other as usize] >= *score);
        best.insert(place, output as u32);
        best.truncate(count);
    }
    best
}

/// Writes the logarithms of the probabilities of `logits` to `log_p`. A logit of −∞ has probability 0.
pub fn log_softmax(logits: &[f32], log_p: &mut [f64]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let sum: f64 = logits.iter().map(|&z| (z as f64 - largest).exp()).sum();
    let total = largest + sum.ln();
    log_p.iter_mut().zip(logits).for_each(|(p, &z)| *p = z as f64 - total);
}

/// ln(eᵃ + eᵇ).
pub fn log_add(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} {expected}");
    }

    fn probabilities(logits: &[f32]) -> Vec<f64> {
        let mut log_p = vec![0.0; logits.len()];
        log_softmax(logits, &mut log_p);
        log_p
    }

    fn outcome(logits: &[f32], label: u32) -> Outcome {
        Outcome::of(logits, &probabilities(logits), label)
    }

    #[test]
    fn of_equal_scores_the_first_output_is_the_larger() {
        let logits = [1.0, 3.0, 3.0, 0.0, -1.0, 2.0];
        assert!(outcome(&logits, 1).top1);
        assert!(!outcome(&logits, 2).top1);
        assert!(outcome(&logits, 3).top5);
        assert!(!outcome(&logits, 4).top5);
        assert!((0..6).all(|label| outcome(&logits, label).predicted == 1));
        assert_eq!(largest(&logits, 5), [1, 2, 5, 0, 3]);
        assert_eq!(largest(&[0.0f32; 7], 5), [0, 1, 2, 3, 4]);
        assert_eq!(largest(&[0.0f32, 1.0], 5), [1, 0]);
        assert!(largest(&logits, 0).is_empty());
    }

    #[test]
    fn the_best_outputs_are_those_of_the_ranks() {
        // Few values, so that many are equal.
        let mut state = 1u32;
        for n in 1..40 {
            let logits: Vec<f32> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                    (state >> 29) as f32
                })
                .collect();
            let best = largest(&logits, TOP);
            assert_eq!(best.len(), TOP.min(n));
            for label in 0..n as u32 {
                let outcome = outcome(&logits, label);
                assert_eq!(outcome.predicted, best[0]);
                assert_eq!((outcome.top1, outcome.top5), (best[0] == label, best.contains(&label)));
            }
        }
    }

    #[test]
    fn loss_is_finite_where_the_probability_underflows() {
        close(outcome(&[2000.0, 0.0], 1).nll, 2000.0);
        close(outcome(&[0.0, 0.0], 0).nll, 2f64.ln());
    }

    #[test]
    fn outputs_that_do_not_compete_have_no_share() {
        let all = outcome(&[1.0, 0.5], 1);
        let some = outcome(&[f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 0.5], 3);
        assert_eq!((some.nll, some.confidence, some.predicted), (all.nll, all.confidence, 1));
    }

    #[test]
    fn a_mixture_of_logarithms_is_the_mean_of_probabilities() {
        let (a, b) = (probabilities(&[1.0, 0.0, -1.0]), probabilities(&[0.0, 2.0, 0.0]));
        for (a, b) in a.iter().zip(&b) {
            close(log_add(*a, *b).exp(), a.exp() + b.exp());
        }
        assert_eq!(log_add(f64::NEG_INFINITY, -3.0), -3.0);
        assert_eq!(log_add(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
        // An ensemble of one is that model, also where its probabilities underflow.
        let logits = [0.0, 3000.0, 2000.0, 1000.0];
        let p = probabilities(&logits);
        let p: Vec<f64> = p.into_iter().map(|p| log_add(f64::NEG_INFINITY, p)).collect();
        assert_eq!(Outcome::of(&p, &p, 0), outcome(&logits, 0));
    }
}
