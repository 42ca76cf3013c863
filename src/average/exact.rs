//! Weighted means of a few values without any rounding but the last, whatever their exponents.
//!
//! A finite f64 is an integer times a power of two, so Σ w_j x_j and W are integers over a common power
//! of two: 128 bits hold them in nearly every case, big integers in all. The quotient is rounded once,
//! to nearest, ties to even (IEEE 754-2019, §4.3.1).

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{ToPrimitive, Zero};

use super::float::{Float, FloatFormat};
pub(super) use moments::{Values, last_deviation, over_square, variance};

mod moments;

/// The sign, significand and exponent of a finite number: (is negative, m, e) with |x| = m·2^e.
pub fn parts(x: f64) -> (bool, u64, i32) {
    let bits = x.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let (significand, exponent) =
        if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
    (bits >> 63 == 1, significand, exponent - 1075)
}

/// An integer times a power of two.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    integer: Integer,
    exponent: i32,
}

#[derive(Debug, Clone)]
enum Integer {
    Small(i128),
    Big(BigInt),
}

/// Bits that a sum may use of an i128: the sign takes one.
const SMALL: i32 = 126;

impl Sum {
    /// Σ w·x, exactly. All are finite.
    pub fn of(terms: impl Iterator<Item = (f64, f64)> + Clone) -> Sum {
        // Where the lowest and the highest bit of any term stand.
        let (mut low, mut high, mut count) = (i32::MAX, i32::MIN, 0u32);
        for (w, x) in terms.clone() {
            let ((_, m, e), (_, n, f)) = (parts(w), parts(x));
            if m != 0 && n != 0 {
                let (zeros, bits) = (m.trailing_zeros() + n.trailing_zeros(), bits(m) + bits(n));
                low = low.min(e + f + zeros as i32);
                high = high.max(e + f + bits as i32);
                count += 1;
            }
        }
        if count == 0 {
            return Sum { integer: Integer::Small(0), exponent: 0 };
        }
        // A product without its trailing zeros, shifted to where the lowest bit is 2^low.
        let term = |w: f64, x: f64| {
            let ((minus_w, m, e), (minus_x, n, f)) = (parts(w), parts(x));
            let zeros = if m != 0 && n != 0 { m.trailing_zeros() + n.trailing_zeros() } else { 0 };
            let product = (m as u128 * n as u128) >> zeros;
            let shift = if product == 0 { 0 } else { (e + f + zeros as i32 - low) as u32 };
            (minus_w != minus_x, product, shift)
        };
        let carries = (u32::BITS - count.leading_zeros()) as i32;
        let integer = if high - low + carries <= SMALL {
            Integer::Small(terms.fold(0i128, |sum, (w, x)| {
                let (minus, product, shift) = term(w, x);
                let product = (product << shift) as i128;
                if minus { sum - product } else { sum + product }
            }))
        } else {
            Integer::Big(terms.fold(BigInt::zero(), |sum, (w, x)| {
                let (minus, product, shift) = term(w, x);
                let product = BigInt::from(product) << shift;
                if minus { sum - product } else { sum + product }
            }))
        };
        Sum { integer, exponent: low }
    }

    /// integer · 2^exponent.
    pub fn of_integer(integer: i128, exponent: i32) -> Sum {
        Sum { integer: Integer::Small(integer), exponent }
    }

    /// The same of an integer of any size.
    pub fn of_big(integer: BigInt, exponent: i32) -> Sum {
        Sum { integer: Integer::Big(integer), exponent }
    }

    pub fn is_zero(&self) -> bool {
        match &self.integer {
            Integer::Small(integer) => *integer == 0,
            Integer::Big(integer) => integer.is_zero(),
        }
    }

    /// The nearest f64, and whether it is equal.
    pub fn to_f64(&self) -> (f64, bool) {
        let (bits, exact) = self.over(&Sum::of([(1.0, 1.0)].into_iter()), Float::F64.format());
        (f64::from_bits(bits), exact)
    }

    fn sign_and_magnitude(&self) -> (bool, BigUint) {
        match &self.integer {
            Integer::Small(integer) => (*integer < 0, BigUint::from(integer.unsigned_abs())),
            Integer::Big(integer) => (integer.sign() == Sign::Minus, integer.magnitude().clone()),
        }
    }

