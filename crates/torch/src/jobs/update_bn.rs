//! Recomputing the batchnorm statistics of a model in one pass over training data.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use regex::Regex;
use swa_data::loader::Portion;
use swa_tools::output::check_target;
use swa_tools::text::megabytes;
use swa_tools::{Choice, Error, Kind, Progress, Result, TRANSFORM_KEY, Unit, choices, setting};

use super::common::{note_skipped, since};
use super::sharing::{Pass, SavedPart, Sharing, State};
use super::updated::{Collected, ModelFile, Output, Settings, Updated};
use crate::bn_update::{self, Accumulator, Method, Stability, layerwise};
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{Freeze, Layer, Recognised, doubt};
use crate::parts::{self, BatchSummary, Part};
use crate::session::{self, Pace, Purpose, Session, Wanted, pixels};

/// The name by which parts of this job know each other.
pub(super) const TOOL: &str = "swa-bn-update";

/// Options of [`update_bn()`]: which model, which data, and how.
#[derive(Debug, Clone, Default)]
pub struct UpdateBn {
    /// A checkpoint file, or a folder that holds a model.
    pub model: PathBuf,
    /// The file to write; None where a part is saved.
    pub output: Option<Output>,
    /// Data, pixels, device.
    pub data: session::Options,
    /// How batches are combined.
    pub method: Method,
    /// End the pass when the standard error of every layer is below so many standard deviations.
    pub until_stable: Option<f64>,
    /// Bytes of host memory that the layerwise method may take; None: half of what is free.
    pub memory: Option<u64>,
    /// The order of the images.
    pub order: Order,
    /// Draw the network's training noise.
    pub noise: bool,
    /// Keep the statistics of the batchnorm layers whose name matches.
    pub freeze: Option<Regex>,
    /// Sharing the pass, and resuming it.
    pub sharing: Sharing,
}

choices! {
    /// In which order images are visited.
    #[derive(Default)]
    pub enum Order {
        #[default]
        Shuffled = "shuffled": "By the seed",
        Dataset = "dataset": "Of the data set: a batch may then hold a single class",
    }
}

/// The outcome of [`update_bn()`].
#[allow(clippy::large_enum_variant)] // there is one at a time
pub enum Update {
    /// A model was written.
    Model(Updated),
    /// A part was saved.
    Part(SavedPart),
}

/// Recomputes the running mean and variance of every batchnorm layer and writes the model again with them, or saves
/// what was collected as a part of a pass.
///
/// # Errors
/// `Usage` for settings that do not go together and `OutputExists`, before anything is read; `NoDevice`,
/// `UnknownNetwork`, `Mismatch` if data and model do not go together, `BadImage`, `NotFinite` for statistics,
/// `OutOfMemory`; those of reading and writing.
pub fn update_bn(options: &UpdateBn, progress: &dyn Progress) -> Result<Update> {
    let started = Instant::now();
    options.check()?;
    let take = &options.data.networks.take;
    let model = ModelFile::open(progress, take, &options.model, options.output.as_ref())?;
    let checkpoint = model.checkpoint();
    let freeze = Freeze::new(checkpoint, options.freeze.as_ref());
    let purpose = Purpose::Statistics;
    let candidates = options.data.networks.candidates(purpose)?;
    let recognised = Recognised::of(checkpoint, &candidates, &freeze)?;
    if recognised.batchnorms.is_empty() {
        let updated = options.write_unchanged(&model, &recognised, progress)?;
        return Ok(Update::Model(Updated { seconds: since(started), ..updated }));
    }
    if options.method == Method::Layerwise {
        layerwise::check(&recognised.batchnorms).map_err(|e| e.at(checkpoint.path()))?;
    }
    let frozen = options.note_recognised(recognised, checkpoint, progress);
    let wanted =
        Wanted { candidates: candidates.clone(), purpose, freeze: options.freeze.as_ref() };
    let session = Session::open(&options.data, progress, &model.checkpoints, wanted)?;
    let (arch, layers) = (&session.models[0].arch, session.models[0].batchnorms.len());
    progress.note(&format!("model: {arch}, {layers} batchnorm layers"));
    let order =
        options.data.images.order(session.dataset.as_ref(), options.order == Order::Shuffled);
    let batch_size = session.statistics_batch(options.data.images.batch_size, order.len())?;
    let settings = options.settings(&session, frozen, batch_size);
    if options.method == Method::Layerwise {
        let updated = options.layerwise(&model, &session, settings, order, progress)?;
        return Ok(Update::Model(Updated { seconds: since(started), ..updated }));
    }
    options.pass(&model, &session, settings, order, progress, started)
}

