//! Flags of swa-avg, and what they mean to its jobs.

mod average;
mod follow;
mod share;

pub use average::Args;
