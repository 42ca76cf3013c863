//! A greedy soup: of several fine-tuned models the mean of those that do not make it worse on held-out images.

mod greedy;

use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use swa_tools::average::{self, Column, Plan, Target};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::output::check_target;
use swa_tools::{Error, Progress, Result, Unit};

use super::common::{open, since};
use super::evaluated::Row;
use super::held::{HeldOut, Training};
use crate::evaluate::{McNemar, Record, Tally};
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{Model, ProgramRecord};
use crate::session::{self, Purpose, Session, Wanted};
use greedy::{Step, greedy};

/// Options of [`soup()`]: which candidates, which images decide, and what to write.
#[derive(Debug, Clone)]
pub struct Soup {
    /// Checkpoints of one network.
    pub candidates: Vec<PathBuf>,
    /// The held-out images, pixels, device.
    pub data: session::Options,
    /// Outputs that stand for no class of the data do not compete.
    pub class_map_restrict: bool,
    /// The folder of training images that batchnorm statistics are computed from, if the network has any.
    pub bn_data: Option<PathBuf>,
    /// How many of them, drawn by the seed.
    pub bn_samples: usize,
    /// Bytes of host memory for images that are kept between trials; None: half of what is free.
    pub memory: Option<u64>,
    /// The safetensors file to write.
    pub output: PathBuf,
    /// Replace what is there.
    pub force: bool,
}

/// The outcome of [`soup()`].
pub struct Souped {
    /// The file.
    pub output: PathBuf,
    /// The candidates in the order in which they were tried.
    pub trials: Vec<Trial>,
    /// The figures of the best candidate, then those of the soup, its statistics recomputed.
    pub rows: Vec<Row>,
    /// The held-out data.
    pub dir: PathBuf,
    /// Held-out images.
    pub images: usize,
    /// Training images that statistics were computed from; 0 without batchnorm.
    pub bn_images: usize,
    /// Batchnorm layers of the soup, whose statistics in the file are the candidates' mean.
    pub batchnorm_layers: usize,
    /// The program that the models run; None for a built-in network.
    pub program: Option<ProgramRecord>,
    /// From an image to the pixels that the models took, as it is recorded in models.
    pub transform: Value,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// A candidate, and what became of it.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The candidate.
    pub candidate: PathBuf,
    /// The share of images that it gets right by itself.
    pub alone: f64,
    /// What the soup with it gets right; None of the first, which is the soup at the beginning.
    pub with: Option<f64>,
    /// The soup without it (first) and with it (second) on the same images; None of the first.
    pub test: Option<McNemar>,
    /// Whether it is in the soup.
    pub accepted: bool,
}

