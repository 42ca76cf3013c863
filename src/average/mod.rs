//! Averaging: coefficients, a plan for every tensor, and the stream that carries it out.
//!
//! Open the checkpoints, plan, write. The result is the exact mean, rounded once.
//!
//! ```
//! use std::path::PathBuf;
//! use swa_tools::average::{self, Options, Plan, Target};
//! use swa_tools::checkpoint::{Checkpoint, Take};
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
//! let paths = ["ckpt_8.safetensors", "ckpt_9.safetensors"].map(PathBuf::from);
//! let inputs = Checkpoint::open_all(&paths, &Take::default())?;
//! let plan = Plan::new(&inputs, average::mean(inputs.len()), Options::default())?;
//! for tensor in 0..plan.tensors().len() {
//!     println!("{} {:?} {:?}", plan.name(tensor), plan.info(tensor).shape, plan.tensors()[tensor].rule);
//! }
//! let target = Target::safetensors("swa.safetensors");
//! let force = false; // an existing file would be an error
//! let written = plan.write(&target, force, &|bytes_done| drop(bytes_done))?;
//! assert!(written.nonfinite.is_empty());
//! # assert_eq!(Checkpoint::open(&"swa.safetensors".as_ref())?.bytes(0)?[..], 1.5f32.to_le_bytes());
//! # Ok(())
//! # }
//! ```

mod access;
mod block;
mod checking;
mod coefficients;
mod compare;
mod exact;
pub mod float;
pub mod kernel;
mod plan;
mod stream;
mod write;
mod writer;

pub use coefficients::{Coefficients, mean};
pub use exact::{parts, quotient};
pub use float::Float;
pub use plan::{BnStats, Keys, Options, Plan, Planned, Rule, rule};
pub use write::{Estimate, Target, Written};
