//! Writing: a file or a folder that appears whole or not at all, and the formats that go into it.

pub mod atomic;
mod folder;
mod layout;
mod like;
mod rewrite;
mod safetensors;
mod scatter;
mod stream;
mod temporary;
mod torch;

pub use atomic::AtomicFile;
pub use folder::{AtomicFolder, check_folder, model_files};
pub use layout::{Destination, Format, Layout};
pub use like::LikeLayout;
pub use rewrite::{FileTarget, rewrite, write_safetensors};
pub use safetensors::SafetensorsLayout;
pub(crate) use scatter::Scatter;
pub use stream::write_stream;
pub use torch::TorchLayout;

use crate::Result;

/// What takes bytes at a position, from any thread.
pub trait Sink: Sync {
    /// Writes to the n-th of the files.
    fn write_at(&self, file: usize, bytes: &[u8], offset: u64) -> Result<()>;

    /// Reads again what was written.
    fn read_at(&self, file: usize, bytes: &mut [u8], offset: u64) -> Result<()>;
}
