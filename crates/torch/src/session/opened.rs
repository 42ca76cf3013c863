//! Opening a session: device, data, models, pixels.

use std::sync::Arc;

use regex::Regex;
use serde_json::Value;
use swa_data::loader::Portion;
use swa_data::{ClassMap, Dataset, Loader, Order, Split, Transform};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result};
use tch::Device;

use super::models::{Load, check_classes, same};
use super::options::{Images, Options};
use super::{pixels, programs};
use crate::nn::{Candidates, Model, Setup, device};

/// Images per batch, unless the options say otherwise.
pub(super) const DEFAULT_BATCH: usize = 128;

/// Images of 224 × 224 pixels that keep a GPU busy.
const GPU_BATCH: usize = 256;

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

/// What a session is opened for.
pub(crate) struct Wanted<'a> {
    /// What models may be recognised as.
    pub candidates: Candidates,
    /// What they are for.
    pub purpose: Purpose,
    /// Batchnorm layers whose name matches keep their statistics.
    pub freeze: Option<&'a Regex>,
}

/// Everything that a pass over the data needs.
pub(crate) struct Session {
    /// In the order of their checkpoints.
    pub models: Vec<Model>,
    /// Its labels are outputs of the networks.
    pub dataset: Arc<dyn Dataset>,
    /// Which output stands for which class, if that was given.
    pub class_map: Option<ClassMap>,
    /// From an image to the pixels that networks take.
    pub transform: Transform,
    /// The transform for the metadata: the preset's name (`custom` if it was changed) and its fields.
    pub transform_record: Value,
    /// The training augmentation, for the metadata; null: the pixels of evaluation.
    pub augmentation: Value,
    /// Where networks run.
    pub device: Device,
    /// What models are loaded with.
    pub setup: Setup,
    /// How many of the models are on the device at a time. If not all, none is loaded: they run in groups
    /// (`evaluate::Groups`).
    pub at_once: usize,
    /// What models may be recognised as.
    pub(super) candidates: Candidates,
}

impl Session {
    /// Opens device, data and models, and reports what was chosen.
    ///
    /// # Errors
    /// `NoDevice`, `UnknownNetwork`, `Mismatch` if data and models do not go together, `OutOfMemory` if the
    /// device does not hold the models; those of reading.
    pub fn open(
        options: &Options,
        progress: &dyn Progress,
        checkpoints: &[Checkpoint],
        wanted: Wanted,
    ) -> Result<Self> {
        let session = Self::open_some(options, progress, checkpoints, wanted, usize::MAX)?;
        match session.at_once < session.models.len() {
            true => Err(Error::new(
                Kind::OutOfMemory,
                "the device's memory does not hold the models together",
            )
            .remedy("give fewer")),
            false => Ok(session),
        }
    }

    /// The same, with `at_once` models on the device at a time, or fewer if its memory runs out.
    pub fn open_some(
        options: &Options,
        progress: &dyn Progress,
        checkpoints: &[Checkpoint],
        wanted: Wanted,
        at_once: usize,
    ) -> Result<Self> {
        let Wanted { candidates, purpose, freeze } = wanted;
        let networks = &options.networks;
        if let Some(threads) = networks.threads {
            tch::set_num_threads(threads as i32);
        }
        let (device, line) = device::open(networks.device)?;
        networks.precision.check(device)?;
        progress.note(&line);
        let folded = purpose == Purpose::Evaluation;
        let setup = Setup { device, precision: networks.precision, folded };
        let (dataset, class_map) = options.images.open(purpose)?;
        progress.note(&format!("data: {}", dataset.describe()));
        let images = &options.images;
        let check =
            |model: &Model| check_classes(images, dataset.as_ref(), class_map.as_ref(), model);
        let load = Load { candidates: &candidates, freeze, setup, verify: !networks.no_verify };
        let (models, at_once) = load.all(checkpoints, at_once, progress, &check)?;
        if at_once < checkpoints.len() {
            progress.note(&format!(
                "{at_once} of the {} models are on the device at a time: they take turns",
                checkpoints.len()
            ));
        }
        let channels = same(checkpoints, &models, "input channels", |m| m.channels)?;
        let takes = programs::common(checkpoints, &models)?;
        let family = models.first().and_then(|m| m.preset);
        let family = family.filter(|_| models.iter().all(|m| m.preset == family));
        let (transform, transform_record) =
            pixels::transform(options, progress, checkpoints, family, channels, &takes)?;
        let training = transform.training;
        let augmentation = training.map_or(Value::Null, |training| training.record(transform.crop));
        let mut session = Session {
            models,
            dataset,
            class_map,
            transform,
            transform_record,
            augmentation,
            device,
            setup,
            at_once,
            candidates,
        };
        session.try_programs(images, checkpoints, progress, purpose)?;
        let classes = |m: &Model| m.classes.unwrap_or_default();
        same(checkpoints, &session.models, "classes", classes)?;
        Ok(session)
    }

    /// Images per batch if the result does not depend on it. On a GPU: as many as keep it busy, whether or not its
    /// memory holds them (`evaluate::AtATime` finds out).
    pub fn largest_batch(&self) -> usize {
        let random = self.transform.training.and_then(|training| training.size);
        match random.or(self.transform.crop) {
            _ if !self.device.is_cuda() => DEFAULT_BATCH,
            Some(side) => (GPU_BATCH * 224 * 224 / (side * side)).clamp(1, 8 * GPU_BATCH),
            None => GPU_BATCH,
        }
    }

    /// Loads some of the batches of an order of images.
    pub(crate) fn loader(
        &self,
        order: Vec<usize>,
        batch_size: usize,
        allow_bad: usize,
        portion: Portion,
    ) -> Result<Loader> {
        let (dataset, transform) = (self.dataset.clone(), self.transform.clone());
        Loader::of_portion(dataset, order, transform, batch_size, allow_bad, portion)
    }
}

impl Images {
    /// Opens the data; with a class map its labels are outputs.
    fn open(&self, purpose: Purpose) -> Result<(Arc<dyn Dataset>, Option<ClassMap>)> {
        let split = match purpose {
            Purpose::Statistics => Split::Train,
            Purpose::Evaluation | Purpose::Comparison => Split::HeldOut,
        };
        let options = swa_data::Options {
            split: self.split.unwrap_or(split),
            format: self.format,
            labels: self.labels.clone(),
            classes: self.classes.clone(),
        };
        let dataset: Arc<dyn Dataset> = options.open(&self.dir)?.into();
        match &self.class_map {
            None => Ok((dataset, None)),
            Some(path) => {
                let map = ClassMap::read(path, dataset.as_ref())?;
                Ok((map.apply(dataset)?, Some(map)))
            }
        }
    }

    /// Which images, in which order. Samples are drawn by the seed in either order.
    pub(crate) fn order(&self, dataset: &dyn Dataset, shuffle: bool) -> Vec<usize> {
        let n = self.samples.unwrap_or(usize::MAX).min(dataset.len());
        let mut order = Order::Shuffled { seed: self.seed }.indices(dataset.len());
        order.truncate(n);
        if !shuffle {
            order.sort_unstable();
        }
        order
    }
}
