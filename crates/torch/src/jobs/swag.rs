//! Bayesian model averaging by SWAG (Maddox et al. 2019, section 3.3): models drawn from the moments, each with
//! batchnorm statistics of its own, and the mean of their softmax outputs.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use swa_data::ClassMap;
use swa_data::loader::Portion;
use swa_tools::posterior::{Draw, Posterior};
use swa_tools::{Error, Progress, Result, Unit, setting};

use super::common::{note_skipped, since};
use super::evaluated::Row;
use super::held::Training;
use crate::bn_update::{self, Method, Statistics};
use crate::evaluate::{AtATime, CollectOptions, Collector, Groups};
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{Model, ProgramRecord};
use crate::session::{self, Purpose, Session, Wanted};

/// Options of [`sample_swag()`]: which moments, which data, how many samples.
#[derive(Debug, Clone)]
pub struct SampleSwag {
    /// A file with SWAG's moments, of swa-avg or of the authors' code.
    pub model: PathBuf,
    /// The data to evaluate on, pixels, device. The seed is that of the samples, too.
    pub data: session::Options,
    /// Outputs that stand for no class of the data do not compete.
    pub class_map_restrict: bool,
    /// The folder of training images that batchnorm statistics are computed from, if the network has any.
    pub bn_data: Option<PathBuf>,
    /// How many of them, drawn by the seed.
    pub bn_samples: usize,
    /// How many models to draw.
    pub samples: usize,
    /// What the covariance is multiplied by: ½ in the paper.
    pub scale: f64,
    /// Bytes of host memory for the training images; None: half of what is free.
    pub memory: Option<u64>,
}

/// The outcome of [`sample_swag()`].
pub struct SwagSampled {
    /// The file of moments.
    pub model: PathBuf,
    /// How many deviations of each weight it has.
    pub deviations: usize,
    /// What the covariance was multiplied by.
    pub scale: f64,
    /// The seed of the samples.
    pub seed: u64,
    /// The mean's figures, then those of the samples together.
    pub rows: Vec<Row>,
    /// Those of each sample, compared with the mean.
    pub draws: Vec<Row>,
    /// Training images that statistics were computed from; 0 without batchnorm.
    pub bn_images: usize,
    /// The program that the models run; None for a built-in network.
    pub program: Option<ProgramRecord>,
    /// From an image to the pixels that the models took, as it is recorded in models.
    pub transform: Value,
    /// The images that were left out of the evaluation, a line each.
    pub skipped: Vec<String>,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// Evaluates the mean and so many samples on the data, each with batchnorm statistics recomputed from the same training
/// images. One model is in memory at a time.
///
/// # Errors
/// `Usage` without samples, or without training images for a network with batchnorm; `NoMatch` if the file has no
/// moments; and as of [`compare_stats()`](super::compare_stats()).
pub fn sample_swag(options: &SampleSwag, progress: &dyn Progress) -> Result<SwagSampled> {
    let started = Instant::now();
    if options.samples == 0 {
        return Err(Error::usage(concat!(setting!("swag_samples"), " must be 1 at least")));
    }
    let (networks, images) = (&options.data.networks, &options.data.images);
    let posterior = Posterior::open(&options.model, &networks.take)?;
    if !networks.no_verify {
        posterior.verify()?;
    }
    let checkpoints = std::slice::from_ref(posterior.mean());
    // Statistics are collected and replaced: batchnorm is not folded.
    let purpose = Purpose::Comparison;
    let candidates = options.data.networks.candidates(purpose)?;
    let wanted = Wanted { candidates, purpose, freeze: None };
    let session = Session::open(&options.data, progress, checkpoints, wanted)?;
    progress.note(&format!(
        "drawing {} models by {} deviations, scale {}",
        options.samples,
        posterior.deviations(),
        options.scale
    ));
    if posterior.deviations() < 2 {
        progress.note("note: without two deviations the weights are drawn independently");
    }
    let input = Input::new(&session.transform, session.device)?;
    let budget = Budget::asked(options.memory);
    let dir = options.bn_data.as_deref();
    let training =
        Training::for_model(dir, options.bn_samples, &options.data, &session, &budget, progress)?;
    // The statistics of a model, once they are known: it may be drawn again for more images.
    let known: RefCell<Vec<Option<Vec<Statistics>>>> = vec![None; 1 + options.samples].into();
    let load = |number: usize| -> Result<Model> {
        let model = match number.checked_sub(1) {
            None => session.load(0, posterior.mean())?,
            Some(sample) => {
                let (seed, sample) = (images.seed, sample as u64);
                let drawn = posterior.sample(&Draw { seed, sample, scale: options.scale })?;
                session.load(0, &drawn)?
            }
        };
        let Some(training) = &training else { return Ok(model) };
        let found = known.borrow()[number].clone();
        let statistics = match found {
            Some(statistics) => statistics,
            None => {
                let batches = training.batches().iter().cloned().map(Ok);
                bn_update::run(&model, &input, batches, Method::Pooled, None)?.layers
            }
        };
        let tensors = statistics.iter().map(|s| s.tensors(session.device));
        let replaced = model.with_statistics(tensors.collect::<Result<_>>()?);
        known.borrow_mut()[number] = Some(statistics);
        Ok(replaced)
    };
    let order = images.order(session.dataset.as_ref(), false);
    progress.begin("evaluating", order.len() as u64, 0, Unit::Images);
    let batch_size = session.evaluation_batch(images.batch_size)?;
    let mut loader = session.loader(order, batch_size, images.allow_bad, Portion::ALL)?;
    let restricted = session.class_map.as_ref().filter(|_| options.class_map_restrict);
    let collect = CollectOptions {
        ensemble: Some((1..=options.samples).collect()),
        competing: restricted.map(ClassMap::outputs),
        ..CollectOptions::default()
    };
    let outputs = session.models[0].classes.expect("a session for a comparison has logits");
    let mut collector = Collector::new(1 + options.samples, outputs, collect, None);
    let mut at_a_time = AtATime { images: batch_size, may_shrink: images.batch_size.is_none() };
    let step = |n| progress.advance(n as u64);
    let groups = Groups { count: 1 + options.samples, at_once: 1, load: &load, is_kept: false };
    groups.run(&input, &mut loader, &mut at_a_time, &mut collector, &step)?;
    progress.end();
    note_skipped(progress, &loader.bad());
    let (evaluation, _) = collector.finish()?;
    let (mean, draws) = evaluation.models.split_first().expect("the mean is the first");
    let names = ["SWA mean".to_string(), format!("SWAG, {} samples", options.samples)];
    let each: Vec<String> = (0..=draws.len()).map(|i| format!("sample {i}")).collect();
    let together = evaluation.ensemble.as_ref().expect("it was asked for");
    Ok(SwagSampled {
        model: options.model.clone(),
        deviations: posterior.deviations(),
        scale: options.scale,
        seed: images.seed,
        rows: Row::all(&names, [mean, together].into_iter()),
        draws: Row::all(&each, std::iter::once(mean).chain(draws)).split_off(1),
        bn_images: training.as_ref().map_or(0, Training::images),
        program: session.models[0].program.as_ref().map(|program| program.record.clone()),
        transform: session.transform_record.clone(),
        skipped: loader.bad(),
        seconds: since(started),
    })
}
