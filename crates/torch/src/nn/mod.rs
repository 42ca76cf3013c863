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

pub use batch_norm::{Collected, Pass};
pub use freeze::Freeze;
pub use noise::Noise;
pub use precision::Precision;
use swa_base::{Error, Kind, setting};
pub use weights::{Model, Recognised, Setup};

/// A network: images in, logits out.
pub trait Network {
    /// `x`: [images, channels, height, width], normalised, of the weights' type. Returns
    /// [images, classes] of the same type.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor>;
}

/// What goes wrong in a network: libtorch says it, or the house. Becomes an [`Error`] where a job ends.
#[derive(Debug)]
pub enum Fault {
    /// libtorch's own words.
    Torch(TchError),
    /// An error that is worded already.
    Worded(Error),
}

/// What may fail in a network.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

impl From<TchError> for Fault {
    fn from(error: TchError) -> Self {
        Fault::Torch(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Worded(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Worded(error) => error,
            Fault::Torch(error) => of_torch(&error),
        }
    }
}

impl Fault {
    /// Whether memory ran out, on the host or on the device.
    pub fn is_out_of_memory(&self) -> bool {
        let error = match self {
            Fault::Torch(error) => &of_torch(error),
            Fault::Worded(error) => error,
        };
        error.kind() == Kind::OutOfMemory
    }
}

/// libtorch's error as the house words it.
pub fn of_torch(error: &TchError) -> Error {
    let text = error.to_string();
    // libtorch appends a C++ stack trace.
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
    let line = text.lines().next().unwrap_or_default();
    if MEMORY.iter().any(|sign| line.contains(sign)) {
        return Error::new(Kind::OutOfMemory, format!("libtorch ran out of memory: {line}"))
            .remedy(concat!(
                "use a smaller ",
                setting!("batch_size"),
                ", or fewer models at a time (",
                setting!("models_at_once"),
                ")"
            ));
    }
    // A pooling has nothing left to pool.
    if line.contains("Output size is too small") {
        return Error::input(format!("the images are too small for the network: {line}")).remedy(
            concat!("give larger ones, or ", setting!("resize"), " and ", setting!("crop")),
        );
    }
    Error::limit(format!("libtorch failed: {line}"))
}

/// What libtorch, the CUDA libraries and C++ say where memory runs out.
const MEMORY: &[&str] = &["out of memory", "can't allocate memory", "ALLOC_FAILED", "bad_alloc"];

/// The same error; where memory ran out with a batch of `images`, it names a smaller one.
pub fn with_smaller_batch(error: impl Into<Error>, images: usize) -> Error {
    let error = error.into();
    match error.kind() == Kind::OutOfMemory {
        true if images > 1 => {
            error.remedy(format!(concat!("try ", setting!("batch_size"), " {}"), images / 2))
        }
        true => error.remedy(concat!(
            "a single image does not fit: choose a smaller ",
            setting!("crop"),
            " (of several models: ",
            setting!("models_at_once", "1"),
            ")"
        )),
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
            let error = of_torch(&TchError::Torch(format!("{line}\nstack")));
            assert!(error.kind() == Kind::OutOfMemory, "{error}");
            assert_eq!(error.kind().exit_code(), 6);
            let text = with_smaller_batch(error, 128).to_string();
            assert!(text.contains("`batch_size` 64") && !text.contains("stack"), "{text}");
        }
        let other = of_torch(&TchError::Torch("shape mismatch".into()));
        assert!(other.kind() != Kind::OutOfMemory);
        assert!(!with_smaller_batch(other, 128).to_string().contains("`batch_size`"));
    }
}
