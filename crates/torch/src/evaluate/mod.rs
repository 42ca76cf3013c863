//! Evaluating models: any number in one pass over the data, each image decoded once.
//!
//! A pass keeps an [`Outcome`] (24 bytes) for each image and model; every figure, table and diagram is computed from
//! them afterwards.
//!
//! On a GPU the host runs ahead: while the network works on a batch, the copy of the next one is queued
//! behind it, and the batch before it is scored.

mod classes;
mod collect;
mod evaluation;
mod forward;
mod groups;
mod logits;
mod metrics;
mod parts;
mod run;
mod scores;

pub use classes::ClassList;
pub use collect::Collector;
pub use evaluation::{CollectOptions, Evaluation, Record};
pub(crate) use forward::AtATime;
pub(crate) use groups::Groups;
pub use logits::LogitsFile;
pub use metrics::{BINS, Bin, McNemar, Tally, wilson};
pub(crate) use run::run;
pub use scores::{Outcome, TOP};
