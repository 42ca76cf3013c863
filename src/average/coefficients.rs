//! Weighting schemes: pure arithmetic, known before any tensor is read.

/// θ̄ = (Σ w_j θ_j) / W. One weight an input, in their order, and one divisor.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficients {
    pub weights: Vec<f64>,
    pub divisor: f64,
}

/// The plain mean of n inputs, which the running form of SWA ends at
/// (w_swa ← (w_swa·n + w)/(n+1), Izmailov et al. 2018, §3). Divided by n, never multiplied by 1/n:
/// that rounds once more.
pub fn mean(n: usize) -> Coefficients {
    Coefficients { weights: vec![1.0; n], divisor: n as f64 }
}
