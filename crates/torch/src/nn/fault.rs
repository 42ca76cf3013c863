//! The error of networks.

use tch::TchError;

use swa_base::{Error, Kind, setting};

/// The error of networks: libtorch's own, or one of this crate. Jobs return it as an [`Error`].
#[derive(Debug)]
pub enum Fault {
    /// libtorch failed; [`Error`] gives it a kind and a remedy.
    Torch(TchError),
    /// Any other error.
    Worded(Error),
}

/// The result of computing with a network.
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

/// libtorch's error without its stack trace, with a kind and a remedy: `OutOfMemory`, `Mismatch` for images too small
/// for the network, else `Limit`.
pub(crate) fn of_torch(error: &TchError) -> Error {
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
    // A pooling layer was given fewer pixels than its window.
    if line.contains("Output size is too small") {
        let what = format!("the images are too small for the network: {line}");
        let remedy =
            concat!("give larger ones, or ", setting!("resize"), " and ", setting!("crop"));
        return Error::new(Kind::Mismatch, what).remedy(remedy);
    }
    Error::limit(format!("libtorch failed: {line}"))
}

/// Phrases by which libtorch, the CUDA libraries and C++ report that memory ran out.
const MEMORY: &[&str] = &["out of memory", "can't allocate memory", "ALLOC_FAILED", "bad_alloc"];

/// The same error; if memory ran out on a batch of `images`, its remedy is a smaller batch.
pub(crate) fn with_smaller_batch(error: impl Into<Error>, images: usize) -> Error {
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
