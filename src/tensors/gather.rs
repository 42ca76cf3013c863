//! Tensors whose values are not contiguous: transposed or channels-last weights, expanded views, chunks of
//! distributed checkpoints, flat partitions, big-endian files. They are gathered row by row, in the tensor's order.

use std::ops::Range;

use crate::Result;
use crate::store::Source;

/// Where the values of one tensor are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gather {
    /// Dimensions that the slabs refer to, the last of which varies fastest; their product is the number of values.
    /// They may be fewer than the tensor's, see [`merged`].
    pub shape: Vec<u64>,
    /// Bytes per value.
    pub width: usize,
    /// How many bytes to reverse at a time, for big-endian values (half a complex value's); 1 for none.
    pub swap: usize,
    /// They cover each value of the tensor exactly once.
    pub slabs: Vec<Slab>,
}

/// A box of the tensor's values (a hyperslab), in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slab {
    /// Number of the file.
    pub file: u32,
    /// Offset of its first value in the file, in bytes.
    pub start: u64,
    /// Index of its first value in the tensor.
    pub at: Vec<u64>,
    pub size: Vec<u64>,
    /// Bytes from one value to the next, along each dimension.
    pub strides: Vec<u64>,
}

impl Slab {
    /// The bytes from its first value to its last. It must not be empty.
    pub fn span(&self, width: usize) -> Range<u64> {
        let steps = self.size.iter().zip(&self.strides);
        let last: u64 = steps.map(|(&n, &stride)| (n - 1) * stride).sum();
        self.start..self.start + last + width as u64
    }
}

