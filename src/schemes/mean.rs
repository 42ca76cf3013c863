//! The plain mean, θ̄ = (Σ θ_j) / N: what the running average of SWA, w_swa ← (w_swa·n + w)/(n + 1), arrives at
//! (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", §3).

use crate::Result;
use crate::average::{self, Column};

/// Of all.
pub(super) fn column(n: usize) -> Result<Column> {
    Ok(average::mean(n)?.into())
}