/// Evaluates the candidates, then visits them once, the best first: one stays if with it the mean of those that stayed
/// gets no fewer held-out images right. Before each trial the batchnorm statistics are recomputed from the same
/// training images. The mean of each trial is made from the candidates' files, and one model is in memory at a
/// time. The file that is written is the one that averaging those that stayed would write.
///
/// # Errors
/// `Usage` for fewer than two candidates, and without training images for a network with batchnorm; `OutputExists`,
/// before any work; `Mismatch` where candidates are not of one network or do not go with the data; those of evaluating,
/// reading and writing.
pub fn soup(options: &Soup, progress: &dyn Progress) -> Result<Souped> {
    let started = Instant::now();
    if options.candidates.len() < 2 {
        return Err(Error::usage("a soup has two candidates at least").remedy("name more models"));
    }
    check_target(&options.output, options.force, &options.candidates)?;
    let checkpoints = open(&options.candidates, &options.data, progress)?;
    // All differences between the candidates, before the first is evaluated.
    let mean = average::mean(checkpoints.len())?;
    Plan::new(&checkpoints, [mean], options.average())?;
    let first = std::slice::from_ref(&checkpoints[0]);
    // Statistics are collected and replaced: batchnorm is not folded.
    let purpose = Purpose::Comparison;
    let candidates = options.data.networks.candidates(purpose)?;
    let wanted = Wanted { candidates, purpose, freeze: None };
    let session = Session::open(&options.data, progress, first, wanted)?;
    let input = Input::new(&session.transform, session.device)?;
    let budget = Budget::asked(options.memory);
    let dir = options.bn_data.as_deref();
    let training =
        Training::for_model(dir, options.bn_samples, &options.data, &session, &budget, progress)?;
    let held =
        HeldOut::open(&options.data, &session, options.class_map_restrict, &budget, progress)?;
    let pot = Pot { options, checkpoints: &checkpoints, session: &session, input, training };
    let images = held.images();
    progress.begin("candidates", (images * checkpoints.len()) as u64, 0, Unit::Images);
    let alone = checkpoints.iter().map(|checkpoint| {
        if !options.data.networks.no_verify {
            checkpoint.verify(&|_| {})?;
        }
        held.record(&pot.load(checkpoint)?, &pot.input, progress)
    });
    let alone: Vec<Record> = alone.collect::<Result<_>>()?;
    progress.end();
    progress.begin("trials", (images * (checkpoints.len() - 1)) as u64, 0, Unit::Images);
    let steps =
        greedy(&alone, right, |members, _| held.record(&pot.mean(members)?, &pot.input, progress))?;
    progress.end();
    let (trials, best) = trials(options, &alone, &steps);
    let mut members: Vec<usize> =
        steps.iter().filter(|step| step.accepted).map(|step| step.candidate).collect();
    members.sort_unstable();
    let written = pot.write(&members)?;
    let names = ["best candidate".to_string(), format!("soup of {}", members.len())];
    Ok(Souped {
        output: options.output.clone(),
        trials,
        rows: Row::all(&names, [&alone[steps[0].candidate], best].into_iter()),
        dir: options.data.images.dir.clone(),
        images: best.outcomes.len(),
        bn_images: pot.training.as_ref().map_or(0, Training::images),
        batchnorm_layers: session.models[0].batchnorms.len(),
        program: session.models[0].program.as_ref().map(|program| program.record.clone()),
        transform: session.transform_record.clone(),
        skipped: held.skipped().to_vec(),
        bytes: written,
        seconds: since(started),
    })
}

fn right(record: &Record) -> usize {
    Tally::of(&record.outcomes).correct()
}

/// What became of the candidates, and what the soup does at the end.
fn trials<'a>(
    options: &Soup,
    alone: &'a [Record],
    steps: &'a [Step<Record>],
) -> (Vec<Trial>, &'a Record) {
    let share = |record: &Record| Tally::of(&record.outcomes).top1();
    let mut best = &alone[steps[0].candidate];
    let mut trials = Vec::with_capacity(steps.len());
    for step in steps {
        trials.push(Trial {
            candidate: options.candidates[step.candidate].clone(),
            alone: share(&alone[step.candidate]),
            with: step.trial.as_ref().map(share),
            test: step.trial.as_ref().map(|trial| McNemar::of(&best.outcomes, &trial.outcomes)),
            accepted: step.accepted,
        });
        if let (true, Some(trial)) = (step.accepted, &step.trial) {
            best = trial;
        }
    }
    (trials, best)
}

impl Soup {
    fn average(&self) -> average::Options {
        average::Options { no_verify: self.data.networks.no_verify, ..average::Options::default() }
    }
}

/// What trials are made of.
struct Pot<'a> {
    options: &'a Soup,
    checkpoints: &'a [Checkpoint],
    session: &'a Session,
    input: Input,
    training: Option<Training>,
}

impl Pot<'_> {
    fn load(&self, checkpoint: &Checkpoint) -> Result<Model> {
        self.session.load(0, checkpoint)
    }

    fn plan(&self, members: &[usize]) -> Result<Plan<'_>> {
        let weights = (0..self.checkpoints.len()).map(|i| members.contains(&i).then_some(1.0));
        Plan::new(self.checkpoints, [Column::new(weights)?], self.options.average())
    }

    /// The mean of some candidates, with statistics of its own.
    fn mean(&self, members: &[usize]) -> Result<Model> {
        let bytes = self.plan(members)?.in_memory(&|_| {})?;
        let model = self.load(&Checkpoint::of_bytes(&self.options.output, bytes)?)?;
        match &self.training {
            Some(training) => training.applied(&model, &self.input, self.session),
            None => Ok(model),
        }
    }

    /// Writes the mean of those that stayed; returns the size of the file.
    fn write(&self, members: &[usize]) -> Result<u64> {
        let target = [Target::safetensors(&self.options.output)];
        let written = self.plan(members)?.write(&target, self.options.force, &|_| {})?;
        Ok(written[0].bytes)
    }
}
