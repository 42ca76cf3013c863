//! Where everything goes in a file to be written, known before its first byte. A format is one file here.

use std::path::Path;

use super::Sink;
use crate::Result;
use crate::tensors::TensorInfo;
use crate::tensors::checksum::Checksum;
use crate::tensors::gather::Gather;

/// Where a tensor's bytes go.
#[derive(Debug)]
pub enum Destination<'a> {
    /// One after the other, from this byte of the file on.
    Row(u64),
    /// As the gather would read them. The bytes between belong to others.
    Scattered(&'a Gather),
}

pub trait Layout: Sync {
    /// Size of the file in bytes.
    fn size(&self) -> u64;

    /// Of the tensor of this number, in the order they were given in.
    fn destination(&self, tensor: usize) -> Destination<'_>;

    /// What `finish` must be told of each tensor's bytes.
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
    Safetensors,
    /// As `torch.save` writes it.
    Torch,
}

impl Format {
    /// By the end of a name, if it says so.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "safetensors" => Some(Format::Safetensors),
            "pth" | "pt" | "ckpt" | "bin" | "tar" => Some(Format::Torch),
            _ => None,
        }
    }
}
