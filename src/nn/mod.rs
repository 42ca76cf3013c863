//! Networks on libtorch: layers, the models that are known, and how weights get into them.
//!
//! A model is written once, as code that asks a [`weights::Scope`] for its tensors by name and
//! shape. Without a file behind it the same code tells what the model consists of, which is how an
//! architecture is recognised and why loading is strict both ways.

pub mod batch_norm;
pub mod device;
pub mod freeze;
pub mod input;
pub mod layers;
pub mod libtorch;
pub mod models;
pub mod moments;
pub mod noise;
pub mod weights;

use tch::{TchError, Tensor};

use crate::Error;
pub use batch_norm::{Collected, Pass};
pub use freeze::Freeze;
pub use noise::Noise;
pub use weights::{Model, Recognised};

/// A network: images in, logits out.
pub trait Network {
    /// `x`: [images, channels, height, width], f32, normalised. Returns [images, classes], f32.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> crate::Result<Tensor>;
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        let text = error.to_string();
        // libtorch appends a C++ stack trace.
        let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
        let line = text.lines().next().unwrap_or_default();
        if line.contains("out of memory") || line.contains("not enough memory") {
            return Error::limit(format!("libtorch ran out of memory: {line}"))
                .remedy("use a smaller --batch-size");
        }
        // A pooling has nothing left to pool.
        if line.contains("Output size is too small") {
            return Error::input(format!("the images are too small for the network: {line}"))
                .remedy("give larger ones, or --resize and --crop");
        }
        Error::limit(format!("libtorch failed: {line}"))
    }
}
