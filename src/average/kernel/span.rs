//! What is known of a block of values, and what that proves of their sums.

use super::super::coefficients::Coefficients;
use super::super::float::Float;
use super::prefetch::prefetch;

/// The largest and the smallest magnitude other than zero of a block's values, over all inputs, as the
/// bits of their f32. Every type but F64 is part of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub(super) max: u32,
    /// One less than the bits, so that zero wraps around to the largest.
    pub(super) min_less_1: u32,
}

impl Span {
    pub const EMPTY: Span = Span { max: 0, min_less_1: u32::MAX };

    /// The span of both.
    pub fn with(self, other: Span) -> Span {
        Span { max: self.max.max(other.max), min_less_1: self.min_less_1.min(other.min_less_1) }
    }

    /// The span of these values as well; `value` gives their f32.
    #[inline(always)]
    pub(super) fn over<const N: usize>(
        self,
        values: &[[u8; N]],
        value: impl Fn([u8; N]) -> f32,
    ) -> Span {
        // By lane: registers of them, and one comparison across the lanes at the end.
        const LANES: usize = 16;
        let (mut max, mut min_less_1) = ([self.max; LANES], [self.min_less_1; LANES]);
        let (lines, rest) = values.as_chunks::<LANES>();
        for line in lines {
            prefetch(line);
            for lane in 0..LANES {
                let one = Span::of(value(line[lane]));
                max[lane] = max[lane].max(one.max);
                min_less_1[lane] = min_less_1[lane].min(one.min_less_1);
            }
        }
        let mut span = Span {
            max: max.into_iter().fold(0, u32::max),
            min_less_1: min_less_1.into_iter().fold(u32::MAX, u32::min),
        };
        for &bytes in rest {
            span = span.with(Span::of(value(bytes)));
        }
        span
    }

    #[inline(always)]
    fn of(value: f32) -> Span {
        let max = value.to_bits() & 0x7fff_ffff;
        Span { max, min_less_1: max.wrapping_sub(1) }
    }

    pub fn is_finite(self) -> bool {
        self.max < 0x7f80_0000
    }

    fn is_zero(self) -> bool {
        self.max == 0
    }

    fn largest(self) -> f64 {
        f32::from_bits(self.max) as f64
    }

    /// Whether Σ w·x in f64 is exact in any order, for all x of `from` within the span: all products are
    /// multiples of one power of two, and no partial sum reaches 2^53 times that.
    pub fn proves_exact(self, from: Float, coefficients: &Coefficients) -> bool {
        if self.is_zero() {
            return true;
        }
        let smallest = f32::from_bits(self.min_less_1 + 1);
        let format = from.format();
        // Zero in the exponent field: subnormal, in steps of f32's quantum.
        let exponent = ((smallest.to_bits() >> 23) as i32).max(1) - 127;
        let quantum = (exponent - (format.precision - 1)).max(format.quantum());
        let unit = quantum + coefficients.quantum();
        let bound = coefficients.total() * self.largest();
        coefficients.is_moderate() && bound <= 2f64.powi(53 + unit)
    }

    /// No mean is larger than this.
    pub fn largest_mean(self, coefficients: &Coefficients) -> f64 {
        (coefficients.total() / coefficients.divisor()).abs() * self.largest()
    }

    /// How far Σ w·x in f64 can be from the true sum of `n` terms: each product and each addition rounds
    /// by at most 2^-53 of Σ |w·x| (Higham 2002, §3.1); twice that covers the rest.
    pub fn error(self, n: usize, coefficients: &Coefficients) -> f64 {
        if !coefficients.is_moderate() {
            return f64::INFINITY;
        }
        (n as f64 + 2.0) * 2f64.powi(-52) * coefficients.total() * self.largest()
    }
}
