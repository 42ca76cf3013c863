//! Sharing a pass between processes, and resuming one that was interrupted.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};
use swa_tools::checkpoint::{Checkpoint, digest};
use swa_tools::output::check_target;
use swa_tools::select::base_name;
use swa_tools::{Error, Progress, Result, TRANSFORM_KEY, setting};

use crate::nn::UsedProgram;
use crate::parts::{self, Content, Identity, Keeper, PROGRAMS_KEY, Part, Shard, Tell};
use crate::session::{Session, Speed};

/// Which part of a pass to do, and where to keep it.
#[derive(Debug, Clone, Default)]
pub struct Sharing {
    /// The batches I, I + N, … of the one order that the seed gives; None: all.
    pub shard: Option<Shard>,
    /// Write what was collected to this file, in place of a result.
    pub save: Option<PathBuf>,
    /// Replace that file if it exists.
    pub force: bool,
    /// Keep the state of the pass in this file while it runs, and resume from it if it exists.
    pub resume: Option<PathBuf>,
    /// Who is told about that file, from any thread.
    pub tell: Tell,
}

/// A part of a pass that was saved.
pub struct SavedPart {
    /// The file.
    pub path: PathBuf,
    /// Which part it is.
    pub shard: Shard,
    /// Images in it.
    pub images: usize,
    /// Batches in it.
    pub batches: usize,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// How fast this process was.
    pub speed: Speed,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// The state file of a pass, if it had one. [`State::remove`] it when the result is on disk; until then the same job
/// can resume from it.
#[must_use]
#[derive(Default)]
pub struct State(Option<Box<dyn FnOnce() -> Result<()>>>);

impl State {
    pub(super) fn of<C: Content>(keeper: Keeper<C>) -> Self {
        State(Some(Box::new(move || keeper.close())))
    }

    /// Removes the file, if there was one.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(self) -> Result<()> {
        self.0.map_or(Ok(()), |remove| remove())
    }
}

/// What a pass consists of.
pub(super) struct Pass<'a> {
    pub tool: &'a str,
    pub checkpoints: &'a [Checkpoint],
    pub session: &'a Session,
    /// Number of images in the order.
    pub images: usize,
    pub batch_size: usize,
    /// How many images may be left out.
    pub allow_bad: usize,
    /// What else determines the result, by the names under which it is recorded.
    pub settings: Value,
}

impl Sharing {
    /// Fails if settings do not go together or the part cannot be written. `save` is the setting that names the
    /// part's file; `outputs` are the other files that are written.
    pub(super) fn check(&self, save: &str, outputs: &[&Path], inputs: &[PathBuf]) -> Result<()> {
        if self.shard.is_some() && self.save.is_none() {
            return Err(Error::usage(concat!(setting!("shard"), " makes a part, not a result"))
                .remedy(format!("name its file with {save}, and merge the parts then")));
        }
        let outputs = outputs.iter().copied().chain(self.save.as_deref());
        if let Some(state) = &self.resume
            && outputs.into_iter().any(|output| output == state)
        {
            return Err(Error::usage("is the state as well as the output")
                .at(state)
                .remedy(concat!("give ", setting!("resume"), " a name of its own")));
        }
        match &self.save {
            Some(path) => check_target(path, self.force, inputs),
            None => Ok(()),
        }
    }

    /// Begins the part, empty or with what the state file has.
    pub(super) fn begin<C: Content>(
        &self,
        pass: Pass,
        notes: Value,
        content: C,
        progress: &dyn Progress,
    ) -> Result<Keeper<C>> {
        self.keep(self.part(pass, notes, content, progress)?, progress)
    }

    /// Keeps a part while its pass runs, with what the state file has.
    pub(super) fn keep<C: Content>(
        &self,
        part: Part<C>,
        progress: &dyn Progress,
    ) -> Result<Keeper<C>> {
        let unit = part.identity.unit().to_string();
        let keeper = Keeper::open(part, self.resume.as_deref(), self.tell)?;
        let (done, all) = keeper.with(|part| (part.progress.done, part.batches()));
        if let Some(state) = self.resume.as_ref().filter(|_| done > 0) {
            let state = state.display();
            progress.note(&format!("`{state}`: going on after {done} of {all} {unit}"));
            let left_out = keeper.with(|part| part.progress.lines());
            if let [first, more @ ..] = &left_out[..] {
                let more = match more.len() {
                    0 => String::new(),
                    n => format!(", and {n} more"),
                };
                progress.note(&format!(
                    "note: what could not be read before stays left out: {first}{more}; to read it again remove `{state}` and start over"
                ));
            }
        }
        Ok(keeper)
    }

    fn part<C>(
        &self,
        pass: Pass,
        notes: Value,
        content: C,
        progress: &dyn Progress,
    ) -> Result<Part<C>> {
        let Pass { tool, checkpoints, session, images, batch_size, allow_bad, settings } = pass;
        let mut fields = Map::new();
        fields.insert("tool".into(), tool.into());
        // Only for passes that are shared or kept: digests read every weight and much of the data.
        if self.save.is_some() || self.resume.is_some() {
            fields.insert("models".into(), digests(checkpoints)?);
            fields.insert("data".into(), parts::of_data(session.dataset.as_ref(), progress)?);
        }
        let programs = session.models.iter().map(|model| model.program.as_deref());
        if let Some(programs) = program_digests(programs) {
            fields.insert(PROGRAMS_KEY.into(), programs);
        }
        fields.insert(TRANSFORM_KEY.into(), session.transform_record.clone());
        fields.insert("images".into(), images.into());
        fields.insert("batches".into(), images.div_ceil(batch_size).into());
        fields.insert("settings".into(), settings);
        let done = parts::Progress {
            shard: self.shard.unwrap_or(Shard::WHOLE),
            done: 0,
            filled: 0,
            images: 0,
            size: None,
            skipped: vec![],
            broken: false,
            allow_bad,
            data: session.dataset.describe(),
            models: names(checkpoints),
            notes,
        };
        Ok(Part { identity: Identity::new(fields), progress: done, content })
    }

    /// Saves the finished part, if that was asked for.
    pub(super) fn save<C: Content>(
        &self,
        keeper: &Keeper<C>,
        speed: Speed,
        started: Instant,
    ) -> Result<Option<SavedPart>> {
        let Some(path) = &self.save else { return Ok(None) };
        let progress =
            keeper.with(|part| part.write(path, self.force).map(|()| part.progress.clone()))?;
        keeper.close()?;
        Ok(Some(SavedPart {
            path: path.clone(),
            shard: progress.shard,
            images: progress.images,
            batches: progress.done,
            skipped: progress.lines(),
            speed,
            seconds: started.elapsed().as_secs_f64(),
        }))
    }
}

/// Digests of the programs that models run, null for those that run none; None if none does.
pub(super) fn program_digests<'p>(
    programs: impl Iterator<Item = Option<&'p UsedProgram>>,
) -> Option<Value> {
    let digests: Vec<Option<&str>> =
        programs.map(|program| program.map(|program| &*program.record.digest)).collect();
    digests.iter().any(Option::is_some).then(|| json!(digests))
}

/// Digests of the models' weights.
pub(super) fn digests(checkpoints: &[Checkpoint]) -> Result<Value> {
    let digests: Vec<String> =
        checkpoints.iter().map(digest::of_checkpoint).collect::<Result<_>>()?;
    Ok(digests.into())
}

/// Their names in messages.
pub(super) fn names(checkpoints: &[Checkpoint]) -> Vec<String> {
    checkpoints.iter().map(|checkpoint| base_name(checkpoint.path())).collect()
}
