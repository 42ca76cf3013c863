//! What became of the candidates of a soup.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use swa_tools::report::table;
use swa_tools::text::megabytes;

use super::evaluation::{ModelReport, short_names};
use super::scores::{HEADER, Scores};
use crate::jobs::{Souped, Trial};

/// What `swa-eval --soup` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SoupReport {
    /// The file.
    pub output: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The candidates in the order in which they were tried, the best first.
    pub trials: Vec<TrialReport>,
    /// The best candidate, and the soup with its statistics recomputed, on the held-out images that chose it.
    pub models: Vec<ModelReport>,
    /// How many of them are in the soup.
    pub members: usize,
    /// The folder of the held-out images.
    pub held_out: String,
    /// Training images that batchnorm statistics were computed from; 0 without batchnorm.
    pub bn_images: usize,
    /// Batchnorm layers whose statistics in the file are the candidates' mean.
    pub batchnorm_layers: usize,
    /// The command that recomputes them; null where there are none.
    pub next: Option<String>,
    /// From an image to the pixels that the models took: the preset's name and its fields.
    pub transform: Value,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// Time that the job took.
    pub seconds: f64,
}

/// A candidate, and what became of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TrialReport {
    /// The candidate.
    pub candidate: String,
    /// Images that it gets right by itself, in percent.
    pub alone: f64,
    /// Images that the soup with it gets right, in percent; null of the first, which is the soup at the beginning.
    pub with: Option<f64>,
    /// Images that only the soup without it gets right; null of the first.
    pub only_without_right: Option<u64>,
    /// Images that only the soup with it gets right; null of the first.
    pub only_with_right: Option<u64>,
    /// McNemar's exact p of the difference; null of the first.
    pub mcnemar_p: Option<f64>,
    /// Whether it is in the soup: with it no fewer images are right.
    pub accepted: bool,
}

impl SoupReport {
    /// Of an outcome. `next`: the command that recomputes the batchnorm statistics.
    pub fn of(outcome: &Souped, next: impl FnOnce() -> String) -> Self {
        let trial = |trial: &Trial| TrialReport {
            candidate: trial.candidate.display().to_string(),
            alone: 100.0 * trial.alone,
            with: trial.with.map(|share| 100.0 * share),
            only_without_right: trial.test.as_ref().map(|test| test.first),
            only_with_right: trial.test.as_ref().map(|test| test.second),
            mcnemar_p: trial.test.as_ref().map(|test| test.p()),
            accepted: trial.accepted,
        };
        let rows = outcome.rows.iter();
        SoupReport {
            output: outcome.output.display().to_string(),
            bytes: outcome.bytes,
            trials: outcome.trials.iter().map(trial).collect(),
            models: rows
                .map(|row| ModelReport {
                    model: row.name.clone(),
                    program: outcome.program.clone(),
                    scores: Scores::of(row),
                })
                .collect(),
            members: outcome.trials.iter().filter(|trial| trial.accepted).count(),
            held_out: outcome.dir.display().to_string(),
            bn_images: outcome.bn_images,
            batchnorm_layers: outcome.batchnorm_layers,
            next: (outcome.batchnorm_layers > 0).then(next),
            transform: outcome.transform.clone(),
            skipped: outcome.skipped.clone(),
            seconds: outcome.seconds,
        }
    }

    /// For people: a row a candidate, the soup beside the best of them, and what its figures are not.
    pub fn text(&self) -> String {
        let names: Vec<String> = self.trials.iter().map(|trial| trial.candidate.clone()).collect();
        let number = |value: Option<u64>| value.map_or(String::new(), |n| n.to_string());
        let row = |(trial, name): (&TrialReport, String)| {
            let verdict = match (trial.with, trial.accepted) {
                (None, _) => "the first",
                (_, true) => "kept",
                (_, false) => "left out",
            };
            vec![
                name,
                format!("{:.2}", trial.alone),
                trial.with.map_or(String::new(), |with| format!("{with:.2}")),
                number(trial.only_without_right),
                number(trial.only_with_right),
                trial.mcnemar_p.map_or(String::new(), |p| format!("{p:.4}")),
                verdict.into(),
            ]
        };
        let header = [
            "candidate",
            "alone %",
            "soup with it %",
            "only without",
            "only with",
            "McNemar p",
            "",
        ];
        let trials = table(&header, self.trials.iter().zip(short_names(&names)).map(row));
        let header = [&["model"], &HEADER[..]].concat();
        let models = table(&header, self.models.iter().map(|m| m.scores.row(m.model.clone())));
        let (output, held_out) = (&self.output, &self.held_out);
        let mut lines = vec![
            trials,
            String::new(),
            models,
            format!(
                "wrote {output}: mean of {} of {} candidates, {} in {:.1} s",
                self.members,
                self.trials.len(),
                megabytes(self.bytes),
                self.seconds
            ),
            format!("these images chose the soup: report its accuracy on others than {held_out}"),
        ];
        if let Some(next) = &self.next {
            let n = self.batchnorm_layers;
            lines.push(format!(
                "batchnorm: the statistics of {n} layers in it are the candidates' mean; next: {next}"
            ));
        }
        lines.join("\n")
    }
}
