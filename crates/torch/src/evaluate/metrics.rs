//! How good a model is and how sure that is: pure arithmetic on its outcomes.

use statrs::function::factorial::ln_binomial;

use super::scores::Outcome;

/// Bins of the calibration error.
pub const BINS: usize = 15;

/// A model's outcomes over a data set, counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    n: usize,
    correct: usize,
    top5: usize,
    nll: f64,
    bins: [Bin; BINS],
}

/// The images whose confidence lies in one interval: bin i holds i/15 < confidence ≤ (i+1)/15.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bin {
    /// How many.
    pub n: usize,
    /// How many have their label ranked first.
    pub correct: usize,
    /// The sum of their confidences.
    pub confidence: f64,
}

impl Bin {
    /// Share of its images whose label ranks first; NaN without images.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.n as f64
    }

    /// Mean confidence of its images; NaN without images.
    pub fn mean_confidence(&self) -> f64 {
        self.confidence / self.n as f64
    }
}

impl Tally {
    /// Of all outcomes of a model.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut tally = Tally::default();
        outcomes.iter().for_each(|outcome| tally.add(outcome));
        tally
    }

    fn add(&mut self, outcome: &Outcome) {
        self.n += 1;
        self.correct += outcome.top1 as usize;
        self.top5 += outcome.top5 as usize;
        self.nll += outcome.nll;
        let bin = (outcome.confidence * BINS as f64).ceil() as usize;
        let bin = &mut self.bins[bin.clamp(1, BINS) - 1];
        bin.n += 1;
        bin.correct += outcome.top1 as usize;
        bin.confidence += outcome.confidence;
    }

    /// How many images.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many have their label ranked first.
    pub fn correct(&self) -> usize {
        self.correct
    }

    /// Share of images whose label ranks first.
    pub fn top1(&self) -> f64 {
        self.correct as f64 / self.n as f64
    }

    /// Share of images whose label is among the first five.
    pub fn top5(&self) -> f64 {
        self.top5 as f64 / self.n as f64
    }

    /// Mean negative log-likelihood over images, in nats.
    pub fn nll(&self) -> f64 {
        self.nll / self.n as f64
    }

    /// Expected calibration error: |accuracy − confidence| over 15 bins of equal width, weighted by
    /// their images (Guo et al. 2017).
    pub fn ece(&self) -> f64 {
        let gap = |bin: &Bin| (bin.correct as f64 - bin.confidence).abs();
        self.bins.iter().map(gap).sum::<f64>() / self.n as f64
    }

    /// The bins by confidence, from 0 to 1.
    pub fn bins(&self) -> &[Bin; BINS] {
        &self.bins
    }

    /// 95 % interval of top-1, as shares (Wilson 1927).
    pub fn interval(&self) -> (f64, f64) {
        wilson(self.correct, self.n)
    }
}

/// Wilson's 95 % score interval for a share of `correct` in `n` (Wilson 1927).
pub fn wilson(correct: usize, n: usize) -> (f64, f64) {
    const Z: f64 = 1.959963984540054; // 97.5 % quantile of the normal distribution
    let (n, p) = (n as f64, correct as f64 / n as f64);
    let scale = 1.0 / (1.0 + Z * Z / n);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Exact at the ends, where rounding would leave a trace.
    let low = if correct == 0 { 0.0 } else { scale * (centre - half) };
    let high = if p == 1.0 { 1.0 } else { scale * (centre + half) };
    (low, high)
}

/// Two models on the same images, compared by McNemar's exact test (McNemar 1947): of the images on which exactly one
/// of them is right, is the split what a fair coin gives?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McNemar {
    /// Images that only the first has right.
    pub first: u64,
    /// Images that only the second has right.
    pub second: u64,
}

impl McNemar {
    /// Of outcomes on the same images in the same order.
    pub fn of(first: &[Outcome], second: &[Outcome]) -> Self {
        let count = |a: &[Outcome], b: &[Outcome]| {
            a.iter().zip(b).filter(|(a, b)| a.top1 && !b.top1).count() as u64
        };
        McNemar { first: count(first, second), second: count(second, first) }
    }

    /// ln of the two-sided p.
    pub fn ln_p(&self) -> f64 {
        let (n, k) = (self.first + self.second, self.first.min(self.second));
        // Σ C(n,i)/2ⁿ over i ≤ k is its last term times 1 + k/(n−k+1) · (1 + (k−1)/(n−k+2) · …).
        let (mut term, mut sum) = (1.0, 1.0);
        for i in (1..=k).rev() {
            term *= i as f64 / (n - i + 1) as f64;
            sum += term;
            if term < 1e-18 * sum {
                break;
            }
        }
        let ln_2 = std::f64::consts::LN_2;
        (ln_2 + ln_binomial(n, k) - n as f64 * ln_2 + sum.ln()).min(0.0)
    }

    /// The two-sided p; 0 where it is below 1e-323.
    pub fn p(&self) -> f64 {
        self.ln_p().exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} {expected}");
    }

    #[test]
    fn calibration_compares_confidence_with_accuracy() {
        let outcome =
            |top1, nll, confidence| Outcome { predicted: 0, top1, top5: true, nll, confidence };
        let mut outcomes = [true, true, false, false].map(|top1| outcome(top1, 1.0, 0.9)).to_vec();
        outcomes.push(outcome(true, 2.0, 0.3));
        let tally = Tally::of(&outcomes);
        close(tally.ece(), (4.0 * 0.4 + 0.7) / 5.0);
        close(tally.nll(), 1.2);
        assert_eq!((tally.n(), tally.correct()), (5, 3));
        // The upper end of an interval belongs to it, and 0 to the first.
        let ends = [0.0, 1.0 / 15.0, 0.4, 1.0].map(|c| outcome(true, 0.0, c));
        let filled: Vec<usize> = Tally::of(&ends).bins().iter().map(|bin| bin.n).collect();
        assert_eq!(filled, [2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_coin_s_split_is_no_difference() {
        for n in [0, 1, 2, 1000] {
            close(McNemar { first: n, second: n }.p(), 1.0);
        }
        close(McNemar { first: 1, second: 0 }.p(), 1.0);
    }
}