/// Sizes and strides, in values, with adjacent dimensions merged where the values run on, and those of size 1
/// dropped: a contiguous tensor becomes `([n], [1])`, or has no dimensions left.
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
    /// The same in one dimension, sorted, if each slab is contiguous in the tensor too, as when processes divide a
    /// tensor by rows. Otherwise unchanged.
    pub fn flattened(mut self) -> Self {
        let shape = &self.shape;
        let is_slice = |slab: &Slab| {
            let steps: Vec<u64> = slab.strides.iter().map(|s| s / self.width as u64).collect();
            let in_row = matches!(&merged(&slab.size, &steps), (_, s) if s.is_empty() || *s == [1]);
            in_row && slab.size.iter().skip(1).eq(shape.iter().skip(1))
        };
        if shape.len() < 2 || shape.contains(&0) || !self.slabs.iter().all(is_slice) {
            return self;
        }
        let slice: u64 = shape[1..].iter().product();
        for slab in &mut self.slabs {
            slab.at = vec![slab.at[0] * slice];
            slab.size = vec![slab.size[0] * slice];
            slab.strides = vec![self.width as u64];
        }
        self.shape = vec![shape[0] * slice];
        self.slabs.sort_by(|a, b| a.at.cmp(&b.at));
        self
    }

    /// The bytes from the first value to the last, of a tensor in one slab.
    pub fn span(&self) -> Range<u64> {
        match &self.slabs[..] {
            [slab] if !self.shape.contains(&0) => slab.span(self.width),
            _ => 0..0,
        }
    }

    /// Whether two values may share bytes, as in an expanded view. Never false if they do.
    pub fn overlaps(&self) -> bool {
        let [slab] = &self.slabs[..] else { return true };
        let mut steps: Vec<(u64, u64)> =
            slab.strides.iter().copied().zip(slab.size.iter().copied()).collect();
        steps.sort_unstable();
        // They do not if each dimension's stride exceeds all that the faster ones span.
        let mut reach = self.width as u64;
        steps.iter().any(|&(stride, n)| {
            let overlaps = stride < reach;
            reach += (n - 1) * stride;
            overlaps
        })
    }

    /// The reverse of [`Gather::read`], into an image of the span: for a tensor in one slab without overlaps.
    pub fn scatter(&self, bytes: &[u8], image: &mut [u8]) {
        let [slab] = &self.slabs[..] else { return };
        let outer = self.shape.len().saturating_sub(1);
        let columns = self.shape.last().copied().unwrap_or(1);
        let stride = slab.strides.last().copied().unwrap_or(0) as usize;
        let mut index = vec![0; outer];
        for row in bytes.chunks_exact(columns as usize * self.width) {
            let steps = index.iter().zip(&slab.strides).map(|(i, stride)| i * stride);
            let start = steps.sum::<u64>() as usize;
            for (i, value) in row.chunks_exact(self.width).enumerate() {
                image[start + i * stride..][..self.width].copy_from_slice(value);
            }
            self.advance(&mut index);
        }
    }

    /// Moves the index of a row, without the last dimension, to the next row.
    fn advance(&self, index: &mut [u64]) {
        for d in (0..index.len()).rev() {
            index[d] += 1;
            if index[d] < self.shape[d] {
                break;
            }
            index[d] = 0;
        }
    }

    /// Gathers a range of the tensor's bytes, which begins and ends with whole values, in `out`.
    pub fn read(&self, files: &[Source], bytes: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let width = self.width as u64;
        debug_assert!(bytes.start.is_multiple_of(width) && bytes.end.is_multiple_of(width));
        out.resize((bytes.end - bytes.start) as usize, 0);
        if out.is_empty() {
            return Ok(());
        }
        let values = bytes.start / width..bytes.end / width;
        let mut scratch = vec![];
        for slab in self.slabs.iter().filter(|slab| self.meets(slab, &values)) {
            let file = &files[slab.file as usize];
            let data = file.read(slab.span(self.width), &mut scratch)?;
            self.rows(slab, &values, |run, source, stride| {
                let to = &mut out[((run.start - values.start) * width) as usize
                    ..((run.end - values.start) * width) as usize];
                copy(&data[source as usize..], stride as usize, self.width, to);
                Ok(())
            })?;
        }
        if self.swap > 1 {
            out.chunks_exact_mut(self.swap).for_each(<[u8]>::reverse);
        }
        Ok(())
    }

    /// The reverse of [`Gather::read`]: where in a file each piece of a tensor's bytes goes that has its place there.
    /// `part` begins at byte `start`; both begin and end with whole values.
    pub fn pieces(
        &self,
        file: u32,
        start: u64,
        part: &[u8],
        put: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let width = self.width as u64;
        let values = start / width..(start + part.len() as u64) / width;
        if values.is_empty() {
            return Ok(());
        }
        let of_file = self.slabs.iter().filter(|slab| slab.file == file);
        for slab in of_file.filter(|slab| self.meets(slab, &values)) {
            self.rows(slab, &values, |run, at, stride| {
                let piece = &part[((run.start - values.start) * width) as usize
                    ..((run.end - values.start) * width) as usize];
                if stride == width {
                    return put(slab.start + at, piece);
                }
                let values = piece.chunks_exact(self.width).zip(0..);
                values.into_iter().try_for_each(|(v, i)| put(slab.start + at + i * stride, v))
            })?;
        }
        Ok(())
    }

    /// The values from the first of a slab to its last, by their numbers in the tensor. It must not be empty.
    pub fn values(&self, slab: &Slab) -> Range<u64> {
        let flat = |index: &dyn Fn(usize) -> u64| {
            self.shape.iter().enumerate().fold(0, |flat, (d, n)| flat * n + index(d))
        };
        flat(&|d| slab.at[d])..flat(&|d| slab.at[d] + slab.size[d] - 1) + 1
    }

    /// Whether a range of values may have some of a slab's.
    fn meets(&self, slab: &Slab, values: &Range<u64>) -> bool {
        let own = self.values(slab);
        own.start < values.end && values.start < own.end
    }

    /// Visits the rows of a slab in a range of values that is not empty: which of the tensor's values they are, how
    /// far from the slab's first value they begin, and how far they are apart, in bytes.
    fn rows(
        &self,
        slab: &Slab,
        values: &Range<u64>,
        mut visit: impl FnMut(Range<u64>, u64, u64) -> Result<()>,
    ) -> Result<()> {
        let width = self.width as u64;
        let outer = self.shape.len().saturating_sub(1);
        let row_length = self.shape.last().copied().unwrap_or(1);
        let rows = values.start / row_length..(values.end - 1) / row_length + 1;
        let mut index = self.index(rows.start);
        let mut row = rows.start;
        while row < rows.end {
            let inside = |d: usize| (slab.at[d]..slab.at[d] + slab.size[d]).contains(&index[d]);
            if !(0..outer).all(inside) {
                // With many slabs, most rows have nothing of this one.
                let Some(next) = self.next_row(slab, &mut index) else { break };
                row = next;
                continue;
            }
            let columns = match outer < self.shape.len() {
                true => slab.at[outer]..slab.at[outer] + slab.size[outer],
                false => 0..1,
            };
            let from = (row * row_length + columns.start).max(values.start);
            let to = (row * row_length + columns.end).min(values.end);
            if from < to {
                let steps = (0..outer).map(|d| (index[d] - slab.at[d]) * slab.strides[d]);
                let stride = slab.strides.get(outer).copied().unwrap_or(width);
                let column = from - row * row_length - columns.start;
                visit(from..to, steps.sum::<u64>() + column * stride, stride)?;
            }
            self.advance(&mut index);
            row += 1;
        }
        Ok(())
    }

    /// Moves the index of a row outside a slab to the next row inside. Its number; None if there is none.
    fn next_row(&self, slab: &Slab, index: &mut [u64]) -> Option<u64> {
        let end = |d: usize| slab.at[d] + slab.size[d];
        let out = (0..index.len()).find(|&d| index[d] < slab.at[d] || index[d] >= end(d))?;
        let mut from = out;
        if index[out] >= end(out) {
            // Past the slab in this dimension: one step in a slower one.
            from = (0..out).rev().find(|&d| index[d] + 1 < end(d))?;
            index[from] += 1;
            from += 1;
        }
        let outer = index.len();
        index[from..].copy_from_slice(&slab.at[from..outer]);
        Some(index.iter().zip(&self.shape).fold(0, |row, (i, n)| row * n + i))
    }

    /// The index of a row, without the last dimension.
    fn index(&self, mut row: u64) -> Vec<u64> {
        let mut index = vec![0; self.shape.len().saturating_sub(1)];
        for (place, &n) in index.iter_mut().zip(&self.shape).rev() {
            (*place, row) = (row % n, row / n);
        }
        index
    }
}

