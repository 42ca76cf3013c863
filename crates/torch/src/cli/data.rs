//! What the two data tools share: the flags that say which pixels a network sees.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};
use tch::Device;

use super::Common;
use swa_tools::checkpoint::Checkpoint;
use swa_data::loader::Portion;
use swa_data::{
    Augmentation, ClassMap, Classes, Dataset, Format, Interpolation, Loader, Options, Order,
    PRESETS, Preset, Split, Training, Transform,
};
use crate::nn::device::{self, Choice};
use crate::nn::{Freeze, Model, Precision, Recognised, Setup, is_out_of_memory, models};
use swa_tools::{Error, Result, TRANSFORM_KEY};

#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// The data: a folder with a sub-folder of images a class, or of another kind of --format
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list_archs", "merge"], help_heading = "Data")]
    pub data: Option<PathBuf>,

    /// Which part, of a folder that holds both
    #[arg(long, value_enum, help_heading = "Data")]
    pub split: Option<Split>,

    /// What the folder holds [default: seen from its files]
    #[arg(long, value_enum, help_heading = "Data")]
    pub format: Option<Format>,

    /// The labels of images in one folder: lines of name and class [default: seen beside them]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub labels: Option<PathBuf>,

    /// All classes, where --labels does not hold them all: a list, or a folder of class folders
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub classes: Option<PathBuf>,

    /// Use only N images, drawn by --seed [default: all]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Data")]
    pub samples: Option<usize>,

    /// Seed of the order in which images are drawn, and of --transform train
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub seed: u64,

    /// Images a batch [default: 128; for swa-eval on a GPU as many as its memory holds, up to 256 of
    /// 224 × 224]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Data")]
    pub batch_size: Option<usize>,

    /// Leave out up to N images that cannot be read, instead of stopping at the first
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub allow_bad: usize,

    /// Which output of the network stands for which class of the data, where these are some of its
    /// classes or in another order: JSON (`label2id`, `id2label`, a list) or text
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub class_map: Option<PathBuf>,

    /// Resize, crop, mean and deviation in one word [default: the one recorded in the model, else
    /// `imagenet` for torchvision's families]
    #[arg(long, value_name = "NAME", help_heading = "Pixels")]
    pub preset: Option<String>,

    /// Resize the short side to N pixels (0: not at all)
    #[arg(long, value_name = "N", help_heading = "Pixels")]
    pub resize: Option<usize>,

    /// Crop the centre to N × N pixels (0: not at all). With --transform train of imagenet presets: the
    /// size of the random crop, and evaluation keeps its own
    #[arg(long, value_name = "N", help_heading = "Pixels")]
    pub crop: Option<usize>,

    /// Mean of each channel, of values from 0 to 1
    #[arg(long, value_name = "M,…", value_delimiter = ',', help_heading = "Pixels")]
    pub mean: Option<Vec<f32>>,

    /// Standard deviation of each channel
    #[arg(long, value_name = "S,…", value_delimiter = ',', help_heading = "Pixels")]
    pub std: Option<Vec<f32>>,

    /// How resizing interpolates
    #[arg(long, value_enum, help_heading = "Pixels")]
    pub interpolation: Option<Interpolation>,

    /// The pixels of evaluation, or those of training: crops and flips as the preset's networks are
    /// trained with, drawn by --seed
    #[arg(long, value_enum, default_value_t = Pixels::Eval, help_heading = "Pixels")]
    pub transform: Pixels,

    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t = Choice::Auto, help_heading = "Network")]
    pub device: Choice,

    /// What the network computes in; tf32 on NVIDIA GPUs alone
    #[arg(long, value_enum, default_value_t = Precision::Fp32, help_heading = "Network")]
    pub precision: Precision,

    /// The architecture [default: recognised from names and shapes]
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub arch: Option<String>,

    /// Do not compare models with the digests written into them
    #[arg(long, help_heading = "Network")]
    pub no_verify: bool,

    /// List the architectures that are known
    #[arg(long, exclusive = true, help_heading = "Network")]
    pub list_archs: bool,
}

