//! Tensors whose values do not lie in a row: transposed or channels-last weights, expanded views, chunks
//! of distributed checkpoints, flat partitions, other byte orders. Read row by row in the tensor's order.

use std::ops::Range;

use super::Source;
use crate::Result;

/// Where the values of one tensor are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    /// As the parts see it: the product is the number of values, the last dimension runs fastest.
    pub shape: Vec<u64>,
    /// Bytes a value.
    pub width: usize,
    /// Bytes of a number whose bytes are in the other order; 1 if they are not.
    pub swap: usize,
    /// Boxes that cover the tensor, each value once.
    pub parts: Vec<Part>,
}

/// A box of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub file: u32,
    /// The first byte.
    pub start: u64,
    /// The first value's place in the tensor, by dimension.
    pub at: Vec<u64>,
    pub size: Vec<u64>,
    /// Bytes from one value to the next, by dimension.
    pub strides: Vec<u64>,
}

impl Part {
    /// The bytes between its first and its last value; not of an empty one.
    pub fn span(&self, width: usize) -> Range<u64> {
        let steps = self.size.iter().zip(&self.strides);
        let last: u64 = steps.map(|(&n, &stride)| (n - 1) * stride).sum();
        self.start..self.start + last + width as u64
    }
}

/// Sizes and strides, in values, with neighbouring dimensions that run on merged into one and those of
/// size 1 dropped: a tensor whose values lie in a row comes out as `([n], [1])`, or without dimensions.
pub fn merged(shape: &[u64], strides: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let (mut sizes, mut steps): (Vec<u64>, Vec<u64>) = (vec![], vec![]);
    for (&n, &stride) in shape.iter().zip(strides).filter(|(n, _)| **n != 1) {
        match (sizes.last_mut(), steps.last_mut()) {
            (Some(size), Some(step)) if Some(*step) == stride.checked_mul(n) => {
                // Checked: the product is at most the number of values.
                *size *= n;
                *step = stride;
            }
            _ => {
                sizes.push(n);
                steps.push(stride);
            }
        }
    }
    (sizes, steps)
}

impl Gather {
    /// With one dimension, if the parts are whole slices whose values lie in a row, as when processes
    /// share a tensor by rows. In the order of their values then.
    pub fn flattened(mut self) -> Self {
        let shape = &self.shape;
        let is_slice = |part: &Part| {
            let steps: Vec<u64> = part.strides.iter().map(|s| s / self.width as u64).collect();
            let in_row = matches!(&merged(&part.size, &steps), (_, s) if s.is_empty() || *s == [1]);
            in_row && part.size.iter().skip(1).eq(shape.iter().skip(1))
        };
        if shape.len() < 2 || shape.contains(&0) || !self.parts.iter().all(is_slice) {
            return self;
        }
        let slice: u64 = shape[1..].iter().product();
        for part in &mut self.parts {
            part.at = vec![part.at[0] * slice];
            part.size = vec![part.size[0] * slice];
            part.strides = vec![self.width as u64];
        }
        self.shape = vec![shape[0] * slice];
        self.parts.sort_by(|a, b| a.at.cmp(&b.at));
        self
    }

    /// The bytes between the first and the last value. For tensors in one part.
    pub fn span(&self) -> Range<u64> {
        match &self.parts[..] {
            [part] if !self.shape.contains(&0) => part.span(self.width),
            _ => 0..0,
        }
    }

    /// Whether two values lie in one place, as in an expanded view; or may, where that is hard to tell. For
    /// tensors in one part.
    pub fn overlaps(&self) -> bool {
        let [part] = &self.parts[..] else { return true };
        let mut steps: Vec<(u64, u64)> =
            part.strides.iter().copied().zip(part.size.iter().copied()).collect();
        steps.sort_unstable();
        // Each dimension steps beyond all that the faster ones reach.
        let mut reach = self.width as u64;
        steps.iter().any(|&(stride, n)| {
            let overlaps = stride < reach;
            reach += (n - 1) * stride;
            overlaps
        })
    }

