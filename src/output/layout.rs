//! Where everything goes in a file to be written, known before its first byte. Each format is a file beside
//! this one.

use std::path::Path;

use crate::tensors::TensorInfo;
use crate::tensors::checksum::Checksum;
use crate::tensors::gather::Gather;
use crate::{Error, Result};

/// Takes bytes at a position, from any thread.
pub(crate) trait Sink: Sync {
    /// Writes to the n-th of the files.
    fn write_at(&self, file: usize, bytes: &[u8], offset: u64) -> Result<()>;

    /// Reads what was written.
    fn read_at(&self, file: usize, bytes: &mut [u8], offset: u64) -> Result<()>;
}

/// Where a tensor's bytes go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// One after the other, from this byte of the file on.
    Row(u64),
    /// Where the gather would read them. The bytes between belong to others.
    Scattered(&'a Gather),
    /// Where the gather would read them in this file, by its number there; others of its values are in other files.
    Pieces(&'a Gather, u32),
}

/// The layout of one file.
pub(crate) trait Layout: Sync {
    /// Size of the file in bytes.
    fn size(&self) -> u64;

    /// Where a tensor goes, by its number in the order in which they were given.
    fn destination(&self, tensor: usize) -> Destination<'_>;

    /// The checksum of each tensor's bytes that `finish` needs.
    fn checksum(&self) -> Option<Checksum>;

    /// Writes what the tensors do not change, before the first of them.
    fn begin(&self, _sink: &dyn Sink, _file: usize) -> Result<()> {
        Ok(())
    }

    /// Writes what depends on them, after the last: the tensors, and the checksums of their bytes.
    fn finish(&self, sink: &dyn Sink, file: usize, tensors: &[(&TensorInfo, u128)]) -> Result<()>;
}

/// The formats of single files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors, with the digests of the tools in its metadata.
    Safetensors,
    /// As `torch.save` writes it.
    Torch,
}

impl Format {
    /// Fails if a name ends as those of a format that is known and not written.
    ///
    /// # Errors
    /// `Usage` then.
    pub fn check(path: &Path) -> Result<()> {
        const OTHERS: [&str; 21] = [
            "7z", "arrow", "gguf", "gz", "h5", "hdf5", "json", "keras", "msgpack", "nemo", "npy",
            "npz", "onnx", "parquet", "pb", "pickle", "pkl", "pt2", "tflite", "zip", "zst",
        ];
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match OTHERS.contains(&ending.to_ascii_lowercase().as_str()) {
            true => Err(Error::usage(format!("`.{ending}` is not a format that is written"))
                .at(path)
                .remedy("end the name in .safetensors or .pth")),
            false => Ok(()),
        }
    }

    /// The one that a name ends in: `.safetensors`, or `.pth`, `.pt`, `.ckpt`, `.bin`, `.tar`, `.pyth` and `.th` for PyTorch's.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "safetensors" => Some(Format::Safetensors),
            "pth" | "pt" | "ckpt" | "bin" | "tar" | "pyth" | "th" => Some(Format::Torch),
            _ => None,
        }
    }
}
