//! Opening a session: device, data, models, pixels.

use std::sync::Arc;

use serde_json::Value;
use swa_data::loader::Portion;
use swa_data::{ClassMap, Dataset, Loader, Transform};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result};
use tch::Device;

use super::models::{Load, check_classes, same};
use super::options::{Networks, Options};
use super::pixels;
use super::purpose::Wanted;
use super::trial::{Trial, common};
use crate::nn::{Candidates, Model, Setup, device};

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
    candidates: Candidates,
}

impl Networks {
    /// The device, ready for what networks compute in, with as many threads as asked for.
    ///
    /// # Errors
    /// `NoDevice` if it is not there; `Usage` if it cannot compute in this precision.
    pub(crate) fn open_device(&self, progress: &dyn Progress) -> Result<Device> {
        if let Some(threads) = self.threads {
            tch::set_num_threads(threads as i32);
        }
        let (device, line) = device::open(self.device)?;
        self.precision.check(device)?;
        progress.note(&line);
        Ok(device)
    }
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
        let device = networks.open_device(progress)?;
        let folded = purpose.folds();
        let setup = Setup { device, precision: networks.precision, folded, trainable: false };
        let (dataset, class_map) = options.images.open(purpose)?;
        progress.note(&format!("data: {}", dataset.describe()));
        let images = &options.images;
        let check =
            |model: &Model| check_classes(images, dataset.as_ref(), class_map.as_ref(), model);
        let load = Load { candidates: &candidates, freeze, setup, verify: !networks.no_verify };
        let (mut models, at_once) = load.all(checkpoints, at_once, progress, &check)?;
        if at_once < checkpoints.len() {
            progress.note(&format!(
                "{at_once} of the {} models are on the device at a time: they take turns",
                checkpoints.len()
            ));
        }
        let channels = same(checkpoints, &models, "input channels", |m| m.channels)?;
        let takes = common(checkpoints, &models)?;
        let family = models.first().and_then(|m| m.preset);
        let family = family.filter(|_| models.iter().all(|m| m.preset == family));
        let (transform, transform_record) =
            pixels::transform(options, progress, checkpoints, family, channels, &takes)?;
        let training = transform.training;
        let augmentation = training.map_or(Value::Null, |training| training.record(transform.crop));
        let trial = Trial {
            images,
            dataset: &dataset,
            class_map: class_map.as_ref(),
            transform: &transform,
            load: &load,
            unloaded: at_once < models.len(),
            purpose,
            progress,
        };
        trial.of(&mut models, checkpoints)?;
        same(checkpoints, &models, "classes", |m| m.classes.unwrap_or_default())?;
        Ok(Session {
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
        })
    }

    /// A model of the session loaded again, with what is known of it.
    pub(crate) fn load(&self, i: usize, checkpoint: &Checkpoint) -> Result<Model> {
        let (candidates, setup) = (&self.candidates, self.setup);
        let load = Load { candidates, freeze: None, setup, verify: false };
        load.again(checkpoint, &self.models[i])
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
