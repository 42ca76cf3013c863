//! Plain means of 16-bit types in f32: half the width of f64, and half the work. Their values have so few
//! bits that sums of a few are exact in f32 as long as the exponents are not far from each other.

use super::super::float::{Float, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use super::prefetch::prefetch;

/// Values that are proved together: the fewer, the fewer have one among them that is too small.
pub const PIECE: usize = 128;

/// More inputs leave the sums too few bits to be worth trying.
pub const MOST_INPUTS: usize = 16;

/// See [`super::narrow`].
#[inline(always)]
pub(super) fn narrow_scalar(
    inputs: &[&[u8]],
    from: Float,
    to: Float,
    out: &mut [u8],
    left: &mut Vec<usize>,
) {
    match from {
        Float::F16 => pieces(inputs, from, to, out, left, f16_to_f32),
        Float::BF16 => pieces(inputs, from, to, out, left, bf16_to_f32),
        _ => unreachable!("{from:?} has not 16 bits"),
    }
}

#[inline(always)]
fn pieces(
    inputs: &[&[u8]],
    from: Float,
    to: Float,
    out: &mut [u8],
    left: &mut Vec<usize>,
    value: impl Fn(u16) -> f32,
) {
    let length = PIECE * to.size();
    let whole = out.len() / length;
    for (number, out) in out.chunks_exact_mut(length).enumerate() {
        let part = |input: usize| -> &[[u8; 2]; PIECE] {
            let start = number * PIECE;
            let part = &inputs[input].as_chunks::<2>().0[start..start + PIECE];
            part.try_into().expect("as long as a piece")
        };
        let (max, min_less_1) = span(inputs.len(), part);
        let smallest = value(min_less_1.wrapping_add(1));
        if !is_exact(value(max), smallest, inputs.len(), from, to) {
            left.push(number);
            continue;
        }
        let mut sums = [-0.0; PIECE]; // the neutral element
        let mut input = 0;
        while input < inputs.len() {
            input += match inputs.len() - input {
                1 => add(&mut sums, [part(input)], &value),
                2 => add(&mut sums, [part(input), part(input + 1)], &value),
                3 => add(&mut sums, [0, 1, 2].map(|k| part(input + k)), &value),
                _ => add(&mut sums, [0, 1, 2, 3].map(|k| part(input + k)), &value),
            };
        }
        finish(&sums, inputs.len(), to, out);
    }
    if !out.len().is_multiple_of(length) {
        left.push(whole);
    }
}

/// The largest magnitude, and one less than the smallest but zero, as codes: they are ordered as the
/// magnitudes are.
#[inline(always)]
fn span<'i>(n: usize, part: impl Fn(usize) -> &'i [[u8; 2]; PIECE]) -> (u16, u16) {
    // By lane: one comparison across the lanes at the end.
    const LANES: usize = 32;
    let (mut max, mut min_less_1) = ([0u16; LANES], [u16::MAX; LANES]);
    for input in 0..n {
        for codes in part(input).as_chunks::<LANES>().0 {
            prefetch(codes);
            for lane in 0..LANES {
                let magnitude = u16::from_le_bytes(codes[lane]) & 0x7fff;
                max[lane] = max[lane].max(magnitude);
                min_less_1[lane] = min_less_1[lane].min(magnitude.wrapping_sub(1));
            }
        }
    }
    let largest = max.into_iter().fold(0, u16::max);
    (largest, min_less_1.into_iter().fold(u16::MAX, u16::min))
}

/// Adds `K` inputs, the sums in registers; returns how many.
#[inline(always)]
fn add<const K: usize>(
    sums: &mut [f32; PIECE],
    inputs: [&[[u8; 2]; PIECE]; K],
    value: impl Fn(u16) -> f32,
) -> usize {
    for i in 0..PIECE {
        for codes in inputs {
            sums[i] += value(u16::from_le_bytes(codes[i]));
        }
    }
    K
}

/// Whether Σ x in f32 is exact in any order, and the mean far from infinity: all values are multiples of
/// a power of two, and no partial sum exceeds 2^24 times that. `smallest` is the magnitude of the
/// smallest value but zero.
#[inline(always)]
fn is_exact(largest: f32, smallest: f32, n: usize, from: Float, to: Float) -> bool {
    let format = from.format();
    // Below the smallest normal value the steps are its own.
    let smallest = smallest.max(power_of_two(format.min_exponent));
    let leading = f32::from_bits(smallest.to_bits() & 0x7f80_0000);
    // Exact, or infinite: the largest has 11 bits at most and n five.
    let bound = largest * n as f32;
    // Also where the largest is not finite, and bound perhaps not a number.
    let is_far_from_infinity = bound < power_of_two(127)
        && largest <= power_of_two((to.format().max_exponent - 1).min(127));
    is_far_from_infinity && bound <= leading * power_of_two(24 - (format.precision - 1))
}

/// 2^e as a normal f32.
#[inline(always)]
fn power_of_two(e: i32) -> f32 {
    f32::from_bits(((127 + e) as u32) << 23)
}

/// Writes sum / n, rounded once: the sums are exact, and multiples of 2^-133.
#[inline(always)]
fn finish(sums: &[f32; PIECE], n: usize, to: Float, out: &mut [u8]) {
    let divisor = n as f32;
    match to {
        Float::F64 => each(sums, out, |sum| (sum as f64 / n as f64).to_le_bytes()),
        Float::F32 => each(sums, out, |sum| (sum / divisor).to_le_bytes()),
        // Nothing is lost: f32 has 16 bits below 2^-133.
        _ if n.is_power_of_two() => {
            let inverse = 1.0 / divisor;
            round(sums, to, out, |sum| sum * inverse)
        }
        _ => round(sums, to, out, |sum| divide_to_odd(sum, divisor)),
    }
}

#[inline(always)]
fn round(sums: &[f32; PIECE], to: Float, out: &mut [u8], mean: impl Fn(f32) -> f32) {
    match to {
        Float::F16 => each(sums, out, |sum| f32_to_f16(mean(sum)).to_le_bytes()),
        Float::BF16 => each(sums, out, |sum| f32_to_bf16(mean(sum)).to_le_bytes()),
        _ => unreachable!("{to:?} has not 16 bits"),
    }
}

#[inline(always)]
fn each<const N: usize>(sums: &[f32; PIECE], out: &mut [u8], result: impl Fn(f32) -> [u8; N]) {
    for (&sum, out) in sums.iter().zip(out.as_chunks_mut::<N>().0) {
        *out = result(sum);
    }
}

/// sum / divisor with the last bit set if anything was lost, see [`super::divide_to_odd`]. The residual is
/// exact however small it is: a multiple of the quotient's last bit, and not more than n halves of it.
#[inline(always)]
fn divide_to_odd(sum: f32, divisor: f32) -> f32 {
    let nearest = sum / divisor;
    let residual = nearest.mul_add(-divisor, sum);
    let inexact = residual != 0.0;
    // Towards zero: nearest is one too far when the residual points back.
    let beyond = inexact && (residual > 0.0) != (sum > 0.0);
    f32::from_bits(nearest.to_bits().wrapping_sub(beyond as u32) | inexact as u32)
}

#[cfg(test)]
mod tests;
