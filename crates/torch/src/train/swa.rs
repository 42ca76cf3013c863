//! The average beside the model: of the snapshots so far, with its batchnorm statistics recomputed.

use std::path::PathBuf;

use serde_json::Map;

use swa_base::{Result, Silent};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::jobs::{self, Average as Job, Output};
use swa_tools::output::{FileTarget, Format};

use super::data::Data;
use super::epoch::validate;
use super::folder::Folder;
use super::log::SwaScore;
use super::seeds;
use crate::bn_update::{self, Method};
use crate::nn::input::Input;
use crate::nn::{Model, Precision, Setup};

/// The average, and the same with its statistics recomputed.
pub(crate) const SWA: &str = "swa.safetensors";
pub(crate) const SWA_BN: &str = "swa_bn.safetensors";

/// The average of a run's snapshots.
pub(crate) struct Average<'a> {
    pub folder: &'a Folder,
    pub data: &'a Data,
    pub seed: u64,
    /// What it is validated in.
    pub precision: Precision,
    /// The architecture by name.
    pub arch: &'a str,
}

impl Average<'_> {
    /// Averages the snapshots of these epochs, as swa-avg does it, recomputes the statistics on the training images
    /// and their augmentation (the authors' way: `weighted`), and validates. Both files are replaced.
    ///
    /// # Errors
    /// Those of averaging, recomputing and evaluating.
    pub fn validated(&self, epochs: &[usize], input: &Input) -> Result<SwaScore> {
        let plain = self.folder.file(SWA);
        let average = Job {
            checkpoints: epochs.iter().map(|&epoch| self.folder.snapshot(epoch)).collect(),
            outputs: vec![Output { path: plain.clone(), ..Output::default() }],
            force: true,
            ..Job::default()
        };
        jobs::average(&average, &Silent)?;
        let checkpoint = Checkpoint::open(&plain)?;
        let setup = |folded| Setup {
            device: input.device(),
            precision: self.precision,
            folded,
            trainable: false,
        };
        let model = Model::load(&checkpoint, Some(self.arch), setup(false))?;
        let path = self.with_statistics(&checkpoint, &model, input)?;
        drop(model);
        let model = Model::load(&Checkpoint::open(&path)?, Some(self.arch), setup(true))?;
        let score = validate(&model, input, self.data.validation()?)?;
        Ok(SwaScore { snapshots: epochs.len(), loss: score.loss, accuracy: score.accuracy })
    }

    fn with_statistics(
        &self,
        average: &Checkpoint,
        model: &Model,
        input: &Input,
    ) -> Result<PathBuf> {
        let path = self.folder.file(SWA_BN);
        let target =
            FileTarget { path: &path, format: Format::Safetensors, like: None, force: true };
        if model.batchnorms.is_empty() {
            bn_update::write_unchanged(average, Map::new(), &target)?;
            return Ok(path);
        }
        let seed = seeds::of_run(self.seed);
        let batches = self.data.training(seed)?;
        let outcome = bn_update::run(model, input, batches, Method::Weighted, Some(seed))?;
        bn_update::write(average, &model.batchnorms, &outcome, Map::new(), &target)?;
        Ok(path)
    }
}