    /// Puts the tensor's bytes where they belong in an image of the span. For tensors in one part that
    /// do not overlap.
    pub fn scatter(&self, bytes: &[u8], image: &mut [u8]) {
        let [part] = &self.parts[..] else { return };
        let outer = self.shape.len().saturating_sub(1);
        let columns = self.shape.last().copied().unwrap_or(1);
        let stride = part.strides.last().copied().unwrap_or(0) as usize;
        let mut index = vec![0; outer];
        for row in bytes.chunks_exact(columns as usize * self.width) {
            let steps = index.iter().zip(&part.strides).map(|(i, stride)| i * stride);
            let start = steps.sum::<u64>() as usize;
            for (i, value) in row.chunks_exact(self.width).enumerate() {
                image[start + i * stride..][..self.width].copy_from_slice(value);
            }
            self.advance(&mut index);
        }
    }

    /// To the next row's place, by the dimensions before the last.
    fn advance(&self, index: &mut [u64]) {
        for d in (0..index.len()).rev() {
            index[d] += 1;
            if index[d] < self.shape[d] {
                break;
            }
            index[d] = 0;
        }
    }

    /// Writes a range of the tensor's bytes, which begins and ends with whole values, to `out`.
    pub fn read(&self, files: &[Source], bytes: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let width = self.width as u64;
        debug_assert!(bytes.start.is_multiple_of(width) && bytes.end.is_multiple_of(width));
        out.resize((bytes.end - bytes.start) as usize, 0);
        if out.is_empty() {
            return Ok(());
        }
        let values = bytes.start / width..bytes.end / width;
        let outer = self.shape.len().saturating_sub(1);
        let row_length = self.shape.last().copied().unwrap_or(1);
        let rows = values.start / row_length..(values.end - 1) / row_length + 1;
        let (first, last) = (self.index(rows.start), self.index(rows.end - 1));
        let mut scratch = vec![];
        for part in &self.parts {
            // By the slowest dimension most parts are out of reach.
            if outer > 0 && (part.at[0] > last[0] || part.at[0] + part.size[0] <= first[0]) {
                continue;
            }
            let file = &files[part.file as usize];
            let (data, base) = match file.is_mapped() {
                true => (file.mapped(), 0),
                false => {
                    let span = part.span(self.width);
                    (file.read(span.clone(), &mut scratch)?, span.start)
                }
            };
            let mut index = first.clone();
            let mut row = rows.start;
            while row < rows.end {
                let inside = |d: usize| (part.at[d]..part.at[d] + part.size[d]).contains(&index[d]);
                if (0..outer).all(inside) {
                    let columns = match outer < self.shape.len() {
                        true => part.at[outer]..part.at[outer] + part.size[outer],
                        false => 0..1,
                    };
                    let from = (row * row_length + columns.start).max(values.start);
                    let to = (row * row_length + columns.end).min(values.end);
                    if from < to {
                        let steps = (0..outer).map(|d| (index[d] - part.at[d]) * part.strides[d]);
                        let stride = part.strides.get(outer).copied().unwrap_or(width);
                        let column = from - row * row_length - columns.start;
                        let source = part.start - base + steps.sum::<u64>() + column * stride;
                        let to = &mut out[((from - values.start) * width) as usize
                            ..((to - values.start) * width) as usize];
                        copy(&data[source as usize..], stride as usize, self.width, to);
                    }
                    self.advance(&mut index);
                    row += 1;
                } else {
                    // Of many parts few are in most rows.
                    let Some(next) = self.next_row(part, &mut index) else { break };
                    row = next;
                }
            }
        }
        if self.swap > 1 {
            out.chunks_exact_mut(self.swap).for_each(<[u8]>::reverse);
        }
        Ok(())
    }

