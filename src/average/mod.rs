//! Averaging: coefficients, a plan for every tensor, and the stream that carries it out.
//!
//! ```no_run
//! use std::path::Path;
//! use swa_tools::average::{self, BnStats, Plan};
//! use swa_tools::checkpoint::Checkpoint;
//!
//! # fn main() -> swa_tools::Result<()> {
//! let inputs = ["ckpt_8.safetensors", "ckpt_9.safetensors"]
//!     .map(|name| Checkpoint::open(Path::new(name)))
//!     .into_iter()
//!     .collect::<swa_tools::Result<Vec<_>>>()?;
//! let plan = Plan::new(&inputs, average::mean(inputs.len()), BnStats::Mean)?;
//! plan.write(Path::new("swa.safetensors"), false, &|_bytes| {})?;
//! # Ok(())
//! # }
//! ```

mod coefficients;
pub(crate) mod kernel;
mod plan;
mod stream;

pub use coefficients::{Coefficients, mean};
pub use plan::{BnStats, Plan, Rule};
