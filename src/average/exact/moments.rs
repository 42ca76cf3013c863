//! Moments of one weight over all snapshots, without any rounding but the last.

use num_bigint::BigInt;

use super::{Integer, SMALL, Sum, bits, mean, parts};
use crate::average::Float;

/// One weight's values in all snapshots as integers times a power of two.
#[derive(Debug, Default)]
pub(in crate::average) struct Values {
    integers: Vec<i64>,
    exponent: i32,
}

impl Values {
    /// Whether the values are so close to each other that integers of 53 bits hold their weighted sums, with weights
    /// up to twice their number; they are kept if so.
    pub fn take(&mut self, values: &[f64]) -> bool {
        let (mut low, mut high) = (i32::MAX, i32::MIN);
        for &value in values {
            let (_, m, e) = parts(value);
            if m != 0 {
                low = low.min(e + m.trailing_zeros() as i32);
                high = high.max(e + bits(m) as i32);
            }
        }
        self.integers.clear();
        if low == i32::MAX {
            self.exponent = 0;
            self.integers.resize(values.len(), 0);
            return true;
        }
        let carries = (usize::BITS - values.len().leading_zeros()) as i32;
        // Far from the ends of f64's range, so that no sum becomes subnormal.
        if high - low + carries + 1 > 53 || low < -900 || high > 900 {
            return false;
        }
        self.exponent = low;
        self.integers.extend(values.iter().map(|&value| {
            let (minus, m, e) = parts(value);
            let zeros = m.trailing_zeros();
            let integer =
                if m == 0 { 0 } else { ((m >> zeros) << (e + zeros as i32 - low)) as i64 };
            if minus { -integer } else { integer }
        }));
        true
    }

    /// The sum of all, exactly; and n² times their variance, as (integer, exponent).
    pub fn sums(&self) -> (f64, (i128, i32)) {
        let n = self.integers.len() as i128;
        let sum: i64 = self.integers.iter().sum();
        let squares: i128 = self.integers.iter().map(|&k| k as i128 * k as i128).sum();
        let spread = n * squares - sum as i128 * sum as i128;
        (self.scaled(sum), (spread, 2 * self.exponent))
    }

    /// i times the deviation of the i-th value, from 1, from the mean of the first i: exactly, for each.
    pub fn deviations(&self) -> impl Iterator<Item = f64> + '_ {
        let mut sum = 0;
        self.integers.iter().enumerate().map(move |(i, &k)| {
            sum += k;
            self.scaled((i as i64 + 1) * k - sum)
        })
    }

    fn scaled(&self, integer: i64) -> f64 {
        // A power of two within the range: nothing is lost.
        integer as f64 * f64::from_bits(((self.exponent + 1023) as u64) << 52)
    }
}

/// The code of spread / n², where spread is an integer times a power of two, and not below zero.
pub(in crate::average) fn over_square((spread, exponent): (i128, i32), n: usize, to: Float) -> u64 {
    let sum = Sum { integer: Integer::Small(spread), exponent };
    debug_assert!((0..1 << SMALL).contains(&spread));
    sum.over(&whole(n as i128 * n as i128), to.format()).0
}

/// The code of the variance of finite values, Σ(x − mean)² / n.
pub(in crate::average) fn variance(values: &[f64], to: Float) -> u64 {
    let n = values.len();
    let big = |sum: Sum| match sum.integer {
        Integer::Small(integer) => (BigInt::from(integer), sum.exponent),
        Integer::Big(integer) => (integer, sum.exponent),
    };
    let (sum, e) = big(Sum::of(values.iter().map(|&x| (1.0, x))));
    let (squares, f) = big(Sum::of(values.iter().map(|&x| (x, x))));
    // n·Σx² − (Σx)², over a common power of two.
    let exponent = f.min(2 * e);
    let squares = (squares * BigInt::from(n)) << (f - exponent);
    let integer = squares - ((&sum * &sum) << (2 * e - exponent));
    Sum { integer: Integer::Big(integer), exponent }
        .over(&whole(n as i128 * n as i128), to.format())
        .0
}

/// The code of the deviation of the last of finite values from the mean of all.
pub(in crate::average) fn last_deviation(values: &[f64], to: Float) -> u64 {
    let i = values.len();
    let weight = |j: usize| if j + 1 == i { i as f64 - 1.0 } else { -1.0 };
    let terms = values.iter().enumerate().map(|(j, &x)| (weight(j), x));
    if Sum::of(terms.clone()).is_zero() {
        return 0;
    }
    mean(terms, &whole(i as i128), to)
}

fn whole(n: i128) -> Sum {
    Sum { integer: Integer::Small(n), exponent: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definition, in f64, of integers small enough for that to be exact.
    fn expected(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let sum: f64 = values.iter().sum();
        let squares: f64 = values.iter().map(|x| x * x).sum();
        (sum, (n * squares - sum * sum) / (n * n))
    }

    #[test]
    fn both_ways_are_the_definition() {
        let mut taken = Values::default();
        for values in [
            vec![1.0, 2.0, 4.0, -3.0],
            vec![0.5, 0.5, 0.5],
            vec![-0.0, 0.0],
            vec![7.0],
            vec![1024.0, 1025.0, 1023.0, 1.5],
        ] {
            assert!(taken.take(&values));
            let (sum, variance_of) = expected(&values);
            let (found, spread) = taken.sums();
            assert_eq!(found, sum);
            let n = values.len();
            let code = over_square(spread, n, Float::F64);
            assert_eq!(f64::from_bits(code), variance_of, "{values:?}");
            assert_eq!(variance(&values, Float::F64), code);
            for (i, deviation) in taken.deviations().enumerate() {
                let first = &values[..=i];
                let mean = first.iter().sum::<f64>() / first.len() as f64;
                assert!((deviation / (i + 1) as f64 - (values[i] - mean)).abs() < 1e-12);
                let slow = f64::from_bits(last_deviation(first, Float::F64));
                assert_eq!(slow, deviation / (i + 1) as f64, "{values:?} {i}");
            }
        }
    }

    #[test]
    fn values_far_apart_or_at_the_ends_of_the_range_are_left_to_big_integers() {
        let mut taken = Values::default();
        for values in [vec![1.0, 1e-20], vec![f64::MAX, 1.0], vec![5e-324, 0.0]] {
            assert!(!taken.take(&values));
        }
        // 1 and 2^-60: mean ½ + 2^-61, variance (½ − 2^-61)².
        let values = [1.0, 2f64.powi(-60)];
        assert_eq!(f64::from_bits(variance(&values, Float::F64)), 0.25);
        // Cancels to nothing in f64.
        let values = [1e9, 1e9 + 1e-6];
        let step = values[1] - values[0];
        assert_eq!(f64::from_bits(variance(&values, Float::F64)), step * step / 4.0);
        assert_eq!(f64::from_bits(last_deviation(&values, Float::F64)), step / 2.0);
    }
}
