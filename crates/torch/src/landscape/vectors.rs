//! Sums over weight vectors, in f64. They do not depend on the number of threads.

use rayon::prelude::*;

/// Values that are added up one after the other; these sums then are, too.
const RUN: usize = 1 << 14;

fn sum(count: usize, of: impl Fn(usize) -> f64 + Sync) -> f64 {
    let runs: Vec<f64> = (0..count.div_ceil(RUN))
        .into_par_iter()
        .map(|run| (run * RUN..count.min((run + 1) * RUN)).map(&of).sum())
        .collect();
    runs.iter().sum()
}

/// √Σ wᵢ².
pub(crate) fn norm(w: &[f32]) -> f64 {
    sum(w.len(), |i| f64::from(w[i]).powi(2)).sqrt()
}

/// Σ (aᵢ − oᵢ)·(bᵢ − oᵢ).
pub(super) fn dot_from(o: &[f32], a: &[f32], b: &[f32]) -> f64 {
    let from = |w: &[f32], i: usize| f64::from(w[i]) - f64::from(o[i]);
    sum(o.len(), |i| from(a, i) * from(b, i))
}

/// The length of w − Σ cₖ·wₖ.
pub(super) fn distance_to(w: &[f32], parts: &[(f64, &[f32])]) -> f64 {
    let at = |i: usize| parts.iter().map(|(c, part)| c * f64::from(part[i])).sum::<f64>();
    sum(w.len(), |i| (f64::from(w[i]) - at(i)).powi(2)).sqrt()
}

/// Σ cₖ·wₖ, each value rounded once.
pub(crate) fn combined(parts: &[(f64, &[f32])]) -> Vec<f32> {
    let length = parts.first().map_or(0, |(_, part)| part.len());
    let at = |i: usize| parts.iter().map(|(c, part)| c * f64::from(part[i])).sum::<f64>() as f32;
    (0..length).into_par_iter().with_min_len(RUN).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_worked_out_by_hand() {
        let (o, a, b) = ([1.0, 0.0, 2.0], [4.0, 4.0, 2.0], [1.0, 2.0, 7.0]);
        assert_eq!(norm(&a), 6.0);
        assert_eq!((dot_from(&o, &a, &a), dot_from(&o, &a, &b)), (25.0, 8.0));
        assert_eq!(combined(&[(0.5, &a[..]), (-1.0, &b[..])]), [1.0, 0.0, -6.0]);
        assert_eq!(combined(&[(1.0, &a[..]), (0.0, &b[..])]), a);
        assert_eq!(distance_to(&o, &[(1.0, &a[..])]), 5.0);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let w: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin() * 1e3).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| norm(&w).to_bits())
        };
        assert!(with(1) == with(3) && with(1) == with(7));
    }
}
