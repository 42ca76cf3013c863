//! Checkpoints of one model become one, or several at once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::accumulate::not_finite;
use super::outputs::{Output, Planned};
use super::{adapters, inputs, left, say_taken};
use crate::average::{self, Estimate, OutputPlan, Plan, Rule, SwagLayout, Target, Written};
use crate::checkpoint::{Checkpoint, Take};
use crate::formats::shards::{further_folders, further_models};
use crate::output::{Format, model_folders};
use crate::schemes::{Fit, Profiles, Scheme, Snapshots};
use crate::select::{Chosen, Criteria, Selection, order};
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
    /// What is known of checkpoints that are moving averages, for [`Scheme::PosthocEma`].
    pub profiles: Profiles,
    /// How to average.
    pub options: average::Options,
    /// What to write: one at least.
    pub outputs: Vec<Output>,
    /// Replace what is there.
    pub force: bool,
    /// Plan everything and write nothing.
    pub dry_run: bool,
}

/// What was averaged.
#[derive(Debug, Clone)]
pub struct Averaged {
    /// One at least, in the order in which they were given; [`Scheme::Prefix`] makes as many as there are inputs.
    pub outputs: Vec<AveragedOutput>,
    /// False: it was only planned.
    pub written: bool,
    /// The checkpoints in natural order.
    pub inputs: Vec<PathBuf>,
    /// How many checkpoints the criteria left out.
    pub left_out: usize,
    /// What was chosen by results, where they decide.
    pub chosen: Option<Chosen>,
    /// Of the inputs, each once for all outputs.
    pub bytes_read: u64,
    /// Batchnorm layers, whose statistics no longer match the averaged weights.
    pub batchnorm_layers: usize,
    /// The same of Keras models, whose statistics Keras alone can recompute.
    pub keras_batchnorm_layers: usize,
    /// What it would take, where nothing was written.
    pub estimate: Option<Estimate>,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// An output, written or planned.
#[derive(Debug, Clone)]
pub struct AveragedOutput {
    /// The file or folder.
    pub path: PathBuf,
    /// What it is.
    pub scheme: Scheme,
    /// For each input its part of the sum; all add up to 1. `None`: it does not count.
    pub shares: Vec<Option<f64>>,
    /// How well the weights do what the scheme asks for, if they cannot do it exactly.
    pub fit: Option<Fit>,
    /// Tensors that are means.
    pub averaged: usize,
    /// Tensors from the last checkpoint that counts.
    pub copied: usize,
    /// Tensors whose means are not finite, and how many values.
    pub nonfinite: Vec<(String, u64)>,
    /// All files together.
    pub bytes: u64,
}

impl AveragedOutput {
    /// How many checkpoints count.
    pub fn counting(&self) -> usize {
        self.shares.iter().flatten().count()
    }
}

/// Averages checkpoints of one model, in one pass over them. All outputs appear whole, or none does.
///
/// # Errors
/// `Usage`, `OutputExists` and `NoMatch` before anything is read; `Mismatch` where the checkpoints are not of one
/// model, with every difference; `NotFinite` where values are not finite; those of opening, reading and writing.
pub fn average(options: &Average, progress: &dyn Progress) -> Result<Averaged> {
    let started = Instant::now();
    let (selection, inputs) = opened(options, progress)?;
    let (plan, planned) = plan(options, &selection, &inputs, progress)?;
    let Planned { targets, schemes, fits, .. } = planned;
    let swag = swag(&plan, &targets, &schemes)?;
    let (written, estimate) = match (options.dry_run, &swag) {
        (true, Some(layout)) => {
            plan.check_targets(&targets, options.force)?;
            let written = Written { bytes: layout.size(), nonfinite: vec![], copied: vec![] };
            (vec![written], Some(Estimate { memory: layout.memory(), ..plan.estimate()? }))
        }
        (true, None) => {
            plan.check_targets(&targets, options.force)?;
            let sizes = plan.outputs().iter().zip(&targets);
            let written = sizes.map(|(output, target)| {
                Ok(Written { bytes: output.size(target)?, nonfinite: vec![], copied: vec![] })
            });
            (written.collect::<Result<_>>()?, Some(plan.estimate()?))
        }
        (false, _) => {
            progress.begin("averaging", plan.bytes_to_read(), 0, Unit::Bytes);
            let step = |bytes| progress.advance(bytes);
            let written = match &swag {
                Some(layout) => {
                    plan.check_targets(&targets, options.force)?;
                    vec![layout.write(targets[0].path(), options.force, &step)?]
                }
                None => plan.write(&targets, options.force, &step)?,
            };
            progress.end();
            (written, None)
        }
    };
    let outputs = outcomes(&plan, &targets, &schemes, fits, written);
    for output in &outputs {
        for (name, n) in &output.nonfinite {
            let path = match outputs.len() {
                1 => String::new(),
                _ => format!("`{}`: ", output.path.display()),
            };
            progress.note(&format!("note: {path}tensor `{name}`: {}", not_finite(*n)));
        }
    }
    Ok(Averaged {
        outputs,
        written: !options.dry_run,
        left_out: selection.left_out,
        chosen: selection.chosen,
        bytes_read: plan.bytes_to_read(),
        batchnorm_layers: inputs[0].batchnorm_layers().len(),
        keras_batchnorm_layers: inputs[0].keras_batchnorm_layers().len(),
        estimate,
        seconds: started.elapsed().as_secs_f64(),
        inputs: inputs.iter().map(|input| input.path().to_path_buf()).collect(),
    })
}

/// The checkpoints that count.
pub(super) fn opened(
    options: &Average,
    progress: &dyn Progress,
) -> Result<(Selection, Vec<Checkpoint>)> {
    // Weights that are given are meant.
    let is_given = |output: &Output| matches!(output.scheme, Scheme::Weights(_));
    let insist = options.outputs.iter().any(is_given);
    let Average { checkpoints, criteria, take, .. } = options;
    let opened = inputs::open(checkpoints, criteria, take, &options.options, insist, progress)?;
    if let Some((copy, kept)) = &opened.equal {
        let (copy, kept) = (copy.display(), kept.display());
        let same = format!("`{copy}` has the same weights as `{kept}`");
        if !options.outputs.iter().all(is_given) {
            let what = format!("{same}: both count with weights that are given, and one without");
            return Err(Error::usage(what).remedy(concat!(
                "write the other outputs in a run of their own, or count both in all with ",
                setting!("allow_duplicates")
            )));
        }
        progress.note(&format!("note: {same}: both count, with the weights given"));
    }
    opened.say_repeated(progress);
    let (mut selection, mut inputs) = (opened.selection, opened.inputs);
    let is_needed = options.outputs.iter().any(|output| output.scheme.is_ordered());
    if let Some(places) = order::of(&selection.paths, criteria, is_needed)? {
        let mut all: Vec<_> = selection.paths.into_iter().zip(inputs).map(Some).collect();
        let sorted = places.iter().filter_map(|&place| all[place].take());
        (selection.paths, inputs) = sorted.unzip();
    }
    adapters::check(&inputs)?;
    say_taken(progress, &inputs, true);
    say_averages(progress, &inputs);
    Ok((selection, inputs))
}

/// What becomes of them, and where; columns are in the plan.
pub(super) fn plan<'a>(
    options: &Average,
    selection: &Selection,
    inputs: &'a [Checkpoint],
    progress: &dyn Progress,
) -> Result<(Plan<'a>, Planned)> {
    let paths = &selection.paths[..];
    let (criteria, profiles) = (&options.criteria, &options.profiles);
    let snapshots = Snapshots { paths, criteria, profiles };
    let mut planned = Planned::of(options, inputs, &snapshots)?;
    let columns = std::mem::take(&mut planned.columns);
    let plan = Plan::new(inputs, columns, options.options.clone())?;
    note_weights(progress, &plan, &planned.schemes);
    plan.outputs().iter().for_each(|output| note_keys(progress, output));
    let outputs = plan.outputs().iter().zip(&planned.targets);
    outputs.for_each(|(output, target)| left::say(progress, output.rest(), target));
    let outputs = plan.outputs().iter().zip(&planned.targets);
    outputs.for_each(|(output, target)| note_like(progress, output, target));
    note_beside(progress, plan.outputs(), &planned.targets);
    Ok((plan, planned))
}

