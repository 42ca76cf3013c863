//! Networks on libtorch: recompute the batchnorm statistics of an averaged model, evaluate models.
//!
//! - [`jobs`] is where to start: plain options in, an outcome out.
//! - [`report`] turns outcomes into text, JSON, CSV and SVG.
//! - [`session`] has the options that jobs share: data, pixels, networks, device.
//! - [`train`] repeats the papers' training runs.
//! - [`landscape`] is what surrounds an optimum: planes, lines and rays through weight vectors.
//! - [`bn_update`] and [`evaluate`] are the arithmetic of the two passes; [`parts`] shares a pass between processes.
//! - [`nn`] holds the networks.
//!
//! Each imports only what is below it in this list (`tests/rooms.rs`). A program that uses this crate calls
//! [`nn::libtorch::prepare`] first.

#![deny(missing_docs)]

pub mod bn_update;
pub mod evaluate;
pub mod jobs;
pub mod landscape;
pub mod nn;
pub mod parts;
mod plot;
pub mod report;
pub mod session;
pub mod train;
