//! What a model got right and how sure it was: pure arithmetic.

use statrs::distribution::{Binomial, DiscreteCDF};

/// Bins of the calibration error.
const BINS: usize = 15;

/// What a model made of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    pub top1: bool,
    pub top5: bool,
    /// −ln of the probability given to the label.
    pub nll: f64,
    /// The largest probability.
    pub confidence: f64,
}

/// Logarithms of the probabilities, from logits, in f64.
pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let sum: f64 = logits.iter().map(|&z| (z as f64 - largest).exp()).sum();
    let total = largest + sum.ln();
    logits.iter().map(|&z| z as f64 - total).collect()
}

/// ln(eᵃ + eᵇ).
pub fn log_add(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if large == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// Of equal scores the first class counts as the larger.
fn rank<T: PartialOrd>(scores: &[T], label: usize) -> usize {
    let own = &scores[label];
    let ahead = |(class, score): (usize, &T)| score > own || score == own && class < label;
    scores.iter().enumerate().filter(|&pair| ahead(pair)).count()
}

impl Outcome {
    pub fn of_logits(logits: &[f32], label: usize) -> Self {
        Self::of(&log_softmax(logits), label, rank(logits, label))
    }

    pub fn of_log_probabilities(p: &[f64], label: usize) -> Self {
        Self::of(p, label, rank(p, label))
    }

    fn of(log_p: &[f64], label: usize, rank: usize) -> Self {
        let largest = log_p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Outcome { top1: rank == 0, top5: rank < 5, nll: -log_p[label], confidence: largest.exp() }
    }
}

/// A model's outcomes over a data set.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Top-1, image by image.
    pub right: Vec<bool>,
    top5: usize,
    nll: f64,
    bins: [Bin; BINS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    confidence: f64,
    right: f64,
}

impl Tally {
    pub fn add(&mut self, outcome: Outcome) {
        self.right.push(outcome.top1);
        self.top5 += outcome.top5 as usize;
        self.nll += outcome.nll;
        // Bin i holds i/15 < confidence ≤ (i+1)/15.
        let bin = (outcome.confidence * BINS as f64).ceil() as usize;
        let bin = &mut self.bins[bin.clamp(1, BINS) - 1];
        bin.confidence += outcome.confidence;
        bin.right += outcome.top1 as usize as f64;
    }

    pub fn n(&self) -> usize {
        self.right.len()
    }

    pub fn correct(&self) -> usize {
        self.right.iter().filter(|&&right| right).count()
    }

    /// Share of images whose label ranks first.
    pub fn top1(&self) -> f64 {
        self.correct() as f64 / self.n() as f64
    }

    /// Share of images whose label is among the first five.
    pub fn top5(&self) -> f64 {
        self.top5 as f64 / self.n() as f64
    }

    /// Mean negative log-likelihood over images, in nats.
    pub fn nll(&self) -> f64 {
        self.nll / self.n() as f64
    }

    /// Expected calibration error: |accuracy − confidence| over 15 bins of equal width, weighted by
    /// their images (Guo et al. 2017).
    pub fn ece(&self) -> f64 {
        let gap = |bin: &Bin| (bin.right - bin.confidence).abs();
        self.bins.iter().map(gap).sum::<f64>() / self.n() as f64
    }

    /// 95 % interval of top-1 (Wilson 1927).
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.correct(), self.n())
    }
}

/// Wilson's 95 % score interval for a share of `correct` in `n`.
pub fn wilson(correct: usize, n: usize) -> (f64, f64) {
    const Z: f64 = 1.959963984540054; // 97.5 % quantile of the normal distribution
    let (n, p) = (n as f64, correct as f64 / n as f64);
    let scale = 1.0 / (1.0 + Z * Z / n);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((scale * (centre - half)).max(0.0), (scale * (centre + half)).min(1.0))
}

/// McNemar's exact two-sided p: of the images on which exactly one of two models is right, is the
/// split what a fair coin gives?
pub fn mcnemar(a: &[bool], b: &[bool]) -> f64 {
    let only = |x: &[bool], y: &[bool]| x.iter().zip(y).filter(|(x, y)| **x && !**y).count() as u64;
    let (a, b) = (only(a, b), only(b, a));
    match Binomial::new(0.5, a + b) {
        Ok(coin) if a + b > 0 => (2.0 * coin.cdf(a.min(b))).min(1.0),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} {expected}");
    }

    #[test]
    fn ranks_count_ties_for_the_first_class() {
        let logits = [1.0, 3.0, 3.0, 0.0, -1.0, 2.0];
        assert!(Outcome::of_logits(&logits, 1).top1);
        assert!(!Outcome::of_logits(&logits, 2).top1);
        assert!(Outcome::of_logits(&logits, 3).top5);
        assert!(!Outcome::of_logits(&logits, 4).top5);
    }

    #[test]
    fn loss_is_finite_where_the_probability_underflows() {
        let outcome = Outcome::of_logits(&[2000.0, 0.0], 1);
        close(outcome.nll, 2000.0);
        close(Outcome::of_logits(&[0.0, 0.0], 0).nll, 2f64.ln());
    }

    #[test]
    fn a_mixture_of_logarithms_is_the_mean_of_probabilities() {
        let (a, b) = (log_softmax(&[1.0, 0.0, -1.0]), log_softmax(&[0.0, 2.0, 0.0]));
        for (a, b) in a.iter().zip(&b) {
            close(log_add(*a, *b).exp(), a.exp() + b.exp());
        }
        assert_eq!(log_add(f64::NEG_INFINITY, -3.0), -3.0);
        // An ensemble of one is that model, also where its probabilities underflow.
        let logits = [0.0, 3000.0, 2000.0, 1000.0];
        let p: Vec<f64> =
            log_softmax(&logits).into_iter().map(|p| log_add(f64::NEG_INFINITY, p)).collect();
        assert_eq!(Outcome::of_log_probabilities(&p, 0), Outcome::of_logits(&logits, 0));
    }

    #[test]
    fn calibration_compares_confidence_with_accuracy() {
        let mut tally = Tally::default();
        for top1 in [true, true, false, false] {
            tally.add(Outcome { top1, top5: true, nll: 1.0, confidence: 0.9 });
        }
        tally.add(Outcome { top1: true, top5: true, nll: 2.0, confidence: 0.3 });
        close(tally.ece(), (4.0 * 0.4 + 0.7) / 5.0);
        close(tally.nll(), 1.2);
        assert_eq!((tally.n(), tally.correct()), (5, 3));
    }

    #[test]
    fn wilson_agrees_with_statsmodels() {
        // statsmodels 0.15: proportion_confint(k, n, method="wilson")
        let (low, high) = wilson(9350, 10000);
        close(low, 0.929999183396685);
        close(high, 0.9396667380208263);
        assert_eq!(wilson(0, 10).0, 0.0);
        close(wilson(10, 10).1, 1.0);
    }

    #[test]
    fn mcnemar_agrees_with_scipy() {
        let split = |a: usize, b: usize| {
            let first: Vec<bool> = (0..a + b + 5).map(|i| i < a || i >= a + b).collect();
            let second: Vec<bool> = (0..a + b + 5).map(|i| i >= a).collect();
            mcnemar(&first, &second)
        };
        // scipy 1.17: binomtest(3, 15, 0.5).pvalue, binomtest(60, 130, 0.5).pvalue
        close(split(3, 12), 0.03515625);
        close(split(60, 70), 0.4300208839753418);
        close(split(5, 5), 1.0);
        close(split(0, 0), 1.0);
    }
}