    /// Moves a row's place that is outside a part to the next one inside: its number, if there is one.
    fn next_row(&self, part: &Part, index: &mut [u64]) -> Option<u64> {
        let end = |d: usize| part.at[d] + part.size[d];
        let out = (0..index.len()).find(|&d| index[d] < part.at[d] || index[d] >= end(d))?;
        let mut from = out;
        if index[out] >= end(out) {
            // Behind the part in this dimension: on by one in a slower one.
            from = (0..out).rev().find(|&d| index[d] + 1 < end(d))?;
            index[from] += 1;
            from += 1;
        }
        let outer = index.len();
        index[from..].copy_from_slice(&part.at[from..outer]);
        Some(index.iter().zip(&self.shape).fold(0, |row, (i, n)| row * n + i))
    }

    /// The place of a row, by the dimensions before the last.
    fn index(&self, mut row: u64) -> Vec<u64> {
        let mut index = vec![0; self.shape.len().saturating_sub(1)];
        for (place, &n) in index.iter_mut().zip(&self.shape).rev() {
            (*place, row) = (row % n, row / n);
        }
        index
    }
}

/// Fills `to` with values of `width` bytes that stand `stride` bytes apart.
fn copy(from: &[u8], stride: usize, width: usize, to: &mut [u8]) {
    fn each<const N: usize>(from: &[u8], stride: usize, to: &mut [u8]) {
        for (i, value) in to.as_chunks_mut::<N>().0.iter_mut().enumerate() {
            value.copy_from_slice(&from[i * stride..i * stride + N]);
        }
    }
    match (stride == width, width) {
        (true, _) => to.copy_from_slice(&from[..to.len()]),
        (_, 1) => each::<1>(from, stride, to),
        (_, 2) => each::<2>(from, stride, to),
        (_, 4) => each::<4>(from, stride, to),
        (_, 8) => each::<8>(from, stride, to),
        (_, n) => {
            let values = to.chunks_exact_mut(n).enumerate();
            values.for_each(|(i, value)| value.copy_from_slice(&from[i * stride..i * stride + n]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(bytes: &[u8]) -> (tempfile::TempDir, Vec<Source>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, bytes).unwrap();
        let files = vec![Source::open(&path).unwrap()];
        (dir, files)
    }

    #[test]
    fn rows_that_run_on_are_one() {
        assert_eq!(merged(&[2, 3, 4], &[12, 4, 1]), (vec![24], vec![1]));
        assert_eq!(merged(&[5, 1, 1], &[1, 9, 9]), (vec![5], vec![1]));
        assert_eq!(merged(&[2, 3, 4, 4], &[48, 1, 12, 3]), (vec![2, 3, 16], vec![48, 1, 3]));
        assert_eq!(merged(&[2, 3], &[0, 0]), (vec![6], vec![0]));
        assert_eq!(merged(&[], &[]), (vec![], vec![]));
    }

    proptest! {
        /// Against a naive walk over the indices, for any strides, ranges and widths.
        #[test]
        fn any_strides_read_like_a_naive_walk(
            shape in prop::collection::vec(1u64..5, 0..4),
            seed in prop::collection::vec(0u64..7, 4),
            width in prop::sample::select(vec![1usize, 2, 4, 8]),
            swap: bool,
            cut in (0.0f64..1.0, 0.0f64..1.0),
        ) {
            let strides: Vec<u64> = seed[..shape.len()].to_vec();
            let n: u64 = shape.iter().product();
            let last: u64 = shape.iter().zip(&strides).map(|(n, s)| (n - 1) * s).sum();
            let bytes: Vec<u8> = (0..(last + 1) * width as u64 + 3).map(|i| i as u8).collect();
            let (_dir, files) = source(&bytes);
            let start = 3;
            let mut expected = vec![];
            for flat in 0..n {
                let (mut rest, mut at) = (flat, start);
                for (n, s) in shape.iter().zip(&strides).rev() {
                    at += rest % n * s * width as u64;
                    rest /= n;
                }
                let mut value = bytes[at as usize..][..width].to_vec();
                if swap { value.reverse() }
                expected.extend(value);
            }
            let (sizes, steps) = merged(&shape, &strides);
            let strides = steps.iter().map(|s| s * width as u64).collect();
            let part = Part { file: 0, start, at: vec![0; sizes.len()], size: sizes.clone(), strides };
            let swap = if swap { width } else { 1 };
            let gather = Gather { shape: sizes, width, swap, parts: vec![part] };
            let (a, b) = ((cut.0 * n as f64) as u64, (cut.1 * n as f64).ceil() as u64);
            let range = a.min(b) * width as u64..a.max(b) * width as u64;
            let mut out = vec![];
            gather.read(&files, range.clone(), &mut out).unwrap();
            prop_assert_eq!(&out[..], &expected[range.start as usize..range.end as usize]);
        }
    }

    proptest! {
        /// Bytes of a tensor cut into boxes by planes through it.
        #[test]
        fn boxes_are_put_together(
            shape in prop::collection::vec(1u64..6, 1..5),
            cuts in prop::collection::vec(0u64..6, 4),
            range in (0.0f64..1.0, 0.0f64..1.0),
        ) {
            let n: u64 = shape.iter().product();
            let flat = |index: &[u64]| index.iter().zip(&shape).fold(0, |at, (i, n)| at * n + i);
            let (mut parts, mut bytes) = (vec![], vec![]);
            for side in 0..1 << shape.len() {
                // Below or above the cut in each dimension.
                let ends = |d: usize| match (side >> d & 1, cuts[d].min(shape[d])) {
                    (0, cut) => 0..cut,
                    (_, cut) => cut..shape[d],
                };
                let ranges: Vec<_> = (0..shape.len()).map(ends).collect();
                let size: Vec<u64> = ranges.iter().map(|r| r.end - r.start).collect();
                if size.contains(&0) {
                    continue;
                }
                let at: Vec<u64> = ranges.iter().map(|r| r.start).collect();
                let strides = (1..=size.len()).map(|d| size[d..].iter().product()).collect();
                let start = bytes.len() as u64;
                for i in 0..size.iter().product() {
                    let (mut rest, mut index) = (i, at.clone());
                    for d in (0..size.len()).rev() {
                        index[d] += rest % size[d];
                        rest /= size[d];
                    }
                    bytes.push(flat(&index) as u8);
                }
                parts.push(Part { file: 0, start, at, size, strides });
            }
            let (_dir, files) = source(&bytes);
            let gather = Gather { shape, width: 1, swap: 1, parts };
            let (a, b) = ((range.0 * n as f64) as u64, (range.1 * n as f64).ceil() as u64);
            let range = a.min(b)..a.max(b);
            let mut out = vec![];
            gather.read(&files, range.clone(), &mut out).unwrap();
            prop_assert_eq!(out, range.map(|i| i as u8).collect::<Vec<_>>());
        }
    }

    #[test]
    fn parts_are_put_together() {
        // A 3 × 4 tensor of bytes in four boxes.
        let (_dir, files) = source(&(0..12).collect::<Vec<u8>>());
        let part = |start, at: [u64; 2], size: [u64; 2]| Part {
            file: 0,
            start,
            at: at.into(),
            size: size.into(),
            strides: vec![size[1], 1],
        };
        let parts = vec![
            part(0, [0, 0], [2, 3]),
            part(6, [0, 3], [2, 1]),
            part(8, [2, 0], [1, 3]),
            part(11, [2, 3], [1, 1]),
        ];
        let gather = Gather { shape: vec![3, 4], width: 1, swap: 1, parts };
        let expected = [0, 1, 2, 6, 3, 4, 5, 7, 8, 9, 10, 11];
        for (a, b) in [(0, 12), (3, 5), (5, 12), (11, 12), (4, 4)] {
            let mut out = vec![];
            gather.read(&files, a..b, &mut out).unwrap();
            assert_eq!(out, expected[a as usize..b as usize]);
        }
    }
}
