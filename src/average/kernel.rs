//! The arithmetic of the fast path: weighted sums in f64, with a proof for each block of values that
//! nothing was lost, or a bound on what was.
//!
//! The scalar functions are the specification. The AVX2 and AVX-512 versions are the same code compiled
//! for wider registers, so they compute the same bits (Rust never contracts or reorders floating-point
//! operations); a test compares them. On 64-bit Arm the scalar ones are in NEON already.

#![allow(unsafe_code)]

mod columns;
mod narrow;
mod prefetch;
mod span;

use super::float::{Float, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use columns::MOST_COLUMNS;
use columns::add_columns_scalar;
use narrow::narrow_scalar;
pub use narrow::{MOST_INPUTS, PIECE};
pub use span::Span;

/// Values that one [`Span`] describes: few enough that a value far smaller than the others, which
/// spoils the proof, costs little; their sums fit a core's innermost cache.
pub const BLOCK: usize = 1024;

macro_rules! vectorised {
    ($name:ident($($arg:ident: $type:ty),*) -> $result:ty, $avx512:ident, $avx2:ident, $scalar:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        fn $avx512($($arg: $type),*) -> $result {
            $scalar($($arg),*)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn $avx2($($arg: $type),*) -> $result {
            $scalar($($arg),*)
        }

        fn $name($($arg: $type),*) -> $result {
            match registers() {
                // SAFETY: the processor has these instructions.
                #[cfg(target_arch = "x86_64")]
                Registers::Avx512 => unsafe { $avx512($($arg),*) },
                // SAFETY: likewise.
                #[cfg(target_arch = "x86_64")]
                Registers::Avx2 => unsafe { $avx2($($arg),*) },
                _ => $scalar($($arg),*),
            }
        }
    };
}

/// What to compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
enum Registers {
    /// Those that every processor of the kind has.
    Other,
    Avx2,
    Avx512,
}

/// The widest that the processor has.
fn registers() -> Registers {
    static FOUND: std::sync::OnceLock<Registers> = std::sync::OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            return if avx512 { Registers::Avx512 } else { Registers::Avx2 };
        }
        Registers::Other
    });
    #[cfg(test)]
    let found = found.min(WIDEST.get());
    found
}

/// The instructions that the arithmetic uses on this processor, by name.
pub fn instructions() -> &'static str {
    match registers() {
        Registers::Avx512 => "AVX-512",
        Registers::Avx2 => "AVX2",
        Registers::Other => "what every processor of the kind has",
    }
}

#[cfg(test)]
thread_local! {
    static WIDEST: std::cell::Cell<Registers> = const { std::cell::Cell::new(Registers::Avx512) };
}

vectorised!(accumulate_any(sum: &mut [f64], is_new: bool, inputs: &[&[u8]], from: Float,
    weights: &[f64]) -> Span, accumulate_avx512, accumulate_avx2, accumulate_scalar);
vectorised!(add_any(sum: &mut [f64], is_new: bool, inputs: &[&[u8]], from: Float, weights: &[f64]) -> (),
    add_avx512, add_avx2, add_scalar);
vectorised!(add_columns_any(sums: &mut [&mut [f64]], is_new: bool, inputs: &[&[u8]], from: Float,
    weights: &[&[f64]]) -> (), add_columns_avx512, add_columns_avx2, add_columns_scalar);
vectorised!(span_any(values: &[u8], from: Float) -> Span, span_avx512, span_avx2, span_scalar);
vectorised!(finish_exact_any(sum: &[f64], divisor: f64, to: Float, out: &mut [u8]) -> (),
    finish_exact_avx512, finish_exact_avx2, finish_exact_scalar);
vectorised!(finish_bounded_any(sum: &[f64], divisor: f64, error: f64, to: Float, out: &mut [u8],
    doubtful: &mut Vec<usize>) -> (), finish_bounded_avx512, finish_bounded_avx2, finish_bounded_scalar);
vectorised!(narrow_any(inputs: &[&[u8]], from: Float, to: Float, out: &mut [u8],
    left: &mut Vec<usize>) -> (), narrow_avx512, narrow_avx2, narrow_scalar);

