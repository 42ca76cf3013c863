//! Flags of swa-avg, and what they mean to its jobs.

mod average;
mod follow;

pub use average::Args;
