//! How models drawn by SWAG do, beside the mean.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use swa_tools::report::table;

use super::evaluation::ModelReport;
use super::scores::{HEADER, Scores};
use crate::jobs::{Row, SwagSampled};

/// What `swa-eval` prints of models drawn by SWAG.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SwagReport {
    /// The file of moments.
    pub model: String,
    /// How many deviations of each weight it has.
    pub deviations: usize,
    /// What the covariance was multiplied by.
    pub scale: f64,
    /// The seed of the samples.
    pub seed: u64,
    /// The mean, and the samples together: the mean of their softmax outputs.
    pub models: Vec<ModelReport>,
    /// Each sample, compared with the mean.
    pub draws: Vec<ModelReport>,
    /// Training images that batchnorm statistics were computed from; 0 without batchnorm.
    pub bn_images: usize,
    /// From an image to the pixels that the models took: the preset's name and its fields.
    pub transform: Value,
    /// The images that were left out of the evaluation, a line each.
    pub skipped: Vec<String>,
    /// Time that the job took.
    pub seconds: f64,
}

impl SwagReport {
    /// Of an outcome.
    pub fn of(outcome: &SwagSampled) -> Self {
        let model = |row: &Row| ModelReport {
            model: row.name.clone(),
            program: outcome.program.clone(),
            scores: Scores::of(row),
        };
        SwagReport {
            model: outcome.model.display().to_string(),
            deviations: outcome.deviations,
            scale: outcome.scale,
            seed: outcome.seed,
            models: outcome.rows.iter().map(model).collect(),
            draws: outcome.draws.iter().map(model).collect(),
            bn_images: outcome.bn_images,
            transform: outcome.transform.clone(),
            skipped: outcome.skipped.clone(),
            seconds: outcome.seconds,
        }
    }

    /// For people: the table, and how the samples spread.
    pub fn text(&self) -> String {
        let header = [&["model"], &HEADER[..]].concat();
        let rows = self.models.iter().map(|row| row.scores.row(row.model.clone()));
        let top1 = || self.draws.iter().map(|draw| draw.scores.top1);
        let (low, high) = top1().fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
        let (n, images) = (self.draws.len(), self.models.first().map_or(0, |row| row.scores.n));
        let statistics = match self.bn_images {
            0 => "no batchnorm".to_string(),
            images => format!("batchnorm of each from {images} training images"),
        };
        let deviations = self.deviations;
        format!(
            "{}\n{n} samples (seed {}, scale {}, {deviations} deviations), each by itself {low:.2} to {high:.2} % top-1\n\
             {images} images; {statistics}; {:.1} s",
            table(&header, rows),
            self.seed,
            self.scale,
            self.seconds
        )
    }
}
