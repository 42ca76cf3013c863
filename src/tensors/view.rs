//! Views: PyTorch and NumPy describe a tensor by a storage, an offset and strides. From that follows where its
//! values are.

use std::ops::Range;

use super::Dtype;
use super::gather::{Gather, Slab, merged};
use crate::{Error, Kind, Result};

/// A tensor as a view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The storage's key.
    pub storage: Box<str>,
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// From one value to the next along each dimension, in values.
    pub strides: Vec<u64>,
    /// From the storage's first value to the tensor's, in values.
    pub offset: u64,
}

/// A storage: bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub bytes: Range<u64>,
    /// Offsets of the CRC of these bytes, if the writer computed it: in the zip file's directory, and in the local
    /// header or descriptor.
    pub crc: Option<[u64; 2]>,
}

/// How the values of a view lie in its file.
#[derive(Debug)]
pub enum Located {
    /// One after the other; `is_whole` if they are all that the storage holds.
    Contiguous {
        start: u64,
        is_whole: bool,
    },
    Gathered(Gather),
}

/// The shape in the machine's sizes; None if the number of bits overflows, even if zeros in it were ignored.
pub fn dimensions(shape: &[u64]) -> Option<Vec<usize>> {
    const BITS: u64 = 64;
    let others = shape.iter().filter(|n| **n != 0);
    others.copied().try_fold(BITS, |p, n| p.checked_mul(n).filter(|&n| n <= i64::MAX as u64))?;
    shape.iter().map(|&n| usize::try_from(n).ok()).collect()
}

/// Size of a tensor in bytes; an error if it overflows, even if zeros in the shape were ignored.
pub fn bytes(dtype: Dtype, shape: &[u64]) -> Result<u64> {
    // A zero must not hide dimensions whose product overflows elsewhere.
    let mut nonzero = shape.iter().filter(|n| **n != 0);
    let bits = dtype.bitsize() as u64;
    let size = nonzero.try_fold(bits / 8, |size, &n| size.checked_mul(n));
    let size = size.filter(|&size| size <= i64::MAX as u64);
    let size = size.ok_or_else(|| {
        Error::new(Kind::Damaged, format!("its shape {shape:?} is too large to count"))
    })?;
    Ok(if shape.contains(&0) { 0 } else { size })
}

/// Where a view's values are. Every sum and product is checked: the numbers come from a file.
pub fn locate(view: &View, storage: &Storage, file: u32, big_endian: bool) -> Result<Located> {
    let width = (view.dtype.bitsize() / 8) as u64;
    let size = storage.bytes.end - storage.bytes.start;
    bytes(view.dtype, &view.shape)?;
    if view.shape.contains(&0) {
        return Ok(Located::Contiguous { start: storage.bytes.start, is_whole: false });
    }
    let steps = view.shape.iter().zip(&view.strides);
    let last = steps
        .clone()
        .try_fold(view.offset, |sum, (&n, &stride)| sum.checked_add((n - 1).checked_mul(stride)?));
    let end = last.and_then(|last| last.checked_add(1)?.checked_mul(width));
    if end.is_none_or(|end| end > size) {
        return Err(Error::new(Kind::Damaged, format!(
            "{:?} of shape {:?}, strides {:?} and offset {} reaches beyond its storage of {size} bytes",
            view.dtype, view.shape, view.strides, view.offset
        ))
        .remedy("the file is damaged: save or copy it again"));
    }
    let start = storage.bytes.start + view.offset * width;
    let (sizes, strides) = merged(&view.shape, &view.strides);
    let swap = match (big_endian, view.dtype) {
        (false, _) => 1,
        (true, Dtype::C64) => 4,
        (true, _) => width as usize,
    };
    let in_row = sizes.is_empty() || strides == [1];
    if in_row && swap == 1 {
        let bytes = sizes.first().unwrap_or(&1) * width;
        return Ok(Located::Contiguous { start, is_whole: view.offset == 0 && bytes == size });
    }
    let strides = strides.iter().map(|stride| stride * width).collect();
    let slab = Slab { file, start, at: vec![0; sizes.len()], size: sizes.clone(), strides };
    let gather = Gather { shape: sizes, width: width as usize, swap, slabs: vec![slab] };
    Ok(Located::Gathered(gather))
}
