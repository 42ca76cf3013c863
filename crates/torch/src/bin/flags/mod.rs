//! Flags of the data commands, and what they mean to a job.
#![allow(dead_code)] // each command uses a part

pub mod data;
pub mod evaluation;
pub mod merge;
pub mod sharing;