/// Which pixels of an image a network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pixels {
    /// Resize, crop of the centre
    Eval,
    /// imagenet presets: random resized crop, flip; cifar presets: padding, random crop, flip; MNIST
    /// family: as eval
    Train,
}

pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a number from 1".into()),
    }
}

/// Prints the architectures.
pub fn list_archs() -> Result<()> {
    models::list().into_iter().try_for_each(super::print)
}

/// What a session's models are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Collecting statistics: every batchnorm layer stays one.
    Statistics,
    /// Evaluation alone: batchnorm is folded into convolutions.
    Evaluation,
    /// Evaluation by several statistics: every batchnorm layer stays one.
    Comparison,
}

/// Images a batch, unless said or found otherwise.
pub const DEFAULT_BATCH: usize = 128;

/// Images of 224 × 224 that are enough to keep a GPU busy.
const GPU_BATCH: usize = 256;

/// Everything that a pass over the data needs.
pub struct Session {
    pub models: Vec<Model>,
    /// Labels are outputs of the network.
    pub dataset: Arc<dyn Dataset>,
    pub class_map: Option<ClassMap>,
    pub transform: Transform,
    /// The preset's name, where the transform is one, and the transform: for the metadata.
    pub transform_record: Value,
    /// The training augmentation, for the metadata; null: the pixels of evaluation.
    pub augmentation: Value,
    pub device: Device,
    /// What models are loaded with.
    pub setup: Setup,
    /// How many of the models are on the device at a time. If not all, none is loaded: they take turns
    /// ([`crate::evaluate::Turns`]).
    pub at_once: usize,
}

impl Session {
    /// Images a batch where the result does not depend on it. On a GPU: as many as keep it busy, in
    /// the hope that its memory holds them ([`crate::evaluate::AtATime`]).
    pub fn largest_batch(&self) -> usize {
        let random = self.transform.training.and_then(|training| training.size);
        match random.or(self.transform.crop) {
            _ if !self.device.is_cuda() => DEFAULT_BATCH,
            Some(side) => (GPU_BATCH * 224 * 224 / (side * side)).clamp(1, 8 * GPU_BATCH),
            None => GPU_BATCH,
        }
    }
}

impl DataArgs {
    /// Opens device, data and models; says what was chosen. `freeze`: names of batchnorm layers that
    /// keep their statistics.
    pub fn open(
        &self,
        common: &Common,
        checkpoints: &[Checkpoint],
        purpose: Purpose,
        freeze: Option<&Regex>,
    ) -> Result<Session> {
        let session = self.open_some(common, checkpoints, purpose, freeze, usize::MAX)?;
        match session.at_once < session.models.len() {
            true => Err(Error::limit("the device's memory does not hold the models together")
                .remedy("give fewer")),
            false => Ok(session),
        }
    }

