//! The horizontal pass on pixels of three bytes, four rows at a time.
//!
//! A register of eight 32-bit sums holds a pixel (and a fourth lane that is thrown away) of each of
//! two rows. Four taps are read with one load a row; a byte shuffle puts two of them beside each other in
//! 16 bits, for the instruction that multiplies pairs and adds the products. Weights have more than 16 bits:
//! w = 2^15 high + low, and so is Σ w p.

#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{HALF, PRECISION_BITS, Weights};

/// Taps that one load of 16 bytes holds.
const GROUP: usize = 4;

/// Rows that are computed together, so that the set-up of a column serves all of them.
const ROWS: usize = 4;

/// Bits of `low`, which must not be negative as a 16-bit number.
const LOW_BITS: u32 = 15;

/// For each pair of taps in a group: their bytes of one channel in each lane.
const PAIRS: [[i8; 16]; GROUP / 2] = {
    let mut masks = [[-1; 16]; GROUP / 2];
    let mut i = 0;
    while i < GROUP * 3 {
        let (tap, channel) = (i / 3, i % 3);
        masks[tap / 2][4 * channel + 2 * (tap % 2)] = i as i8;
        i += 1;
    }
    masks
};

/// A pair of taps' weights, as the multiplication takes them.
#[derive(Clone, Copy, Default)]
struct Pair {
    high: i32,
    low: i32,
}

impl Pair {
    fn new([first, second]: [i32; 2]) -> Self {
        let low = |weight: i32| weight & ((1 << LOW_BITS) - 1);
        // Magnitudes are below 2^24, so that 16 bits hold what is left, and the sign.
        let high = |weight: i32| (weight >> LOW_BITS) & 0xffff;
        Pair { high: high(first) | high(second) << 16, low: low(first) | low(second) << 16 }
    }
}

/// As [`super::horizontal`] with three channels.
#[target_feature(enable = "avx2")]
pub(super) fn horizontal_rgb(
    pixels: &[u8],
    line: usize,
    first: usize,
    columns: &Weights,
) -> Vec<u8> {
    let (count, rows) = (columns.starts.len(), pixels.len() / line);
    let mut out = vec![0; rows * count * 3];
    if out.is_empty() {
        return out;
    }
    let groups = columns.taps.div_ceil(GROUP);
    let (pairs, needed) = (pairs(columns, groups), needed(groups));
    let out_pixels = out.as_chunks_mut::<3>().0;
    for top in (0..rows).step_by(ROWS) {
        // Where fewer rows are left, the last one is done again.
        let all: [usize; ROWS] = std::array::from_fn(|i| (top + i).min(rows - 1));
        let lines = all.map(|row| &pixels[row * line..]);
        let positions = columns.starts.iter().zip(pairs.chunks_exact(groups * GROUP / 2));
        for (column, (start, pairs)) in positions.enumerate() {
            let place = 3 * (start - first);
            // Bytes behind a line, which are the next line's, meet weights of zero. Behind the last there are none.
            let results = if place + needed <= lines[ROWS - 1].len() {
                let places = lines.map(|line| line[place..].as_ptr());
                // SAFETY: the processor has AVX2, and the shortest of the lines has the bytes.
                unsafe { four(&places, pairs) }
            } else {
                let padded = lines.map(|line| padded(&line[place..], needed));
                // SAFETY: the processor has AVX2, and all are as long as is needed.
                unsafe { four(&padded.each_ref().map(|bytes| bytes.as_ptr()), pairs) }
            };
            for (row, result) in all.into_iter().zip(results) {
                let [r, g, b, _] = result.to_le_bytes();
                out_pixels[row * count + column] = [r, g, b];
            }
        }
    }
    out
}

/// Bytes that are read for a column: the last group's load is longer than its taps.
fn needed(groups: usize) -> usize {
    3 * GROUP * (groups - 1) + 16
}

/// So many bytes; zeros after the end.
fn padded(bytes: &[u8], needed: usize) -> Vec<u8> {
    let mut bytes = bytes[..needed.min(bytes.len())].to_vec();
    bytes.resize(needed, 0);
    bytes
}

/// A pixel of each of four rows.
///
/// # Safety
/// At each of `lines` there are as many bytes as are [`needed`] for the groups that `pairs` has.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn four(lines: &[*const u8; ROWS], pairs: &[Pair]) -> [i32; ROWS] {
    let (even, odd) = (mask(&PAIRS[0]), mask(&PAIRS[1]));
    let [mut high, mut high2] = [_mm256_setzero_si256(); 2];
    let [mut low, mut low2] = [_mm256_set1_epi32(HALF); 2];
    for (group, [first, second]) in pairs.as_chunks::<{ GROUP / 2 }>().0.iter().enumerate() {
        // SAFETY: the caller's.
        let (upper, lower) = unsafe {
            let at = |line: *const u8| line.add(3 * GROUP * group).cast();
            (
                _mm256_loadu2_m128i(at(lines[1]), at(lines[0])),
                _mm256_loadu2_m128i(at(lines[3]), at(lines[2])),
            )
        };
        (high, low) = add(high, low, _mm256_shuffle_epi8(upper, even), first);
        (high2, low2) = add(high2, low2, _mm256_shuffle_epi8(lower, even), first);
        (high, low) = add(high, low, _mm256_shuffle_epi8(upper, odd), second);
        (high2, low2) = add(high2, low2, _mm256_shuffle_epi8(lower, odd), second);
    }
    // To 0..=255, saturating: 32 → 16 → 8 bits; rows 0 and 2 in the lower half, 1 and 3 in the upper.
    let bytes = _mm256_packs_epi32(joined(high, low), joined(high2, low2));
    let bytes = _mm256_packus_epi16(bytes, bytes);
    [
        _mm256_extract_epi32::<0>(bytes),
        _mm256_extract_epi32::<4>(bytes),
        _mm256_extract_epi32::<1>(bytes),
        _mm256_extract_epi32::<5>(bytes),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(high: __m256i, low: __m256i, values: __m256i, pair: &Pair) -> (__m256i, __m256i) {
    let products = _mm256_madd_epi16(values, _mm256_set1_epi32(pair.high));
    let more = _mm256_madd_epi16(values, _mm256_set1_epi32(pair.low));
    (_mm256_add_epi32(high, products), _mm256_add_epi32(low, more))
}

/// The sum without its fraction.
#[inline]
#[target_feature(enable = "avx2")]
fn joined(high: __m256i, low: __m256i) -> __m256i {
    let sum = _mm256_add_epi32(_mm256_slli_epi32::<{ LOW_BITS as i32 }>(high), low);
    _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(sum)
}

/// A byte shuffle for both halves.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(indices: &[i8; 16]) -> __m256i {
    // SAFETY: sixteen bytes are there to be read; no alignment is asked for.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(indices.as_ptr().cast()) })
}

/// The weights of all positions, filled up with zeros to whole groups.
fn pairs(columns: &Weights, groups: usize) -> Vec<Pair> {
    let mut pairs = vec![Pair::default(); columns.starts.len() * groups * GROUP / 2];
    for ((_, from), to) in columns.iter().zip(pairs.chunks_exact_mut(groups * GROUP / 2)) {
        for (from, to) in from.chunks(2).zip(to) {
            *to = Pair::new([from[0], from.get(1).copied().unwrap_or(0)]);
        }
    }
    pairs
}
