//! One of several processes that write a folder together.

use std::path::PathBuf;
use std::time::Instant;

use super::Average;
use super::average::{opened, plan};
use crate::average::{FolderFiles, Target, deal};
use crate::checkpoint::{Checkpoint, Source};
use crate::output::partial::{self, Partial, Record};
use crate::schemes::Scheme;
use crate::{Error, Kind, Progress, Result, Shard, Unit, setting};

/// Which part of an average to write.
#[derive(Debug, Clone)]
pub struct Share {
    /// The whole average, the same in all processes: one output, a folder.
    pub average: Average,
    /// Which part of its files.
    pub shard: Shard,
}

/// What was written of it.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The folder that it becomes.
    pub output: PathBuf,
    /// Where its files are until all are there.
    pub partial: PathBuf,
    /// Which part it was.
    pub shard: Shard,
    /// False: it was only planned.
    pub written: bool,
    /// The files of this part, the largest first.
    pub files: Vec<SharedFile>,
    /// How many files of tensors the folder has.
    pub all: usize,
    /// How many of them are there, of all parts.
    pub there: usize,
    /// The checkpoints in natural order.
    pub inputs: Vec<PathBuf>,
    /// Tensors whose means are not finite, and how many values.
    pub nonfinite: Vec<(String, u64)>,
    /// Of the inputs, by this process.
    pub bytes_read: u64,
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

/// A file of a part.
#[derive(Debug, Clone)]
pub struct SharedFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// It was there before, and was not written again.
    pub was_there: bool,
}

/// Writes some of the files of an averaged model's folder, so that several processes share the work: each takes whole
/// files, and they need not talk to each other. [`finish`](super::finish) makes the folder of them, whose bytes are
/// those that one process would write. Everything is planned from headers. What is there is not written again, so a
/// process that was interrupted may be run again.
///
/// # Errors
/// `Usage` where the output is no folder, or another process does the same part; `Mismatch` where the folder was begun
/// by another plan, `Changed` where inputs are others by now; those of [`average`](super::average()).
pub fn share(options: &Share, progress: &dyn Progress) -> Result<Shared> {
    let started = Instant::now();
    let (average, shard) = (&options.average, options.shard);
    let (selection, inputs) = opened(average, progress)?;
    let (plan, planned) = plan(average, &selection, &inputs, progress)?;
    let ([target], [scheme]) = (&planned.targets[..], &planned.schemes[..]) else {
        let what = concat!(setting!("shard"), ": several outputs are not shared");
        return Err(Error::usage(what).remedy("write each by calls of its own"));
    };
    check(target, scheme)?;
    plan.check_targets(&planned.targets, average.force)?;
    let mut files = plan.folder_files(target)?;
    let (sizes, small) = (files.sizes(), files.small()?);
    let own = deal(&sizes.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), shard);
    let mut shared = Shared {
        output: target.path().to_path_buf(),
        partial: partial::partial_of(target.path()),
        shard,
        written: !average.dry_run,
        files: vec![],
        all: sizes.len(),
        there: 0,
        inputs: inputs.iter().map(|input| input.path().to_path_buf()).collect(),
        nonfinite: vec![],
        bytes_read: 0,
        seconds: 0.0,
    };
    if !average.options.no_verify && files.leaves_checksums() {
        progress.note(&format!(
            "note: some files have pieces of tensors, and the inputs checksums of whole ones: these are not compared; {} does it",
            setting!("verify")
        ));
    }
    let named = |file: usize, was_there| {
        let (name, bytes) = sizes[file].clone();
        SharedFile { name, bytes, was_there }
    };
    if average.dry_run {
        shared.files = own.iter().map(|&file| named(file, false)).collect();
        shared.bytes_read = own.iter().map(|&file| files.bytes_to_read(file)).sum();
        shared.seconds = started.elapsed().as_secs_f64();
        return Ok(shared);
    }
    let record = record(&files, target, &small, &inputs);
    let partial = Partial::begin(target.path(), &record, &small, shard)?;
    let mut left = vec![];
    for &file in &own {
        match partial.has(&sizes[file])? {
            true => shared.files.push(named(file, true)),
            false => left.push(file),
        }
    }
    shared.bytes_read = left.iter().map(|&file| files.bytes_to_read(file)).sum();
    progress.begin("averaging", shared.bytes_read, 0, Unit::Bytes);
    for file in left {
        let path = partial.folder().join(&sizes[file].0);
        match files.write(file, &path, &|bytes| progress.advance(bytes)) {
            Ok(written) => {
                shared.nonfinite.extend(written.nonfinite);
                shared.files.push(named(file, false));
            }
            // Another process, of another number of them, was sooner: it has the same bytes.
            Err(e) if e.kind() == Kind::OutputExists && partial.has(&sizes[file])? => {
                shared.files.push(named(file, true));
            }
            Err(e) => return Err(e),
        }
    }
    progress.end();
    for (name, n) in &shared.nonfinite {
        progress.note(&format!("note: tensor `{name}`: {n} means are not finite"));
    }
    for size in &sizes {
        shared.there += usize::from(partial.has(size)?);
    }
    shared.partial = partial.folder().to_path_buf();
    shared.seconds = started.elapsed().as_secs_f64();
    Ok(shared)
}

/// Fails for an output that has no files to deal.
fn check(target: &Target, scheme: &Scheme) -> Result<()> {
    if target.is_folder() && !matches!(scheme, Scheme::Swag(_)) {
        return Ok(());
    }
    let what =
        concat!(setting!("shard"), " deals the files of a folder, and this output is a file");
    Err(Error::usage(what).at(target.path()).remedy(concat!(
        "name a folder and give ",
        setting!("max_shard_size"),
        ", or leave out ",
        setting!("shard")
    )))
}

/// What all processes must agree on.
fn record(
    files: &FolderFiles,
    target: &Target,
    small: &[(String, Vec<u8>)],
    inputs: &[Checkpoint],
) -> Record {
    let read = |(name, source): (String, &Source)| {
        let (bytes, modified) = (source.size(), source.modified());
        partial::Read { name, bytes, modified }
    };
    let tensors = files.tensors();
    let named = tensors.iter().map(|info| (info.name.as_str(), info));
    let is_model = matches!(target, Target::Folder { .. });
    Record {
        settings: files.settings(),
        inputs: files.sources().into_iter().map(read).collect(),
        files: files.sizes(),
        small: (small.iter())
            .map(|(name, bytes)| (name.clone(), partial::digest_of(bytes)))
            .collect(),
        tensors: is_model.then(|| partial::tensors_digest(named)),
        averaged: inputs.len(),
        batchnorm_layers: inputs[0].batchnorm_layers().len(),
    }
}
