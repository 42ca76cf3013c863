//! One model with batchnorm statistics of several origins: those averaged, those kept from the last checkpoint,
//! those that each method recomputes.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use serde_json::Value;
use swa_data::loader::Portion;
use swa_data::{Batch, ClassMap, Loader, Transform};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Choice, Error, Kind, Progress, Result, Unit, setting};

use super::common::{note_skipped, open, since};
use super::evaluated::Row;
use super::held::Training;
use crate::bn_update::{
    Accumulator, Method, Statistics, accumulator, collect, distance, finish, layerwise,
};
use crate::evaluate::{self, AtATime, CollectOptions, Collector, Record};
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{Candidates, Freeze, Layer, Model, Recognised, UsedProgram};
use crate::session::{self, Purpose, Session, Wanted};
use swa_base::text::marked;

/// Options of [`compare_stats()`]: which model, which data, and what to compute statistics from.
#[derive(Debug, Clone)]
pub struct CompareStats {
    /// A checkpoint file, or a folder that holds a model.
    pub model: PathBuf,
    /// The data to evaluate on, pixels, device.
    pub data: session::Options,
    /// Outputs that stand for no class of the data do not compete.
    pub class_map_restrict: bool,
    /// The folder of training images that statistics are computed from.
    pub bn_data: PathBuf,
    /// How many of them, drawn by the seed.
    pub bn_samples: usize,
    /// The last checkpoint, whose statistics might have been kept.
    pub last: Option<PathBuf>,
    /// Bytes of host memory for the layerwise method; None: half of what is free.
    pub memory: Option<u64>,
}

/// The outcome of [`compare_stats()`]: how the model does with each of the statistics.
pub struct Compared {
    /// The model.
    pub model: PathBuf,
    /// The averaged statistics first.
    pub origins: Vec<Origin>,
    /// The figures, a row for each origin.
    pub rows: Vec<Row>,
    /// Training images that statistics were computed from.
    pub bn_images: usize,
    /// Batches of them.
    pub bn_batches: usize,
    /// Images per batch.
    pub batch_size: usize,
    /// The program that the model runs, if it is one.
    pub program: Option<Rc<UsedProgram>>,
    /// From an image to the pixels that the model takes, as it is recorded in models.
    pub transform: Value,
    /// The training augmentation of the statistics' images; null: the pixels of evaluation.
    pub augmentation: Value,
    /// The images that were left out of the evaluation, a line each.
    pub skipped: Vec<String>,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// Statistics, and how the model does with them.
#[derive(Debug, Clone)]
pub struct Origin {
    /// `averaged`, `kept`, or the name of a method.
    pub name: &'static str,
    /// How far they are from the averaged ones, in standard deviations of a channel.
    pub moved: f64,
    /// The mean difference in nll to the averaged ones, paired by image, and its standard error.
    pub nll: (f64, f64),
}

/// What recomputing did to the negative log-likelihood, at 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It fell.
    Helps,
    /// It rose.
    DoesNotHelp,
    /// Neither is certain.
    NoCertainDifference,
}

impl Compared {
    /// The method with the least nll, and what it did.
    pub fn best(&self) -> (&Origin, Verdict) {
        let recomputed = self.origins.iter().filter(|origin| Method::named(origin.name).is_some());
        let best = recomputed.min_by(|a, b| a.nll.0.total_cmp(&b.nll.0));
        let best = best.expect("every method was tried");
        let (difference, error) = best.nll;
        // Two standard errors: about 95 %.
        let verdict = match difference {
            d if d < -2.0 * error => Verdict::Helps,
            d if d > 2.0 * error => Verdict::DoesNotHelp,
            _ => Verdict::NoCertainDifference,
        };
        (best, verdict)
    }
}

