//! The file of the model, and the outcome of recomputing its statistics.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use swa_tools::checkpoint::{Checkpoint, Take};
use swa_tools::output::{FileTarget, Format};
use swa_tools::{Progress, Result, TRANSFORM_KEY};

use super::sharing::State;
use crate::bn_update::{self, Movement, Outcome, StandardError, movements};
use crate::nn::{Layer, Recognised, UsedProgram};
use crate::session::Speed;

/// The file to write.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Its path. The ending gives its format; without a known one it is that of the model.
    pub path: PathBuf,
    /// Replace what is there.
    pub force: bool,
    /// A PyTorch file to copy, with the new model in place of its weights.
    pub like: Option<PathBuf>,
}

/// What determines the statistics, as it is recorded in the model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// Version of the tools.
    pub version: String,
    /// How batches are combined, by name.
    pub method: String,
    /// Images per batch.
    pub batch_size: usize,
    /// What the network computes in, by name.
    pub precision: String,
    /// `shuffled` or `dataset`.
    pub order: String,
    /// The seed of the order, the augmentation and the noise.
    pub seed: u64,
    /// `on` where the network's training noise is drawn, else `off`.
    pub noise: String,
    /// Batchnorm layers that keep their statistics.
    pub frozen: Vec<String>,
    /// The training augmentation; null: the pixels of evaluation.
    pub augmentation: Value,
    /// The standard error at which the pass was to end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until_stable: Option<f64>,
}

/// A model was written with new statistics or, if it has none to recompute, as it is.
pub struct Updated {
    /// The model that was read.
    pub model: PathBuf,
    /// The file that was written.
    pub output: PathBuf,
    /// The architecture.
    pub arch: String,
    /// The program that the model runs, if it is one.
    pub program: Option<Rc<UsedProgram>>,
    /// Why there was nothing to recompute; all figures are zero then.
    pub unchanged: Option<String>,
    /// What determined the statistics; None if there was nothing to recompute.
    pub settings: Option<Settings>,
    /// Batchnorm layers that keep their statistics.
    pub frozen: Vec<String>,
    /// Images that the statistics are from.
    pub images: usize,
    /// Batches of them.
    pub batches: usize,
    /// Whether the pass ended because the statistics were certain, if that was asked for.
    pub stable: Option<bool>,
    /// The largest standard error, in standard deviations of a channel, and its layer; None if it is
    /// not known (shared and resumed passes).
    pub standard_error: Option<(f64, String)>,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// How far each layer's statistics moved, farthest first.
    pub layers: Vec<Movement>,
    /// How far all channels' statistics moved together.
    pub all: Option<Movement>,
    /// How fast the pass was; None of merged parts, and of layerwise passes.
    pub speed: Option<Speed>,
    /// From the beginning of the job to its end.
    pub seconds: f64,
    /// The state file of the pass.
    pub state: State,
}

/// The model's file, and what is made of it.
pub(super) struct ModelFile<'a> {
    /// The model itself.
    pub checkpoints: [Checkpoint; 1],
    like: Option<Checkpoint>,
    output: Option<&'a Output>,
}

/// The result of a whole pass.
pub(super) struct Collected<'a> {
    pub arch: &'a str,
    pub layers: &'a [Layer],
    pub outcome: Outcome,
    pub settings: Settings,
    pub transform: Value,
    pub skipped: Vec<String>,
    pub stable: Option<bool>,
    pub speed: Option<Speed>,
    pub program: Option<Rc<UsedProgram>>,
}

impl<'a> ModelFile<'a> {
    pub fn open(
        progress: &dyn Progress,
        take: &Take,
        model: &Path,
        output: Option<&'a Output>,
    ) -> Result<Self> {
        let checkpoints = [Checkpoint::open_with(model, take)?];
        swa_tools::jobs::say_taken(progress, &checkpoints, false);
        let like = output.and_then(|output| output.like.as_ref());
        let like = like.map(|like| Checkpoint::open_with(like, take)).transpose()?;
        Ok(ModelFile { checkpoints, like, output })
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoints[0]
    }

    /// The output, in the format that its name ends in, else the model's.
    fn target(&self, output: &'a Output) -> FileTarget<'_> {
        let own = match self.checkpoint().container().is_torch_file() {
            true => Format::Torch,
            false => Format::Safetensors,
        };
        let format = Format::of(&output.path).unwrap_or(own);
        FileTarget { path: &output.path, format, like: self.like.as_ref(), force: output.force }
    }

    /// Writes the model with the statistics of a whole pass.
    pub fn write(&self, collected: Collected, output: &'a Output) -> Result<Updated> {
        let Collected { arch, layers, outcome, settings, transform, program, .. } = collected;
        let (skipped, stable, speed) = (collected.skipped, collected.stable, collected.speed);
        let standard_error = outcome.standard_error.map(|StandardError { layer, error }| {
            // Six decimals: further ones mean nothing.
            ((error * 1e6).round() / 1e6, layers[layer].name.clone())
        });
        let mut record = serde_json::to_value(&settings).unwrap_or_default();
        record["images"] = outcome.images.into();
        if let Some(program) = &program {
            record["program"] = json!(program.record);
        }
        // Only if it ended the pass: the files of shared and resumed passes, which do not know it, must be the same.
        if stable.is_some() {
            record["standard_error"] = standard_error
                .as_ref()
                .map_or(Value::Null, |(error, layer)| json!({ "largest": error, "layer": layer }));
        }
        let record = [("bn_update", record), (TRANSFORM_KEY, transform)];
        let record = record.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
        let target = self.target(output);
        bn_update::write(self.checkpoint(), layers, &outcome, record, &target)?;
        let (moved, all) = movements(self.checkpoint(), layers, &outcome);
        Ok(Updated {
            model: self.checkpoint().path().to_path_buf(),
            output: output.path.clone(),
            arch: arch.to_string(),
            program,
            unchanged: None,
            frozen: settings.frozen.clone(),
            settings: Some(settings),
            images: outcome.images,
            batches: outcome.batches,
            stable,
            standard_error,
            skipped,
            layers: moved,
            all: Some(all),
            speed,
            seconds: 0.0,
            state: State::default(),
        })
    }

    /// Writes a model that has nothing to recompute as it is, for the reason `why`; `transform`: the
    /// pixels that it takes, if they are known.
    pub fn write_unchanged(
        &self,
        output: &'a Output,
        recognised: &Recognised,
        why: String,
        transform: Option<Value>,
    ) -> Result<Updated> {
        let Recognised { arch, frozen, program, .. } = recognised;
        let version = env!("CARGO_PKG_VERSION");
        let mut settings = json!({ "version": version, "images": 0, "frozen": frozen });
        if let Some(program) = program {
            settings["program"] = json!(program.record);
        }
        let mut record = Map::from_iter([("bn_update".to_string(), settings)]);
        record.extend(transform.map(|pixels| (TRANSFORM_KEY.to_string(), pixels)));
        bn_update::write_unchanged(self.checkpoint(), record, &self.target(output))?;
        Ok(Updated {
            model: self.checkpoint().path().to_path_buf(),
            output: output.path.clone(),
            arch: arch.clone(),
            program: program.clone(),
            unchanged: Some(why),
            settings: None,
            frozen: frozen.clone(),
            images: 0,
            batches: 0,
            stable: None,
            standard_error: None,
            skipped: vec![],
            layers: vec![],
            all: None,
            speed: None,
            seconds: 0.0,
            state: State::default(),
        })
    }

    /// The output that was asked for.
    pub fn output(&self) -> Option<&'a Output> {
        self.output
    }
}
