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
pub mod memory;
pub mod models;
pub mod moments;
pub mod noise;
pub mod precision;
mod replaced;
pub mod weights;

use tch::{TchError, Tensor};

use crate::Error;
use crate::error::Kind;
pub use batch_norm::{Collected, Pass};
pub use freeze::Freeze;
pub use noise::Noise;
pub use precision::Precision;
pub use weights::{Model, Recognised, Setup};

/// A network: images in, logits out.
pub trait Network {
    /// `x`: [images, channels, height, width], normalised, of the weights' type. Returns
    /// [images, classes] of the same type.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> crate::Result<Tensor>;
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        let text = error.to_string();
        // libtorch appends a C++ stack trace.
        let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
        let line = text.lines().next().unwrap_or_default();
        if MEMORY.iter().any(|sign| line.contains(sign)) {
            return Error::limit(format!("{OUT_OF_MEMORY}: {line}")).remedy(
                "use a smaller --batch-size, or fewer models at a time (--models-at-once)",
            );
        }
        // A pooling has nothing left to pool.
        if line.contains("Output size is too small") {
            return Error::input(format!("the images are too small for the network: {line}"))
                .remedy("give larger ones, or --resize and --crop");
        }
        Error::limit(format!("libtorch failed: {line}"))
    }
}

/// What libtorch, the CUDA libraries and C++ say where memory runs out.
const MEMORY: &[&str] = &["out of memory", "can't allocate memory", "ALLOC_FAILED", "bad_alloc"];

const OUT_OF_MEMORY: &str = "libtorch ran out of memory";

/// Whether libtorch ran out of memory.
pub fn is_out_of_memory(error: &Error) -> bool {
    error.kind() == Kind::Limit && error.to_string().contains(OUT_OF_MEMORY)
}

/// The same error; where memory ran out with a batch of `images`, it names a smaller one.
pub fn with_smaller_batch(error: Error, images: usize) -> Error {
    match is_out_of_memory(&error) {
        true if images > 1 => error.remedy(format!("try --batch-size {}", images / 2)),
        true => error.remedy("a single image does not fit: choose a smaller --crop (of several models: --models-at-once 1)"),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_memory_names_a_smaller_batch() {
        for line in [
            "CUDA out of memory. Tried to allocate 2.00 GiB",
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you",
            "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        ] {
            let error = Error::from(TchError::Torch(format!("{line}\nstack")));
            assert!(is_out_of_memory(&error), "{error}");
            assert_eq!(error.kind().exit_code(), 6);
            let text = with_smaller_batch(error, 128).to_string();
            assert!(text.contains("--batch-size 64") && !text.contains("stack"), "{text}");
        }
        let other = Error::from(TchError::Torch("shape mismatch".into()));
        assert!(!is_out_of_memory(&other));
        assert!(!with_smaller_batch(other, 128).to_string().contains("--batch-size"));
    }
}