impl UpdateBn {
    /// Fails if settings do not go together, before any work is done.
    fn check(&self) -> Result<()> {
        self.check_layerwise()?;
        if self.noise && !self.data.networks.programs.is_empty() {
            let (noise, program) = (setting!("noise", "on"), setting!("program"));
            let what = format!(
                "{noise} does not go with {program}: a program is the network as it is used"
            );
            return Err(Error::usage(what).remedy("leave one of them out"));
        }
        let outputs: Vec<&Path> = self.output.iter().map(|output| output.path.as_path()).collect();
        self.sharing.check(setting!("save_stats"), &outputs, &[])?;
        if self.output.is_none() && self.sharing.save.is_none() {
            return Err(Error::usage("neither a model nor a part is to be written"));
        }
        match &self.output {
            // Writing over the model itself is what `force` is for here.
            Some(output) => check_target(&output.path, output.force, &self.data.images.files()),
            None => Ok(()),
        }
    }

    /// Fails if a setting does not go with the layerwise method.
    fn check_layerwise(&self) -> Result<()> {
        let layerwise = setting!("method", "layerwise");
        if self.method != Method::Layerwise {
            return match self.memory {
                None => Ok(()),
                Some(_) => {
                    let memory = setting!("memory");
                    Err(Error::usage(format!("{memory} is for {layerwise} only")))
                }
            };
        }
        const ALL: &str = concat!(
            "each layer needs all images: use ",
            setting!("method", "pooled"),
            ", or one process"
        );
        let given = [
            (
                self.until_stable.is_some(),
                setting!("until_stable"),
                concat!(
                    "let ",
                    setting!("method", "pooled"),
                    " find how many images it takes, and give ",
                    setting!("samples")
                ),
            ),
            (
                self.noise,
                setting!("noise", "on"),
                "it is for the network as it is used, which draws nothing",
            ),
            (self.sharing.shard.is_some(), setting!("shard"), ALL),
            (self.sharing.save.is_some(), setting!("save_stats"), ALL),
            (self.sharing.resume.is_some(), setting!("resume"), ALL),
        ];
        match given.into_iter().find(|(given, ..)| *given) {
            None => Ok(()),
            Some((_, name, remedy)) => {
                let what = format!("{name} does not go with {layerwise}");
                Err(Error::usage(what).remedy(remedy))
            }
        }
    }

    /// Reports what is known of the layers, and returns the frozen ones.
    fn note_recognised(
        &self,
        recognised: Recognised,
        checkpoint: &swa_tools::checkpoint::Checkpoint,
        progress: &dyn Progress,
    ) -> Vec<String> {
        let Recognised { frozen, noisy, batchnorms, .. } = recognised;
        if let Some(first) = frozen.first() {
            let n = frozen.len();
            progress
                .note(&format!("frozen: {n} batchnorm layer(s), such as `{first}`, keep theirs"));
        }
        if self.noise && !noisy {
            let noise = setting!("noise", "on");
            progress.note(&format!(
                "note: {noise}: this network draws nothing that reaches a batchnorm layer"
            ));
        }
        if let Some(doubt) = doubt(checkpoint, &batchnorms) {
            progress.note(&format!("note: {doubt}"));
        }
        frozen
    }

    fn settings(&self, session: &Session, frozen: Vec<String>, batch_size: usize) -> Settings {
        Settings {
            version: env!("CARGO_PKG_VERSION").into(),
            method: self.method.name().into(),
            batch_size,
            precision: self.data.networks.precision.name().into(),
            order: self.order.name().into(),
            seed: self.data.images.seed,
            noise: if self.noise { "on" } else { "off" }.into(),
            frozen,
            augmentation: session.augmentation.clone(),
            until_stable: self.until_stable,
        }
    }

