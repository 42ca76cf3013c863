//! A training run, and the average beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use swa_data::{Classes, Dataset, Transform};
use swa_tools::checkpoint::{Checkpoint, digest};
use swa_tools::output::write_safetensors;
use swa_tools::text::marked;
use swa_tools::{Error, Kind, Progress, Result, Unit, look, setting};

use super::common::since;
use crate::nn::input::Input;
use crate::nn::{Model, Precision, Sizes, Takes, Trainable, initial};
use crate::parts;
use crate::session::{self, Purpose, check_classes, pixels, same_classes};
use crate::train::{
    self, Average, Data, EpochLine, Folder, STATE, Schedule, Sgd, State, SwaScore, TRUNK, Trainer,
    graft,
};

/// The weights at the end.
const LAST: &str = "last.safetensors";

/// What to train, on what, and how.
#[derive(Debug, Clone)]
pub struct Train {
    /// The folder of the run.
    pub run: PathBuf,
    /// Go on with the run that is there.
    pub resume: bool,
    /// Data, pixels and device. Of the images, `samples` is how many are used for training.
    pub session: session::Options,
    /// A folder of test images, where the data folder does not hold them.
    pub test: Option<PathBuf>,
    /// Validate on so many training images, drawn once for all seeds, and not on the test images.
    pub hold_out: usize,
    /// The weights to begin with; None: drawn by the seed as the authors' code does.
    pub init: Option<PathBuf>,
    /// Another run with the same settings except for the schedule: the epochs that both train alike are taken from it.
    pub trunk: Option<PathBuf>,
    /// Channels of the first stage, where the weights are drawn; None: the authors'.
    pub width: Option<usize>,
    /// The rate of each step, and which epochs leave a snapshot.
    pub schedule: Schedule,
    /// The momentum of the steps.
    pub momentum: f64,
    /// On every parameter.
    pub weight_decay: f64,
    /// Epochs from one validation to the next; the first and the last are always validated.
    pub eval_every: usize,
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Its folder.
    pub run: PathBuf,
    /// The architecture.
    pub arch: String,
    /// A line an epoch, those of before an interruption too.
    pub epochs: Vec<EpochLine>,
    /// The epochs whose weights were averaged, from 1.
    pub snapshots: Vec<usize>,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// Trains a network, and validates it and the average of its snapshots as it goes. Each epoch ends with a line of the
/// log (also a note to `progress`) and with a state to go on from.
///
/// # Errors
/// `Usage`, `OutputExists` and `Mismatch` for settings that contradict each other or the run that is there,
/// `NotFinite` if the loss is not; those of reading, of writing and of libtorch.
pub fn train(options: &Train, progress: &dyn Progress) -> Result<Trained> {
    let started = Instant::now();
    let networks = &options.session.networks;
    let (momentum, decay) = (options.momentum, options.weight_decay);
    if !(0.0..1.0).contains(&momentum) {
        let what = format!("{} {momentum}: expected 0 or more, below 1", setting!("momentum"));
        return Err(Error::usage(what));
    }
    if !(decay >= 0.0 && decay.is_finite()) {
        let what = format!("{} {decay}: expected 0 or more", setting!("wd"));
        return Err(Error::usage(what));
    }
    if options.width.is_some() && options.init.is_some() {
        progress.note(concat!(
            "note: ",
            setting!("width"),
            " is passed over: the network is that of ",
            setting!("init")
        ));
    }
    if options.test.is_some() && options.hold_out > 0 {
        progress.note(concat!(
            "note: ",
            setting!("test"),
            " is passed over: ",
            setting!("hold_out"),
            " says which images validate"
        ));
    }
    if let Some(why) = options.schedule.passes_over_swa_lr() {
        progress.note(&format!("note: {} is passed over: {why}", setting!("swa_lr")));
    }
    if networks.precision == Precision::Fp16 {
        let what = concat!(setting!("precision", "fp16"), ": small gradients would become 0");
        return Err(Error::usage(what).remedy("train in bf16, which has the range of fp32"));
    }
    // Before much is read.
    Folder::is_free(&options.run, options.resume)?;
    let device = networks.open_device(progress)?;
    let images = &options.session.images;
    let (training, _) = images.open(Purpose::Statistics)?;
    progress.note(&format!("data: {}", training.describe()));
    let test = match options.hold_out {
        0 => Some(test_images(options)?),
        _ => None,
    };
    if let Some(test) = &test
        && test.describe() == training.describe()
    {
        let what = "the images to validate on are the training images";
        return Err(Error::usage(what).at(&images.dir).remedy(concat!(
            "give others with ",
            setting!("test", "DIR"),
            ", or keep some back with ",
            setting!("hold_out", "N")
        )));
    }
    if let Some(test) = &test {
        let at = options.test.as_ref().unwrap_or(&images.dir);
        same_classes(training.as_ref(), test.as_ref(), at, options.init.is_some())?;
    }
    let given = options.init.as_ref().map(|path| Checkpoint::open_with(path, &networks.take));
    let given = given.transpose()?;
    let settings = {
        let of_data = |data: &Arc<dyn Dataset>| parts::of_data(data.as_ref(), progress);
        let init = given.as_ref().map(digest::of_checkpoint).transpose()?;
        let fields = json!({
            "init": init,
            "data": of_data(&training)?,
            "test": test.as_ref().map(of_data).transpose()?,
            "device": if device.is_cuda() { "gpu" } else { "cpu" },
        });
        settings(options, fields)
    };
    let folder = Folder::open(&options.run, &settings, options.resume)?;
    // What a graft that was interrupted left is written again.
    if folder.is_new && options.trunk.is_none() {
        folder.check_no_others(&State::default(), None)?;
    }
    let batch_size = images.batch_size.unwrap_or(128);
    if let Some(trunk) = options.trunk.as_ref().filter(|_| folder.is_new) {
        let steps = images
            .samples
            .unwrap_or(training.len().saturating_sub(options.hold_out))
            .div_ceil(batch_size);
        let epochs = graft(trunk, &folder, &settings, &options.schedule, steps)?;
        progress.note(&format!("the first {epochs} epochs are those of {}", trunk.display()));
    }
    let first = match given {
        Some(first) => first,
        None => drawn(options, &folder, training.as_ref())?,
    };
    let network = Trainable::load(&first, networks.arch.as_deref(), device, networks.precision)?;
    network.notes.iter().for_each(|note| progress.note(note));
    let remedy = "begin with weights that are finite";
    network.check_finite().map_err(|error| error.at(first.path()).remedy(remedy))?;
    for images_of in [Some(&training), test.as_ref()].into_iter().flatten() {
        check_classes(images, images_of.as_ref(), None, &network.model)?;
    }
    let transform = pixels(options, progress, &first, &network)?;
    let partition = (images.samples, options.hold_out);
    let data = Data::new(training, test, partition, &transform, batch_size)?;
    let input = Input::new(data.transform(), device)?;
    let sgd = Sgd::new(network.parameters(), options.momentum, options.weight_decay)?;
    let mut trainer = Trainer { network, sgd, input, seed: images.seed };
    folder.record(&settings)?;
    let lines = run(options, &folder, &data, &mut trainer, progress)?;
    let snapshots = (0..options.schedule.epochs()).filter(|&e| options.schedule.collects(e));
    Ok(Trained {
        run: options.run.clone(),
        arch: trainer.network.model.arch.clone(),
        epochs: lines,
        snapshots: snapshots.map(|epoch| epoch + 1).collect(),
        seconds: since(started),
    })
}

/// The pixels of evaluation, and the augmentation.
fn pixels(
    options: &Train,
    progress: &dyn Progress,
    first: &Checkpoint,
    network: &Trainable,
) -> Result<Transform> {
    let (family, channels) = (network.model.preset, network.model.channels);
    let (checkpoints, takes) = (std::slice::from_ref(first), Takes::default());
    let (transform, _) =
        pixels::transform(&options.session, progress, checkpoints, family, channels, &takes)?;
    Ok(transform)
}

/// All epochs that are left.
fn run(
    options: &Train,
    folder: &Folder,
    data: &Data,
    trainer: &mut Trainer,
    progress: &dyn Progress,
) -> Result<Vec<EpochLine>> {
    let state_file = folder.file(STATE);
    let kept = match folder.is_new && options.trunk.is_none() {
        true => None,
        false => State::restore(trainer, &state_file)?,
    };
    let mut state = kept.unwrap_or_default();
    let (schedule, seed) = (&options.schedule, options.session.images.seed);
    let epochs = schedule.epochs();
    let results = [folder.file(train::SWA), folder.file(train::SWA_BN)];
    let there = results.iter().map(|file| look::exists(file)).collect::<Result<Vec<_>>>()?;
    let lacks_average = !state.snapshots.is_empty() && there.contains(&false);
    let is_finished = state.epochs == epochs && !lacks_average;
    // A graft has checked them.
    if !folder.is_new {
        match folder.check_snapshots(&state.snapshots) {
            // Where everything is there, nothing is averaged any more, but for what others do with them.
            Err(error) if is_finished && error.kind() == Kind::Mismatch => {
                progress.note(&format!("note: {}", error.message(&marked)));
            }
            other => other?,
        }
    }
    let is_next = !folder.is_new && state.epochs < epochs && schedule.collects(state.epochs);
    folder.check_no_others(&state, is_next.then_some(state.epochs + 1))?;
    let mut lines = folder.truncate_log(state.epochs)?;
    if state.epochs > 0 {
        progress.note(&format!("resumed after epoch {}", state.epochs));
    }
    let (done, all) = (state.epochs * data.images(), epochs * data.images());
    progress.begin("training", all as u64, done as u64, Unit::Images);
    let (started, first) = (Instant::now(), state.epochs);
    while state.epochs < epochs {
        let epoch = state.epochs;
        let trained = trainer.epoch(data, schedule, epoch, progress)?;
        (state.epochs, state.steps) = (epoch + 1, state.steps + data.steps() as u64);
        let number = state.epochs;
        if schedule.collects(epoch) {
            write(trainer, &state, &folder.snapshot(number))?;
            state.snapshots.insert(number, folder.digest(number)?);
        }
        let validates = train::validates(number, epochs, options.eval_every);
        let model = match validates {
            true => {
                let validation = data.validation()?;
                let score = train::validate(&trainer.network.model, &trainer.input, validation);
                Some(score.map_err(|error| diverged(error, number))?)
            }
            false => None,
        };
        let averaged = lines.iter().rev().find_map(|line| line.swa).map_or(0, |swa| swa.snapshots);
        let swa = match validates && state.snapshots.len() > averaged {
            true => Some(averaged_now(folder, data, seed, trainer, &state)?),
            false => None,
        };
        let line = EpochLine {
            epoch: number,
            lr: trained.rate,
            train: trained.score,
            model,
            swa,
            images_per_second: trained.images_per_second,
        };
        if number == epochs {
            write(trainer, &state, &folder.file(LAST))?;
        }
        folder.log(&line)?;
        if schedule.level() == Some(number) {
            state.write(trainer, &folder.file(TRUNK))?;
        }
        state.write(trainer, &state_file)?;
        let left = since(started) / (number - first) as f64 * (epochs - number) as f64;
        progress.note(&line.text(epochs, left));
        lines.push(line);
    }
    // A finished run whose results were removed has them again.
    if !look::exists(&folder.file(LAST))? {
        write(trainer, &state, &folder.file(LAST))?;
    }
    if first == epochs && lacks_average {
        averaged_now(folder, data, seed, trainer, &state)?;
    }
    folder.remove_stale();
    progress.end();
    Ok(lines)
}

/// The average of the snapshots so far, written and validated.
fn averaged_now(
    folder: &Folder,
    data: &Data,
    seed: u64,
    trainer: &Trainer,
    state: &State,
) -> Result<SwaScore> {
    let Model { arch, precision, .. } = &trainer.network.model;
    let average = Average { folder, data, seed, precision: *precision, arch };
    let epochs: Vec<usize> = state.snapshots.keys().copied().collect();
    average.validated(&epochs, &trainer.input)
}

/// The error where a model that was finite while it was trained gives outputs that are not: none of a file.
fn diverged(error: Error, epoch: usize) -> Error {
    match error.kind() {
        Kind::NotFinite => {
            let what = format!("outputs are not finite after epoch {epoch}: the training diverged");
            Error::new(Kind::NotFinite, what)
                .remedy("train with a lower rate; what was written before stays")
        }
        _ => error,
    }
}

/// Writes the model as it is.
fn write(trainer: &Trainer, state: &State, path: &std::path::Path) -> Result<()> {
    let tensors = trainer.network.snapshot(state.steps as i64)?;
    write_safetensors(&tensors, &Default::default(), path, true)
}

/// The weights that the seed draws, as a file of the run.
fn drawn(options: &Train, folder: &Folder, dataset: &dyn Dataset) -> Result<Checkpoint> {
    let path = folder.snapshot(0);
    if folder.is_new || !look::exists(&path)? {
        let Some(arch) = &options.session.networks.arch else {
            return Err(Error::usage("which network?").remedy(concat!(
                "give ",
                setting!("arch"),
                ", or ",
                setting!("init"),
                " with weights to begin with"
            )));
        };
        let (Classes::Exactly(classes) | Classes::AtLeast(classes)) = dataset.classes();
        let channels = dataset.image(0)?.channels;
        let sizes = Sizes { width: options.width, channels, classes };
        let tensors = initial::initial(arch, &sizes, options.session.images.seed)?;
        write_safetensors(&tensors, &Default::default(), &path, true)?;
    }
    Checkpoint::open(&path)
}

fn test_images(options: &Train) -> Result<Arc<dyn Dataset>> {
    let mut images = options.session.images.clone();
    if let Some(test) = &options.test {
        images.dir = test.clone();
    }
    let opened = images.open(Purpose::Evaluation);
    let named = |error: Error| match (error.kind(), &options.test) {
        (Kind::Input, None) => error
            .remedy(concat!("name the folder of the test images with ", setting!("test", "DIR"))),
        _ => error,
    };
    Ok(opened.map_err(named)?.0)
}

/// What the files of a run depend on.
fn settings(options: &Train, found: Value) -> Value {
    let Train { session, schedule, .. } = options;
    let (images, networks, pixels) = (&session.images, &session.networks, &session.pixels);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "arch": networks.arch,
        "width": options.width,
        "init": found["init"],
        "data": found["data"],
        "test": found["test"],
        "device": found["device"],
        "samples": images.samples,
        "hold_out": options.hold_out,
        "batch_size": images.batch_size,
        "seed": images.seed,
        "augment": pixels.augment.map(swa_tools::Choice::name),
        "preset": pixels.preset,
        "resize": pixels.resize,
        "crop": pixels.crop,
        "mean": pixels.mean,
        "std": pixels.std,
        "interpolation": pixels.interpolation.map(swa_tools::Choice::name),
        "schedule": schedule.record(),
        "momentum": options.momentum,
        "weight_decay": options.weight_decay,
        "eval_every": options.eval_every,
        "precision": swa_tools::Choice::name(networks.precision),
        "threads": tch::get_num_threads(),
    })
}
