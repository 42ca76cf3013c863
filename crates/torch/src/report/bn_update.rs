//! The report of recomputed batchnorm statistics.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use swa_tools::report::table;
use swa_tools::text::printable;

use super::part::PaceReport;
use crate::bn_update::{MIN_BATCHES, Movement};
use crate::jobs::{Updated, UsedProgram};
use crate::session::Speed;

/// What `swa-bn-update` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BnUpdateReport {
    /// The file.
    pub output: String,
    /// The architecture.
    pub arch: String,
    /// The program that the model runs; null for a built-in network.
    pub program: Option<UsedProgram>,
    /// How batches were combined; null where there was nothing to recompute.
    pub method: Option<String>,
    /// Images that the statistics are from.
    pub images: usize,
    /// Batches of them.
    pub batches: usize,
    /// `on` where the network's training noise was drawn, else `off`; null where there was nothing to recompute.
    pub noise: Option<String>,
    /// Names of the batchnorm layers that keep their statistics.
    pub frozen: Vec<String>,
    /// The training augmentation; null: the pixels of evaluation.
    pub augmentation: Value,
    /// The standard error at which the pass was to end, if one was given.
    pub until_stable: Option<f64>,
    /// Whether it was reached, if one was given.
    pub stable: Option<bool>,
    /// The largest standard error of a layer; null where it is not known (shared and resumed passes).
    pub standard_error: Option<StandardErrorReport>,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// What the network computed in; null where there was nothing to recompute.
    pub precision: Option<String>,
    /// How far all channels' statistics moved together; null where there was nothing to recompute.
    pub all: Option<MovementReport>,
    /// How far each layer's statistics moved, farthest first.
    pub layers: Vec<MovementReport>,
    /// How fast the pass was; null of merged parts and layerwise passes.
    pub pace: Option<PaceReport>,
    /// Time that the job took.
    pub seconds: f64,
    #[serde(skip)]
    model: String,
    #[serde(skip)]
    unchanged: Option<String>,
    #[serde(skip)]
    speed: Option<Speed>,
}

/// How certain the statistics are.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StandardErrorReport {
    /// In standard deviations of a channel, root mean square over the layer's channels.
    pub largest: f64,
    /// The layer whose error that is.
    pub layer: String,
}

/// How far statistics moved, over the channels of a layer. σ is the new standard deviation of a channel.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MovementReport {
    /// Its name, or `all`.
    pub layer: String,
    /// How many channels it has.
    pub channels: usize,
    /// Distance of the means in σ, root mean square.
    pub mean_shift: f64,
    /// New by old standard deviation, geometric mean.
    pub std_ratio: f64,
    /// Both in one number: root mean square of √((Δmean/σ)² + (ln σ_new/σ_old)²).
    pub moved: f64,
}

impl BnUpdateReport {
    /// Of an outcome.
    pub fn of(outcome: &Updated) -> Self {
        let settings = outcome.settings.as_ref();
        BnUpdateReport {
            output: outcome.output.display().to_string(),
            arch: outcome.arch.clone(),
            program: outcome.program.as_deref().cloned(),
            method: settings.map(|settings| settings.method.clone()),
            images: outcome.images,
            batches: outcome.batches,
            noise: settings.map(|settings| settings.noise.clone()),
            frozen: outcome.frozen.clone(),
            augmentation: settings.map_or(Value::Null, |settings| settings.augmentation.clone()),
            until_stable: settings.and_then(|settings| settings.until_stable),
            stable: outcome.stable,
            standard_error: (outcome.standard_error.as_ref()).map(|(largest, layer)| {
                StandardErrorReport { largest: *largest, layer: layer.clone() }
            }),
            skipped: outcome.skipped.clone(),
            precision: settings.map(|settings| settings.precision.clone()),
            all: outcome.all.as_ref().map(MovementReport::of),
            layers: outcome.layers.iter().map(MovementReport::of).collect(),
            pace: outcome.speed.as_ref().map(PaceReport::of),
            seconds: outcome.seconds,
            model: outcome.model.display().to_string(),
            unchanged: outcome.unchanged.clone(),
            speed: outcome.speed,
        }
    }

    /// For people: what was written, and how far the statistics moved.
    pub fn text(&self) -> String {
        let BnUpdateReport { images, batches, seconds, .. } = self;
        let output = printable(&self.output);
        if let Some(why) = &self.unchanged {
            let model = printable(&self.model);
            return format!(
                "`{model}` {why}: nothing to recompute\nwrote {output}: the same tensors"
            );
        }
        let speed = self.speed.map_or(String::new(), |speed| format!("; {speed}"));
        let (layers, method) = (self.layers.len(), self.method.as_deref().unwrap_or_default());
        let mut lines = vec![format!(
            "wrote {output}: statistics of {layers} batchnorm layers from {images} images, {batches} batches \
             ({method}), in {seconds:.1} s{speed}"
        )];
        lines.extend(self.certain());
        lines.push(
            "how far the statistics moved (σ: the new standard deviation of a channel):".into(),
        );
        let header = ["layer", "channels", "mean, in σ", "σ new/old", "moved"];
        let rows = self.layers.iter().take(5).chain(&self.all).map(MovementReport::row);
        lines.push(table(&header, rows));
        lines.join("\n")
    }

    /// The standard error, compared with what was asked for.
    fn certain(&self) -> Option<String> {
        let images = self.images;
        let error = self.standard_error.as_ref().map(|StandardErrorReport { largest, layer }| {
            format!("standard error {largest:.4} σ at most ({layer})")
        });
        let asked = self.until_stable.unwrap_or_default();
        match (self.stable, error) {
            (None, error) => error,
            (Some(true), error) => {
                Some(format!("stable after {images} images: {}", error.unwrap_or_default()))
            }
            (Some(false), error) => {
                let error = error.unwrap_or("one batch says nothing of the error".into());
                Some(format!(
                    "not stable: {error}; {asked} over {MIN_BATCHES} batches or more was asked for, \
                     {images} images were all"
                ))
            }
        }
    }
}

impl MovementReport {
    fn of(movement: &Movement) -> Self {
        let Movement { layer, channels, mean_shift, std_ratio, moved } = movement.clone();
        MovementReport { layer, channels, mean_shift, std_ratio, moved }
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.layer.clone(),
            self.channels.to_string(),
            format!("{:.3}", self.mean_shift),
            format!("{:.3}", self.std_ratio),
            format!("{:.3}", self.moved),
        ]
    }
}
