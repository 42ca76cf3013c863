//! The arithmetic: weighted sums in f64, one division, one rounding.
//!
//! The scalar functions are the specification. The AVX2 versions are the same code compiled for
//! wider registers, so they compute the same bits (Rust never contracts or reorders floating-point
//! operations); a test compares them.

use crate::checkpoint::Dtype;

/// The types that are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    F64,
    F32,
    F16,
    BF16,
}

impl Float {
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 => Some(Float::F64),
            Dtype::F32 => Some(Float::F32),
            Dtype::F16 => Some(Float::F16),
            Dtype::BF16 => Some(Float::BF16),
            _ => None,
        }
    }

    /// Bytes a value.
    pub fn size(self) -> usize {
        match self {
            Float::F64 => 8,
            Float::F32 => 4,
            Float::F16 | Float::BF16 => 2,
        }
    }
}

/// sum += weight · values. `bytes` holds as many little-endian values as `sum`, at any alignment.
pub fn accumulate(sum: &mut [f64], bytes: &[u8], dtype: Float, weight: f64) {
    assert_eq!(bytes.len(), sum.len() * dtype.size());
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { accumulate_avx2(sum, bytes, dtype, weight) };
    }
    accumulate_scalar(sum, bytes, dtype, weight);
}

/// Writes sum / divisor, rounded once to nearest-even, and returns whether all results are finite.
pub fn finish(sum: &[f64], divisor: f64, dtype: Float, out: &mut [u8]) -> bool {
    assert_eq!(out.len(), sum.len() * dtype.size());
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { finish_avx2(sum, divisor, dtype, out) };
    }
    finish_scalar(sum, divisor, dtype, out)
}

/// How many of the values are NaN or infinite.
pub fn count_nonfinite(bytes: &[u8], dtype: Float) -> usize {
    let mut buffer = [0.0; 1024];
    let count = |bytes: &[u8]| {
        let values = &mut buffer[..bytes.len() / dtype.size()];
        values.fill(0.0);
        accumulate(values, bytes, dtype, 1.0);
        values.iter().filter(|x| !x.is_finite()).count()
    };
    bytes.chunks(1024 * dtype.size()).map(count).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn accumulate_avx2(sum: &mut [f64], bytes: &[u8], dtype: Float, weight: f64) {
    accumulate_scalar(sum, bytes, dtype, weight);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn finish_avx2(sum: &[f64], divisor: f64, dtype: Float, out: &mut [u8]) -> bool {
    finish_scalar(sum, divisor, dtype, out)
}

#[inline(always)]
fn accumulate_scalar(sum: &mut [f64], bytes: &[u8], dtype: Float, weight: f64) {
    #[inline(always)]
    fn each<const N: usize>(
        sum: &mut [f64],
        bytes: &[u8],
        weight: f64,
        value: impl Fn([u8; N]) -> f64,
    ) {
        for (sum, bytes) in sum.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *sum += weight * value(*bytes);
        }
    }
    match dtype {
        Float::F64 => each(sum, bytes, weight, f64::from_le_bytes),
        Float::F32 => each(sum, bytes, weight, |b| f32::from_le_bytes(b) as f64),
        Float::F16 => each(sum, bytes, weight, |b| f16_to_f32(u16::from_le_bytes(b)) as f64),
        Float::BF16 => {
            let value = |b| f32::from_bits((u16::from_le_bytes(b) as u32) << 16) as f64;
            each(sum, bytes, weight, value)
        }
    }
}

#[inline(always)]
fn finish_scalar(sum: &[f64], divisor: f64, dtype: Float, out: &mut [u8]) -> bool {
    #[inline(always)]
    fn each<const N: usize>(
        sum: &[f64],
        divisor: f64,
        out: &mut [u8],
        round: impl Fn(f64) -> [u8; N],
    ) -> bool {
        let mut finite = true;
        for (sum, out) in sum.iter().zip(out.as_chunks_mut::<N>().0) {
            *out = round(sum / divisor);
            finite &= sum.is_finite();
        }
        finite
    }
    match dtype {
        Float::F64 => each(sum, divisor, out, f64::to_le_bytes),
        Float::F32 => each(sum, divisor, out, |x| (x as f32).to_le_bytes()),
        Float::F16 => each(sum, divisor, out, |x| f32_to_f16(round_to_odd(x)).to_le_bytes()),
        Float::BF16 => each(sum, divisor, out, |x| f32_to_bf16(round_to_odd(x)).to_le_bytes()),
    }
}

/// Exact. The exponent is rebiased by a multiplication, which also normalises subnormals.
#[inline(always)]
fn f16_to_f32(half: u16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let magnitude = ((half & 0x7fff) as u32) << 13;
    let mut bits = (f32::from_bits(magnitude) * TWO_TO_112).to_bits();
    if magnitude >= 0x0f80_0000 {
        bits |= 0x7f80_0000; // infinity or NaN
    }
    f32::from_bits(bits | ((half & 0x8000) as u32) << 16)
}

/// f64 to f32 with the last bit set if anything was lost. A second rounding, to a type with at
/// least two bits less, then gives what one rounding would (Boldo & Melquiond 2008), where
/// f64 → f32 → f16 to nearest would round twice.
#[inline(always)]
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = nearest as f64;
    // Towards zero: nearest is one too far when its magnitude exceeds that of x.
    let truncated = nearest.to_bits() - (back.abs() > x.abs()) as u32;
    let inexact = (back != x && !x.is_nan()) as u32;
    f32::from_bits(truncated | inexact)
}

