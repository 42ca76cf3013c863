//! Writing: a file or a folder that appears whole or not at all, and the formats that go into it.

pub mod atomic;
mod folder;
pub mod safetensors;
pub mod signals;
mod temporary;

pub use atomic::AtomicFile;
pub use folder::{AtomicFolder, check_folder, model_files};

use crate::Result;

/// What takes bytes at a position, from any thread.
pub trait Sink: Sync {
    /// Writes to the n-th of the files.
    fn write_at(&self, file: usize, bytes: &[u8], offset: u64) -> Result<()>;
}
