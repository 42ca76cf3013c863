//! The files that an evaluation can write.

use std::path::{Path, PathBuf};

use swa_tools::output::check_targets;
use swa_tools::{Result, setting};

/// Which files to make of an evaluation.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// CSV: each class's top-1 with its interval.
    pub per_class: Option<PathBuf>,
    /// CSV: a confusion matrix for each model.
    pub confusion: Option<PathBuf>,
    /// SVG: a reliability diagram (accuracy against confidence) for each model.
    pub reliability: Option<PathBuf>,
    /// CSV: each image's label and its likeliest classes.
    pub predictions: Option<PathBuf>,
    /// Safetensors: `labels` I64 `[n]` and `logits` F32 `[models, n, outputs]`.
    pub logits: Option<PathBuf>,
    /// Replace files that exist.
    pub force: bool,
}

impl Files {
    /// The files to write, each with its setting's name.
    pub(super) fn given(&self) -> Vec<(&'static str, &Path)> {
        let all = [
            (setting!("per_class"), &self.per_class),
            (setting!("confusion"), &self.confusion),
            (setting!("reliability"), &self.reliability),
            (setting!("predictions"), &self.predictions),
            (setting!("logits"), &self.logits),
        ];
        all.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?))).collect()
    }

    /// Fails if a file cannot be written, is one of `inputs`, or is given twice; before any work is done.
    ///
    /// # Errors
    /// `OutputExists` and `Usage`.
    pub fn check(&self, inputs: &[PathBuf]) -> Result<()> {
        check_targets(&self.given(), self.force, inputs)
    }
}
