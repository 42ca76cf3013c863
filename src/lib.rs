//! Stochastic Weight Averaging after training: average checkpoints.
//!
//! - [`checkpoint`] reads: a file becomes an index of tensors and byte extents, and the format ends
//!   there. [`checkpoint::select`] turns arguments into an ordered list of inputs.
//! - [`average`] plans what becomes of every tensor, then streams the inputs through one kernel.
//! - [`output`] writes a file that appears whole or not at all.
//! - [`process`] is what a command does on signals.

pub mod average;
pub mod checkpoint;
pub mod jobs;
pub mod output;
pub mod process;
pub mod report;
mod sync;

pub use swa_base::{
    Choice, Error, Kind, Progress, Result, Silent, Unit, choices, error, setting, text,
};

/// The metadata key under which the tools record what they did, as compact JSON.
pub const METADATA_KEY: &str = "swa";

/// Where in a PyTorch file the metadata stand that a safetensors file has in its header: an entry of the
/// zip file that PyTorch does not look at.
pub const METADATA_ENTRY: &str = "swa.json";

/// Where in that record the pixels stand that the model takes.
pub const TRANSFORM_KEY: &str = "transform";
