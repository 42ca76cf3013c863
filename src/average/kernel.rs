//! The arithmetic of the fast path: weighted sums in f64, with a proof for each block of values that
//! nothing was lost, or a bound on what was.
//!
//! The scalar functions are the specification. The AVX2 versions are the same code compiled for wider
//! registers, so they compute the same bits (Rust never contracts or reorders floating-point
//! operations); a test compares them.

use super::coefficients::Coefficients;
use super::float::{Float, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

/// Values that one [`Span`] describes: few enough that a value far smaller than the others, which
/// spoils the proof, costs little; their sums fit a core's innermost cache.
pub const BLOCK: usize = 1024;

/// The largest and the smallest magnitude other than zero of a block's values, over all inputs, as the
/// bits of their f32. Every type but F64 is part of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    max: u32,
    /// One less than the bits, so that zero wraps around to the largest.
    min_less_1: u32,
}

impl Span {
    pub const EMPTY: Span = Span { max: 0, min_less_1: u32::MAX };

    /// The span of both.
    pub fn with(self, other: Span) -> Span {
        Span { max: self.max.max(other.max), min_less_1: self.min_less_1.min(other.min_less_1) }
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

macro_rules! with_avx2 {
    ($name:ident($($arg:ident: $type:ty),*) -> $result:ty, $avx2:ident, $scalar:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2($($arg: $type),*) -> $result {
            $scalar($($arg),*)
        }

        fn $name($($arg: $type),*) -> $result {
            #[cfg(target_arch = "x86_64")]
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                // SAFETY: the processor has AVX2 and FMA.
                return unsafe { $avx2($($arg),*) };
            }
            $scalar($($arg),*)
        }
    };
}

with_avx2!(accumulate_any(sum: &mut [f64], bytes: &[u8], from: Float, weight: f64) -> Span,
    accumulate_avx2, accumulate_scalar);
with_avx2!(finish_exact_any(sum: &[f64], divisor: f64, to: Float, out: &mut [u8]) -> (),
    finish_exact_avx2, finish_exact_scalar);
with_avx2!(finish_bounded_any(sum: &[f64], divisor: f64, error: f64, to: Float, out: &mut [u8],
    doubtful: &mut Vec<usize>) -> (), finish_bounded_avx2, finish_bounded_scalar);

/// Asks for bytes that will be needed soon. The processor's own prefetching ends at each page, and the
/// sums leave it too little room to look ahead.
pub fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; the address is that of a slice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

/// sum += weight · values, and their span. `bytes` holds as many little-endian values as `sum`, at any
/// alignment; not of F64, whose sums are not exact in f64.
pub fn accumulate(sum: &mut [f64], bytes: &[u8], from: Float, weight: f64) -> Span {
    assert_eq!(bytes.len(), sum.len() * from.size());
    accumulate_any(sum, bytes, from, weight)
}

/// Writes sum / divisor, rounded once to nearest-even, where both are exact and finite.
pub fn finish_exact(sum: &[f64], divisor: f64, to: Float, out: &mut [u8]) {
    assert_eq!(out.len(), sum.len() * to.size());
    finish_exact_any(sum, divisor, to, out)
}

/// How many of the values are NaN or infinite.
pub fn count_nonfinite(values: &[u8], float: Float) -> usize {
    values.chunks_exact(float.size()).filter(|value| !float.decode(value).is_finite()).count()
}

/// Writes sum / divisor, rounded to nearest-even, where the sum is off by `error` at most and the
/// divisor by its rounding. Adds to `doubtful` the places where that leaves more than one result
/// (Ziv 1991).
pub fn finish_bounded(
    sum: &[f64],
    divisor: f64,
    error: f64,
    to: Float,
    out: &mut [u8],
    doubtful: &mut Vec<usize>,
) {
    assert_eq!(out.len(), sum.len() * to.size());
    finish_bounded_any(sum, divisor, error, to, out, doubtful)
}

#[inline(always)]
fn accumulate_scalar(sum: &mut [f64], bytes: &[u8], from: Float, weight: f64) -> Span {
    #[inline(always)]
    fn each<const N: usize, const UNIT: bool>(
        sum: &mut [f64],
        bytes: &[u8],
        weight: f64,
        value: impl Fn([u8; N]) -> f32,
    ) -> Span {
        let Span { mut max, mut min_less_1 } = Span::EMPTY;
        for (sum, bytes) in sum.iter_mut().zip(bytes.as_chunks::<N>().0) {
            let value = value(*bytes);
            let magnitude = value.to_bits() & 0x7fff_ffff;
            max = max.max(magnitude);
            min_less_1 = min_less_1.min(magnitude.wrapping_sub(1));
            *sum += if UNIT { value as f64 } else { weight * value as f64 };
        }
        Span { max, min_less_1 }
    }
    #[inline(always)]
    fn any<const N: usize>(
        sum: &mut [f64],
        bytes: &[u8],
        weight: f64,
        value: impl Fn([u8; N]) -> f32,
    ) -> Span {
        // The plain mean is what it is mostly.
        if weight == 1.0 {
            each::<N, true>(sum, bytes, weight, value)
        } else {
            each::<N, false>(sum, bytes, weight, value)
        }
    }
    match from {
        Float::F64 => unreachable!("sums of F64 take the exact path"),
        Float::F32 => any(sum, bytes, weight, f32::from_le_bytes),
        Float::F16 => any(sum, bytes, weight, |b| f16_to_f32(u16::from_le_bytes(b))),
        Float::BF16 => any(sum, bytes, weight, |b| bf16_to_f32(u16::from_le_bytes(b))),
        Float::E4M3 | Float::E5M2 | Float::E4M3Fnuz | Float::E5M2Fnuz => {
            let table = from.table();
            any(sum, bytes, weight, |[code]| table[code as usize])
        }
    }
}

#[inline(always)]
fn finish_exact_scalar(sum: &[f64], divisor: f64, to: Float, out: &mut [u8]) {
    // Nothing is lost in a division by a power of two that is far from the ends of the range.
    const FRACTION: u64 = (1 << 52) - 1;
    if divisor.to_bits() & FRACTION == 0 && (1e-100..1e100).contains(&divisor) {
        let inverse = 1.0 / divisor;
        return round_all(sum, to, out, |sum| sum * inverse);
    }
    if to == Float::F64 {
        return round_all(sum, to, out, |sum| sum / divisor);
    }
    round_all(sum, to, out, |sum| divide_to_odd(sum, divisor))
}

/// Writes what `mean` makes of each sum, rounded.
#[inline(always)]
fn round_all(sum: &[f64], to: Float, out: &mut [u8], mean: impl Fn(f64) -> f64) {
    #[inline(always)]
    fn each<const N: usize>(sum: &[f64], out: &mut [u8], round: impl Fn(f64) -> [u8; N]) {
        for (&sum, out) in sum.iter().zip(out.as_chunks_mut::<N>().0) {
            *out = round(sum);
        }
    }
    match to {
        Float::F64 => each(sum, out, |x| mean(x).to_le_bytes()),
        Float::F32 => each(sum, out, |x| (mean(x) as f32).to_le_bytes()),
        Float::F16 => each(sum, out, |x| f32_to_f16(round_to_odd(mean(x))).to_le_bytes()),
        Float::BF16 => each(sum, out, |x| f32_to_bf16(round_to_odd(mean(x))).to_le_bytes()),
        _ => unreachable!("8-bit types are not written"),
    }
}

#[inline(always)]
fn finish_bounded_scalar(
    sum: &[f64],
    divisor: f64,
    error: f64,
    to: Float,
    out: &mut [u8],
    doubtful: &mut Vec<usize>,
) {
    #[inline(always)]
    fn each<const N: usize>(
        sum: &[f64],
        divisor: f64,
        error: f64,
        out: &mut [u8],
        doubtful: &mut Vec<usize>,
        round: impl Fn(f64) -> [u8; N],
    ) {
        let error = (error / divisor).abs();
        for (i, (&sum, out)) in sum.iter().zip(out.as_chunks_mut::<N>().0).enumerate() {
            let mean = sum / divisor;
            // The division and the divisor round by 2^-53 of the mean each.
            let error = (error + mean.abs() * 2f64.powi(-51)) * (1.0 + 1e-9);
            let (low, high) = (round(mean - error), round(mean + error));
            *out = low;
            if low != high || !mean.is_finite() {
                doubtful.push(i);
            }
        }
    }
    match to {
        Float::F64 => each(sum, divisor, error, out, doubtful, f64::to_le_bytes),
        Float::F32 => each(sum, divisor, error, out, doubtful, |x| (x as f32).to_le_bytes()),
        Float::F16 => {
            let round = |x| f32_to_f16(round_to_odd(x)).to_le_bytes();
            each(sum, divisor, error, out, doubtful, round)
        }
        Float::BF16 => {
            let round = |x| f32_to_bf16(round_to_odd(x)).to_le_bytes();
            each(sum, divisor, error, out, doubtful, round)
        }
        _ => unreachable!("8-bit types are not written"),
    }
}

/// sum / divisor with the last bit set if anything was lost. A second rounding, to a type with at
/// least two bits less, then gives what one rounding would (Boldo & Melquiond 2008). The operands are
/// sums of f32 values with moderate weights, far from where the residual would underflow.
#[inline(always)]
fn divide_to_odd(sum: f64, divisor: f64) -> f64 {
    let nearest = sum / divisor;
    let residual = nearest.mul_add(-divisor, sum);
    // Towards zero: nearest is one too far when the residual points back.
    let inexact = residual != 0.0 && !residual.is_nan();
    let beyond = inexact && (residual > 0.0) != (sum > 0.0);
    f64::from_bits(nearest.to_bits().wrapping_sub(beyond as u64) | inexact as u64)
}

/// f64 to f32 with the last bit set if anything was lost, as above. Not for NaN.
#[inline(always)]
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = nearest as f64;
    // Towards zero: nearest is one too far when its magnitude exceeds that of x.
    let truncated = nearest.to_bits().wrapping_sub((back.abs() > x.abs()) as u32);
    let inexact = (back != x) as u32;
    f32::from_bits(truncated | inexact)
}

#[cfg(test)]
mod tests;