/// Fills `to` with values of `width` bytes that are `stride` bytes apart in `from`.
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
    use crate::store::Blob;
    use proptest::prelude::*;
    use std::path::Path;

    /// What a store far away would have: bytes that must be fetched.
    #[derive(Debug)]
    struct Remote(Vec<u8>);

    impl Blob for Remote {
        fn in_memory(&self) -> Option<&[u8]> {
            None
        }

        fn read_at(&self, from: u64, into: &mut [u8]) -> Result<()> {
            into.copy_from_slice(&self.0[from as usize..][..into.len()]);
            Ok(())
        }

        fn check_unchanged(&self) -> Result<()> {
            Ok(())
        }
    }

    /// Reads a range of a tensor's bytes from a mapped file and from a remote one.
    fn read(gather: &Gather, bytes: &[u8], range: Range<u64>) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mapped = Source::open(file.path()).unwrap();
        let blob = Box::new(Remote(bytes.to_vec()));
        let remote = Source::new(Path::new("remote"), bytes.len() as u64, blob);
        let [from_mapped, from_remote] = [mapped, remote].map(|source| {
            let mut out = vec![1; 3];
            gather.read(&[source], range.clone(), &mut out).unwrap();
            out
        });
        assert_eq!(from_mapped, from_remote);
        from_mapped
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
            let slab = Slab { file: 0, start, at: vec![0; sizes.len()], size: sizes.clone(), strides };
            let swap = if swap { width } else { 1 };
            let gather = Gather { shape: sizes, width, swap, slabs: vec![slab] };
            let (a, b) = ((cut.0 * n as f64) as u64, (cut.1 * n as f64).ceil() as u64);
            let range = a.min(b) * width as u64..a.max(b) * width as u64;
            let out = read(&gather, &bytes, range.clone());
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
            let (mut slabs, mut bytes) = (vec![], vec![]);
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
                slabs.push(Slab { file: 0, start, at, size, strides });
            }
            let gather = Gather { shape, width: 1, swap: 1, slabs };
            let (a, b) = ((range.0 * n as f64) as u64, (range.1 * n as f64).ceil() as u64);
            let range = a.min(b)..a.max(b);
            let out = read(&gather, &bytes, range.clone());
            prop_assert_eq!(out, range.clone().map(|i| i as u8).collect::<Vec<_>>());
            // And back, in two parts, cut anywhere.
            let mut written = vec![0; n as usize];
            let all: Vec<u8> = (0..n).map(|i| i as u8).collect();
            for part in [0..range.start, range.start..n] {
                let values = &all[part.start as usize..part.end as usize];
                gather.pieces(0, part.start, values, &mut |at, piece| {
                    written[at as usize..][..piece.len()].copy_from_slice(piece);
                    Ok(())
                }).unwrap();
            }
            prop_assert_eq!(written, bytes);
        }
    }

    #[test]
    fn parts_are_put_together() {
        // A 3 × 4 tensor of bytes in four boxes.
        let bytes: Vec<u8> = (0..12).collect();
        let slab = |start, at: [u64; 2], size: [u64; 2]| Slab {
            file: 0,
            start,
            at: at.into(),
            size: size.into(),
            strides: vec![size[1], 1],
        };
        let slabs = vec![
            slab(0, [0, 0], [2, 3]),
            slab(6, [0, 3], [2, 1]),
            slab(8, [2, 0], [1, 3]),
            slab(11, [2, 3], [1, 1]),
        ];
        let gather = Gather { shape: vec![3, 4], width: 1, swap: 1, slabs };
        let expected = [0, 1, 2, 6, 3, 4, 5, 7, 8, 9, 10, 11];
        for (a, b) in [(0, 12), (3, 5), (5, 12), (11, 12), (4, 4)] {
            let out = read(&gather, &bytes, a..b);
            assert_eq!(out, expected[a as usize..b as usize]);
        }
    }
}
