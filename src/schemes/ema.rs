//! The exponential moving average of stored snapshots: θ̄ ← d·θ̄ + (1 − d)·θ from the first on (Polyak & Juditsky
//! 1992; PyTorch's `get_ema_multi_avg_fn`), unrolled: c_0 = d^(N−1), c_j = (1 − d)·d^(N−1−j).
//!
//! The decay is a decimal number, d = p/q with q a power of ten, so each c_j is a fraction of whole numbers;
//! the weight is the nearest f64.

use num_bigint::BigInt;
use num_traits::One;

use crate::average::{Column, quotient};
use crate::{Error, Result, setting};

pub(super) fn column(decay: f64, n: usize) -> Result<Column> {
    if !(decay > 0.0 && decay < 1.0) {
        let what = format!("{} ema:{decay}: the decay lies between 0 and 1", setting!("scheme"));
        return Err(Error::usage(what)
            .remedy("0.9 to 0.999 are usual: the nearer to 1, the longer the memory"));
    }
    let (p, q) = fraction(decay);
    // c_j = (q − p)·p^k / q^(k+1) with k = N − 1 − j, and c_0 = p^(N−1) / q^(N−1).
    let (rest, mut above, mut below) = (&q - &p, BigInt::one(), BigInt::one());
    let mut weights = Vec::with_capacity(n);
    for _ in 1..n {
        weights.push(quotient(&rest * &above, &below * &q, 0));
        above *= &p;
        below *= &q;
    }
    weights.push(quotient(above, below, 0));
    weights.reverse();
    // Below the normal numbers an f64 has fewer digits.
    let faded = weights.iter().filter(|weight| !weight.is_normal()).count();
    if faded > 0 {
        let what = format!(
            "{} ema:{decay}: {faded} of {n} checkpoints count for less than 1e-307",
            setting!("scheme")
        );
        return Err(Error::usage(what).remedy(format!(
            "take the others, with {} {}",
            setting!("last"),
            n - faded
        )));
    }
    Column::new(weights.into_iter().map(Some))
}

/// The decimal number that an f64 prints as, the shortest that it is the nearest f64 of: a numerator, and a power of ten.
fn fraction(decay: f64) -> (BigInt, BigInt) {
    let text = decay.to_string();
    let digits = text.split_once('.').map_or("", |(_, digits)| digits);
    let numerator = digits.parse().expect("a number between 0 and 1 has digits behind the point");
    (numerator, BigInt::from(10).pow(digits.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decay_is_the_decimal_that_was_written() {
        assert_eq!(fraction(0.99), (99.into(), 100.into()));
        assert_eq!(
            fraction("0.9990000000000000000001".parse().unwrap()),
            (999.into(), 1000.into())
        );
        assert_eq!(fraction(1e-5), (1.into(), 100_000.into()));
    }

    #[test]
    fn what_counts_for_nothing_is_an_error() {
        let error = column(0.1, 309).unwrap_err().to_string();
        let expected = "`scheme` ema:0.1: 1 of 309 checkpoints count for less than 1e-307; take the others, with `last` 308";
        assert_eq!(error, expected);
        assert!(column(0.1, 308).is_ok());
        for bad in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
            assert_eq!(column(bad, 3).unwrap_err().kind(), crate::Kind::Usage);
        }
    }
}