/// sum += Σ weight · values over the inputs, and the span of these; what a new sum held before does not
/// count. Each input, of which there is one at least, holds as many little-endian values as `sum`, at any
/// alignment; not of F64, whose sums are not exact in f64.
pub fn accumulate(
    sum: &mut [f64],
    is_new: bool,
    inputs: &[&[u8]],
    from: Float,
    weights: &[f64],
) -> Span {
    assert!(!inputs.is_empty() && inputs.len() == weights.len());
    assert!(inputs.iter().all(|bytes| bytes.len() == sum.len() * from.size()));
    accumulate_any(sum, is_new, inputs, from, weights)
}

/// [`accumulate`] of inputs whose spans are known.
pub fn add(sum: &mut [f64], is_new: bool, inputs: &[&[u8]], from: Float, weights: &[f64]) {
    assert!(!inputs.is_empty() && inputs.len() == weights.len());
    assert!(inputs.iter().all(|bytes| bytes.len() == sum.len() * from.size()));
    add_any(sum, is_new, inputs, from, weights)
}

/// [`add`] to several sums at once, each with weights of its own: the inputs are read and converted once for
/// [`MOST_COLUMNS`] of them. Every sum is the same, bit for bit, as if it were added to alone.
pub fn add_columns(
    sums: &mut [&mut [f64]],
    is_new: bool,
    inputs: &[&[u8]],
    from: Float,
    weights: &[&[f64]],
) {
    assert!((1..=MOST_INPUTS).contains(&inputs.len()) && sums.len() == weights.len());
    assert!(weights.iter().all(|weights| weights.len() == inputs.len()));
    let n = sums.first().map_or(0, |sum| sum.len());
    assert!(sums.iter().all(|sum| sum.len() == n));
    assert!(inputs.iter().all(|bytes| bytes.len() == n * from.size()));
    add_columns_any(sums, is_new, inputs, from, weights)
}

/// The span of an input's values; not of F64.
pub fn span(values: &[u8], from: Float) -> Span {
    span_any(values, from)
}

/// Writes the plain means of a few inputs of a 16-bit type, summed in f32. Adds to `left` the number of
/// each [`PIECE`] of values for which that cannot be proved exact.
pub fn narrow(inputs: &[&[u8]], from: Float, to: Float, out: &mut [u8], left: &mut Vec<usize>) {
    let values = out.len() / to.size();
    assert!(inputs.len() <= MOST_INPUTS);
    assert!(inputs.iter().all(|bytes| bytes.len() == values * from.size()));
    narrow_any(inputs, from, to, out, left)
}

/// The values in another type, little-endian, each rounded once to nearest, ties to even; what is too large
/// becomes infinity. Panics for the 8-bit types, which are not written.
pub fn round_to_float(values: &[f64], to: Float) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * to.size()];
    finish_exact(values, 1.0, to, &mut bytes);
    bytes
}

/// Writes sum / divisor, rounded once to nearest-even, where both are exact and finite.
pub fn finish_exact(sum: &[f64], divisor: f64, to: Float, out: &mut [u8]) {
    assert_eq!(out.len(), sum.len() * to.size());
    finish_exact_any(sum, divisor, to, out)
}

/// How many values of this type, little-endian, are NaN or infinite.
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
fn accumulate_scalar(
    sum: &mut [f64],
    is_new: bool,
    inputs: &[&[u8]],
    from: Float,
    weights: &[f64],
) -> Span {
    accumulate_with::<true>(sum, is_new, inputs, from, weights)
}

#[inline(always)]
fn add_scalar(sum: &mut [f64], is_new: bool, inputs: &[&[u8]], from: Float, weights: &[f64]) {
    accumulate_with::<false>(sum, is_new, inputs, from, weights);
}

/// Runs `$run` with the function that decodes a value of a type.
macro_rules! decoding {
    ($from:expr, $run:ident) => {
        match $from {
            Float::F64 => unreachable!("sums of F64 take the exact path"),
            Float::F32 => $run!(f32::from_le_bytes),
            Float::F16 => $run!(|b| f16_to_f32(u16::from_le_bytes(b))),
            Float::BF16 => $run!(|b| bf16_to_f32(u16::from_le_bytes(b))),
            Float::E4M3 | Float::E5M2 | Float::E4M3Fnuz | Float::E5M2Fnuz => {
                let table = $from.table();
                $run!(|[code]| table[code as usize])
            }
        }
    };
}

use decoding;

