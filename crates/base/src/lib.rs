//! What all packages of swa-tools share and none is about: [`Error`], which says what is wrong and what to do;
//! [`Progress`], by which long work says how far it is; [`Choice`], settings that are chosen by name; and text
//! as people read it ([`text`]).

#![deny(missing_docs)]

pub mod choice;
pub mod error;
pub mod panics;
pub mod progress;
pub mod text;

pub use choice::Choice;
pub use error::{Error, Kind, Result};
pub use progress::{Progress, Silent, Unit};
