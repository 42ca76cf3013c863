//! A block in the file: the exponent (i16), the bytes an integer has (u16, the highest bit set if marks follow), a byte of
//! mark for each value where there are marks, and the integers, two's complement; all little-endian. Exponent and
//! width are the only ones that fit: the largest exponent of which every sum is a multiple, then the fewest
//! bytes. So the bytes depend on the sums alone, not on the order in which they were added up.

use num_bigint::BigInt;

use super::{Block, big_bits, small_bits};
use crate::average::totals::Mark;

/// Of exponent and width.
pub(super) const HEAD: usize = 4;

/// Set in the width where marks follow.
const MARKED: u16 = 1 << 15;

/// The widest integer: sums of 2^64 values of F64 are below 2^1088 and multiples of 2^-1074.
const WIDEST: usize = (1088 + 1074) / 8 + 1;

/// Exponents that a sum of F64 can have.
const EXPONENTS: std::ops::RangeInclusive<i32> = -1074..=1088;

const MARKS: [Mark; 5] =
    [Mark::Sum, Mark::MinusZero, Mark::Infinity, Mark::MinusInfinity, Mark::NaN];

impl Block {
    /// Finds the exponent and the bits that fit.
    fn settle(&mut self) {
        if let Some(big) = &mut self.big {
            let zeros = big.iter().filter_map(BigInt::trailing_zeros).min().unwrap_or(0);
            big.iter_mut().for_each(|sum| *sum >>= zeros);
            self.exponent += zeros as i32;
            self.bits = big_bits(big);
            if self.bits <= 126 {
                // They fit, so none is lost.
                self.small = big.iter().map(|sum| sum.try_into().unwrap_or_default()).collect();
                self.big = None;
            }
        } else {
            let (mut all, mut magnitudes) = (0, 0);
            self.small.iter().for_each(|sum| all |= sum);
            let zeros = if all == 0 { 0 } else { all.trailing_zeros() };
            for sum in &mut self.small {
                *sum >>= zeros;
                magnitudes |= *sum ^ (*sum >> 127);
            }
            self.exponent += zeros as i32;
            self.bits = small_bits(magnitudes, all != 0);
        }
    }

    /// Appends the block as the file has it.
    pub fn write(&mut self, out: &mut Vec<u8>) {
        self.settle();
        let width = if self.bits == 0 { 0 } else { self.bits as usize / 8 + 1 };
        if width == 0 {
            (self.exponent, self.bits, self.big) = (0, 0, None);
        }
        let marked = if self.marks.is_empty() { 0 } else { MARKED };
        out.extend_from_slice(&(self.exponent as i16).to_le_bytes());
        out.extend_from_slice(&(width as u16 | marked).to_le_bytes());
        out.extend(self.marks.iter().map(|&mark| mark as u8));
        match &self.big {
            Some(big) => {
                for sum in big {
                    let bytes = sum.to_signed_bytes_le();
                    let fill = if bytes.last().is_some_and(|b| b >> 7 == 1) { 0xff } else { 0 };
                    out.extend_from_slice(&bytes);
                    out.resize(out.len() + width - bytes.len(), fill);
                }
            }
            None if width <= 8 => {
                // Eight bytes at a time: those too many are written over by the next integer.
                let start = out.len();
                out.resize(start + self.small.len() * width + 8, 0);
                for (i, &sum) in self.small.iter().enumerate() {
                    out[start + i * width..][..8].copy_from_slice(&(sum as i64).to_le_bytes());
                }
                out.truncate(start + self.small.len() * width);
            }
            None => {
                self.small.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()[..width]))
            }
        }
    }

    /// Reads a block of so many values from the beginning of `bytes`, which then are what follows it. None if it is
    /// none as [`Block::write`] makes them.
    pub fn read(&mut self, bytes: &mut &[u8], values: usize) -> Option<()> {
        self.clear(values);
        let head: [u8; HEAD] = bytes.split_off(..HEAD)?.try_into().ok()?;
        self.exponent = i16::from_le_bytes([head[0], head[1]]).into();
        let width = u16::from_le_bytes([head[2], head[3]]);
        let (is_marked, width) = (width & MARKED != 0, usize::from(width & !MARKED));
        if !EXPONENTS.contains(&self.exponent) || width > WIDEST {
            return None;
        }
        if is_marked {
            let marks = bytes.split_off(..values)?;
            let mark = |&mark: &u8| MARKS.get(usize::from(mark)).copied();
            self.marks = marks.iter().map(mark).collect::<Option<_>>()?;
        }
        let integers = bytes.split_off(..values * width)?;
        self.bits = (8 * width as u64).saturating_sub(1);
        match width {
            0 => {}
            1..=8 => {
                let shift = 64 - 8 * width as u32;
                let sign = |whole: u64| i128::from((whole << shift) as i64 >> shift);
                let whole = |at: usize| match integers[at..].first_chunk() {
                    Some(eight) => u64::from_le_bytes(*eight),
                    None => {
                        let mut eight = [0; 8];
                        eight[..width].copy_from_slice(&integers[at..at + width]);
                        u64::from_le_bytes(eight)
                    }
                };
                for (i, sum) in self.small.iter_mut().enumerate() {
                    *sum = sign(whole(i * width));
                }
            }
            9..=15 => {
                let shift = 128 - 8 * width as u32;
                for (sum, integer) in self.small.iter_mut().zip(integers.chunks_exact(width)) {
                    let mut whole = [0; 16];
                    whole[..width].copy_from_slice(integer);
                    *sum = (i128::from_le_bytes(whole) << shift) >> shift;
                }
            }
            _ => {
                let sums = integers.chunks_exact(width).map(BigInt::from_signed_bytes_le);
                self.big = Some(sums.collect());
            }
        }
        Some(())
    }
}