#[inline(always)]
fn span_scalar(values: &[u8], from: Float) -> Span {
    macro_rules! run {
        ($value:expr) => {
            Span::EMPTY.over(values.as_chunks().0, $value)
        };
    }
    decoding!(from, run)
}

/// `SPAN`: whether the span of the inputs is wanted.
#[inline(always)]
fn accumulate_with<const SPAN: bool>(
    sum: &mut [f64],
    is_new: bool,
    inputs: &[&[u8]],
    from: Float,
    weights: &[f64],
) -> Span {
    /// `K` inputs at once, so that the sums stay in registers while these are added.
    #[inline(always)]
    fn some<const N: usize, const K: usize, const UNIT: bool, const SPAN: bool>(
        sum: &mut [f64],
        is_new: bool,
        inputs: &[&[u8]],
        weights: &[f64],
        value: impl Fn([u8; N]) -> f32,
    ) -> Span {
        let inputs: [_; K] = std::array::from_fn(|k| &inputs[k].as_chunks::<N>().0[..sum.len()]);
        let weights: [f64; K] = std::array::from_fn(|k| weights[k]);
        // Two loops, each of one width: the second finds in the cache what the first read.
        let mut span = Span::EMPTY;
        if SPAN {
            for values in inputs {
                span = span.over(values, &value);
            }
        }
        for (i, sum) in sum.iter_mut().enumerate() {
            // Stored once: for all that the compiler knows, inputs and sums overlap. −0 is the neutral
            // element; 0 would turn a mean of −0 into +0.
            let mut own = if is_new { -0.0 } else { *sum };
            for k in 0..K {
                let value = value(inputs[k][i]) as f64;
                own += if UNIT { value } else { weights[k] * value };
            }
            *sum = own;
        }
        span
    }
    #[inline(always)]
    fn all<const N: usize, const UNIT: bool, const SPAN: bool>(
        sum: &mut [f64],
        is_new: bool,
        inputs: &[&[u8]],
        weights: &[f64],
        value: impl Fn([u8; N]) -> f32,
    ) -> Span {
        let (mut span, mut is_new) = (Span::EMPTY, is_new);
        for (inputs, weights) in inputs.chunks(4).zip(weights.chunks(4)) {
            span = span.with(match inputs.len() {
                1 => some::<N, 1, UNIT, SPAN>(sum, is_new, inputs, weights, &value),
                2 => some::<N, 2, UNIT, SPAN>(sum, is_new, inputs, weights, &value),
                3 => some::<N, 3, UNIT, SPAN>(sum, is_new, inputs, weights, &value),
                _ => some::<N, 4, UNIT, SPAN>(sum, is_new, inputs, weights, &value),
            });
            is_new = false;
        }
        span
    }
    // The plain mean is the usual case.
    let any_unit = weights.iter().all(|&weight| weight == 1.0);
    macro_rules! run {
        ($value:expr) => {
            match any_unit {
                true => all::<_, true, SPAN>(sum, is_new, inputs, weights, $value),
                false => all::<_, false, SPAN>(sum, is_new, inputs, weights, $value),
            }
        };
    }
    decoding!(from, run)
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
        // Outside the normal numbers nothing is known of it: all values are doubtful then.
        let inverse = 1.0 / divisor;
        let error = if inverse.is_normal() { (error * inverse).abs() } else { f64::INFINITY };
        // The result, and whether it is the only one.
        let bounded = |sum: f64| {
            let mean = sum * inverse;
            // The divisor, its inverse and the product round by 2^-53 of the mean each.
            let error = (error + mean.abs() * 2f64.powi(-51)) * (1.0 + 1e-9);
            let (low, high) = (round(mean - error), round(mean + error));
            (low, (low == high) & mean.is_finite())
        };
        // A loop that only computes, which fills registers, and one that is rarely run for the places.
        const LANES: usize = 32;
        let out = out.as_chunks_mut::<N>().0;
        for (line, (sums, out)) in sum.chunks(LANES).zip(out.chunks_mut(LANES)).enumerate() {
            let mut all_certain = true;
            for (&sum, out) in sums.iter().zip(&mut *out) {
                let (result, certain) = bounded(sum);
                *out = result;
                all_certain &= certain;
            }
            if !all_certain {
                let doubted = (0..sums.len()).filter(|&i| !bounded(sums[i]).1);
                doubtful.extend(doubted.map(|i| line * LANES + i));
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
