//! Checkpoints of one model become one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{say_selected, say_taken};
use crate::average::{self, Coefficients, Estimate, OutputPlan, Plan, Rule, Target};
use crate::checkpoint::{Checkpoint, Take};
use crate::output::{Format, check_folder, check_target};
use crate::select::{Criteria, base_name, select};
use crate::{Error, Progress, Result, Unit, setting};

/// What to average, how, and into what.
#[derive(Debug, Clone, Default)]
pub struct Average {
    /// Files, folders and patterns.
    pub checkpoints: Vec<PathBuf>,
    /// Which of them count.
    pub criteria: Criteria,
    /// Which of the weights in a file are meant.
    pub take: Take,
    /// How much each counts.
    pub weights: Weights,
    /// How to average.
    pub options: average::Options,
    /// What to write.
    pub output: Output,
    /// Plan everything and write nothing.
    pub dry_run: bool,
}

/// How much each checkpoint counts.
#[derive(Debug, Clone, Default)]
pub enum Weights {
    /// All the same.
    #[default]
    Equal,
    /// A weight for each, in natural order, of any scale: they are divided by their sum.
    Each(Vec<f64>),
    /// The same from a file: a number a line, or a file name and a number; `#` begins a comment.
    File(PathBuf),
}

/// What to write.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// A file, in the format that its name ends in, or a folder, if the inputs are folders and it ends in
    /// neither.
    pub path: PathBuf,
    /// Replace what is there.
    pub force: bool,
    /// A PyTorch file: the output is a copy of it with the result in the place of its weights.
    pub like: Option<PathBuf>,
    /// Write a folder of shards with at most so many bytes of tensors each.
    pub max_shard_size: Option<u64>,
}