/// To nearest, ties to even.
#[inline(always)]
fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40; // quiet
    }
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

/// To nearest, ties to even.
#[inline(always)]
fn f32_to_f16(x: f32) -> u16 {
    half::f16::from_f32_const(x).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean_of(inputs: &[&[u8]], dtype: Float) -> Vec<u8> {
        let n = inputs[0].len() / dtype.size();
        let (mut sum, mut out) = (vec![-0.0; n], vec![0; inputs[0].len()]);
        for bytes in inputs {
            accumulate(&mut sum, bytes, dtype, 1.0);
        }
        finish(&sum, inputs.len() as f64, dtype, &mut out);
        out
    }

    #[test]
    fn every_half_survives_a_round_trip() {
        for dtype in [Float::F16, Float::BF16] {
            let all: Vec<u8> = (0..=u16::MAX).flat_map(|h| h.to_le_bytes()).collect();
            let out = mean_of(&[&all], dtype);
            for h in 0..=u16::MAX {
                let found = u16::from_le_bytes([out[2 * h as usize], out[2 * h as usize + 1]]);
                let value = match dtype {
                    Float::F16 => half::f16::from_bits(h).to_f64(),
                    _ => half::bf16::from_bits(h).to_f64(),
                };
                if !value.is_nan() {
                    assert_eq!(found, h, "{dtype:?} {value}");
                }
            }
        }
    }

    #[test]
    fn narrow_types_are_rounded_once() {
        // Just above a tie between two neighbours: f64 → f32 would land on the tie, then round
        // down to even.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        let mut out = [0; 2];
        finish(&[x], 1.0, Float::F16, &mut out);
        assert_eq!(half::f16::from_le_bytes(out).to_f64(), 1.0 + 2f64.powi(-10));
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        finish(&[x], 1.0, Float::BF16, &mut out);
        assert_eq!(half::bf16::from_le_bytes(out).to_f64(), 1.0 + 2f64.powi(-7));
        // Exactly on the tie: to even.
        finish(&[1.0 + 2f64.powi(-8)], 1.0, Float::BF16, &mut out);
        assert_eq!(half::bf16::from_le_bytes(out).to_f64(), 1.0);
    }

    #[test]
    fn dividing_differs_from_multiplying_and_division_is_right() {
        // The mean of ten equal values is that value; times 0.1 it is often a neighbour in f64.
        let x = 0.3f64.to_le_bytes();
        let ten = [&x[..]; 10];
        let sum: f64 = (0..10).fold(0.0, |sum, _| sum + 0.3);
        assert_eq!(mean_of(&ten, Float::F64), (sum / 10.0).to_le_bytes());
        assert_ne!((sum / 10.0).to_bits(), (sum * 0.1).to_bits());
    }

    #[test]
    fn nonfinite_values_are_noticed() {
        let bytes: Vec<u8> =
            [1.0f32, f32::NAN, f32::INFINITY].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(count_nonfinite(&bytes, Float::F32), 2);
        assert!(!finish(&[1.0, f64::NAN], 1.0, Float::F32, &mut [0; 8]));
        assert!(finish(&[1.0, 2.0], 1.0, Float::F32, &mut [0; 8]));
    }

    proptest! {
        #[test]
        fn halves_round_as_the_nearest_of_all(x in -70000f64..70000.0) {
            let mut out = [0; 2];
            finish(&[x], 1.0, Float::F16, &mut out);
            let found = half::f16::from_le_bytes(out).to_f64();
            let error = (found - x).abs();
            let neighbours = [u16::from_le_bytes(out).wrapping_sub(1), u16::from_le_bytes(out).wrapping_add(1)];
            for bits in neighbours {
                let other = half::f16::from_bits(bits).to_f64();
                // Beyond the largest, 65504, infinity counts as 65536.
                let other = if other.is_infinite() { other.signum() * 65536.0 } else { other };
                let error = if found.is_infinite() { (found.signum() * 65536.0 - x).abs() } else { error };
                prop_assert!(other.is_nan() || error <= (other - x).abs(), "{x} {found} {other}");
            }
        }

        #[test]
        fn fast_and_scalar_agree_to_the_bit(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            weight in -2f64..2.0,
            divisor in 0.5f64..20.0,
        ) {
            for dtype in [Float::F64, Float::F32, Float::F16, Float::BF16] {
                let n = bytes.len() / dtype.size();
                let bytes = &bytes[..n * dtype.size()];
                let (mut fast, mut scalar) = (vec![0.5; n], vec![0.5; n]);
                accumulate(&mut fast, bytes, dtype, weight);
                accumulate_scalar(&mut scalar, bytes, dtype, weight);
                prop_assert!(fast.iter().zip(&scalar).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()));
                let (mut out_fast, mut out_scalar) = (bytes.to_vec(), bytes.to_vec());
                let finite = finish(&scalar, divisor, dtype, &mut out_fast);
                prop_assert_eq!(finite, finish_scalar(&scalar, divisor, dtype, &mut out_scalar));
                if finite {
                    prop_assert_eq!(out_fast, out_scalar);
                }
            }
        }
    }
}
