//! Tensors as every format describes them: name, type, shape, and where in which file the bytes lie. A format's
//! reader ends at [`contents::Contents`]; nothing above knows formats.

pub mod checksum;
pub(crate) mod contents;
pub mod digest;
pub(crate) mod dtype;
pub(crate) mod gather;
pub(crate) mod view;

pub use safetensors::Dtype;

/// Largest header that is read, in bytes: the limit of safetensors' reference implementation.
pub const MAX_HEADER: usize = 100_000_000;

/// Most dimensions of a tensor: what PyTorch takes.
pub(crate) const MAX_RANK: usize = 64;

/// One tensor: its values lie row by row, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// With dots between the names of the modules that it is in.
    pub name: String,
    /// The type of its values.
    pub dtype: Dtype,
    /// Its dimensions, the last of which runs fastest; none for a single value.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.len() as u64 * self.dtype.bitsize() as u64 / 8
    }
}
