//! A training run, as text and JSON.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use swa_base::setting;
use swa_base::text::{printable, shell_word};

use crate::jobs::Trained;
use crate::train::EpochLine;

/// The outcome of a training run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TrainReport<'a> {
    /// Its folder.
    pub run: &'a Path,
    /// The architecture.
    pub arch: &'a str,
    /// A line an epoch, as the log has it.
    pub epochs: &'a [EpochLine],
    /// The epochs whose weights were averaged, from 1.
    pub snapshots: &'a [usize],
    /// From the beginning of the job to its end.
    pub seconds: f64,
}

impl<'a> TrainReport<'a> {
    /// Of a finished run.
    pub fn new(trained: &'a Trained) -> Self {
        let Trained { run, arch, epochs, snapshots, seconds } = trained;
        TrainReport { run, arch, epochs, snapshots, seconds: *seconds }
    }

    /// For people.
    pub fn text(&self) -> String {
        let run = printable(&self.run.to_string_lossy());
        let mut text = format!("trained {} in {run}: {} epochs", self.arch, self.epochs.len());
        if let (Some(first), Some(last)) = (self.snapshots.first(), self.snapshots.last()) {
            let n = self.snapshots.len();
            text += &format!(", {n} snapshots from {first} to {last}\n");
            text += &format!(
                "any of them again: swa-avg {} {} {first} -o …",
                shell_word(self.run),
                setting!("start")
            );
        }
        text
    }
}
