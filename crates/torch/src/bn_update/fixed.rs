//! Exact sums of many numbers, the same in any order: integers of 448 bits in units of
//! 2^-240 (the idea of Kulisch's accumulator, in the range that statistics have).
//!
//! A term of less than 2^207 enters exactly, except for bits below the unit, which are dropped from each
//! term separately. So the sum over a pass does not depend on how processes shared it, in constant memory.

use num_bigint::BigInt;

use swa_tools::average::parts;

/// Words of 64 bits, the lowest first, in two's complement.
pub const WORDS: usize = 7;

/// Exponent of the lowest bit.
pub const UNIT: i32 = -240;

/// Bytes in a file.
pub const BYTES: usize = WORDS * 8;

/// A sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed([u64; WORDS]);

impl Fixed {
    /// The empty sum.
    pub const ZERO: Fixed = Fixed([0; WORDS]);

    /// The sum after a term that is not finite, or after it grew too large: not a number from then on.
    const LOST: Fixed = Fixed([0, 0, 0, 0, 0, 0, 1 << 63]);

    /// Adds factor · x.
    pub fn add(&mut self, factor: u64, x: f64) {
        if !x.is_finite() {
            *self = Self::LOST;
            return;
        }
        let (negative, m, exponent) = parts(x);
        self.add_term(negative, words(m as u128, factor), exponent);
    }

    /// Adds factor · x².
    pub fn add_square(&mut self, factor: u64, x: f64) {
        if !x.is_finite() {
            *self = Self::LOST;
            return;
        }
        let (_, m, exponent) = parts(x);
        self.add_term(false, words(m as u128 * m as u128, factor), 2 * exponent);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        if *self == Self::LOST || *other == Self::LOST {
            *self = Self::LOST;
            return;
        }
        self.add_signed(&other.0);
    }

    /// Adds ±term·2^exponent.
    fn add_term(&mut self, negative: bool, term: [u64; 3], exponent: i32) {
        if *self == Self::LOST {
            return;
        }
        let (word, bit) = ((exponent - UNIT).div_euclid(64), (exponent - UNIT).rem_euclid(64));
        let mut all = [0; WORDS];
        for k in 0..4 {
            let low = if k < 3 { term[k] << bit } else { 0 };
            let high = if k > 0 && bit > 0 { term[k - 1] >> (64 - bit) } else { 0 };
            match usize::try_from(word + k as i32) {
                Ok(at) if at < WORDS => all[at] = low | high,
                Ok(_) if low | high != 0 => {
                    *self = Self::LOST;
                    return;
                }
                // Below the unit, or nothing.
                _ => {}
            }
        }
        if all[WORDS - 1] >> 63 == 1 {
            *self = Self::LOST;
            return;
        }
        if negative {
            let mut carry = true;
            for word in &mut all {
                (*word, carry) = (!*word).overflowing_add(carry as u64);
            }
        }
        self.add_signed(&all);
    }

    fn add_signed(&mut self, other: &[u64; WORDS]) {
        let is_negative = |words: &[u64; WORDS]| words[WORDS - 1] >> 63 == 1;
        let signs = (is_negative(&self.0), is_negative(other));
        let mut carry = false;
        for (word, other) in self.0.iter_mut().zip(other) {
            let (sum, over) = word.overflowing_add(*other);
            let (sum, again) = sum.overflowing_add(carry as u64);
            (*word, carry) = (sum, over | again);
        }
        if signs.0 == signs.1 && is_negative(&self.0) != signs.0 {
            *self = Self::LOST;
        }
    }

    /// In units; None if it is not a number.
    pub fn to_integer(self) -> Option<BigInt> {
        (self != Self::LOST).then(|| BigInt::from_signed_bytes_le(&self.to_bytes()))
    }

    /// The words, little-endian.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// What [`Fixed::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Fixed(std::array::from_fn(|i| u64::from_le_bytes(words[i])))
    }
}

/// m · factor, for m below 2^106.
fn words(m: u128, factor: u64) -> [u64; 3] {
    let low = (m & u64::MAX as u128) * factor as u128;
    let high = (m >> 64) * factor as u128 + (low >> 64);
    [low as u64, high as u64, (high >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Terms of every sign and size that statistics have, and beyond.
    fn terms() -> impl Strategy<Value = Vec<(u64, f64)>> {
        let x = (any::<bool>(), 0u64..1 << 52, -200i32..60).prop_map(|(minus, fraction, e)| {
            let x = (1.0 + fraction as f64 / (1u64 << 52) as f64) * 2f64.powi(e);
            if minus { -x } else { x }
        });
        proptest::collection::vec((1u64..1 << 40, x), 0..20)
    }

    fn sum(terms: &[(u64, f64)]) -> (Fixed, Fixed) {
        let (mut sum, mut squares) = (Fixed::ZERO, Fixed::ZERO);
        for &(factor, x) in terms {
            sum.add(factor, x);
            squares.add_square(factor, x);
        }
        (sum, squares)
    }

    /// The same in big integers: bits below the unit are dropped from the magnitude.
    fn naive(terms: &[(u64, f64)]) -> (BigInt, BigInt) {
        let shifted = |n: BigInt, by: i32| if by < 0 { n >> -by } else { n << by };
        let (mut sum, mut squares) = (BigInt::ZERO, BigInt::ZERO);
        for &(factor, x) in terms {
            let (negative, m, e) = parts(x);
            let term = shifted(BigInt::from(m) * factor, e - UNIT);
            sum += if negative { -term } else { term };
            squares += shifted(BigInt::from(m) * m * factor, 2 * e - UNIT);
        }
        (sum, squares)
    }

    proptest! {
        #[test]
        fn equal_to_big_integers(terms in terms()) {
            let (sum, squares) = sum(&terms);
            prop_assert_eq!((sum.to_integer().unwrap(), squares.to_integer().unwrap()), naive(&terms));
        }

        #[test]
        fn the_order_does_not_matter(terms in terms(), split in 0usize..20) {
            let (a, b) = terms.split_at(split.min(terms.len()));
            let (mut merged, later) = (sum(b), sum(a));
            merged.0.merge(&later.0);
            merged.1.merge(&later.1);
            prop_assert_eq!(merged, sum(&terms));
            prop_assert_eq!(Fixed::from_bytes(&merged.0.to_bytes()), merged.0);
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for x in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200] {
            let mut sum = Fixed::ZERO;
            sum.add(1, x);
            sum.add(1, 1.0);
            assert_eq!(sum.to_integer(), None, "{x}");
            let mut other = Fixed::ZERO;
            other.merge(&sum);
            assert_eq!(other.to_integer(), None);
        }
        // The sum grows too large, term by term.
        for x in [2f64.powi(206), -2f64.powi(206)] {
            let mut sum = Fixed::ZERO;
            sum.add(1, x);
            assert!(sum.to_integer().is_some());
            sum.add(1, x);
            sum.add(1, x);
            assert_eq!(sum.to_integer(), None);
        }
    }
}
