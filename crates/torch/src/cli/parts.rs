//! What the two data tools share to share a pass, or to go on with one.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::parser::ValueSource;
use serde_json::{Map, Value, json};

use super::Common;
use super::data::Session;
use super::pace::Figures;
use swa_tools::checkpoint::select::base_name;
use swa_tools::checkpoint::{Checkpoint, digest};
use crate::parts::{Content, Identity, Keeper, Part, Progress, Shard};
use swa_tools::{Error, Result, TRANSFORM_KEY};

#[derive(Debug, clap::Args)]
pub struct PartArgs {
    /// Do part I of N, counted from 0: the batches I, I + N, … of the one order that --seed gives
    #[arg(long, value_name = "I/N", help_heading = "Sharing and interruption")]
    pub shard: Option<Shard>,

    /// Keep the pass in STATE while it runs, and go on from there if it was interrupted; removed when
    /// all is done
    #[arg(long, value_name = "STATE", help_heading = "Sharing and interruption")]
    pub resume: Option<PathBuf>,
}

/// What a pass is made of.
pub struct Pass<'a> {
    pub tool: &'a str,
    pub checkpoints: &'a [Checkpoint],
    pub session: &'a Session,
    /// Number of images in the order.
    pub images: usize,
    pub batch_size: usize,
    /// What else decides the result, by the names under which it is recorded.
    pub settings: Value,
    /// Whether it is written as a part; a state of --resume is one too.
    pub is_kept: bool,
}

impl PartArgs {
    /// `saves` is whether `flag` is given, which names the file of a part; `outputs` are what else is written.
    pub fn check(&self, saves: bool, flag: &str, outputs: &[&Option<PathBuf>]) -> Result<()> {
        if self.shard.is_some() && !saves {
            return Err(Error::usage("--shard makes a part, not a result")
                .remedy(format!("name its file with {flag}, and merge the parts then")));
        }
        match &self.resume {
            Some(state) if outputs.iter().any(|output| output.as_ref() == Some(state)) => {
                Err(Error::usage("is the state as well as the output")
                    .at(state)
                    .remedy("give --resume a name of its own"))
            }
            _ => Ok(()),
        }
    }

    /// The part to do, with nothing in it yet.
    pub fn begin<C>(&self, pass: Pass, allow_bad: usize, content: C) -> Result<Part<C>> {
        let Pass { tool, checkpoints, session, images, batch_size, settings, is_kept } = pass;
        let dataset = session.dataset.as_ref();
        let mut fields = Map::new();
        fields.insert("tool".into(), tool.into());
        // By these parts know each other; they cost a look at every weight and name.
        if is_kept || self.resume.is_some() {
            fields.insert("models".into(), digests(checkpoints)?);
            let digest = data::digest(dataset);
            fields.insert("data".into(), json!({ "images": dataset.len(), "digest": digest }));
        }
        fields.insert(TRANSFORM_KEY.into(), session.transform_record.clone());
        fields.insert("images".into(), images.into());
        fields.insert("batches".into(), images.div_ceil(batch_size).into());
        fields.insert("settings".into(), settings);
        let progress = Progress {
            shard: self.shard.unwrap_or(Shard::WHOLE),
            done: 0,
            filled: 0,
            images: 0,
            size: None,
            skipped: vec![],
            allow_bad,
            data: dataset.describe(),
            models: names(checkpoints),
            notes: Value::Null,
        };
        Ok(Part { identity: Identity::new(fields), progress, content })
    }
}

/// Says that a pass goes on, if it does.
pub fn say_resumed<C: Content>(common: &Common, args: &PartArgs, keeper: &Keeper<C>) {
    let (done, all) = keeper.with(|part| (part.progress.done, part.batches()));
    if let Some(state) = args.resume.as_ref().filter(|_| done > 0) {
        let state = state.display();
        common.note(format!("`{state}`: going on after {done} of {all} batches"));
    }
}

/// Says what a part holds, and what to do with it.
pub fn report_part(
    common: &Common,
    path: &Path,
    progress: &Progress,
    figures: Figures,
    started: Instant,
    next: &str,
) -> Result<()> {
    let Progress { shard, done, images, .. } = progress;
    let seconds = started.elapsed().as_secs_f64();
    common.json(json!({
        "part": path.display().to_string(),
        "shard": shard.to_string(),
        "images": images,
        "batches": done,
        "skipped": progress.lines(),
        "pace": figures.json(),
        "seconds": seconds,
    }))?;
    common.say(format!(
        "wrote {}: part {shard}, {images} images, {done} batches, in {seconds:.1} s; {figures}",
        path.display(),
    ))?;
    common.say(format!("next, with all parts: {next}"))
}

/// What tells models apart: digests of their weights.
pub fn digests(checkpoints: &[Checkpoint]) -> Result<Value> {
    let digests: Vec<String> =
        checkpoints.iter().map(digest::of_checkpoint).collect::<Result<_>>()?;
    Ok(digests.into())
}

/// What people call them.
pub fn names(checkpoints: &[Checkpoint]) -> Vec<String> {
    checkpoints.iter().map(|checkpoint| base_name(checkpoint.path())).collect()
}

/// Refuses flags that have no meaning where parts are merged: the parts say what was done. `known` are the
/// others, by their field's name.
pub fn check_merge(matches: &clap::ArgMatches, flag: &str, known: &[&str]) -> Result<()> {
    let common = ["merge", "json", "quiet", "threads", "allow_bad", "output", "force", "like"];
    let given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let is_known = |id: &&str| known.contains(id) || common.contains(id);
    // Groups have upper-case names.
    let is_flag = |id: &&str| id.starts_with(|c: char| c.is_ascii_lowercase());
    let mut ids = matches.ids().map(clap::Id::as_str).filter(is_flag);
    match ids.find(|id| given(id) && !is_known(id)) {
        None => Ok(()),
        Some(id) => Err(Error::usage(format!(
            "--{} does not go with {flag}: the parts say what was done",
            id.replace('_', "-")
        ))
        .remedy("leave it out")),
    }
}
