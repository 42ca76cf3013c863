//! What swa-bn-update reads and writes beside the pass itself: the model's file, and the report.

use std::path::Path;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::pace::Figures;
use super::take::{TakeArgs, say_taken};
use super::{Common, shell_word, table};
use crate::bn_update::{self, Movement, Outcome, StandardError, movements};
use swa_tools::checkpoint::Checkpoint;
use crate::nn::Recognised;
use crate::nn::batch_norm::Layer;
use swa_tools::output::{FileTarget, Format};
use swa_tools::{Result, TRANSFORM_KEY};

/// The model's file, and what is made of it.
pub struct ModelFile<'a> {
    /// One.
    pub checkpoints: [Checkpoint; 1],
    like: Option<Checkpoint>,
    output: Option<&'a Path>,
    force: bool,
}

impl<'a> ModelFile<'a> {
    /// `like`: the file that the output is to be a copy of.
    pub fn open(
        common: &Common,
        take: &TakeArgs,
        model: &Path,
        like: Option<&Path>,
        (output, force): (Option<&'a Path>, bool),
    ) -> Result<Self> {
        let checkpoints = [Checkpoint::open_with(model, &take.take())?];
        say_taken(common, &checkpoints);
        let like = like.map(|like| Checkpoint::open_with(like, &take.take())).transpose()?;
        Ok(ModelFile { checkpoints, like, output, force })
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoints[0]
    }

    /// The output, in the format that its name ends in, else the model's.
    fn target(&self, path: &'a Path) -> FileTarget<'_> {
        let own = match self.checkpoint().container().is_torch_file() {
            true => Format::Torch,
            false => Format::Safetensors,
        };
        let format = Format::of(path).unwrap_or(own);
        FileTarget { path, format, like: self.like.as_ref(), force: self.force }
    }

    /// Writes it with the statistics of a whole pass, and reports. Nothing where there is no output.
    pub fn write(&self, common: &Common, written: Written, started: Instant) -> Result<()> {
        let Some(path) = self.output else { return Ok(()) };
        let Written { layers, outcome, settings, transform, .. } = &written;
        let mut settings = settings.clone();
        settings["images"] = outcome.images.into();
        // Where it decided; shared and resumed passes, whose files are the same, do not know it.
        if written.stable.is_some() {
            settings["standard_error"] = written.standard_error();
        }
        let record = [("bn_update", settings), (TRANSFORM_KEY, transform.clone())];
        let record = record.map(|(key, value)| (key.to_string(), value)).into_iter().collect();
        bn_update::write(self.checkpoint(), layers, outcome, record, &self.target(path))?;
        written.report(common, self.checkpoint(), path, started)
    }

    /// Writes a model that has nothing to recompute as it is, for the reason `why`; `transform`: the
    /// pixels that it takes, where something says which.
    pub fn write_unchanged(
        &self,
        common: &Common,
        path: &'a Path,
        recognised: &Recognised,
        (why, transform): (&str, Option<Value>),
    ) -> Result<()> {
        let Recognised { arch, frozen, .. } = recognised;
        let version = env!("CARGO_PKG_VERSION");
        let settings = json!({ "version": version, "images": 0, "frozen": frozen });
        let mut record = Map::from_iter([("bn_update".to_string(), settings)]);
        record.extend(transform.map(|pixels| (TRANSFORM_KEY.to_string(), pixels)));
        bn_update::write_unchanged(self.checkpoint(), record, &self.target(path))?;
        common.json(json!({
            "output": path.display().to_string(),
            "arch": arch.name,
            "images": 0,
            "batches": 0,
            "frozen": frozen,
            "layers": [],
        }))?;
        let model = self.checkpoint().path().display();
        common.say(format!("`{model}` {why}: nothing to recompute"))?;
        common.say(format!("wrote {}: the same tensors", path.display()))?;
        common.say(format!("next: swa-eval {} --data DIR", shell_word(path)))
    }
}

/// What a whole pass came to.
pub struct Written<'a> {
    pub arch: &'a str,
    pub layers: &'a [Layer],
    pub outcome: Outcome,
    /// What is recorded of the pass.
    pub settings: Value,
    pub transform: Value,
    /// Images that were left out, one line each.
    pub skipped: Vec<String>,
    /// Whether the pass ended because of --until-stable, if that was given.
    pub stable: Option<bool>,
    pub figures: Option<Figures>,
}

impl Written<'_> {
    /// The largest standard error and its layer; null where it is not known.
    fn standard_error(&self) -> Value {
        self.outcome.standard_error.map_or(Value::Null, |StandardError { layer, error }| {
            // To six decimals: more are not known.
            let error = (error * 1e6).round() / 1e6;
            json!({ "largest": error, "layer": self.layers[layer].name })
        })
    }

    fn report(
        &self,
        common: &Common,
        checkpoint: &Checkpoint,
        target: &Path,
        started: Instant,
    ) -> Result<()> {
        let Written { arch, outcome, settings, skipped, figures, .. } = self;
        let seconds = started.elapsed().as_secs_f64();
        let (layers, all) = movements(checkpoint, self.layers, outcome);
        common.json(json!({
            "output": target.display().to_string(),
            "arch": arch,
            "method": outcome.method.name(),
            "images": outcome.images,
            "batches": outcome.batches,
            "noise": settings["noise"],
            "frozen": settings["frozen"],
            "augmentation": settings["augmentation"],
            "until_stable": settings["until_stable"],
            "stable": self.stable,
            "standard_error": self.standard_error(),
            "skipped": skipped,
            "precision": settings["precision"],
            "all": all,
            "layers": layers,
            "pace": figures.map(|figures| figures.json()),
            "seconds": seconds,
        }))?;
        let figures = figures.map_or(String::new(), |figures| format!("; {figures}"));
        common.say(format!(
            "wrote {}: statistics of {} batchnorm layers from {} images, {} batches ({}), in \
             {seconds:.1} s{figures}",
            target.display(),
            layers.len(),
            outcome.images,
            outcome.batches,
            outcome.method.name(),
        ))?;
        if let Some(line) = self.certain() {
            common.say(line)?;
        }
        common.say("how far the statistics moved (σ: the new standard deviation of a channel):")?;
        let header = ["layer", "channels", "mean, in σ", "σ new/old", "moved"];
        let rows = layers.iter().take(5).chain([&all]).map(row);
        common.say(table(&header, rows))?;
        common.say(format!("next: swa-eval {} --data DIR", shell_word(target)))
    }

    /// What the standard error says, against what was asked for.
    fn certain(&self) -> Option<String> {
        let images = self.outcome.images;
        let error = self.outcome.standard_error.map(|StandardError { layer, error }| {
            format!("standard error {error:.4} σ at most ({})", self.layers[layer].name)
        });
        let asked = &self.settings["until_stable"];
        match (self.stable, error) {
            (None, error) => error,
            (Some(true), error) => {
                Some(format!("stable after {images} images: {}", error.unwrap_or_default()))
            }
            (Some(false), error) => {
                let error = error.unwrap_or("one batch says nothing of the error".into());
                Some(format!(
                    "not stable: {error}; {asked} over {} batches or more was asked for, {images} \
                     images were all",
                    bn_update::MIN_BATCHES
                ))
            }
        }
    }
}

fn row(m: &Movement) -> Vec<String> {
    vec![
        m.layer.clone(),
        m.channels.to_string(),
        format!("{:.3}", m.mean_shift),
        format!("{:.3}", m.std_ratio),
        format!("{:.3}", m.moved),
    ]
}