/// SWAG's moments, if they are what is asked for: one output in a file of one format.
fn swag<'p, 'a>(
    plan: &'p Plan<'a>,
    targets: &[Target],
    schemes: &[Scheme],
) -> Result<Option<SwagLayout<'p, 'a>>> {
    let Some((number, kept)) =
        schemes.iter().enumerate().find_map(|(number, scheme)| match scheme {
            Scheme::Swag(kept) => Some((number, *kept)),
            _ => None,
        })
    else {
        return Ok(None);
    };
    let path = targets[number].path();
    if schemes.len() > 1 {
        return Err(Error::usage("SWAG has a pass of its own: it is the only output")
            .at(path)
            .remedy("write the others by another call"));
    }
    if !matches!(targets[number], Target::File { format: Format::Safetensors, .. }) {
        return Err(Error::usage("SWAG's moments are written to a safetensors file")
            .at(path)
            .remedy("end the name in .safetensors"));
    }
    SwagLayout::new(plan, kept).map(Some)
}

fn outcomes(
    plan: &Plan,
    targets: &[Target],
    schemes: &[Scheme],
    fits: Vec<Option<Fit>>,
    written: Vec<Written>,
) -> Vec<AveragedOutput> {
    let mut outputs = Vec::with_capacity(targets.len());
    for (number, (written, fit)) in written.into_iter().zip(fits).enumerate() {
        let output = &plan.outputs()[number];
        let averaged = output.tensors().iter().filter(|t| matches!(t.rule, Rule::Mean(_))).count();
        let mut shares = vec![None; plan.inputs().len()];
        for (&row, share) in output.rows().iter().zip(output.coefficients().shares()) {
            shares[row] = Some(share);
        }
        outputs.push(AveragedOutput {
            path: targets[number].path().to_path_buf(),
            scheme: schemes[number].clone(),
            shares,
            fit,
            averaged,
            copied: output.tensors().len() - averaged,
            nonfinite: written.nonfinite,
            bytes: written.bytes,
        });
    }
    outputs
}

