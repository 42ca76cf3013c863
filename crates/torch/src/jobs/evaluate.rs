//! Evaluating models on labelled images, any number in one pass.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use swa_data::ClassMap;
use swa_tools::checkpoint::Checkpoint;
use swa_tools::select::base_name;
use swa_tools::{Choice, Error, Kind, Progress, Result, setting};

use super::common::{note_skipped, open, since, with_weight};
use super::evaluated::{About, Evaluated};
use super::files::Files;
use super::sharing::{Pass, SavedPart, Sharing, State};
use crate::evaluate::{self, AtATime, CollectOptions, Collector, Groups, LogitsFile};
use crate::nn::input::Input;
use crate::parts::{BatchSummary, Keeper};
use crate::session::{self, Pace, Purpose, Session, Speed, Wanted};

/// The name by which parts of this job know each other.
pub(super) const TOOL: &str = "swa-eval";

/// Options of [`evaluate()`]: which models, which data, and what to keep.
#[derive(Debug, Clone, Default)]
pub struct Evaluate {
    /// Checkpoint files or folders with a model, in the order of the rows.
    pub models: Vec<PathBuf>,
    /// Data, pixels, device.
    pub data: session::Options,
    /// Add the ensemble of the models whose file name matches this pattern.
    pub ensemble: Option<String>,
    /// Most models on the device at a time; None: as many as it holds.
    pub models_at_once: Option<usize>,
    /// With a class map: outputs that stand for no class of the data do not compete.
    pub class_map_restrict: bool,
    /// Files to make of the outcome. They are checked before the pass; `report::write_files` writes them.
    pub files: Files,
    /// Sharing the pass, and resuming it.
    pub sharing: Sharing,
}

/// The outcome of [`evaluate()`].
#[allow(clippy::large_enum_variant)] // there is one at a time
pub enum Evaluation {
    /// The models' outcomes.
    Whole(Evaluated),
    /// A part was saved.
    Part(SavedPart),
}

/// Evaluates the models in one pass over the data, each image decoded once, or saves what was collected as a part of
/// a pass.
///
/// # Errors
/// `Usage` for settings that do not go together and `OutputExists`, before anything is read; `NoDevice`,
/// `UnknownNetwork`, `Mismatch` if data and models do not go together, `BadImage`, `NotFinite` for logits,
/// `OutOfMemory`; those of reading and writing.
pub fn evaluate(options: &Evaluate, progress: &dyn Progress) -> Result<Evaluation> {
    let started = Instant::now();
    options.check()?;
    let ensemble = options.ensemble.as_deref().map(|pattern| members(&options.models, pattern));
    let ensemble = ensemble.transpose()?;
    let names = names(&options.models, ensemble.as_ref().map(Vec::len));
    let checkpoints = open(&options.models, &options.data, progress)?;
    let at_once = options.models_at_once.unwrap_or(usize::MAX);
    let purpose = Purpose::Evaluation;
    let candidates = options.data.networks.candidates(purpose)?;
    let wanted = Wanted { candidates, purpose, freeze: None };
    let session = Session::open_some(&options.data, progress, &checkpoints, wanted, at_once)?;
    note_programs(&session, &checkpoints, progress);
    let order = options.data.images.order(session.dataset.as_ref(), false);
    let (models, images) = (session.models.len(), order.len());
    let outputs = session.models[0].classes.expect("a session for an evaluation has logits");
    let force = options.files.force;
    let create = |path| LogitsFile::create(path, force, models, images, outputs);
    let logits = options.files.logits.as_deref().map(create).transpose()?;
    let restricted = session.class_map.as_ref().filter(|_| options.class_map_restrict);
    let competing = restricted.map(ClassMap::outputs);
    let competitors = competing.as_ref().map_or(outputs, Vec::len);
    let collect = CollectOptions { ensemble, top: options.files.predictions.is_some(), competing };
    let about = About::new(names, &session, competitors, options.class_map_restrict);
    let batch_size = session.evaluation_batch(options.data.images.batch_size)?;
    let pass = Pass {
        tool: TOOL,
        checkpoints: &checkpoints,
        session: &session,
        images,
        batch_size,
        allow_bad: options.data.images.allow_bad,
        settings: options.settings(&session, &collect, batch_size),
    };
    let empty = evaluate::Evaluation::empty(models, collect.ensemble.is_some());
    let keeper = options.sharing.begin(pass, json!(about), empty, progress)?;
    let keep = |batches: &[BatchSummary], some: evaluate::Evaluation| {
        keeper.add(batches, |all| all.append(some))
    };
    let collector = Collector::new(models, outputs, collect, logits).keep_with(keep);
    let running = Running { options, session: &session, checkpoints: &checkpoints };
    let (logits, speed, at_a_time) =
        running.run(order, batch_size, collector, &keeper, progress)?;
    if let Some(saved) = options.sharing.save(&keeper, speed, started)? {
        return Ok(Evaluation::Part(saved));
    }
    let whole = keeper.with(|part| Evaluated::of_part(about, part))?;
    Ok(Evaluation::Whole(Evaluated {
        batch_size: Some(at_a_time),
        speed: Some(speed),
        seconds: since(started),
        dataset: Some(session.dataset.clone()),
        logits,
        state: State::of(keeper),
        ..whole
    }))
}

