//! Checkpoints are added to a running average.

use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use super::{Output, adapters, inputs, left, say_averages, say_taken};
use crate::average::{self, Target};
use crate::checkpoint::{Checkpoint, Take};
use crate::output::{Format, check_targets};
use crate::running::{RunningAverage, Wrote};
use crate::schemes::Scheme;
use crate::select::{Criteria, order};
use crate::{Error, Progress, Result, Unit, look, setting};

/// What to add to a running average, and what to write of it.
#[derive(Debug, Clone, Default)]
pub struct Accumulate {
    /// Files, folders and patterns; none to write the output alone.
    pub checkpoints: Vec<PathBuf>,
    /// Which of them count.
    pub criteria: Criteria,
    /// Which of the weights in a file are meant.
    pub take: Take,
    /// How to average.
    pub options: average::Options,
    /// What to write: the mean, in a file.
    pub output: Output,
    /// Replace what is there, whatever it is.
    pub force: bool,
    /// The state: what was counted before, and its exact sum. It is begun if there is none.
    pub state: PathBuf,
}

/// What was added.
#[derive(Debug, Clone)]
pub struct Accumulated {
    /// The output.
    pub output: PathBuf,
    /// False: it was there already, byte for byte.
    pub written: bool,
    /// The state.
    pub state: StateSize,
    /// All that is counted, in natural order.
    pub inputs: Vec<PathBuf>,
    /// What was counted by this job.
    pub added: Vec<PathBuf>,
    /// What had been counted before, or has the weights of another one, each with the path that counts.
    pub repeated: Vec<(PathBuf, PathBuf)>,
    /// Tensors that are means.
    pub averaged: usize,
    /// Tensors from the last checkpoint.
    pub copied: usize,
    /// Tensors whose means are not finite, and how many values.
    pub nonfinite: Vec<(String, u64)>,
    /// Of the output.
    pub bytes: u64,
    /// Batchnorm layers, whose statistics no longer match the averaged weights.
    pub batchnorm_layers: usize,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// A state's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSize {
    /// Where it is; None for one that goes with the process.
    pub path: Option<PathBuf>,
    /// Its size.
    pub bytes: u64,
    /// Values of the model, each with a sum of its own.
    pub values: u64,
}

impl StateSize {
    pub(super) fn of(running: &RunningAverage, path: Option<&Path>) -> Self {
        let path = path.map(Path::to_path_buf);
        StateSize { path, bytes: running.size(), values: running.values() }
    }
}

