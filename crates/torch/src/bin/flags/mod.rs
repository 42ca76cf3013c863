//! Flags of the commands, and the options of jobs that they give.
#![allow(dead_code)] // each command uses some of them

pub mod data;
pub mod devices;
pub mod evaluation;
pub mod labels;
pub mod landscape;
pub mod merge;
pub mod pixels;
pub mod program;
pub mod sampling;
pub mod sharing;
