//! Post-hoc EMA (Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models", §3 and
//! appendix C): from stored moving averages of two widths, a moving average of any width.
//!
//! A trainer keeps power-function averages and stores them at times t_i: the average of exponent γ weighs the weights at
//! time τ ≤ t by p(τ) = (γ + 1)·τ^γ / t^(γ+1). Its width is σ = √((γ + 1) / ((γ + 2)²·(γ + 3))), the standard deviation of
//! p over t. The target's p is approximated by Σ x_i p_i as well as can be: A x = b with A_ij = ⟨p_i, p_j⟩ and
//! b_i = ⟨p_i, p⟩, the least squares of the profiles, then divided by Σ x_i. Weights can be negative.

mod profiles;
mod solve;

use crate::average::Column;
use crate::{Error, Result, setting};

use super::Snapshots;
use profiles::Profile;
pub use profiles::Profiles;

/// How well a combination of stored averages is the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Condition number of the system that was solved, in the 1-norm, for profiles of unit length. The weights are
    /// certain to about this times 1e-16.
    pub condition: f64,
    /// Distance of the profile that the weights make from the one that was asked for, by the length of that: 0 is the
    /// same, 1 has nothing to do with it.
    pub misfit: f64,
}

/// Beyond this nothing is left of the 16 digits of an f64.
const MOST_CONDITION: f64 = 1e14;

/// The moving average of width `sigma` at the time of the newest snapshot.
pub(super) fn column(sigma: f64, snapshots: &Snapshots) -> Result<(Column, Fit)> {
    let name = format!("{} posthoc-ema:{sigma}", setting!("scheme"));
    let gamma = gamma(sigma).ok_or_else(|| {
        Error::usage(format!("{name}: a width lies above 0 and below 1/√12, which is 0.2887"))
            .remedy("0.05 is a short memory, 0.15 a long one")
    })?;
    let stored = profiles::of(snapshots, &name)?;
    let end = stored.iter().map(|profile| profile.time).fold(0.0, f64::max);
    let (weights, fit) = solve(&stored, Profile { time: end, gamma });
    if fit.condition.is_nan() || fit.condition >= MOST_CONDITION {
        let what = format!(
            "{name}: the stored averages are too much alike to be told apart (condition number {:.1e})",
            fit.condition
        );
        return Err(Error::usage(what)
            .remedy("leave out every second of them, or those of the first steps"));
    }
    // A weight of nothing is none.
    let weights = weights.into_iter().map(|weight| (weight != 0.0).then_some(weight));
    Ok((Column::new(weights)?, fit))
}

/// The weights, which add up to 1, of the combination of profiles that is nearest to another one.
fn solve(stored: &[Profile], target: Profile) -> (Vec<f64>, Fit) {
    // Profiles of unit length: then the condition number says what the snapshots' times and widths make of it alone.
    let length = |profile: &Profile| product(profile, profile).sqrt();
    let lengths: Vec<f64> = stored.iter().map(length).collect();
    let unit = |i: usize, j: usize| product(&stored[i], &stored[j]) / (lengths[i] * lengths[j]);
    let n = stored.len();
    let matrix: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| unit(i, j)).collect()).collect();
    let b: Vec<f64> = (0..n).map(|i| product(&stored[i], &target) / lengths[i]).collect();
    let solved = solve::solve(matrix.clone(), b.clone());
    let solution = &solved.solution;
    let sum: f64 = solution.iter().zip(&lengths).map(|(y, length)| y / length).sum();
    let x: Vec<f64> = solution.iter().zip(&lengths).map(|(y, length)| y / length / sum).collect();
    // |p − Σ x_i p_i|² by the products, with y_i = x_i · |p_i|.
    let y: Vec<f64> = solution.iter().map(|y| y / sum).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let made = matrix.iter().zip(&y).map(|(row, y_i)| y_i * dot(row, &y)).sum::<f64>();
    let own = product(&target, &target);
    let misfit = ((own - 2.0 * dot(&b, &y) + made).max(0.0) / own).sqrt();
    (x, Fit { condition: solved.condition, misfit })
}

/// ⟨a, b⟩ = ∫ a(τ)·b(τ) dτ over the times that both have.
fn product(a: &Profile, b: &Profile) -> f64 {
    let (early, late) = if a.time < b.time { (a, b) } else { (b, a) };
    // The same bits on every machine, which powf does not promise.
    let ratio = libm::pow(early.time / late.time, late.gamma);
    (a.gamma + 1.0) * (b.gamma + 1.0) * ratio / ((a.gamma + b.gamma + 1.0) * late.time)
}

/// The exponent of a width: the positive root of γ³ + 7γ² + (16 − t)γ + (12 − t) with t = σ⁻². None if there is none.
fn gamma(sigma: f64) -> Option<f64> {
    let t = (sigma * sigma).recip();
    if !(sigma > 0.0 && t > 12.0 && t < 1e12) {
        return None;
    }
    // By Newton from above, where the cubic is convex: each step comes nearer, until rounding is all there is.
    let mut gamma = 1.0 + t.sqrt();
    loop {
        let value = ((gamma + 7.0) * gamma + (16.0 - t)) * gamma + (12.0 - t);
        let slope = (3.0 * gamma + 14.0) * gamma + (16.0 - t);
        let next = gamma - value / slope;
        if next >= gamma {
            return Some(gamma);
        }
        gamma = next;
    }
}

#[cfg(test)]
mod tests;