/// Statistics by the name of where they come from.
type Origins = Vec<(&'static str, Vec<Statistics>)>;

/// Evaluates the model with each of the statistics, in one pass over the data.
///
/// # Errors
/// `NoDevice`, `UnknownNetwork`, `Mismatch` if data and model do not go together or the last checkpoint is of another
/// network, `BadImage`, `NotFinite`, `Limit` if the training images do not fit in memory, `OutOfMemory`; those of
/// reading.
pub fn compare_stats(options: &CompareStats, progress: &dyn Progress) -> Result<Compared> {
    let started = Instant::now();
    let checkpoints = open(std::slice::from_ref(&options.model), &options.data, progress)?;
    let checkpoint = &checkpoints[0];
    let take = &options.data.networks.take;
    let last = options.last.as_ref().map(|path| Checkpoint::open_with(path, take)).transpose()?;
    let purpose = Purpose::Comparison;
    let candidates = options.data.networks.candidates(purpose)?;
    let wanted = Wanted { candidates: candidates.clone(), purpose, freeze: None };
    let session = Session::open(&options.data, progress, &checkpoints, wanted)?;
    let model = &session.models[0];
    let outputs = model.classes.expect("a session for a comparison has logits");
    let input = Input::new(&session.transform, session.device)?;
    let mut origins = vec![("averaged", statistics_in(checkpoint, &model.batchnorms)?)];
    match &last {
        Some(last) => {
            let verify = !options.data.networks.no_verify;
            origins.push(("kept", kept(last, model, &candidates, verify)?));
        }
        None => progress.note(concat!(
            "kept statistics are left out: ",
            setting!("last"),
            " FILE names the last checkpoint"
        )),
    }
    let budget = Budget::asked(options.memory);
    let (dir, samples) = (&options.bn_data, options.bn_samples);
    let training = Training::open(dir, samples, &options.data, &session, &budget, progress)?;
    let (batches, batch_size) = (training.batches(), training.batch_size());
    origins.extend(recomputed(model, &input, batches, &budget, progress)?);
    let (records, skipped) =
        options.evaluate(&session, &input, &origins, (batch_size, outputs), progress)?;
    let names: Vec<String> = origins.iter().map(|(name, _)| name.to_string()).collect();
    let origin = |(i, (name, statistics)): (usize, &(&'static str, Vec<Statistics>))| Origin {
        name,
        moved: distance(&origins[0].1, statistics),
        nll: paired(&records[0], &records[i]),
    };
    Ok(Compared {
        model: options.model.clone(),
        origins: origins.iter().enumerate().map(origin).collect(),
        rows: Row::all(&names, records.iter()),
        bn_images: batches.iter().map(|batch| batch.n).sum(),
        bn_batches: batches.len(),
        batch_size,
        program: model.program.clone(),
        transform: session.transform_record.clone(),
        augmentation: session.augmentation.clone(),
        skipped,
        seconds: since(started),
    })
}

/// The statistics in a model's own file.
fn statistics_in(checkpoint: &Checkpoint, layers: &[Layer]) -> Result<Vec<Statistics>> {
    let of = |layer: &Layer| Statistics::of(checkpoint, layer);
    let all: Option<Vec<Statistics>> = layers.iter().map(of).collect();
    all.filter(|all| !all.is_empty()).ok_or_else(|| {
        Error::input("has no batchnorm layer: there are no statistics to compare")
            .at(checkpoint.path())
    })
}

/// The statistics of the last checkpoint, which must be of the same network.
fn kept(
    last: &Checkpoint,
    model: &Model,
    candidates: &Candidates,
    verify: bool,
) -> Result<Vec<Statistics>> {
    if verify {
        last.verify(&|_| {})?;
    }
    let freeze = Freeze::new(last, None);
    let other = Recognised::of(last, candidates, &freeze)?;
    let channels = |layers: &[Layer]| layers.iter().map(|l| l.channels).collect::<Vec<_>>();
    let (own, found) = (&model.batchnorms, &other.batchnorms);
    if other.arch != model.arch || channels(found) != channels(own) {
        let of = |arch: &str, n: usize| format!("{arch} with {n} layers to recompute");
        let (found, own) = (of(&other.arch, found.len()), of(&model.arch, own.len()));
        let what = format!("is of another network, {found}; the model is {own}");
        return Err(Error::new(Kind::Mismatch, what).at(last.path()));
    }
    let statistics = statistics_in(last, &other.batchnorms)?;
    last.check_unchanged()?;
    Ok(statistics)
}

impl CompareStats {
    /// The model's outcomes with each of the statistics, and the images that were left out. So many images are in a
    /// batch, and so many outputs are the logits.
    fn evaluate(
        &self,
        session: &Session,
        input: &Input,
        origins: &Origins,
        (batch_size, outputs): (usize, usize),
        progress: &dyn Progress,
    ) -> Result<(Vec<Record>, Vec<String>)> {
        let model = &session.models[0];
        let replaced = |(_, statistics): &(_, Vec<Statistics>)| -> Result<Model> {
            let tensors = statistics.iter().map(|s| s.tensors(session.device));
            Ok(model.with_statistics(tensors.collect::<Result<_>>()?))
        };
        let models: Vec<Model> = origins.iter().map(replaced).collect::<Result<_>>()?;
        let images = &self.data.images;
        let order = images.order(session.dataset.as_ref(), false);
        progress.begin("evaluating", order.len() as u64, 0, Unit::Images);
        // Augmentation is for the images that statistics are computed from.
        let transform = Transform { training: None, ..session.transform.clone() };
        let dataset = session.dataset.clone();
        let allow_bad = images.allow_bad;
        let mut loader =
            Loader::of_portion(dataset, order, transform, batch_size, allow_bad, Portion::ALL)?;
        let step = |n| progress.advance(n as u64);
        let restricted = session.class_map.as_ref().filter(|_| self.class_map_restrict);
        let collect = CollectOptions {
            competing: restricted.map(ClassMap::outputs),
            ..CollectOptions::default()
        };
        let mut collector = Collector::new(models.len(), outputs, collect, None);
        let may_shrink = images.batch_size.is_none();
        let mut at_a_time = AtATime { images: batch_size, may_shrink };
        evaluate::run(&models, input, &mut loader, &mut at_a_time, &mut collector, &step)?;
        progress.end();
        note_skipped(progress, &loader.bad());
        let (evaluation, _) = collector.finish()?;
        Ok((evaluation.models, loader.bad()))
    }
}

/// The statistics of every method, from the same batches.
fn recomputed(
    model: &Model,
    input: &Input,
    batches: &[Batch],
    budget: &Budget,
    progress: &dyn Progress,
) -> Result<Origins> {
    let images: usize = batches.iter().map(|batch| batch.n).sum();
    let layers = model.batchnorms.len();
    progress.begin("batchnorm", (images * (1 + layers)) as u64, 0, Unit::Images);
    let mut sums: Vec<Accumulator> = Method::ALL
        .iter()
        .filter(|&&method| method != Method::Layerwise)
        .map(|&method| accumulator(&model.batchnorms, method))
        .collect();
    let _to_the_end =
        collect(model, input, batches.iter().cloned().map(Ok), None, &mut |batch, moments| {
            sums.iter_mut().for_each(|sums| moments.add_to(sums));
            progress.advance(batch.n as u64);
            Ok(ControlFlow::Continue(()))
        })?;
    let mut origins = Origins::new();
    for sums in sums {
        let outcome = finish(&model.batchnorms, &sums, images, batches.len())?;
        origins.push((outcome.method.name(), outcome.layers));
    }
    match layerwise::check(&model.batchnorms) {
        Ok(()) => {
            let step = |step: layerwise::Step| step.say(layers, progress);
            let (outcome, _) = layerwise::of_batches(model, input, batches, budget, &step)?;
            origins.push((Method::Layerwise.name(), outcome.layers));
        }
        Err(why) => progress.note(&format!("note: {}", why.cause(&marked))),
    }
    progress.end();
    Ok(origins)
}

/// Mean difference of the images' nll, and its standard error.
fn paired(first: &Record, other: &Record) -> (f64, f64) {
    let n = first.outcomes.len() as f64;
    let each = || first.outcomes.iter().zip(&other.outcomes).map(|(a, b)| b.nll - a.nll);
    let mean = each().sum::<f64>() / n;
    let squares: f64 = each().map(|d| (d - mean).powi(2)).sum();
    // A single image tells nothing about the error.
    let error = if n > 1.0 { (squares / (n - 1.0) / n).sqrt() } else { f64::INFINITY };
    (mean, error)
}
