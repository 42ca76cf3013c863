//! Stochastic Weight Averaging after training: average checkpoints.
//!
//! - [`select`] turns arguments into an ordered list of inputs.
//! - [`checkpoint`] reads: a file becomes an index of tensors and byte extents. Below it, [`store`] has the bytes,
//!   `formats` makes tensors of them, and `weights` knows where each trainer keeps the weights.
//! - [`average`] plans what becomes of every tensor, then streams the inputs through one kernel.
//! - [`programs`] reads exported networks, as data that the package swa-torch runs.
//! - [`schemes`] says how much each input counts.
//! - [`posterior`] draws models from the moments that SWAG keeps.
//! - [`output`] writes a file that appears whole or not at all.
//! - [`process`] is what a command does on signals.
//!
//! # Inputs that change while they are read
//! Inputs are mapped, and another process may write to a mapped file at any time. That cannot make an average look
//! right that is not: every input is checked before the output gets its name, and one that changed is an error
//! ([`Kind::Changed`]). But the slices that are read do change under the reader; see [`store`] for what this means.

#![deny(missing_docs)]

pub mod average;
pub mod checkpoint;
mod formats;
pub mod jobs;
pub mod json;
pub mod output;
pub mod posterior;
pub mod process;
pub mod programs;
pub mod report;
pub mod running;
pub mod schemes;
pub mod select;
pub mod store;
mod sync;
mod tensors;
mod weights;

pub use swa_base::{
    Choice, Error, Kind, Progress, Result, Shard, Silent, Unit, choices, error, locks, look,
    setting, text,
};

/// The metadata key under which the tools record what they did, as compact JSON.
pub const METADATA_KEY: &str = "swa";

/// Where in a PyTorch file the metadata stand that a safetensors file has in its header: an entry of the
/// zip file that PyTorch does not look at.
pub const METADATA_ENTRY: &str = "swa.json";

/// Where in that record the pixels stand that the model takes.
pub const TRANSFORM_KEY: &str = "transform";
