//! The exact sums of a block of values: integers of one width times one power of two.
//!
//! In the file: the exponent (i16), the bytes an integer has (u16, the highest bit set if marks follow), a byte of
//! mark for each value where there are marks, and the integers, two's complement; all little-endian. Exponent and
//! width are the only ones that fit: the largest exponent of which every sum is a multiple, then the fewest
//! bytes. So the bytes depend on the sums alone, not on the order in which they were added up.

use num_bigint::{BigInt, Sign};

use crate::average::Float;
use crate::average::exact::parts;
use crate::average::totals::{Integers, Mark, Totals};

/// Values of a block.
pub(super) const BLOCK: usize = 1024;

/// Of exponent and width.
const HEAD: usize = 4;

/// Set in the width where marks follow.
const MARKED: u16 = 1 << 15;

/// The widest integer: sums of 2^64 values of F64 are below 2^1088 and multiples of 2^-1074.
const WIDEST: usize = (1088 + 1074) / 8 + 1;

/// Exponents that a sum of F64 can have.
const EXPONENTS: std::ops::RangeInclusive<i32> = -1074..=1088;

/// The sums of up to [`BLOCK`] values.
#[derive(Debug, Default)]
pub(super) struct Block {
    exponent: i32,
    /// No magnitude has more bits; 0 if all sums are 0.
    bits: u64,
    small: Vec<i128>,
    /// In place of the small ones, where these do not suffice.
    big: Option<Vec<BigInt>>,
    /// Empty if all are sums.
    marks: Vec<Mark>,
}

const MARKS: [Mark; 5] =
    [Mark::Sum, Mark::MinusZero, Mark::Infinity, Mark::MinusInfinity, Mark::NaN];

impl Block {
    /// Sums of nothing.
    pub fn clear(&mut self, values: usize) {
        (self.exponent, self.bits, self.big) = (0, 0, None);
        self.small.clear();
        self.small.resize(values, 0);
        self.marks.clear();
    }

    pub fn totals(&self) -> Totals<'_> {
        let integers = match &self.big {
            Some(big) => Integers::Big(big),
            None => Integers::Small(&self.small),
        };
        Totals { integers, exponent: self.exponent, bits: self.bits, marks: &self.marks }
    }

    /// Adds a value to each sum. `is_first`: they are sums of nothing. Returns how many values are not finite.
    pub fn add(
        &mut self,
        values: &[u8],
        from: Float,
        is_first: bool,
        decoded: &mut Vec<f64>,
    ) -> usize {
        decode(values, from, decoded);
        let (mut low, mut high) = (i32::MAX, i32::MIN);
        let (mut nonfinite, mut minus_zeros) = (0, false);
        for &x in &*decoded {
            let (minus, m, e) = parts(x);
            if !x.is_finite() {
                nonfinite += 1;
            } else if m != 0 {
                low = low.min(e + m.trailing_zeros() as i32);
                high = high.max(e + 64 - m.leading_zeros() as i32);
            } else {
                minus_zeros |= minus;
            }
        }
        let mut is_marked = !self.marks.is_empty();
        if !is_marked && (nonfinite > 0 || is_first && minus_zeros) {
            self.marks.resize(decoded.len(), Mark::Sum);
            is_marked = true;
        }
        if is_marked {
            for (mark, x) in self.marks.iter_mut().zip(&mut *decoded) {
                *mark = marked(*mark, *x, is_first);
                // What is not finite stays so; its integer is 0.
                if !x.is_finite() {
                    *x = 0.0;
                }
            }
        }
        if low <= high {
            self.add_finite(decoded, low, high);
        }
        if is_marked {
            self.forget_marked();
        }
        nonfinite
    }

    /// Adds finite values that are multiples of 2^low and below 2^high.
    fn add_finite(&mut self, values: &[f64], low: i32, high: i32) {
        let exponent = if self.bits == 0 { low } else { self.exponent.min(low) };
        let raise = if self.bits == 0 { 0 } else { (self.exponent - exponent) as u32 };
        let bits = (self.bits + u64::from(raise)).max((high - exponent) as u64) + 1;
        self.exponent = exponent;
        if self.big.is_none() && bits <= 126 {
            let mut magnitudes = 0;
            let one = |sum: i128, x: f64| {
                let (minus, m, e) = parts(x);
                let shift = e - exponent;
                // A value of 0 has the least exponent, others have as many zeros at the end as it takes.
                let term = match shift >= 0 {
                    true => (m as i128) << shift,
                    false => (m >> (-shift).min(63)) as i128,
                };
                (sum << raise) + if minus { -term } else { term }
            };
            for (sum, &x) in self.small.iter_mut().zip(values) {
                *sum = one(*sum, x);
                magnitudes |= *sum ^ (*sum >> 127);
            }
            self.bits = small_bits(magnitudes, self.small.iter().any(|&sum| sum != 0));
            return;
        }
        let big = self.big.get_or_insert_with(|| self.small.iter().map(|&i| i.into()).collect());
        for (sum, &x) in big.iter_mut().zip(values) {
            let (minus, m, e) = parts(x);
            let shift = e - exponent;
            let term = match shift >= 0 {
                true => BigInt::from(m) << shift,
                false => BigInt::from(m >> (-shift).min(63)),
            };
            *sum <<= raise;
            if minus { *sum -= term } else { *sum += term }
        }
        self.bits = big_bits(big);
    }

    /// Sums that are not finite have no integer, and marks of sums alone are none.
    fn forget_marked(&mut self) {
        for (i, _) in self.marks.iter().enumerate().filter(|(_, mark)| **mark != Mark::Sum) {
            match &mut self.big {
                Some(big) => big[i] = BigInt::ZERO,
                None => self.small[i] = 0,
            }
        }
        if self.marks.iter().all(|mark| *mark == Mark::Sum) {
            self.marks.clear();
        }
    }

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

