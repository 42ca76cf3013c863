//! Weighting schemes: pure arithmetic, known before any tensor is read.

use super::exact::Sum;
use crate::{Error, Result};

/// The weights of a mean, θ̄ = (Σ w_j θ_j) / W with W = Σ w_j: one for each input, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficients {
    weights: Vec<f64>,
    /// W, rounded to nearest.
    divisor: f64,
    divisor_is_exact: bool,
    /// Σ |w_j|, no less than that.
    total: f64,
    /// Every weight is a multiple of two to this power.
    quantum: i32,
    positive: bool,
    plain: bool,
}

/// The plain mean of `n` inputs, which the running form of SWA arrives at
/// (w_swa ← (w_swa·n + w)/(n+1), Izmailov et al. 2018, §3). The sum is divided by n, never multiplied
/// by 1/n, which would round once more.
///
/// # Errors
/// `Usage` if `n` is 0.
pub fn mean(n: usize) -> Result<Coefficients> {
    Coefficients::new(vec![1.0; n])
}

impl Coefficients {
    /// Weights of any scale and sign: only their ratios matter.
    ///
    /// # Errors
    /// `Usage` if there are none, if one is zero or not finite, or if their sum is.
    pub fn new(weights: Vec<f64>) -> Result<Self> {
        if weights.is_empty() {
            return Err(Error::usage("no checkpoints to average"));
        }
        if let Some(bad) = weights.iter().find(|w| !w.is_finite() || **w == 0.0) {
            let what = format!("a weight cannot be {bad}");
            return Err(match *bad == 0.0 {
                true => Error::usage(what).remedy("leave that checkpoint out"),
                false => Error::usage(what),
            });
        }
        let sum = Sum::of(weights.iter().map(|&w| (1.0, w)));
        let (divisor, divisor_is_exact) = sum.to_f64();
        if sum.is_zero() || !divisor.is_finite() {
            let (what, remedy) = match sum.is_zero() {
                true => ("0", "they are divided by their sum, which cannot be 0"),
                false => {
                    ("more than a number can hold", "give smaller ones: only their ratios count")
                }
            };
            return Err(Error::usage(format!("the weights add up to {what}")).remedy(remedy));
        }
        let lowest_bit = |w: &f64| {
            let (_, significand, exponent) = super::exact::parts(*w);
            exponent + significand.trailing_zeros() as i32
        };
        // Each of the n − 1 additions rounds by at most 2^-53: a factor of 1 + 1e-6 covers a billion.
        let total = weights.iter().map(|w| w.abs()).sum::<f64>() * (1.0 + 1e-6);
        let plain = weights.iter().all(|w| *w == 1.0);
        Ok(Coefficients {
            divisor,
            divisor_is_exact,
            total: if plain { divisor } else { total },
            quantum: weights.iter().map(lowest_bit).min().unwrap_or(0),
            positive: weights.iter().all(|w| *w > 0.0),
            plain,
            weights,
        })
    }

    /// As they were given, undivided.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// W, rounded to nearest.
    pub fn divisor(&self) -> f64 {
        self.divisor
    }

    /// What each input counts for, w_j / W. They add up to 1.
    pub fn shares(&self) -> impl Iterator<Item = f64> + '_ {
        self.weights.iter().map(|weight| weight / self.divisor)
    }

    /// Whether all weights are 1.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether all weights are above zero.
    pub fn is_positive(&self) -> bool {
        self.positive
    }

    /// Whether no product with an f32 value, and no residual of a division, can leave f64's range.
    pub(super) fn is_moderate(&self) -> bool {
        self.quantum >= -800 && (2f64.powi(-400)..2f64.powi(400)).contains(&self.total)
    }

    pub(super) fn divisor_is_exact(&self) -> bool {
        self.divisor_is_exact
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    pub(super) fn quantum(&self) -> i32 {
        self.quantum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn weights_are_divided_by_their_exact_sum() {
        let thirds = Coefficients::new(vec![1.0, 2.0, 3.0]).unwrap();
        assert_eq!((thirds.divisor(), thirds.quantum(), thirds.total() >= 6.0), (6.0, 0, true));
        assert!((thirds.shares().nth(2).unwrap() - 0.5).abs() < 1e-15 && thirds.is_positive());
        let tiny = Coefficients::new(vec![1.0, 2f64.powi(-60)]).unwrap();
        assert!(!tiny.divisor_is_exact() && tiny.quantum() == -60);
        // Naive addition would lose the 1.
        let large = Coefficients::new(vec![1e300, 1.0, -1e300]).unwrap();
        assert!(large.divisor() == 1.0 && large.divisor_is_exact() && !large.is_positive());
        assert_eq!(mean(7).unwrap().weights(), [1.0; 7]);
    }

    #[test]
    fn weights_that_cannot_be_divided_by_their_sum_are_refused() {
        let bad = [vec![], vec![1.0, -1.0], vec![f64::NAN], vec![1.0, 0.0], vec![f64::MAX; 2]];
        for weights in bad {
            assert_eq!(Coefficients::new(weights).unwrap_err().kind(), Kind::Usage);
        }
        assert_eq!(mean(0).unwrap_err().kind(), Kind::Usage);
    }
}