/// Negative weights are easily a mistake.
fn note_weights(progress: &dyn Progress, plan: &Plan, schemes: &[Scheme]) {
    let outputs = plan.outputs().iter().zip(schemes);
    let mut negative = outputs.filter(|(output, _)| !output.coefficients().is_positive());
    if let Some((_, scheme)) = negative.next() {
        let of = match (scheme, schemes.len()) {
            (Scheme::Weights(_), _) | (_, 1) => String::new(),
            (scheme, _) => format!(" of {scheme}"),
        };
        progress.note(&format!("note: some weights{of} are negative"));
    }
}

/// Says what is not in the copy of a folder, and which weights in that of a file are no averages.
fn note_like(progress: &dyn Progress, output: &OutputPlan, target: &Target) {
    if let Target::Like { model, .. } = target {
        let names: BTreeSet<&str> = (0..output.tensors().len()).map(|t| output.name(t)).collect();
        let is_left = |name: &&String| !names.contains(name.as_str());
        let all = model.tensors().iter().enumerate().filter(|(i, _)| !model.is_counter(*i));
        let mut left = all.map(|(_, info)| &info.name).filter(is_left);
        if let Some(first) = left.next() {
            let (n, path) = (1 + left.count(), model.path().display());
            progress.note(&format!(
                "note: {n} tensor(s) of `{path}`, such as `{first}`, are not in the average and stay as they are"
            ));
        }
        for (key, _) in &model.taken().further {
            let path = model.path().display();
            progress
                .note(&format!("note: the tensors of `{key}` in the output are those of `{path}`"));
        }
    }
    let Target::LikeFolder { model, .. } = target else { return };
    let (folder, given) = (model.folder().display(), model.model().path());
    if model.folder() != given {
        progress
            .note(&format!("note: the output is a copy of `{folder}`, which holds the weights"));
    }
    note_not_copied(progress, model.folder(), model.folders());
}

/// Says what of models' folders is not in the outputs, once for each folder.
fn note_beside(progress: &dyn Progress, outputs: &[OutputPlan], targets: &[Target]) {
    let mut said = BTreeSet::new();
    for (output, target) in outputs.iter().zip(targets) {
        let last = output.inputs().last().filter(|input| input.is_folder());
        let Some(last) = last.map(|input| input.path()).filter(|last| said.insert(*last)) else {
            continue;
        };
        if let Target::Folder { .. } = target {
            note_not_copied(progress, last, &model_folders(last));
        }
        // Nothing fails for the sake of a note.
        if let Some(first) = further_models(last).unwrap_or_default().first() {
            progress.note(&format!(
                "note: `{}` holds `{first}` as well, which is not averaged: name these files for the mean of them",
                last.display()
            ));
        }
        if let Some(first) = further_folders(last).unwrap_or_default().first() {
            progress.note(&format!(
                "note: `{}` holds a model in `{first}` as well, which is not averaged: name these folders for the mean of them",
                last.display()
            ));
        }
    }
}

fn note_not_copied(progress: &dyn Progress, folder: &Path, folders: &[String]) {
    let Some(first) = folders.first() else { return };
    let (n, folder) = (folders.len(), folder.display());
    progress.note(&format!(
        "note: {n} folder(s) in `{folder}`, such as `{first}`, are not copied: files are"
    ));
}

/// An earlier output that lies among the checkpoints is easily averaged by mistake.
pub(super) fn say_averages(progress: &dyn Progress, inputs: &[Checkpoint]) {
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
