//! What one of several processes wrote of a folder, and the folder they made.

use schemars::JsonSchema;
use serde::Serialize;

use super::NonFinite;
use crate::jobs::{Finished, Shared};
use crate::text::megabytes;

/// What `swa-avg --shard` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShareReport {
    /// The folder that it becomes.
    pub output: String,
    /// Where its files are until all are there.
    pub partial: String,
    /// Which part of the files this process had, as `0/4`.
    pub shard: String,
    /// False with `--dry-run`: nothing was written.
    pub written: bool,
    /// The files of this part, the largest first.
    pub files: Vec<SharedFileReport>,
    /// How many files the folder has, without configuration and index.
    pub all: usize,
    /// How many of them are there, those of other processes included.
    pub there: usize,
    /// The checkpoints that are averaged, in natural order.
    pub inputs: Vec<String>,
    /// Tensors of this part with means that are not finite (with `--allow-nonfinite`).
    pub nonfinite: Vec<NonFinite>,
    /// Bytes that this process read from the inputs.
    pub bytes_read: u64,
    /// The command that makes the folder, once all files are there; null before.
    pub next: Option<String>,
    /// Time that the job took.
    pub seconds: f64,
}

/// A file of a part.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SharedFileReport {
    /// Its name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// It was there already, and was not written again.
    pub was_there: bool,
}

impl ShareReport {
    /// Of an outcome. `next`: the command that finishes the folder.
    pub fn of(outcome: &Shared, next: impl Fn() -> String) -> Self {
        let files = outcome.files.iter().map(|file| SharedFileReport {
            file: file.name.clone(),
            bytes: file.bytes,
            was_there: file.was_there,
        });
        let nonfinite = outcome.nonfinite.iter();
        ShareReport {
            output: outcome.output.display().to_string(),
            partial: outcome.partial.display().to_string(),
            shard: outcome.shard.to_string(),
            written: outcome.written,
            files: files.collect(),
            all: outcome.all,
            there: outcome.there,
            inputs: outcome.inputs.iter().map(|input| input.display().to_string()).collect(),
            nonfinite: nonfinite
                .map(|(tensor, values)| NonFinite { tensor: tensor.clone(), values: *values })
                .collect(),
            bytes_read: outcome.bytes_read,
            next: (outcome.written && outcome.there == outcome.all).then(next),
            seconds: outcome.seconds,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let (shard, partial) = (&self.shard, &self.partial);
        let new: Vec<&SharedFileReport> = self.files.iter().filter(|f| !f.was_there).collect();
        let (n, all) = (new.len(), self.all);
        let size = megabytes(new.iter().map(|file| file.bytes).sum());
        if !self.written {
            let read = megabytes(self.bytes_read);
            let mut lines = vec![format!(
                "shard {shard}: would write {n} of {all} file(s), {size}, to {partial}; {read} to read"
            )];
            lines.extend(new.iter().map(|f| format!("  {}, {}", f.file, megabytes(f.bytes))));
            return lines.join("\n");
        }
        let before = match self.files.len() - n {
            0 => String::new(),
            before => format!(", {before} kept that were there"),
        };
        let mut text = format!(
            "shard {shard}: wrote {n} of {all} file(s), {size}, to {partial}{before} in {:.2} s",
            self.seconds
        );
        text += &match &self.next {
            Some(next) => format!("\nall {all} file(s) are there; next: {next}"),
            None => format!("\n{} of {all} file(s) are there", self.there),
        };
        text
    }
}

/// What `swa-avg --finish` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FinishReport {
    /// The folder.
    pub output: String,
    /// How many files are in it.
    pub files: usize,
    /// All files together.
    pub bytes: u64,
    /// Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was copied.
    pub batchnorm_layers: usize,
    /// The command that recomputes their statistics; null where nothing needs recomputing.
    pub next: Option<String>,
    /// Time that the job took.
    pub seconds: f64,
}

impl FinishReport {
    /// Of an outcome. `next`: the command that recomputes batchnorm statistics.
    pub fn of(outcome: &Finished, next: impl Fn() -> String) -> Self {
        let is_stale = outcome.batchnorm_layers > 0 && outcome.inputs > 1;
        FinishReport {
            output: outcome.output.display().to_string(),
            files: outcome.files,
            bytes: outcome.bytes,
            batchnorm_layers: outcome.batchnorm_layers,
            next: is_stale.then(next),
            seconds: outcome.seconds,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let (output, files, size) = (&self.output, self.files, megabytes(self.bytes));
        let mut text = format!("finished {output}: {files} file(s), {size}");
        if let Some(next) = &self.next {
            let n = self.batchnorm_layers;
            text += &format!(
                "\nbatchnorm: the statistics of {n} layers no longer match the averaged weights; next: {next}"
            );
        }
        text
    }
}
