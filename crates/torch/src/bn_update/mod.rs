//! Recomputing batchnorm's running statistics. Averaged weights never saw data in training mode, so the statistics that
//! were averaged with them are not theirs (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better
//! Generalization", section 3.2).
//!
//! [`Method`] says what each way of combining batches assumes. [`run`] and [`layerwise`] compute an [`Outcome`],
//! [`write()`] puts it into a checkpoint.

mod collect;
mod fixed;
pub mod layerwise;
mod methods;
mod movement;
mod outcome;
mod parts;
mod stability;
mod write;

pub(crate) use collect::collect;
pub use collect::run;
pub(crate) use methods::Accumulator;
pub use methods::{Method, Statistics};
pub use movement::Movement;
pub(crate) use movement::{distance, movements};
pub use outcome::Outcome;
pub(crate) use outcome::{accumulator, finish};
pub use stability::StandardError;
pub(crate) use stability::{MIN_BATCHES, Stability};
pub use write::write;
pub(crate) use write::write_unchanged;