/// Notes which program each model runs, and if its statistics were collected with another.
fn note_programs(session: &Session, checkpoints: &[Checkpoint], progress: &dyn Progress) {
    for (model, checkpoint) in session.models.iter().zip(checkpoints) {
        let file = checkpoint.path().display();
        if model.program.is_some() {
            progress.note(&format!("model: `{file}`, {}", model.arch));
        }
        let recorded = checkpoint.provenance().remove("bn_update");
        let recorded = recorded.and_then(|mut update| update.get_mut("program").map(Value::take));
        let digest = recorded.as_ref().and_then(|program| program["digest"].as_str());
        let own = model.program.as_ref().map(|program| program.record.digest.as_str());
        if digest.is_some() && digest != own {
            progress.note(&format!(
                "note: the statistics of `{file}` were collected with another program than it runs here"
            ));
        }
    }
}

/// What the models and the ensemble are called, in the order of [`evaluate::Evaluation::records`].
fn names(models: &[PathBuf], members: Option<usize>) -> Vec<String> {
    let models = models.iter().map(|path| path.display().to_string());
    models.chain(members.map(|n| format!("ensemble of {n}"))).collect()
}

/// The models whose file name matches, by position.
fn members(models: &[PathBuf], pattern: &str) -> Result<Vec<usize>> {
    let ensemble = setting!("ensemble");
    let glob = glob::Pattern::new(pattern)
        .map_err(|e| Error::usage(format!("{ensemble}: bad pattern `{pattern}`: {}", e.msg)))?;
    let matches = |i: &usize| glob.matches(&base_name(&models[*i]));
    let members: Vec<usize> = (0..models.len()).filter(matches).collect();
    if members.is_empty() {
        let what = format!("{ensemble}: no model matches `{pattern}`");
        return Err(Error::new(Kind::NoMatch, what));
    }
    Ok(members)
}

/// The pass itself.
struct Running<'a> {
    options: &'a Evaluate,
    session: &'a Session,
    checkpoints: &'a [Checkpoint],
}

impl Running<'_> {
    /// Returns the file of logits, the speed, and how many images went through at a time.
    fn run(
        &self,
        order: Vec<usize>,
        batch_size: usize,
        mut collector: Collector,
        keeper: &Keeper<evaluate::Evaluation>,
        progress: &dyn Progress,
    ) -> Result<(Option<LogitsFile>, Speed, usize)> {
        let Running { options, session, checkpoints } = *self;
        let images = order.len();
        let allow_bad = options.data.images.allow_bad;
        let mut loader = session.loader(order, batch_size, allow_bad, keeper.remaining())?;
        let input = Input::new(&session.transform, session.device)?;
        let done = keeper.with(|part| part.progress.images);
        let pace = Pace::start(progress, "evaluating", images, done, loader.waited());
        let step = |n| pace.step(n);
        let may_shrink = options.data.images.batch_size.is_none();
        let mut at_a_time = AtATime { images: batch_size, may_shrink };
        let models = &session.models;
        let batches = loader.by_ref().inspect(|batch| keeper.watch(batch));
        let evaluated = if session.at_once < models.len() {
            let load = |i: usize| session.load(i, &checkpoints[i]);
            let is_kept = options.sharing.resume.is_some();
            let (count, at_once) = (models.len(), session.at_once);
            let groups = Groups { count, at_once, load: &load, is_kept };
            groups.run(&input, batches, &mut at_a_time, &mut collector, &step)
        } else {
            evaluate::run(models, &input, batches, &mut at_a_time, &mut collector, &step)
        };
        evaluated.map_err(|error| with_weight(error, checkpoints))?;
        keeper.finish(loader.skipped());
        let speed = pace.finish(keeper.with(|part| part.progress.images) - done);
        note_skipped(progress, &loader.bad());
        let fewer = at_a_time.images;
        if fewer < batch_size {
            progress.note(&format!(
                "memory did not hold {batch_size} images at a time: went on with {fewer} \
                 ({} {fewer} starts so)",
                setting!("batch_size")
            ));
        }
        Ok((collector.into_logits(), speed, fewer))
    }
}

impl Evaluate {
    /// What determines the outcome, apart from the models and the data.
    fn settings(&self, session: &Session, collect: &CollectOptions, batch_size: usize) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "batch_size": batch_size,
            "precision": self.data.networks.precision.name(),
            "seed": self.data.images.seed,
            "ensemble": collect.ensemble,
            "competing": collect.competing,
            "best": collect.top,
            "augmentation": session.augmentation,
        })
    }

    /// Fails if settings do not go together, before any work is done.
    fn check(&self) -> Result<()> {
        if self.models.is_empty() {
            return Err(Error::new(Kind::NoMatch, "no model is given"));
        }
        let mut inputs = self.models.clone();
        inputs.extend(self.data.images.files());
        self.files.check(&inputs)?;
        self.sharing.check(setting!("save_outcomes"), &[], &inputs)?;
        if self.sharing.save.is_some()
            && let Some((name, _)) = self.files.given().first()
        {
            let is_kept = ![setting!("predictions"), setting!("logits")].contains(name);
            let remedy = match is_kept {
                true => concat!("give it with ", setting!("merge_outcomes")),
                false => "a part does not keep that: evaluate without it",
            };
            let save = setting!("save_outcomes");
            return Err(
                Error::usage(format!("{name} is of all images, {save} of some")).remedy(remedy)
            );
        }
        if self.sharing.resume.is_some() && self.files.logits.is_some() {
            let (resume, logits) = (setting!("resume"), setting!("logits"));
            let what = format!("{resume} does not go with {logits}: a state keeps no logits");
            return Err(Error::usage(what).remedy("leave one of them out"));
        }
        Ok(())
    }
}
