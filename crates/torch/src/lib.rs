//! Networks on libtorch: recompute the batchnorm statistics of an averaged model, evaluate models.
//!
//! - [`jobs`] is what can be done: plain options in, an outcome out. Start here.
//! - [`report`] puts outcomes into words, JSON, CSV and SVG.
//! - [`session`] opens what a pass needs: data, pixels, models, a device.
//! - [`bn_update`] and [`evaluate`] are the two passes; [`parts`] shares a pass between processes.
//! - [`nn`] holds the networks.
//!
//! A program that uses this calls [`nn::libtorch::prepare`] first.

pub mod bn_update;
pub mod evaluate;
pub mod jobs;
pub mod nn;
pub mod parts;
pub mod report;
pub mod session;
