//! A pass over data in parts: shared between processes, or between one that was interrupted and the one
//! that resumes it.
//!
//! A `Part` is what was collected from some batches of the one seeded order. Part I of N ([`Shard`])
//! takes the batches I, I + N, … A finished part is merged with the others (`Set`); an unfinished one
//! is the state that `Keeper` keeps while a pass runs. Both are one file format (`file`). What is collected
//! (`Content`) does not depend on the order of the batches, so that a shared, a resumed and an ordinary pass produce
//! the same bytes.

mod file;
mod identity;
mod keeper;
mod part;
mod set;
mod shard;

pub(crate) use file::read_tensor;
pub(crate) use identity::{Identity, PROGRAMS_KEY, of_data};
pub(crate) use keeper::Keeper;
pub use keeper::Tell;
pub(crate) use part::{BatchSummary, Content, Part, Progress};
pub(crate) use set::Set;
pub use swa_base::Shard;