/// The mark of a sum to which a value is added.
fn marked(mark: Mark, x: f64, is_first: bool) -> Mark {
    let own = match x {
        _ if x.is_nan() => Mark::NaN,
        f64::INFINITY => Mark::Infinity,
        f64::NEG_INFINITY => Mark::MinusInfinity,
        _ if x == 0.0 && x.is_sign_negative() => Mark::MinusZero,
        _ => Mark::Sum,
    };
    match (mark, own) {
        (_, own) if is_first => own,
        (Mark::Sum | Mark::MinusZero, Mark::Infinity | Mark::MinusInfinity | Mark::NaN) => own,
        (Mark::MinusZero, Mark::MinusZero) => Mark::MinusZero,
        (Mark::Sum | Mark::MinusZero, _) => Mark::Sum,
        // Of infinities of both signs nothing is left.
        (mark, Mark::Infinity | Mark::MinusInfinity | Mark::NaN) if mark != own => Mark::NaN,
        (mark, _) => mark,
    }
}

/// Bits of the largest magnitude, by all of them at once: of a sum below zero its complement's, as two's complement
/// has them.
fn small_bits(magnitudes: i128, any: bool) -> u64 {
    u64::from(128 - magnitudes.leading_zeros()).max(any.into())
}

fn big_bits(sums: &[BigInt]) -> u64 {
    let bits = |sum: &BigInt| match sum.sign() {
        Sign::NoSign => 0,
        Sign::Plus => sum.bits(),
        Sign::Minus => (-sum - 1u8).bits().max(1),
    };
    sums.iter().map(bits).max().unwrap_or(0)
}