/// Adds checkpoints to a running average and writes its output. Both are as they were, or both new. The output is, byte
/// for byte, what averaging all at once would write.
///
/// # Errors
/// `Usage`, `OutputExists` and `NoMatch` before anything is read; `Mismatch` where a checkpoint is not of the model that
/// was counted; those of opening, reading and writing, and of a state that is damaged.
pub fn accumulate(options: &Accumulate, progress: &dyn Progress) -> Result<Accumulated> {
    let started = Instant::now();
    refuse_repetitions(&options.criteria)?;
    let Accumulate { checkpoints, criteria, take, .. } = options;
    let (inputs, mut repeated) = match checkpoints.is_empty() {
        true => (vec![], vec![]),
        false => {
            let opened =
                inputs::open(checkpoints, criteria, take, &options.options, false, progress)?;
            opened.say_no_snapshots(progress);
            (opened.inputs, opened.repeated)
        }
    };
    let paths: Vec<PathBuf> = inputs.iter().map(|input| input.path().to_path_buf()).collect();
    let output = &options.output;
    let places = [(setting!("state"), &*options.state), (setting!("output"), &*output.path)];
    check_targets(&places, true, &paths)?;
    let target = target(output, &options.take)?;
    let mut running = RunningAverage::open(&options.state, &options.options, &options.take)?;
    let force =
        options.force || !look::exists(&output.path)? || running.is_own_output(&output.path);
    check_targets(&places[1..], force, &[])?;
    adapters::check(&inputs)?;
    say_taken(progress, &inputs, true);
    say_averages(progress, &inputs);
    if let Some(last) = inputs.last() {
        left::say(progress, options.options.rest_of(last), &target);
    }
    let how = (output.dtype.or(options.options.dtype), !options.options.no_verify);
    progress.begin("averaging", running.bytes_to_read(&inputs), 0, Unit::Bytes);
    let added = running.add(inputs, &target, force, how, &|bytes| progress.advance(bytes))?;
    progress.end();
    repeated.extend(added.repeated);
    for (path, first) in &repeated {
        say_repeated(progress, path, first);
    }
    let (wrote, written) = match added.written {
        Some(wrote) => (wrote, true),
        None => running.write_output(&target, force, how.0)?,
    };
    say_wrote(progress, &wrote);
    let state = StateSize::of(&running, Some(&options.state));
    say_state(progress, &state);
    let inputs: Vec<PathBuf> =
        running.inputs().iter().map(|input| PathBuf::from(&input.path)).collect();
    let notes = [spelled_apart(&inputs), ordered_apart(&inputs, criteria)];
    notes.iter().flatten().for_each(|note| progress.note(note));
    Ok(Accumulated {
        output: output.path.clone(),
        written,
        state,
        inputs,
        added: added.counted,
        repeated,
        averaged: wrote.averaged,
        copied: wrote.copied,
        nonfinite: wrote.nonfinite,
        bytes: wrote.bytes,
        batchnorm_layers: running.batchnorm_layers(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// What is the last by its path, where an expression says that it is another: a state knows no expression.
pub(super) fn ordered_apart(inputs: &[PathBuf], criteria: &Criteria) -> Option<String> {
    let places = order::of(inputs, criteria, false).ok()??;
    let (last, meant) = (inputs.last()?, &inputs[*places.last()?]);
    (last != meant).then(|| {
        format!(
            "note: what is not averaged, such as num_batches_tracked, is that of `{}`, the last by its path, not of `{}`",
            last.display(),
            meant.display()
        )
    })
}

/// A running average cannot tell twice from once more.
pub(super) fn refuse_repetitions(criteria: &Criteria) -> Result<()> {
    match criteria.allow_duplicates {
        true => Err(Error::usage(concat!(
            "a running average counts each checkpoint once, and takes no ",
            setting!("allow_duplicates")
        ))
        .remedy("leave it out, or average all at once")),
        false => Ok(()),
    }
}

/// What an output is written to, of those that a running average can write.
pub(super) fn target(output: &Output, take: &Take) -> Result<Target> {
    let Output { path, like, max_shard_size, scheme, .. } = output;
    if *scheme != Scheme::Mean {
        let what = format!("a running average is the mean, not {scheme}");
        return Err(Error::usage(what).remedy("average all checkpoints at once for other schemes"));
    }
    Format::check(path)?;
    let format = Format::of(path);
    if max_shard_size.is_some() {
        let what =
            concat!(setting!("max_shard_size"), " writes a folder, and a state gives a file");
        return Err(Error::usage(what).at(path).remedy("leave it out"));
    }
    let path = path.clone();
    if let Some(like) = like {
        if format == Some(Format::Safetensors) {
            return Err(Error::usage(concat!(setting!("like"), " writes a PyTorch file"))
                .at(&path)
                .remedy("end the name in .pth or .ckpt"));
        }
        let model = Box::new(Checkpoint::open_with(like, take)?);
        return Ok(Target::Like { path, model });
    }
    Ok(Target::File { path, format: format.unwrap_or(Format::Safetensors) })
}

pub(super) fn say_repeated(progress: &dyn Progress, path: &Path, first: &Path) {
    let (shown, first) = (path.display(), first.display());
    progress.note(&match path.to_string_lossy() == first.to_string() {
        true => format!("note: `{shown}` was counted before: not counted again"),
        false => format!(
            "note: `{shown}` has the weights of `{first}`, which was counted: not counted again"
        ),
    });
}

/// How many means are not.
pub(super) fn not_finite(n: u64) -> String {
    match n {
        1 => "1 mean is not finite".into(),
        n => format!("{n} means are not finite"),
    }
}

pub(super) fn say_wrote(progress: &dyn Progress, wrote: &Wrote) {
    for (name, n) in &wrote.nonfinite {
        progress.note(&format!("note: tensor `{name}`: {}", not_finite(*n)));
    }
}

/// Bytes a value up to which nothing is said of a state's size.
const ORDINARY: u64 = 12;

pub(super) fn say_state(progress: &dyn Progress, state: &StateSize) {
    let StateSize { bytes, values, .. } = *state;
    // Headers and names weigh more than the sums of a small model.
    if bytes > ORDINARY * values + (1 << 20) {
        let per_value = bytes as f64 / values.max(1) as f64;
        progress.note(&format!(
            "note: the state takes {per_value:.1} bytes a value: sums of values with far-apart exponents are long"
        ));
    }
}

/// What to say where paths begin in different ways: `run/e_1`, `/home/me/run/e_2` and `e_3` do not sort as the files of one
/// folder would.
pub(super) fn spelled_apart(paths: &[PathBuf]) -> Option<String> {
    let beginning = |path: &Path| match path.components().next() {
        Some(Component::Normal(_)) if path.components().nth(1).is_none() => "a name",
        Some(Component::Normal(_)) => "a folder",
        Some(Component::CurDir) => ".",
        Some(Component::ParentDir) => "..",
        _ => "/",
    };
    let (first, rest) = paths.split_first()?;
    let other = rest.iter().find(|path| beginning(path) != beginning(first))?;
    Some(format!(
        "note: `{}` and `{}` are given in different ways, and the order of the checkpoints is that of their paths as text: what comes from the last one may come from another than the newest",
        first.display(),
        other.display()
    ))
}
