//! What all packages of swa-tools share: [`Error`], which says what is wrong and what to do; [`Progress`], which
//! long work reports to; [`Choice`], settings that are chosen by name; [`Shard`], the part of a job that one of several
//! processes does; and text for people and shells ([`text`]).

#![deny(missing_docs)]

pub mod choice;
pub mod error;
pub mod locks;
pub mod look;
pub mod panics;
pub mod progress;
pub mod shard;
pub mod text;
pub mod text_file;

pub use choice::Choice;
pub use error::{Error, Kind, Result};
pub use progress::{Progress, Silent, Unit};
pub use shard::Shard;
