//! Averaging: coefficients, a plan for every tensor, and the pass that carries it out.
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
//! let plan = Plan::new(&inputs, [average::mean(inputs.len())?], Options::default())?;
//! let output = &plan.outputs()[0];
//! for (tensor, planned) in output.tensors().iter().enumerate() {
//!     println!("{} {:?} {:?}", output.name(tensor), output.info(tensor).shape, planned.rule);
//! }
//! let targets = [Target::safetensors("swa.safetensors")];
//! let force = false; // an existing file would be an error
//! let written = plan.write(&targets, force, &|bytes_done| drop(bytes_done))?;
//! assert!(written[0].nonfinite.is_empty());
//! # assert_eq!(Checkpoint::open(&"swa.safetensors".as_ref())?.bytes(0)?[..], 1.5f32.to_le_bytes());
//! # Ok(())
//! # }
//! ```
//!
//! # Several outputs
//!
//! The coefficients are a matrix, inputs × outputs: a plan takes any number of columns, and one pass over
//! the inputs makes all outputs. Each is exact, and each is the file, byte for byte, that averaging the
//! inputs of its column alone would write. An input that is absent from a column ([`Column`]) does not count
//! there.
//!
//! ```
//! use swa_tools::average::{self, Column, Float, Options, Plan, Target};
//! # use std::path::PathBuf;
//! # use swa_tools::checkpoint::{Checkpoint, Take};
//!
//! # fn main() -> swa_tools::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let paths = [1u8, 2, 4, 8].map(|x| folder.path().join(format!("ckpt_{x}.safetensors")));
//! # for (path, x) in paths.iter().zip([1.0f32, 2.0, 4.0, 8.0]) {
//! #     let bytes = x.to_le_bytes();
//! #     let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &bytes);
//! #     let file = safetensors::serialize([("w", view.unwrap())], None).unwrap();
//! #     std::fs::write(path, file).unwrap();
//! # }
//! # std::env::set_current_dir(&folder).unwrap();
//! let inputs = Checkpoint::open_all(&paths, &Take::default())?;
//! let n = inputs.len(); // 4, with the weights 1, 2, 4 and 8
//! let columns = [
//!     // The mean of all; of the last two, in half the bits; and a moving average of the first three.
//!     average::mean(n)?.into(),
//!     Column::new((0..n).map(|i| (i + 2 >= n).then_some(1.0)))?.with_dtype(Float::BF16),
//!     Column::new([Some(1.0), Some(2.0), Some(4.0), None])?,
//! ];
//! let plan = Plan::new(&inputs, columns, Options::default())?;
//! let targets = ["all", "last", "ema"].map(|name| Target::safetensors(format!("{name}.safetensors")));
//! plan.write(&targets, false, &|_| {})?; // all three files, or none
//! # let bytes = |name: &str| Ok(Checkpoint::open(name.as_ref())?.bytes(0)?.into_owned());
//! assert_eq!(bytes("all.safetensors")?, 3.75f32.to_le_bytes());
//! assert_eq!(bytes("last.safetensors")?, [0xc0, 0x40]); // 6
//! assert_eq!(bytes("ema.safetensors")?, 3f32.to_le_bytes());
//! # Ok::<_, swa_tools::Error>(())
//! # }
//! ```

mod coefficients;
mod column;
mod copy_or_map;
mod differences;
pub(crate) mod exact;
mod float;
pub(crate) mod infinities;
mod input_checksums;
mod kernel;
mod means;
mod options;
mod output_plan;
mod output_state;
mod plan;
pub(crate) mod provenance;
pub(crate) mod pruned;
pub(crate) mod quantised;
mod share;
mod stream;
mod swag;
mod target;
pub(crate) mod totals;
mod write;
mod write_queue;

pub use coefficients::{Coefficients, mean};
pub use column::Column;
pub use exact::{parts, quotient};
pub use float::{Float, FloatFormat};
pub use kernel::{count_nonfinite, instructions, round_to_float};
pub(crate) use options::too_large;
pub use options::{BnStats, Keys, Options, Rule, rule};
pub use output_plan::{OutputPlan, Planned};
pub use plan::Plan;
pub(crate) use share::{FolderFiles, deal};
pub use swag::{DEVIATIONS, SwagLayout, VARIANCE};
pub use target::Target;
pub use write::{Estimate, Written};
