//! From a plan to files: one pass over the inputs, then the digests, then the names.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::output_state::Place;
use super::stream::{MOST_THREADS, Stream, memory_a_thread};
use super::target::Files;
use super::{OutputPlan, Plan, Target};
use crate::output::{
    AtomicFile, AtomicFolder, AtomicOutput, Memory, Sink, check_outputs, commit_all, model_files,
};
use crate::{Error, Result};

/// What was written of an output.
#[derive(Debug)]
pub struct Written {
    /// Size in bytes, all files together without configuration and tokenizer.
    pub bytes: u64,
    /// Tensors with means that are not finite, and how many.
    pub nonfinite: Vec<(String, u64)>,
    /// Configuration and tokenizer files that were copied.
    pub copied: Vec<String>,
}

/// What carrying out a plan will take.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// Seconds, by a sample of the inputs, without the writing.
    pub seconds: f64,
    /// Memory that is not mapped files, in bytes.
    pub memory: u64,
}

impl Plan<'_> {
    /// Writes the outputs, one to each target, in one pass over the inputs. `progress` is told from any
    /// thread how many input bytes were dealt with; they add up to [`Plan::bytes_to_read`].
    ///
    /// All outputs are written whole and made durable under temporary names before the first gets its own.
    /// If anything fails, also while they get their names, none has one: what was replaced is back. Only a
    /// crash of the machine or SIGKILL in the moment in which they are named can leave the first of them
    /// under their names, each whole, and the others as they were. (On file systems that cannot exchange
    /// two files, an error at that moment can, too.)
    ///
    /// # Errors
    /// `Usage` if there are not as many targets as outputs, if two are one place, or if one is an input;
    /// `OutputExists` without `force`; `NotFinite` for values that are not finite, unless they are allowed,
    /// and for means too large for their type; `Damaged` if an input does not match its checksums;
    /// `Changed` if it was written to meanwhile; `Mismatch` and `Unsupported` for what a target cannot hold;
    /// `Io`, `NoSpace`.
    pub fn write(
        &self,
        targets: &[Target],
        force: bool,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Written>> {
        self.check_targets(targets, force)?;
        let outputs = self.outputs().iter().zip(targets);
        let files: Vec<Files> = outputs
            .clone()
            .map(|(output, target)| Files::new(output, target))
            .collect::<Result<_>>()?;
        if self.verify {
            self.counting().try_for_each(|input| input.verify_apart())?;
        }
        let opened =
            targets.iter().zip(&files).map(|(target, files)| Opened::new(target, files, force));
        let mut opened: Vec<Opened> = opened.collect::<Result<_>>()?;
        let sinks: Vec<&dyn Sink> = opened.iter().map(Opened::sink).collect();
        let mut written = self.fill(&sinks, &files, progress)?;
        for (number, (output, _)) in outputs.enumerate() {
            if let (Opened::Folder(folder), Target::Folder { .. }) =
                (&mut opened[number], &targets[number])
            {
                written[number].copied = complete(folder, output, &files[number])?;
            }
        }
        commit_all(opened.into_iter().map(Opened::boxed).collect())?;
        Ok(written)
    }

    /// The only output as a safetensors file in memory: the bytes that [`Plan::write`] would write.
    ///
    /// # Errors
    /// `Usage` for several outputs; those of reading and averaging, as of [`Plan::write`].
    pub fn in_memory(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<u8>> {
        let [output] = self.outputs() else {
            let n = self.outputs().len();
            return Err(Error::usage(format!("{n} outputs for one file in memory")));
        };
        let target = Target::safetensors("");
        let files = Files::new(output, &target)?;
        if self.verify {
            self.counting().try_for_each(|input| input.verify_apart())?;
        }
        let memory = Memory::new(files.size());
        self.fill(&[&memory], std::slice::from_ref(&files), progress)?;
        Ok(memory.into_bytes())
    }

    /// Fails if the outputs cannot be written there; [`Plan::write`] checks the same. Nothing is read or
    /// written.
    ///
    /// # Errors
    /// `Usage` and `OutputExists`, as of [`Plan::write`].
    pub fn check_targets(&self, targets: &[Target], force: bool) -> Result<()> {
        if targets.len() != self.outputs().len() {
            let (n, m) = (targets.len(), self.outputs().len());
            return Err(Error::usage(format!("{n} target(s) for {m} output(s)")));
        }
        let inputs = self.inputs().iter().flat_map(|input| {
            std::iter::once(input.path()).chain(input.files().iter().map(|file| file.path()))
        });
        let inputs: Vec<PathBuf> = inputs.map(|path| path.to_path_buf()).collect();
        let outputs: Vec<_> =
            targets.iter().map(|target| (target.path(), target.is_folder())).collect();
        check_outputs(&outputs, force, &inputs)
    }

    pub(super) fn fill(
        &self,
        sinks: &[&dyn Sink],
        files: &[Files],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Written>> {
        for (files, sink) in files.iter().zip(sinks) {
            files.begin(*sink)?;
        }
        let places: Vec<Place> = (files.iter().zip(sinks).zip(self.outputs()))
            .map(|((files, sink), output)| files.place(*sink, output))
            .collect();
        let stream = Stream::new(self, &places, progress);
        stream.run(None)?;
        let mut written = vec![];
        for (number, gathered) in stream.finish().into_iter().enumerate() {
            let (output, files) = (&self.outputs()[number], &files[number]);
            files.finish(sinks[number], output, &gathered.sums)?;
            let named = |(tensor, n)| (output.name(tensor).to_string(), n);
            let nonfinite = gathered.nonfinite.into_iter().map(named).collect();
            written.push(Written { bytes: files.size(), nonfinite, copied: vec![] });
        }
        self.counting().try_for_each(|input| input.check_unchanged())?;
        Ok(written)
    }

    /// Averages the first tensors for a tenth of a second, and writes nothing.
    ///
    /// # Errors
    /// Those of reading and averaging, as of [`Plan::write`].
    pub fn estimate(&self) -> Result<Estimate> {
        let done = AtomicU64::new(0);
        let count = |bytes| {
            done.fetch_add(bytes, Ordering::Relaxed);
        };
        let started = Instant::now();
        let stream = Stream::new(self, &[], &count);
        stream.run(Some(started + Duration::from_millis(100)))?;
        let share = done.into_inner() as f64 / self.bytes_to_read().max(1) as f64;
        let seconds = started.elapsed().as_secs_f64() / share.max(1e-12);
        let threads = rayon::current_num_threads().min(MOST_THREADS) as u64;
        let tensors: usize = self.outputs().iter().map(|output| output.tensors().len()).sum();
        let memory = threads * memory_a_thread(self) + 256 * tensors as u64;
        Ok(Estimate { seconds, memory })
    }
}

impl OutputPlan<'_> {
    /// Size of the output in bytes, all files together.
    ///
    /// # Errors
    /// `Usage`, `Mismatch`, `Unsupported` or `Limit` if the target cannot hold the output.
    pub fn size(&self, target: &Target) -> Result<u64> {
        Ok(Files::new(self, target)?.size())
    }
}

/// What an output is written to before it has its name.
enum Opened {
    File(AtomicFile),
    Folder(AtomicFolder),
}

impl Opened {
    fn new(target: &Target, files: &Files, force: bool) -> Result<Self> {
        let path = target.path();
        if !target.is_folder() {
            return Ok(Opened::File(AtomicFile::create(path, files.size(), force)?));
        }
        let sizes: Vec<_> = files.names.iter().map(String::as_str).zip(files.sizes()).collect();
        Ok(Opened::Folder(AtomicFolder::create(path, &sizes, force)?))
    }

    fn sink(&self) -> &dyn Sink {
        match self {
            Opened::File(file) => file,
            Opened::Folder(folder) => folder,
        }
    }

    fn boxed(self) -> Box<dyn AtomicOutput> {
        match self {
            Opened::File(file) => Box::new(file),
            Opened::Folder(folder) => Box::new(folder),
        }
    }
}

/// Adds what a model's folder holds beside its tensors; returns the names of the files that were copied.
fn complete(folder: &mut AtomicFolder, output: &OutputPlan, files: &Files) -> Result<Vec<String>> {
    let mut copied = vec![];
    for (name, bytes) in small_files(output, files)? {
        folder.add(&name, &bytes)?;
        copied.push(name);
    }
    copied.retain(|name| *name != files.index_name());
    Ok(copied)
}

/// What a model's folder holds beside its tensors: configuration and tokenizer of the last input, and the index.
pub(super) fn small_files(output: &OutputPlan, files: &Files) -> Result<Vec<(String, Vec<u8>)>> {
    let last = output.inputs()[output.inputs().len() - 1];
    let names = if last.is_folder() { model_files(last.path())? } else { vec![] };
    let last = last.path();
    let read = |name: String| {
        let from = last.join(&name);
        let bytes = std::fs::read(&from).map_err(|e| Error::io(&from, "read", e))?;
        Ok((name, bytes))
    };
    let mut small = names.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    if files.names.len() > 1 {
        small.push((files.index_name(), files.index(output).into_bytes()));
    }
    Ok(small)
}
