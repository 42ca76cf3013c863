//! Stochastic Weight Averaging after training: average checkpoints, recompute batchnorm statistics,
//! evaluate. The map of the house:
//!
//! - [`checkpoint`] reads: a file becomes an index of tensors and byte extents, and the format ends
//!   there. [`checkpoint::select`] turns arguments into an ordered list of inputs.
//! - [`average`] plans what becomes of every tensor, then streams the inputs through one f64 kernel.
//! - [`output`] writes a file that appears whole or not at all.
#![cfg_attr(
    feature = "data",
    doc = "- [`data`] turns a directory into samples and samples into pixels."
)]
#![cfg_attr(
    feature = "torch",
    doc = "- [`nn`] holds the networks, [`bn_update`] and [`evaluate`] the two jobs done with them;\n  [`parts`] shares a job between processes."
)]
//! - [`cli`] is what the tools share; the binaries parse, call and print.

pub mod average;
#[cfg(feature = "torch")]
pub mod bn_update;
pub mod checkpoint;
pub mod cli;
#[cfg(feature = "data")]
pub mod data;
pub mod error;
#[cfg(feature = "torch")]
pub mod evaluate;
#[cfg(feature = "torch")]
pub mod nn;
pub mod output;
pub mod panics;
#[cfg(feature = "torch")]
pub mod parts;

pub use error::{Error, Result};

/// The metadata key under which the tools record what they did, as compact JSON.
pub const METADATA_KEY: &str = "swa";

/// Where in a PyTorch file the metadata stand that a safetensors file has in its header: an entry of the
/// zip file that PyTorch does not look at.
pub const METADATA_ENTRY: &str = "swa.json";

/// Where in that record the pixels stand that the model takes.
pub const TRANSFORM_KEY: &str = "transform";
