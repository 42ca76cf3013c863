//! What a session is opened for.

use regex::Regex;
use swa_tools::{Error, Kind, Result};

use super::options::Networks;
use crate::nn::Candidates;

/// What a session's models are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Collecting statistics: batchnorm layers are not folded.
    Statistics,
    /// Evaluation only: batchnorm is folded into convolutions.
    Evaluation,
    /// Evaluation with several statistics: batchnorm layers are not folded.
    Comparison,
}

impl Purpose {
    /// Whether batchnorm becomes part of convolutions.
    pub(super) fn folds(self) -> bool {
        self == Purpose::Evaluation
    }
}

/// What a session is opened for.
pub(crate) struct Wanted<'a> {
    /// What models may be recognised as.
    pub candidates: Candidates,
    /// What they are for.
    pub purpose: Purpose,
    /// Batchnorm layers whose name matches keep their statistics.
    pub freeze: Option<&'a Regex>,
}

impl Networks {
    /// What models may be recognised as.
    ///
    /// # Errors
    /// `Usage`, and those of opening programs; `Unsupported` for one that was exported in training mode, unless
    /// statistics are what it is for.
    pub(crate) fn candidates(&self, purpose: Purpose) -> Result<Candidates> {
        let mut candidates = Candidates::open(self.arch.as_deref(), &self.programs)?;
        candidates.network = self.network.clone();
        candidates.headless = purpose == Purpose::Statistics;
        if purpose != Purpose::Statistics {
            let mut programs = candidates.programs.iter().map(|prepared| prepared.program());
            if let Some(program) = programs.find(|program| program.is_training()) {
                let what = "was exported in training mode, in which a network gives other outputs";
                return Err(Error::new(Kind::Unsupported, what)
                    .at(program.path())
                    .remedy("export it after model.eval()"));
            }
        }
        Ok(candidates)
    }
}