    /// The same, with so many models on the device at a time, or fewer where its memory ends.
    pub fn open_some(
        &self,
        common: &Common,
        checkpoints: &[Checkpoint],
        purpose: Purpose,
        freeze: Option<&Regex>,
        at_once: usize,
    ) -> Result<Session> {
        let dir = self.data.as_deref().ok_or_else(|| Error::usage("--data is missing"))?;
        if let Some(threads) = common.threads {
            tch::set_num_threads(threads.into());
        }
        let (device, line) = device::open(self.device)?;
        self.precision.check(device)?;
        common.note(line);
        let folded = purpose == Purpose::Evaluation;
        let setup = Setup { device, precision: self.precision, folded };
        let statistics = purpose == Purpose::Statistics;
        let default_split = if statistics { Split::Train } else { Split::HeldOut };
        let options = Options {
            split: self.split.unwrap_or(default_split),
            format: self.format,
            labels: self.labels.clone(),
            classes: self.classes.clone(),
        };
        let mut dataset: Arc<dyn Dataset> = options.open(dir)?.into();
        let map = self.class_map.as_deref();
        let class_map = map.map(|path| ClassMap::read(path, dataset.as_ref())).transpose()?;
        if let Some(map) = &class_map {
            dataset = map.apply(dataset)?;
        }
        common.note(format!("data: {}", dataset.describe()));
        let mut at_once = at_once.min(checkpoints.len());
        let mut models: Vec<Model> = Vec::with_capacity(checkpoints.len());
        for checkpoint in checkpoints {
            if !self.no_verify {
                checkpoint.verify(&|_| {})?;
            }
            let mut model = match self.load(checkpoint, freeze, setup) {
                // Half of those that fitted: the images need room as well.
                Err(error) if is_out_of_memory(&error) && !models.is_empty() => {
                    at_once = (models.len() / 2).max(1);
                    models.iter_mut().for_each(Model::unload);
                    self.load(checkpoint, freeze, setup)?
                }
                loaded => loaded?,
            };
            if at_once < checkpoints.len() {
                model.unload();
            }
            checkpoint.check_unchanged()?;
            match &class_map {
                Some(map) => map.check(model.classes, checkpoint.path())?,
                None => check_classes(dir, dataset.as_ref(), &model, checkpoint.path())?,
            }
            models.push(model);
        }
        if at_once < checkpoints.len() {
            common.note(format!(
                "{at_once} of the {} models are on the device at a time: they take turns",
                checkpoints.len()
            ));
        }
        let channels = same(checkpoints, &models, "input channels", |m| m.channels)?;
        same(checkpoints, &models, "classes", |m| m.classes)?;
        let family = models.first().and_then(|m| m.preset);
        let family = family.filter(|_| models.iter().all(|m| m.preset == family));
        let (transform, transform_record) =
            self.transform(common, checkpoints, family, channels)?;
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

    /// Recognises a model and loads its weights.
    pub fn load(
        &self,
        checkpoint: &Checkpoint,
        freeze: Option<&Regex>,
        setup: Setup,
    ) -> Result<Model> {
        let freeze = Freeze::new(checkpoint, freeze);
        Recognised::of(checkpoint, self.arch.as_deref(), &freeze)?.load(setup)
    }

    /// The transform and its record: flags over the preset named, over the one recorded, over the
    /// family's.
    pub fn transform(
        &self,
        common: &Common,
        checkpoints: &[Checkpoint],
        family: Option<&str>,
        channels: usize,
    ) -> Result<(Transform, Value)> {
        let mut recorded: Vec<(Value, &Path)> = Vec::new();
        for checkpoint in checkpoints {
            if let Some(record) = checkpoint.provenance().remove(TRANSFORM_KEY)
                && recorded.iter().all(|(other, _)| *other != record)
            {
                recorded.push((record, checkpoint.path()));
            }
        }
        let (mut transform, mut name, origin) = if let Some(name) = &self.preset {
            (Preset::named(name)?.transform(channels)?, name.clone(), "")
        } else if recorded.len() == 1 {
            let (record, path) = recorded.remove(0);
            let name = record["preset"].as_str().unwrap_or("custom").to_string();
            let transform: Transform = serde_json::from_value(record).map_err(|e| {
                Error::input(format!("the transform recorded in its metadata is not readable: {e}"))
                    .at(path)
                    .remedy("give --preset")
            })?;
            if transform.channels != channels {
                return Err(Error::input(format!(
                    "the transform recorded in its metadata is for {} channel(s), the network takes {channels}",
                    transform.channels
                ))
                .at(path)
                .remedy("give --preset"));
            }
            (transform, name, " (recorded in the model)")
        } else if recorded.is_empty()
            && let Some(name) = family
        {
            (Preset::named(name)?.transform(channels)?, name.to_string(), " (the family's)")
        } else if self.mean.is_some() && self.std.is_some() && recorded.is_empty() {
            (Preset::named("none")?.transform(channels)?, "none".into(), "")
        } else {
            let what = match recorded.len() {
                0 => {
                    "which pixels does the model take? neither --preset nor a record in it says so"
                }
                _ => "the models were made with different transforms, and --preset does not choose",
            };
            return Err(Error::usage(what).remedy(format!(
                "give --preset, one of {}",
                Preset::names().collect::<Vec<_>>().join(", ")
            )));
        };
        if self.transform == Pixels::Train {
            transform.training = Some(self.training(&name)?);
        }
        let some = |n: usize| (n > 0).then_some(n);
        transform.resize = self.resize.map_or(transform.resize, some);
        let random = transform.training.as_mut();
        let random = random.filter(|training| training.augmentation == Augmentation::ResizedCrop);
        let crop = match (random, self.crop) {
            // What evaluation sees stays what it is.
            (Some(training), Some(side @ 1..)) => {
                training.size = Some(side);
                None
            }
            (_, crop) => crop,
        };
        transform.crop = crop.map_or(transform.crop, some);
        transform.interpolation = self.interpolation.unwrap_or(transform.interpolation);
        transform.mean = self.mean.clone().unwrap_or(transform.mean);
        transform.std = self.std.clone().unwrap_or(transform.std);
        let sizes = self.resize.is_some() || crop.is_some();
        if sizes || self.mean.is_some() || self.std.is_some() || self.interpolation.is_some() {
            name = "custom".into();
        }
        transform.validate()?;
        let training = transform.training.map_or(String::new(), |training| format!(", {training}"));
        common.note(format!("pixels: preset {name}{origin}{training}"));
        let mut record = json!({ "preset": name });
        let fields = serde_json::to_value(&transform).unwrap_or_default();
        if let (Some(record), Value::Object(fields)) = (record.as_object_mut(), fields) {
            record.extend(fields);
        }
        Ok((transform, record))
    }

    /// What the networks of a preset are trained with.
    fn training(&self, preset: &str) -> Result<Training> {
        let known = PRESETS.iter().find(|known| known.name == preset);
        let augmentation = known.and_then(|preset| preset.augmentation).ok_or_else(|| {
            let what = format!("--transform train: no augmentation is known for preset {preset}");
            Error::usage(what).remedy(
                "give --preset imagenet (random resized crop) or cifar10 (padding, random crop), \
                 and --resize, --crop, --mean, --std where they differ",
            )
        })?;
        Ok(Training { augmentation, seed: self.seed, size: None })
    }

    /// Which images, in which order. `--samples` draws by the seed in either order.
    pub fn order(&self, dataset: &dyn Dataset, shuffle: bool) -> Vec<usize> {
        let n = self.samples.unwrap_or(usize::MAX).min(dataset.len());
        let mut order = Order::Shuffled { seed: self.seed }.indices(dataset.len());
        order.truncate(n);
        if !shuffle {
            order.sort_unstable();
        }
        order
    }

    /// `batch_size`: that of [`DataArgs::batch_size`] or what takes its place.
    pub fn loader(
        &self,
        session: &Session,
        order: Vec<usize>,
        batch_size: usize,
    ) -> Result<Loader> {
        self.loader_of(session, order, batch_size, Portion::ALL)
    }

    /// The same for some of the batches.
    pub fn loader_of(
        &self,
        session: &Session,
        order: Vec<usize>,
        batch_size: usize,
        portion: Portion,
    ) -> Result<Loader> {
        let (dataset, transform) = (session.dataset.clone(), session.transform.clone());
        Loader::of_portion(dataset, order, transform, batch_size, self.allow_bad, portion)
    }
}

/// Says which images were left out.
pub fn report_bad(common: &Common, bad: &[String]) {
    if !bad.is_empty() {
        common.note(format!("warning: {} image(s) left out:", bad.len()));
        bad.iter().for_each(|line| common.note(format!("  {line}")));
    }
}

fn check_classes(dir: &Path, dataset: &dyn Dataset, model: &Model, path: &Path) -> Result<()> {
    let (fits, found) = match dataset.classes() {
        Classes::Exactly(n) => (n == model.classes, n.to_string()),
        Classes::AtLeast(n) => (n <= model.classes, format!("at least {n}")),
    };
    if fits {
        return Ok(());
    }
    Err(Error::input(format!(
        "the data has {found} classes, the head of `{}` has {}",
        path.display(),
        model.classes
    ))
    .at(dir)
    .remedy(
        "give the data that the model was trained for, or say with --class-map which class is \
         which output",
    ))
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
        Some((model, checkpoint)) => Err(Error::input(format!(
            "has {} {what}, `{}` has {first}",
            of(model),
            checkpoints[0].path().display()
        ))
        .at(checkpoint.path())
        .remedy("evaluate them one by one")),
    }
}