    /// The pass of every method except the layerwise one, or a part of it.
    fn pass(
        &self,
        model: &ModelFile,
        session: &Session,
        settings: Settings,
        order: Vec<usize>,
        progress: &dyn Progress,
        started: Instant,
    ) -> Result<Update> {
        let network = &session.models[0];
        let (images, batch_size, allow_bad) =
            (order.len(), settings.batch_size, self.data.images.allow_bad);
        let pass = Pass {
            tool: TOOL,
            checkpoints: &model.checkpoints,
            session,
            images,
            batch_size,
            allow_bad,
            settings: serde_json::to_value(&settings).unwrap_or_default(),
        };
        let sums = bn_update::accumulator(&network.batchnorms, self.method);
        let keeper = self.sharing.begin(pass, serde_json::Value::Null, sums, progress)?;
        let mut loader = session.loader(order, batch_size, allow_bad, keeper.remaining())?;
        let input = Input::new(&session.transform, session.device)?;
        let done = keeper.with(|part| part.progress.images);
        let mut stability = Stability::new(&network.batchnorms);
        // Batches before an interruption are not in the estimate.
        let watched = self.sharing.shard.is_none() && done == 0;
        let pace = Pace::start(progress, "batchnorm", images, done, loader.waited());
        let noise = self.noise.then_some(self.data.images.seed);
        let batches = loader.by_ref().inspect(|batch| keeper.watch(batch));
        let ended = bn_update::collect(network, &input, batches, noise, &mut |batch, moments| {
            keeper.add(&[BatchSummary::of(batch)], |sums| moments.add_to(sums))?;
            moments.watch(&mut stability);
            pace.step(batch.n);
            let stable = self.until_stable.is_some_and(|eps| stability.is_below(eps));
            Ok(if stable { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if ended.is_continue() {
            keeper.finish(loader.skipped());
        }
        let speed = pace.finish(keeper.with(|part| part.progress.images) - done);
        note_skipped(progress, &keeper.with(|part| part.progress.lines()));
        if let Some(saved) = self.sharing.save(&keeper, speed, started)? {
            return Ok(Update::Part(saved));
        }
        let standard_error = stability.largest().filter(|_| watched);
        let mut collected =
            keeper.with(|part| of_part(&network.arch, &network.batchnorms, part))?;
        collected.program = network.program.clone();
        collected.outcome.standard_error = standard_error;
        collected.stable = self.until_stable.map(|_| ended.is_break());
        collected.speed = Some(speed);
        collected.settings = settings;
        let updated = model.write(collected, output_of(model)?)?;
        let state = State::of::<Accumulator>(keeper);
        Ok(Update::Model(Updated { seconds: since(started), state, ..updated }))
    }

    /// The passes of the layerwise method, which cannot be shared.
    fn layerwise(
        &self,
        model: &ModelFile,
        session: &Session,
        settings: Settings,
        order: Vec<usize>,
        progress: &dyn Progress,
    ) -> Result<Updated> {
        let network = &session.models[0];
        let (images, layers) = (order.len(), network.batchnorms.len());
        let allow_bad = self.data.images.allow_bad;
        progress.begin("batchnorm", (images * layers) as u64, 0, Unit::Images);
        let batch_size = settings.batch_size;
        let mut loader = session.loader(order, batch_size, allow_bad, Portion::ALL)?;
        let input = Input::new(&session.transform, session.device)?;
        let budget = Budget::asked(self.memory);
        let step = |step: layerwise::Step| step.say(layers, progress);
        let (outcome, passes) =
            layerwise::run(network, &input, &mut loader, images, &budget, &step)?;
        progress.end();
        note_skipped(progress, &loader.bad());
        let again = passes as f64 / outcome.batches as f64;
        if again > 1.0 {
            let memory = megabytes(budget.bytes());
            progress.note(&format!(
                "memory for activations: {memory}; each image passed {again:.1} times"
            ));
        }
        let collected = Collected {
            arch: &network.arch,
            layers: &network.batchnorms,
            outcome,
            settings,
            transform: session.transform_record.clone(),
            skipped: loader.bad(),
            stable: None,
            speed: None,
            program: network.program.clone(),
        };
        model.write(collected, output_of(model)?)
    }

    /// For a model that has nothing to recompute: the data are not read.
    fn write_unchanged(
        &self,
        model: &ModelFile,
        recognised: &Recognised,
        progress: &dyn Progress,
    ) -> Result<Updated> {
        let Recognised { arch, frozen, .. } = recognised;
        let checkpoint = model.checkpoint();
        let why = match frozen.len() {
            0 => "has no batchnorm layers".to_string(),
            n => format!("has {n} batchnorm layers, all of them frozen"),
        };
        let Some(output) = model.output() else {
            return Err(Error::usage(format!("{why}: there are no statistics to save"))
                .at(checkpoint.path())
                .remedy(concat!(
                    "give ",
                    setting!("output"),
                    " in place of ",
                    setting!("save_stats"),
                    ": the model is written as it is"
                )));
        };
        if !self.data.networks.no_verify {
            checkpoint.verify(&|_| {})?;
        }
        recognised.notes.iter().for_each(|note| progress.note(note));
        progress.note(&format!("model: {arch}"));
        // The pixels that the model takes are recorded as for any other model, if they are known.
        let Recognised { preset, channels, takes, .. } = recognised;
        let checkpoints = &model.checkpoints;
        let transform =
            pixels::transform(&self.data, progress, checkpoints, *preset, *channels, takes);
        let transform = match transform {
            Ok((_, record)) => Some(record),
            Err(error) if self.data.pixels.preset.is_some() => return Err(error),
            Err(_) => None,
        };
        model.write_unchanged(output, recognised, why, transform)
    }
}

/// The output, which [`UpdateBn::check`] has made sure of.
fn output_of<'a>(model: &ModelFile<'a>) -> Result<&'a Output> {
    model.output().ok_or_else(|| Error::usage(concat!(setting!("output"), " is needed")))
}

/// The statistics of a whole pass.
pub(super) fn of_part<'a>(
    arch: &'a str,
    layers: &'a [Layer],
    part: &Part<Accumulator>,
) -> Result<Collected<'a>> {
    let parts::Progress { images, filled, .. } = part.progress;
    let settings = part.identity.get("settings").clone();
    Ok(Collected {
        arch,
        layers,
        outcome: bn_update::finish(layers, &part.content, images, filled)?,
        settings: serde_json::from_value(settings).map_err(|_| {
            let what = "the parts' settings are not those of a batchnorm pass";
            Error::new(Kind::Damaged, what)
        })?,
        transform: part.identity.get(TRANSFORM_KEY).clone(),
        skipped: part.progress.lines(),
        stable: None,
        speed: None,
        program: None,
    })
}
