//! Opening a session: device, data, models, pixels.

use std::path::Path;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;
use swa_data::loader::Portion;
use swa_data::{ClassMap, Classes, Dataset, Loader, Order, Split, Transform};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result, setting};
use tch::Device;

use super::options::{Images, Networks, Options};
use super::pixels;
use crate::nn::{Freeze, Model, Recognised, Setup, device};

/// Images per batch, unless the options say otherwise.
pub(crate) const DEFAULT_BATCH: usize = 128;

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
}

impl Session {
    /// Opens device, data and models, and reports what was chosen. Batchnorm layers whose name matches `freeze`
    /// keep their statistics.
    ///
    /// # Errors
    /// `NoDevice`, `UnknownNetwork`, `Mismatch` if data and models do not go together, `OutOfMemory` if the
    /// device does not hold the models; those of reading.
    pub fn open(
        options: &Options,
        progress: &dyn Progress,
        checkpoints: &[Checkpoint],
        purpose: Purpose,
        freeze: Option<&Regex>,
    ) -> Result<Self> {
        let session = Self::open_some(options, progress, checkpoints, purpose, freeze, usize::MAX)?;
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
        purpose: Purpose,
        freeze: Option<&Regex>,
        at_once: usize,
    ) -> Result<Self> {
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
        let loaded =
            load_all(options, checkpoints, freeze, setup, at_once, &|checkpoint, model| {
                match &class_map {
                    Some(map) => map.check(model.classes, checkpoint.path()),
                    None => check_classes(&options.images.dir, dataset.as_ref(), model),
                }
            });
        let (models, at_once) = loaded?;
        if at_once < checkpoints.len() {
            progress.note(&format!(
                "{at_once} of the {} models are on the device at a time: they take turns",
                checkpoints.len()
            ));
        }
        let channels = same(checkpoints, &models, "input channels", |m| m.channels)?;
        same(checkpoints, &models, "classes", |m| m.classes)?;
        let family = models.first().and_then(|m| m.preset);
        let family = family.filter(|_| models.iter().all(|m| m.preset == family));
        let (transform, transform_record) =
            pixels::transform(options, progress, checkpoints, family, channels)?;
        let training = transform.training;
        let augmentation = training.map_or(Value::Null, |training| training.record(transform.crop));
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
        })
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

impl Networks {
    /// Recognises a model and loads its weights.
    pub(crate) fn load(
        &self,
        checkpoint: &Checkpoint,
        freeze: Option<&Regex>,
        setup: Setup,
    ) -> Result<Model> {
        let freeze = Freeze::new(checkpoint, freeze);
        Recognised::of(checkpoint, self.arch.as_deref(), &freeze)?.load(setup)
    }
}

/// Loads and checks the models. Also returns how many fit on the device at a time.
fn load_all(
    options: &Options,
    checkpoints: &[Checkpoint],
    freeze: Option<&Regex>,
    setup: Setup,
    at_once: usize,
    check: &dyn Fn(&Checkpoint, &Model) -> Result<()>,
) -> Result<(Vec<Model>, usize)> {
    let networks = &options.networks;
    let mut at_once = at_once.min(checkpoints.len());
    let mut models: Vec<Model> = Vec::with_capacity(checkpoints.len());
    for checkpoint in checkpoints {
        if !networks.no_verify {
            checkpoint.verify(&|_| {})?;
        }
        let mut model = match networks.load(checkpoint, freeze, setup) {
            // Half of those that fitted: images need memory as well.
            Err(error) if error.kind() == Kind::OutOfMemory && !models.is_empty() => {
                at_once = (models.len() / 2).max(1);
                models.iter_mut().for_each(Model::unload);
                networks.load(checkpoint, freeze, setup)?
            }
            loaded => loaded?,
        };
        if at_once < checkpoints.len() {
            model.unload();
        }
        checkpoint.check_unchanged()?;
        check(checkpoint, &model)?;
        models.push(model);
    }
    Ok((models, at_once))
}

fn check_classes(dir: &Path, dataset: &dyn Dataset, model: &Model) -> Result<()> {
    let (fits, found) = match dataset.classes() {
        Classes::Exactly(n) => (n == model.classes, n.to_string()),
        Classes::AtLeast(n) => (n <= model.classes, format!("at least {n}")),
    };
    if fits {
        return Ok(());
    }
    let (path, heads) = (model.path.display(), model.classes);
    let what = format!("the data has {found} classes, the head of `{path}` has {heads}");
    Err(Error::new(Kind::Mismatch, what).at(dir).remedy(concat!(
        "give the data that the model was trained for, or say with ",
        setting!("class_map"),
        " which class is which output"
    )))
}

/// What all models must have in common to share a pass.
fn same(
    checkpoints: &[Checkpoint],
    models: &[Model],
    what: &str,
    of: fn(&Model) -> usize,
) -> Result<usize> {
    let first = models.first().map_or(0, of);
    match models.iter().zip(checkpoints).find(|(model, _)| of(model) != first) {
        None => Ok(first),
        Some((model, checkpoint)) => {
            let other = checkpoints[0].path().display();
            let what = format!("has {} {what}, `{other}` has {first}", of(model));
            Err(Error::new(Kind::Mismatch, what)
                .at(checkpoint.path())
                .remedy("evaluate them one by one"))
        }
    }
}
