//! How a model does with batchnorm statistics of several origins.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use swa_tools::report::table;

use super::scores::{HEADER, Scores};
use crate::jobs::{Compared, Origin, ProgramRecord, Verdict};

/// What `swa-eval` prints when it compares statistics.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ComparisonReport {
    /// The model.
    pub model: String,
    /// The program that it runs; null for a built-in network.
    pub program: Option<ProgramRecord>,
    /// A row an origin, the averaged statistics first.
    pub statistics: Vec<StatisticsReport>,
    /// Training images that statistics were computed from.
    pub bn_images: usize,
    /// Images per batch.
    pub bn_batch_size: usize,
    /// From an image to the pixels that the model takes: the preset's name and its fields.
    pub transform: Value,
    /// The training augmentation of the statistics' images; null: the pixels of evaluation.
    pub augmentation: Value,
    /// The images that were left out of the evaluation, a line each.
    pub skipped: Vec<String>,
    /// Time that the job took.
    pub seconds: f64,
    #[serde(skip)]
    batches: usize,
    #[serde(skip)]
    verdict: String,
}

/// How the model does with statistics of one origin.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StatisticsReport {
    /// Where they come from: `averaged`, `kept` from the last checkpoint, or recomputed by a method.
    pub statistics: String,
    /// How the model did.
    #[serde(flatten)]
    pub scores: Scores,
    /// How far they are from the averaged ones, in standard deviations of a channel; not of the averaged ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<f64>,
    /// `nll` less that with the averaged ones, paired by image; not of the averaged ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll_difference: Option<f64>,
    /// Standard error of that difference; not of the averaged ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll_difference_error: Option<f64>,
}

impl ComparisonReport {
    /// Of an outcome.
    pub fn of(outcome: &Compared) -> Self {
        let origins = outcome.origins.iter().zip(&outcome.rows).enumerate();
        let (Origin { name, nll: (difference, error), .. }, verdict) = outcome.best();
        let verdict = match verdict {
            Verdict::Helps => "recomputing helps",
            Verdict::DoesNotHelp => "recomputing does not help",
            Verdict::NoCertainDifference => "recomputing makes no certain difference",
        };
        ComparisonReport {
            model: outcome.model.display().to_string(),
            program: outcome.program.as_ref().map(|program| program.record.clone()),
            statistics: origins
                .map(|(i, (origin, row))| StatisticsReport {
                    statistics: origin.name.into(),
                    scores: Scores::of(row),
                    moved: (i > 0).then_some(origin.moved),
                    nll_difference: (i > 0).then_some(origin.nll.0),
                    nll_difference_error: (i > 0).then_some(origin.nll.1),
                })
                .collect(),
            bn_images: outcome.bn_images,
            bn_batch_size: outcome.batch_size,
            transform: outcome.transform.clone(),
            augmentation: outcome.augmentation.clone(),
            skipped: outcome.skipped.clone(),
            seconds: outcome.seconds,
            batches: outcome.bn_batches,
            verdict: format!("{verdict}: nll {difference:+.4} ± {error:.4} ({name})"),
        }
    }

    /// For people: the table, and whether recomputing helps.
    pub fn text(&self) -> String {
        let row = |row: &StatisticsReport| {
            let mut text = row.scores.row(row.statistics.clone());
            text.push(row.moved.map_or(String::new(), |moved| format!("{moved:.3}")));
            text
        };
        let header = [&["statistics"], &HEADER[..], &["moved"]].concat();
        let evaluated = self.statistics.first().map_or(0, |row| row.scores.n);
        [
            table(&header, self.statistics.iter().map(row)),
            format!(
                "{evaluated} images; recomputed from {} training images, {} batches",
                self.bn_images, self.batches
            ),
            self.verdict.clone(),
        ]
        .join("\n")
    }
}