/// What was averaged.
#[derive(Debug, Clone)]
pub struct Averaged {
    /// The file or folder.
    pub output: PathBuf,
    /// False: it was only planned.
    pub written: bool,
    /// The checkpoints in natural order.
    pub inputs: Vec<Counted>,
    /// Whether weights were given.
    pub is_weighted: bool,
    /// How many checkpoints the criteria left out.
    pub left_out: usize,
    /// Tensors that are means.
    pub averaged: usize,
    /// Tensors from the last checkpoint.
    pub copied: usize,
    /// Tensors whose means are not finite, and how many values.
    pub nonfinite: Vec<(String, u64)>,
    /// Of the output, all files together.
    pub bytes: u64,
    /// Of the inputs.
    pub bytes_read: u64,
    /// Batchnorm layers, whose statistics no longer match the averaged weights.
    pub batchnorm_layers: usize,
    /// What it would take, where nothing was written.
    pub estimate: Option<Estimate>,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// A checkpoint that counts.
#[derive(Debug, Clone)]
pub struct Counted {
    /// A file, or the folder of a model.
    pub path: PathBuf,
    /// Its part of the sum; all add up to 1.
    pub share: f64,
}

/// Averages checkpoints of one model, in one pass over them. The output appears whole or not at all.
///
/// # Errors
/// `Usage`, `OutputExists` and `NoMatch` before anything is read; `Mismatch` where the checkpoints are not of one
/// model, with every difference; `NotFinite` where values are not finite; those of opening, reading and writing.
pub fn average(options: &Average, progress: &dyn Progress) -> Result<Averaged> {
    let started = Instant::now();
    let selection = select(&options.checkpoints, &options.criteria)?;
    say_selected(progress, &selection);
    let inputs = Checkpoint::open_all(&selection.paths, &options.take)?;
    say_taken(progress, &inputs);
    say_averages(progress, &inputs);
    let target = target(options, &inputs)?;
    let coefficients = options.weights.coefficients(&selection.paths)?;
    if !coefficients.is_positive() {
        progress.note("note: some weights are negative");
    }
    let plan = Plan::new(&inputs, [coefficients], options.options.clone())?;
    let planned = &plan.outputs()[0];
    note_keys(progress, planned);
    let (bytes, nonfinite, estimate) = match options.dry_run {
        true => (planned.size(&target)?, vec![], Some(plan.estimate()?)),
        false => {
            progress.begin("averaging", plan.bytes_to_read(), 0, Unit::Bytes);
            let (targets, force) = (std::slice::from_ref(&target), options.output.force);
            let written = plan.write(targets, force, &|bytes| progress.advance(bytes))?;
            progress.end();
            let written = written.into_iter().next().expect("one output");
            (written.bytes, written.nonfinite, None)
        }
    };
    for (name, n) in &nonfinite {
        progress.note(&format!("note: tensor `{name}`: {n} means are not finite"));
    }
    let averaged = planned.tensors().iter().filter(|t| matches!(t.rule, Rule::Mean(_))).count();
    let counted =
        |(input, share): (&Checkpoint, f64)| Counted { path: input.path().to_path_buf(), share };
    Ok(Averaged {
        output: target.path().to_path_buf(),
        written: !options.dry_run,
        inputs: inputs.iter().zip(planned.coefficients().shares()).map(counted).collect(),
        is_weighted: !matches!(options.weights, Weights::Equal),
        left_out: selection.left_out,
        averaged,
        copied: planned.tensors().len() - averaged,
        nonfinite,
        bytes,
        bytes_read: plan.bytes_to_read(),
        batchnorm_layers: inputs[0].batchnorm_layers().len(),
        estimate,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// An earlier output that lies among the checkpoints is easily averaged by mistake.
fn say_averages(progress: &dyn Progress, inputs: &[Checkpoint]) {
    let mut found = inputs.iter().filter(|input| input.provenance().contains_key("inputs"));
    if let Some(first) = found.next() {
        let path = first.path().display();
        let which = match found.count() {
            0 => format!("`{path}` was"),
            more => format!("`{path}` and {more} more were"),
        };
        progress.note(&format!(
            "note: {which} written by swa-avg: the result is an average of averages"
        ));
    }
}

/// Where the output goes: checked before any work is done.
fn target(options: &Average, inputs: &[Checkpoint]) -> Result<Target> {
    let Output { path, force, like, max_shard_size } = &options.output;
    let (path, force) = (path.clone(), *force);
    let files = inputs.iter().flat_map(|input| input.files().iter().map(|f| f.path()));
    let paths = inputs.iter().map(|input| input.path()).chain(files);
    let paths: Vec<PathBuf> = paths.map(Path::to_path_buf).collect();
    let format = Format::of(&path);
    if let Some(like) = like {
        check_target(&path, force, &paths)?;
        if format == Some(Format::Safetensors) {
            return Err(Error::usage(concat!(setting!("like"), " writes a PyTorch file"))
                .at(&path)
                .remedy("end the name in .pth or .ckpt"));
        }
        let model = Box::new(Checkpoint::open_with(like, &options.take)?);
        return Ok(Target::Like { path, model });
    }
    if format.is_some() && max_shard_size.is_some() {
        return Err(Error::usage(concat!(setting!("max_shard_size"), " writes a folder"))
            .at(&path)
            .remedy("name one, without .safetensors"));
    }
    let folders = inputs.last().is_some_and(|input| input.path().is_dir());
    if format.is_none() && (folders || max_shard_size.is_some()) {
        check_folder(&path, force, &paths)?;
        return Ok(Target::Folder { path, max_shard: *max_shard_size });
    }
    check_target(&path, force, &paths)?;
    Ok(Target::File { path, format: format.unwrap_or(Format::Safetensors) })
}

impl Weights {
    /// One an input.
    fn coefficients(&self, paths: &[PathBuf]) -> Result<Coefficients> {
        let weights = match self {
            Weights::Equal => return average::mean(paths.len()),
            Weights::Each(weights) => weights.clone(),
            Weights::File(file) => weights_of(file, paths)?,
        };
        if weights.len() != paths.len() {
            let (n, m) = (weights.len(), paths.len());
            return Err(Error::usage(format!("{n} weight(s) for {m} checkpoint(s)")).remedy(
                concat!(
                    setting!("dry_run"),
                    " without weights lists them in the order that counts"
                ),
            ));
        }
        Coefficients::new(weights)
    }
}

/// One number a line in natural order of the checkpoints, or `NAME NUMBER` in any order.
fn weights_of(file: &Path, paths: &[PathBuf]) -> Result<Vec<f64>> {
    let text = std::fs::read_to_string(file).map_err(|e| Error::io(file, "read", e))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let number = |text: &str| {
        text.parse::<f64>().map_err(|_| {
            Error::input(format!("`{text}` is not a number"))
                .at(file)
                .remedy("write one number a line, or a file name and a number")
        })
    };
    if !lines.iter().any(|line| line.contains(char::is_whitespace)) {
        return lines.iter().map(|line| number(line)).collect();
    }
    let mut named = BTreeMap::new();
    for line in lines {
        let (name, weight) = line.rsplit_once(char::is_whitespace).unwrap_or(("", line));
        if named.insert(name.trim().to_string(), number(weight)?).is_some() {
            return Err(Error::input(format!("names `{name}` twice")).at(file));
        }
    }
    let mut weights = Vec::with_capacity(paths.len());
    for path in paths {
        let Some(weight) = named.remove(&base_name(path)) else {
            return Err(Error::input(format!("has no weight for `{}`", base_name(path))).at(file));
        };
        weights.push(weight);
    }
    match named.keys().next() {
        Some(name) => Err(Error::input(format!("`{name}` is not one of the checkpoints")).at(file)),
        None => Ok(weights),
    }
}

/// Notes which tensors only some inputs have.
fn note_keys(progress: &dyn Progress, plan: &OutputPlan) {
    const SHOWN: usize = 20;
    let list = |names: &[&str], what: &str| {
        if !names.is_empty() {
            progress.note(&format!("note: {} tensor(s) {what}:", names.len()));
            names.iter().take(SHOWN).for_each(|name| progress.note(&format!("  {name}")));
        }
        if names.len() > SHOWN {
            progress.note(&format!("  and {} more", names.len() - SHOWN));
        }
    };
    let left_out: Vec<&str> = plan.left_out().iter().map(String::as_str).collect();
    list(&left_out, "left out, because not all checkpoints have them");
    list(&plan.filled(), "averaged over the checkpoints that have them, not all");
    if plan.filtered() > 0 {
        let (n, include, exclude) = (plan.filtered(), setting!("include"), setting!("exclude"));
        progress.note(&format!("note: {n} tensor(s) left out by {include} or {exclude}"));
    }
}
