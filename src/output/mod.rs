//! Writing: files and folders that appear whole or not at all, and the formats that go into them.

mod atomic;
mod commit;
mod folder;
mod layout;
mod like;
mod like_folder;
mod memory;
pub(crate) mod partial;
mod places;
mod rewrite;
mod safetensors;
mod scatter;
mod stream;
mod temporary;
mod torch;

pub use atomic::AtomicFile;
pub(crate) use commit::{AtomicOutput, commit_all};
pub(crate) use folder::{AtomicFolder, model_files, model_folders};
pub use layout::Format;
pub(crate) use layout::{Destination, Layout, Sink};
pub(crate) use like::LikeLayout;
pub(crate) use like_folder::LikeFile;
pub use like_folder::LikeFolder;
pub(crate) use memory::Memory;
pub(crate) use places::check_outputs;
pub use places::{check_folder, check_target, check_targets};
pub use rewrite::{FileTarget, rewrite, safetensors_bytes, write_safetensors};
pub use safetensors::SafetensorsLayout;
pub(crate) use scatter::Scatter;
pub use stream::write_stream;
pub use temporary::remove_stale_in;
pub(crate) use temporary::remove_stale_of;
pub(crate) use torch::TorchLayout;
