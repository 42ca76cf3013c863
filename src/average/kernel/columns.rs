//! Several weighted sums of the same inputs at once: each value is loaded and converted for all of them.

use std::ops::Range;

use super::super::float::{Float, bf16_to_f32, f16_to_f32};
use super::MOST_INPUTS;

/// Sums whose registers fit beside those of the values.
pub const MOST_COLUMNS: usize = 4;

/// Values at a time: one register of AVX-512 a sum, two of AVX2.
const LANES: usize = 8;

/// See [`super::add_columns`].
#[inline(always)]
pub(super) fn add_columns_scalar(
    sums: &mut [&mut [f64]],
    is_new: bool,
    inputs: &[&[u8]],
    from: Float,
    weights: &[&[f64]],
) {
    #[inline(always)]
    fn all<const N: usize>(
        sums: &mut [&mut [f64]],
        is_new: bool,
        inputs: &[&[u8]],
        weights: &[&[f64]],
        value: impl Fn([u8; N]) -> f32,
    ) {
        for (sums, weights) in sums.chunks_mut(MOST_COLUMNS).zip(weights.chunks(MOST_COLUMNS)) {
            match sums.len() {
                1 => some::<N, 1>(sums, is_new, inputs, weights, &value),
                2 => some::<N, 2>(sums, is_new, inputs, weights, &value),
                3 => some::<N, 3>(sums, is_new, inputs, weights, &value),
                _ => some::<N, 4>(sums, is_new, inputs, weights, &value),
            }
        }
    }
    macro_rules! run {
        ($value:expr) => {
            all(sums, is_new, inputs, weights, $value)
        };
    }
    super::decoding!(from, run)
}

/// Of so many sums.
#[inline(always)]
fn some<const N: usize, const SUMS: usize>(
    sums: &mut [&mut [f64]],
    is_new: bool,
    inputs: &[&[u8]],
    weights: &[&[f64]],
    value: &impl Fn([u8; N]) -> f32,
) {
    // Arrays, so that the loops over them are unrolled and what they hold stays in registers.
    let sums: &mut [&mut [f64]; SUMS] = sums.try_into().expect("so many sums");
    // By input, so that the weights of one lie side by side.
    let mut by_input = [[0.0; SUMS]; MOST_INPUTS];
    for (k, weights_of) in by_input[..inputs.len()].iter_mut().enumerate() {
        weights_of.iter_mut().zip(weights).for_each(|(weight, weights)| *weight = weights[k]);
    }
    let weights = &by_input[..inputs.len()];
    let n = sums[0].len();
    let whole = n / LANES * LANES;
    lines::<N, SUMS, LANES>(sums, 0..whole, is_new, inputs, weights, value);
    lines::<N, SUMS, 1>(sums, whole..n, is_new, inputs, weights, value);
}

/// A range of values, so many at a time.
#[inline(always)]
fn lines<const N: usize, const SUMS: usize, const AT_A_TIME: usize>(
    sums: &mut [&mut [f64]; SUMS],
    values: Range<usize>,
    is_new: bool,
    inputs: &[&[u8]],
    weights: &[[f64; SUMS]],
    value: &impl Fn([u8; N]) -> f32,
) {
    for at in values.step_by(AT_A_TIME) {
        // −0 is the neutral element; 0 would turn a mean of −0 into +0.
        let mut own = [[-0.0; AT_A_TIME]; SUMS];
        if !is_new {
            for s in 0..SUMS {
                own[s].copy_from_slice(&sums[s][at..at + AT_A_TIME]);
            }
        }
        for (input, weights) in inputs.iter().zip(weights) {
            let codes = input[at * N..(at + AT_A_TIME) * N].as_chunks::<N>().0;
            let mut values = [0.0; AT_A_TIME];
            for lane in 0..AT_A_TIME {
                values[lane] = f64::from(value(codes[lane]));
            }
            for s in 0..SUMS {
                for lane in 0..AT_A_TIME {
                    own[s][lane] += weights[s] * values[lane];
                }
            }
        }
        for s in 0..SUMS {
            sums[s][at..at + AT_A_TIME].copy_from_slice(&own[s]);
        }
    }
}
