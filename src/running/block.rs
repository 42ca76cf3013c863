//! The exact sums of a block of values: integers of one width times one power of two.

mod layout;

use num_bigint::{BigInt, Sign};

use crate::average::Float;
use crate::average::exact::parts;
use crate::average::totals::{Integers, Mark, Totals};

/// Values of a block.
pub(super) const BLOCK: usize = 1024;

/// The sums of up to [`BLOCK`] values.
#[derive(Debug, Default)]
pub(super) struct Block {
    exponent: i32,
    /// No magnitude has more bits; 0 if all sums are 0.
    bits: u64,
    small: Vec<i128>,
    /// In place of the small ones, where these do not suffice.
    big: Option<Vec<BigInt>>,
    /// Empty if all are sums.
    marks: Vec<Mark>,
}

impl Block {
    /// Sums of nothing.
    pub fn clear(&mut self, values: usize) {
        (self.exponent, self.bits, self.big) = (0, 0, None);
        self.small.clear();
        self.small.resize(values, 0);
        self.marks.clear();
    }

    pub fn totals(&self) -> Totals<'_> {
        let integers = match &self.big {
            Some(big) => Integers::Big(big),
            None => Integers::Small(&self.small),
        };
        Totals { integers, exponent: self.exponent, bits: self.bits, marks: &self.marks }
    }

    /// Adds a value to each sum. `is_first`: they are sums of nothing. Returns whether all are finite but for what is meant
    /// to be infinite, in the same places of all values that were added: masks' minus infinity, and, where they `may_be_infinite`,
    /// all values.
    pub fn add(
        &mut self,
        values: &[u8],
        from: Float,
        is_first: bool,
        may_be_infinite: bool,
        decoded: &mut Vec<f64>,
    ) -> bool {
        decode(values, from, decoded);
        let (mut low, mut high) = (i32::MAX, i32::MIN);
        let (mut nonfinite, mut minus_zeros) = (false, false);
        for &x in &*decoded {
            let (minus, m, e) = parts(x);
            if !x.is_finite() {
                nonfinite = true;
            } else if m != 0 {
                low = low.min(e + m.trailing_zeros() as i32);
                high = high.max(e + 64 - m.leading_zeros() as i32);
            } else {
                minus_zeros |= minus;
            }
        }
        let mut is_marked = !self.marks.is_empty();
        if !is_marked && (nonfinite || is_first && minus_zeros) {
            self.marks.resize(decoded.len(), Mark::Sum);
            is_marked = true;
        }
        let mut is_sound = true;
        if is_marked {
            let all_infinite = may_be_infinite && decoded.iter().all(|x| x.is_infinite());
            for (mark, x) in self.marks.iter_mut().zip(&mut *decoded) {
                let before = *mark;
                *mark = marked(before, *x, is_first);
                is_sound &= match *mark {
                    Mark::Sum | Mark::MinusZero => true,
                    Mark::NaN => false,
                    Mark::Infinity if !all_infinite => false,
                    Mark::Infinity | Mark::MinusInfinity => {
                        x.is_infinite() && (is_first || before == *mark)
                    }
                };
                // What is not finite stays so; its integer is 0.
                if !x.is_finite() {
                    *x = 0.0;
                }
            }
        }
        if low <= high {
            self.add_finite(decoded, low, high);
        }
        if is_marked {
            self.forget_marked();
        }
        is_sound
    }

    /// Adds finite values that are multiples of 2^low and below 2^high.
    fn add_finite(&mut self, values: &[f64], low: i32, high: i32) {
        let exponent = if self.bits == 0 { low } else { self.exponent.min(low) };
        let raise = if self.bits == 0 { 0 } else { (self.exponent - exponent) as u32 };
        let bits = (self.bits + u64::from(raise)).max((high - exponent) as u64) + 1;
        self.exponent = exponent;
        if self.big.is_none() && bits <= 126 {
            let mut magnitudes = 0;
            let one = |sum: i128, x: f64| {
                let (minus, m, e) = parts(x);
                let shift = e - exponent;
                // A value of 0 has the least exponent, others have as many zeros at the end as it takes.
                let term = match shift >= 0 {
                    true => (m as i128) << shift,
                    false => (m >> (-shift).min(63)) as i128,
                };
                (sum << raise) + if minus { -term } else { term }
            };
            for (sum, &x) in self.small.iter_mut().zip(values) {
                *sum = one(*sum, x);
                magnitudes |= *sum ^ (*sum >> 127);
            }
            self.bits = small_bits(magnitudes, self.small.iter().any(|&sum| sum != 0));
            return;
        }
        let big = self.big.get_or_insert_with(|| self.small.iter().map(|&i| i.into()).collect());
        for (sum, &x) in big.iter_mut().zip(values) {
            let (minus, m, e) = parts(x);
            let shift = e - exponent;
            let term = match shift >= 0 {
                true => BigInt::from(m) << shift,
                false => BigInt::from(m >> (-shift).min(63)),
            };
            *sum <<= raise;
            if minus { *sum -= term } else { *sum += term }
        }
        self.bits = big_bits(big);
    }

    /// Sums that are not finite have no integer, and marks of sums alone are none.
    fn forget_marked(&mut self) {
        for (i, _) in self.marks.iter().enumerate().filter(|(_, mark)| **mark != Mark::Sum) {
            match &mut self.big {
                Some(big) => big[i] = BigInt::ZERO,
                None => self.small[i] = 0,
            }
        }
        if self.marks.iter().all(|mark| *mark == Mark::Sum) {
            self.marks.clear();
        }
    }
}

/// The mark of a sum to which a value is added.
fn marked(mark: Mark, x: f64, is_first: bool) -> Mark {
    let own = match x {
        _ if x.is_nan() => Mark::NaN,
        f64::INFINITY => Mark::Infinity,
        f64::NEG_INFINITY => Mark::MinusInfinity,
        _ if x == 0.0 && x.is_sign_negative() => Mark::MinusZero,
        _ => Mark::Sum,
    };
    match (mark, own) {
        (_, own) if is_first => own,
        (Mark::Sum | Mark::MinusZero, Mark::Infinity | Mark::MinusInfinity | Mark::NaN) => own,
        (Mark::MinusZero, Mark::MinusZero) => Mark::MinusZero,
        (Mark::Sum | Mark::MinusZero, _) => Mark::Sum,
        // Of infinities of both signs nothing is left.
        (mark, Mark::Infinity | Mark::MinusInfinity | Mark::NaN) if mark != own => Mark::NaN,
        (mark, _) => mark,
    }
}

/// Bits of the largest magnitude, by all of them at once: of a sum below zero its complement's, as two's complement
/// has them.
fn small_bits(magnitudes: i128, any: bool) -> u64 {
    u64::from(128 - magnitudes.leading_zeros()).max(any.into())
}

fn big_bits(sums: &[BigInt]) -> u64 {
    let bits = |sum: &BigInt| match sum.sign() {
        Sign::NoSign => 0,
        Sign::Plus => sum.bits(),
        Sign::Minus => (-sum - 1u8).bits().max(1),
    };
    sums.iter().map(bits).max().unwrap_or(0)
}

fn decode(values: &[u8], from: Float, into: &mut Vec<f64>) {
    into.clear();
    match from {
        Float::F32 => {
            let values = values.as_chunks().0.iter();
            into.extend(values.map(|&bytes| f64::from(f32::from_le_bytes(bytes))));
        }
        _ => into.extend(values.chunks_exact(from.size()).map(|bytes| from.decode(bytes))),
    }
}

#[cfg(test)]
mod tests;
