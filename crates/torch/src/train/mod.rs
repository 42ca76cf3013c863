//! Training as the papers on weight averaging have it: stochastic gradient descent with momentum on one device, and
//! beside it the running average. It repeats their experiments; it is no general trainer.
//!
//! What is drawn (order, pixels, noise, first weights) follows from the seed, the epoch and the image alone, so that
//! an interrupted run goes on as if it had not been.

mod cached;
mod data;
mod epoch;
mod folder;
mod log;
mod schedule;
mod seeds;
mod sgd;
mod state;
mod swa;
mod trunk;

pub(crate) use data::Data;
pub(crate) use epoch::{Trainer, validate};
pub(crate) use folder::Folder;
pub(crate) use log::validates;
pub use log::{EpochLine, Score, SwaScore};
pub use schedule::{Schedule, Shape};
pub(crate) use sgd::Sgd;
pub(crate) use state::State;
pub(crate) use swa::{Average, SWA, SWA_BN};
pub(crate) use trunk::{STATE, TRUNK, graft};