    /// self / divisor, rounded once; and whether nothing was lost. The divisor is not zero; a quotient
    /// of zero is positive.
    pub fn over(&self, divisor: &Sum, format: FloatFormat) -> (u64, bool) {
        let exponent = self.exponent - divisor.exponent;
        if self.is_zero() {
            return (0, true);
        }
        if let (Integer::Small(n), Integer::Small(d)) = (&self.integer, &divisor.integer)
            && let (n, d) = (n.unsigned_abs(), d.unsigned_abs())
            && d <= u64::MAX as u128
        {
            // At least 62 bits of quotient: more than any format has, and one to round by.
            let shift = n.leading_zeros();
            let n = n << shift;
            let (quotient, rest) = match d {
                1 => (n, 0),
                _ => (n / d, n % d),
            };
            let negative = self.is_negative() != divisor.is_negative();
            return round(negative, quotient, rest != 0, exponent - shift as i32, format);
        }
        let ((minus_n, n), (minus_d, d)) =
            (self.sign_and_magnitude(), divisor.sign_and_magnitude());
        // As many bits as make the quotient 100 to 101 bits long.
        let shift = d.bits() as i64 + 100 - n.bits() as i64;
        let (n, d) = if shift >= 0 { (n << shift, d) } else { (n, d << -shift) };
        let (quotient, rest) = (&n / &d, !(&n % &d).is_zero());
        let quotient = quotient.to_u128().expect("101 bits");
        round(minus_n != minus_d, quotient, rest, exponent - shift as i32, format)
    }

    fn is_negative(&self) -> bool {
        match &self.integer {
            Integer::Small(integer) => *integer < 0,
            Integer::Big(integer) => integer.sign() == Sign::Minus,
        }
    }
}

fn bits(m: u64) -> u32 {
    u64::BITS - m.leading_zeros()
}

/// The format's code for ±(q + something below 1, if `more`)·2^exponent, and whether it is equal.
/// `q` is not zero, and has more bits than the format if `more`.
fn round(negative: bool, q: u128, more: bool, exponent: i32, format: FloatFormat) -> (u64, bool) {
    let precision = format.precision;
    let leading = exponent + (127 - q.leading_zeros() as i32);
    // Exponent of the last bit that the format keeps.
    let last = leading.max(format.min_exponent) - (precision - 1);
    let shift = last - exponent;
    let (mut kept, exact) = if shift <= 0 {
        (q << -shift, !more)
    } else {
        let (kept, lost) = if shift < 128 {
            (q >> shift, q << (128 - shift))
        } else {
            // Less than half a unit, or a quarter at most: anything but the half itself.
            (0, if shift == 128 { q } else { 1 })
        };
        let half = 1u128 << 127;
        let up = lost > half || lost == half && (more || kept & 1 == 1);
        (kept + up as u128, lost == 0 && !more)
    };
    // The exponent field counts from the quantum; a carry out of the significand moves into it.
    kept += ((last - format.quantum()) as u128) << (precision - 1);
    let width = exponent_bits(format);
    let infinity = ((1u128 << width) - 1) << (precision - 1);
    let code = kept.min(infinity) as u64;
    (code | (negative as u64) << (width + precision - 1), exact)
}

fn exponent_bits(format: FloatFormat) -> i32 {
    // The largest exponent is 2^(bits − 1) − 1.
    (format.max_exponent + 1).ilog2() as i32 + 1
}

/// The code of +∞.
pub(super) fn infinity(format: FloatFormat) -> u64 {
    ((1 << exponent_bits(format)) - 1) << (format.precision - 1)
}

/// The sign's bit.
pub(super) fn minus(format: FloatFormat) -> u64 {
    1 << (exponent_bits(format) + format.precision - 1)
}

/// The code of NaN: quiet, positive, without a payload.
pub(super) fn nan(format: FloatFormat) -> u64 {
    infinity(format) | 1 << (format.precision - 2)
}

/// The code of Σ w_j x_j / Σ w_j in the type `to`, rounded once. Of values that are not finite what IEEE
/// arithmetic would give: NaN for a NaN or for infinities of both signs.
pub(super) fn mean(
    terms: impl Iterator<Item = (f64, f64)> + Clone,
    divisor: &Sum,
    to: Float,
) -> u64 {
    let format = to.format();
    let (infinity, minus) = (infinity(format), minus(format));
    let of_infinite = terms.clone().filter(|(_, x)| !x.is_finite()).map(|(w, x)| w * x);
    if let Some(first) = of_infinite.clone().next() {
        let negative = (first < 0.0) != divisor.is_negative();
        return match of_infinite.clone().all(|x| x == first) {
            true => infinity | if negative { minus } else { 0 },
            false => nan(format),
        };
    }
    let sum = Sum::of(terms.clone());
    if sum.is_zero() {
        let all_minus = terms.clone().all(|(_, x)| x == 0.0 && x.is_sign_negative());
        return if all_minus { minus } else { 0 };
    }
    sum.over(divisor, format).0
}

/// W of [`mean`].
pub(super) fn divisor(weights: &[f64]) -> Sum {
    Sum::of(weights.iter().map(|&w| (1.0, w)))
}

/// n / d · 2^exponent, rounded once to nearest, ties to even. Panics unless `d` is positive.
pub fn quotient(n: BigInt, d: BigInt, exponent: i32) -> f64 {
    assert!(d.sign() == Sign::Plus, "the divisor is not positive");
    let (n, d) = (Sum { integer: Integer::Big(n), exponent }, Integer::Big(d));
    f64::from_bits(n.over(&Sum { integer: d, exponent: 0 }, Float::F64.format()).0)
}

#[cfg(test)]
mod tests;