fn decode(values: &[u8], from: Float, into: &mut Vec<f64>) {
    into.clear();
    match from {
        Float::F32 => {
            let values = values.as_chunks().0.iter();
            into.extend(values.map(|&bytes| f64::from(f32::from_le_bytes(bytes))));
        }
        _ => into.extend(values.chunks_exact(from.size()).map(|bytes| from.decode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::average::totals::Scratch;
    use proptest::prelude::*;

    fn block(rows: &[Vec<f64>]) -> Block {
        let mut block = Block::default();
        block.clear(rows[0].len());
        add(&mut block, rows, true);
        block
    }

    fn add(block: &mut Block, rows: &[Vec<f64>], mut is_first: bool) {
        for row in rows {
            let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
            block.add(&bytes, Float::F64, is_first, &mut vec![]);
            is_first = false;
        }
    }

    fn bytes(block: &mut Block) -> Vec<u8> {
        let mut out = vec![];
        block.write(&mut out);
        out
    }

    fn means(block: &Block, count: u64) -> Vec<f64> {
        let totals = block.totals();
        let mut out = vec![0; 8 * block.small.len().max(block.big.as_ref().map_or(0, Vec::len))];
        totals.means(count, Float::F64, &mut out, &mut Scratch::default());
        out.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
    }

    #[test]
    fn far_apart_exponents_are_exact_and_take_what_they_need() {
        let p = |e: i32| 2f64.powi(e);
        let rows: Vec<Vec<f64>> =
            [p(100), 1.0, p(-60), -p(100), -1.0].into_iter().map(|x| vec![x]).collect();
        let mut sum = block(&rows);
        // All but 2^-60 cancels.
        let mut expected = [(-60i16).to_le_bytes(), 1u16.to_le_bytes()].concat();
        expected.push(1);
        assert_eq!(bytes(&mut sum), expected);
        assert_eq!(means(&sum, 5), [p(-60) / 5.0]);
        let mut wide = block(&rows[..3]);
        let found = bytes(&mut wide);
        assert_eq!(found.len(), HEAD + 161 / 8 + 1);
        let mut again = Block::default();
        again.read(&mut &found[..], 1).unwrap();
        add(&mut again, &rows[3..], false);
        assert_eq!(bytes(&mut again), bytes(&mut sum));
        let mut widest = block(&[vec![f64::MAX, f64::from_bits(1)], vec![f64::MAX, 0.0]]);
        let found = bytes(&mut widest);
        again.read(&mut &found[..], 2).unwrap();
        assert_eq!(means(&again, 2), [f64::MAX, 0.0]);
    }

    #[test]
    fn ordinary_weights_take_less_than_eight_bytes() {
        // A normal distribution by the central limit, as many digits as f32 has.
        let mut state = 1u64;
        let mut next = || {
            let mut sum = 0.0;
            for _ in 0..12 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                sum += (state >> 40) as f64 / (1u64 << 24) as f64;
            }
            f64::from(((sum - 6.0) * 0.02) as f32)
        };
        let rows: Vec<Vec<f64>> = (0..300).map(|_| (0..BLOCK).map(|_| next()).collect()).collect();
        assert!(bytes(&mut block(&rows)).len() <= HEAD + 8 * BLOCK);
    }

    #[test]
    fn zeros_have_signs_and_what_is_not_finite_stays_so() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let rows = [
            vec![-0.0, -0.0, 1.0, inf, inf, -inf, nan, 0.0, 1.0],
            vec![-0.0, 0.0, -1.0, 1.0, -inf, -inf, 1.0, -0.0, nan],
        ];
        let mut sum = block(&rows);
        let first = bytes(&mut sum);
        let found = means(&sum, 2);
        let bits = |x: f64| x.to_bits();
        assert_eq!(bits(found[0]), bits(-0.0));
        for zero in [1, 2, 7] {
            assert_eq!(bits(found[zero]), 0, "{zero}");
        }
        assert_eq!((found[3], found[5]), (inf, -inf));
        assert!([4, 6, 8].iter().all(|&i| found[i].is_nan()));
        let mut again = Block::default();
        again.read(&mut &first[..], 9).unwrap();
        assert_eq!(bytes(&mut again), first);
        // Nothing is left of the marks once all are numbers.
        let mut gone = block(&[vec![-0.0, 1.0]]);
        assert_eq!(bytes(&mut gone).len(), HEAD + 2 + 2);
        add(&mut gone, &[vec![0.0, 1.0]], false);
        assert_eq!(bytes(&mut gone).len(), HEAD + 2);
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let whole = bytes(&mut block(&[vec![1.0, -3.0, 0.5]]));
        for end in 0..whole.len() {
            assert!(Block::default().read(&mut &whole[..end], 3).is_none());
        }
        for (head, values) in [
            ([0x00u8, 0x80, 1, 0], 1), // an exponent that no sum has
            ([0, 0, 0xff, 0x7f], 1),
            ([0, 0, 1, 0x80], 1),
        ] {
            let bytes = [&head[..], &[9; 40]].concat();
            assert!(Block::default().read(&mut &bytes[..], values).is_none());
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f32>().prop_map(f64::from),
            any::<f64>(),
            (-16i32..16, -160i32..140).prop_map(|(m, e)| m as f64 * 2f64.powi(e)),
            Just(-0.0),
            Just(0.0),
            Just(f64::from_bits(1)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Whatever the order, and however often it was written and read in between.
        #[test]
        fn the_bytes_are_those_of_the_sums(
            rows in proptest::collection::vec(proptest::collection::vec(value(), 5), 1..7),
            cut in 0usize..7,
        ) {
            let expected = bytes(&mut block(&rows));
            let back: Vec<_> = rows.iter().rev().cloned().collect();
            prop_assert_eq!(&bytes(&mut block(&back)), &expected);
            let cut = cut.clamp(1, rows.len());
            let first = bytes(&mut block(&rows[..cut]));
            let mut again = Block::default();
            again.read(&mut &first[..], 5).unwrap();
            prop_assert_eq!(&bytes(&mut again), &first);
            again.read(&mut &first[..], 5).unwrap();
            add(&mut again, &rows[cut..], false);
            prop_assert_eq!(&bytes(&mut again), &expected);
        }
    }
}
