//! The horizontal pass on pixels of three bytes, two rows at a time.
//!
//! A register of eight 32-bit sums holds a pixel (and a fourth lane that is thrown away) of each of
//! two rows. Four taps are read with one load a row and spread over the lanes by a byte shuffle.

use std::arch::x86_64::*;

use super::{HALF, PRECISION_BITS, Weights};

/// Taps that one load of 16 bytes holds.
const GROUP: usize = 4;

/// For each tap of a group: its three bytes, each in the lowest byte of a lane.
const SPREAD: [[i8; 16]; GROUP] = {
    let mut masks = [[-1; 16]; GROUP];
    let mut tap = 0;
    while tap < GROUP {
        let mut channel = 0;
        while channel < 3 {
            masks[tap][4 * channel] = (3 * tap + channel) as i8;
            channel += 1;
        }
        tap += 1;
    }
    masks
};

/// As [`super::horizontal`] with three channels.
#[target_feature(enable = "avx2")]
pub(super) fn horizontal_rgb(
    pixels: &[u8],
    line: usize,
    first: usize,
    columns: &Weights,
) -> Vec<u8> {
    let width = 3 * columns.starts.len();
    let mut out = vec![0; pixels.len() / line * width];
    if width == 0 {
        return out;
    }
    // Weights in whole groups; those added are zero.
    let groups = columns.taps.div_ceil(GROUP);
    let mut weights = vec![0; columns.starts.len() * groups * GROUP];
    for ((_, from), to) in columns.iter().zip(weights.chunks_exact_mut(groups * GROUP)) {
        to[..from.len()].copy_from_slice(from);
    }
    let masks = SPREAD.map(|mask| load(&mask.map(|index| index as u8)));
    let masks = masks.map(|mask| _mm256_broadcastsi128_si256(mask));
    for (i, out) in out.chunks_mut(2 * width).enumerate() {
        let (upper, lower) = out.split_at_mut(width);
        let (upper, lower) = (upper.as_chunks_mut::<3>().0, lower.as_chunks_mut::<3>().0);
        // The last row may stand alone: it is then its own partner.
        let first_row = 2 * i * line;
        let second_row = if lower.is_empty() { first_row } else { first_row + line };
        let positions = columns.starts.iter().zip(weights.chunks_exact(groups * GROUP));
        for (column, (start, weights)) in positions.enumerate() {
            let mut sum = _mm256_set1_epi32(HALF);
            for (group, weights) in weights.as_chunks::<GROUP>().0.iter().enumerate() {
                let at = 3 * (start - first + group * GROUP);
                let low = _mm256_castsi128_si256(sixteen(pixels, first_row + at));
                let both = _mm256_inserti128_si256::<1>(low, sixteen(pixels, second_row + at));
                for (&mask, &weight) in masks.iter().zip(weights) {
                    let values = _mm256_shuffle_epi8(both, mask);
                    let products = _mm256_mullo_epi32(values, _mm256_set1_epi32(weight));
                    sum = _mm256_add_epi32(sum, products);
                }
            }
            // To 0..=255, saturating: 32 → 16 → 8 bits, of each row the first four bytes of its half.
            let sum = _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(sum);
            let sum = _mm256_packs_epi32(sum, sum);
            let sum = _mm256_packus_epi16(sum, sum);
            let [r, g, b, _] = (_mm256_extract_epi32::<0>(sum) as u32).to_le_bytes();
            upper[column] = [r, g, b];
            if let Some(lower) = lower.get_mut(column) {
                let [r, g, b, _] = (_mm256_extract_epi32::<4>(sum) as u32).to_le_bytes();
                *lower = [r, g, b];
            }
        }
    }
    out
}

/// The 16 bytes at `at`; zeros after the end, which only weights of zero meet.
#[inline]
#[target_feature(enable = "avx2")]
fn sixteen(pixels: &[u8], at: usize) -> __m128i {
    match pixels.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(bytes) => load(bytes),
        None => {
            let mut bytes = [0; 16];
            let rest = &pixels[at.min(pixels.len())..];
            bytes[..rest.len()].copy_from_slice(rest);
            load(&bytes)
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: sixteen bytes are there to be read; no alignment is asked for.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
