//! Networks on libtorch: recompute the batchnorm statistics of an averaged model, evaluate models.

pub mod bn_update;
pub mod evaluate;
pub mod nn;
pub mod parts;
