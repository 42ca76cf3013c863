//! Weights that are given, θ̄ = (Σ w_j θ_j) / Σ w_j: for soups of models (Wortsman et al. 2022, "Model soups"),
//! and for every scheme that has no name here.

use std::path::PathBuf;

use super::lines;
use crate::average::Column;
use crate::{Error, Result, setting};

/// A weight for each checkpoint, of any scale: they are divided by their sum.
#[derive(Debug, Clone, PartialEq)]
pub enum Weights {
    /// In natural order.
    Each(Vec<f64>),
    /// From a file: a number a line, or a file name and a number; `#` begins a comment.
    File(PathBuf),
}

impl Weights {
    pub(super) fn column(&self, paths: &[PathBuf]) -> Result<Column> {
        let weights = match self {
            Weights::Each(weights) => weights.clone(),
            Weights::File(file) => lines::read(file, paths, "weight", 1)?.concat(),
        };
        if weights.len() != paths.len() {
            let (n, m) = (weights.len(), paths.len());
            return Err(Error::usage(format!("{n} weight(s) for {m} checkpoint(s)")).remedy(
                concat!(
                    setting!("dry_run"),
                    " without weights lists them in the order that counts"
                ),
            ));
        }
        Column::new(weights.into_iter().map(Some))
    }
}
