//! The running average: the exact sum of checkpoints in a file, to which others can be added as they come.
//!
//! Each update costs one read of the new checkpoint, one read and one write of the state and one write of the output,
//! however many were counted before. The output is, byte for byte, what averaging all of them at once writes, and the
//! state's bytes do not depend on the order in which they were counted.
//!
//! ```
//! use swa_tools::average::{Options, Target};
//! use swa_tools::checkpoint::{Checkpoint, Take};
//! use swa_tools::running::RunningAverage;
//!
//! # fn main() -> swa_tools::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # for (name, x) in [("ckpt_8.safetensors", 1.0f32), ("ckpt_9.safetensors", 2.0)] {
//! #     let bytes = x.to_le_bytes();
//! #     let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &bytes);
//! #     let file = safetensors::serialize([("w", view.unwrap())], None).unwrap();
//! #     std::fs::write(folder.path().join(name), file).unwrap();
//! # }
//! # std::env::set_current_dir(&folder).unwrap();
//! let target = Target::safetensors("swa.safetensors");
//! for name in ["ckpt_8.safetensors", "ckpt_9.safetensors"] {
//!     // Each time, perhaps in another process.
//!     let mut state = RunningAverage::open("swa.state".as_ref(), &Options::default(), &Take::default())?;
//!     let new = Checkpoint::open(name.as_ref())?;
//!     let added = state.add(vec![new], &target, true, (None, true), &|_| {})?;
//!     assert_eq!(added.counted.len(), 1);
//! }
//! # assert_eq!(Checkpoint::open(&"swa.safetensors".as_ref())?.bytes(0)?[..], 1.5f32.to_le_bytes());
//! # Ok(())
//! # }
//! ```

mod block;
mod directory;
mod file;
mod output;
mod pass;
mod state;

pub use directory::Counted;
pub(crate) use directory::Stamp;
pub use output::Wrote;
pub use state::{Added, Held, RunningAverage, held, is_running_average};
