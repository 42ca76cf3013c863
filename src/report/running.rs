//! What a running average came to: an update, or all of them.

use schemars::JsonSchema;
use serde::Serialize;

use super::{NonFinite, TensorCounts, table};
use crate::jobs::{Accumulated, Followed, StateSize, Update};
use crate::running::Held;
use crate::text::{counted, megabytes, printable};
use crate::{Choice, Error, setting};

/// The state of a running average.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StateReport {
    /// Its file; null for one that goes with the process.
    pub path: Option<String>,
    /// Size of the file in bytes.
    pub bytes: u64,
}

impl StateReport {
    fn of(state: &StateSize) -> Self {
        let path = state.path.as_ref().map(|path| path.display().to_string());
        StateReport { path, bytes: state.bytes }
    }
}

/// What `swa-avg --state` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AccumulateReport {
    /// The file.
    pub output: String,
    /// False: it was there already, byte for byte.
    pub written: bool,
    /// The state.
    pub state: StateReport,
    /// All checkpoints that are counted, in natural order.
    pub inputs: Vec<String>,
    /// Those that were added now.
    pub added: Vec<String>,
    /// Those that had been counted before, and were not counted again.
    pub repeated: Vec<String>,
    /// What became of the tensors.
    pub tensors: TensorCounts,
    /// Tensors with means that are not finite (with `--allow-nonfinite`).
    pub nonfinite: Vec<NonFinite>,
    /// Size of the output in bytes.
    pub bytes: u64,
    /// Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was counted.
    pub batchnorm_layers: usize,
    /// The command that recomputes their statistics; null where nothing needs recomputing.
    pub next: Option<String>,
    /// Time that the job took.
    pub seconds: f64,
}

impl AccumulateReport {
    /// Of an outcome. `next`: the command that recomputes the batchnorm statistics, if there are any.
    pub fn of(outcome: &Accumulated, next: Option<String>) -> Self {
        let Accumulated { averaged, copied, .. } = *outcome;
        AccumulateReport {
            output: outcome.output.display().to_string(),
            written: outcome.written,
            state: StateReport::of(&outcome.state),
            inputs: paths(&outcome.inputs),
            added: paths(&outcome.added),
            repeated: outcome.repeated.iter().map(|(path, _)| path.display().to_string()).collect(),
            tensors: TensorCounts { averaged, copied },
            nonfinite: nonfinite(&outcome.nonfinite),
            bytes: outcome.bytes,
            batchnorm_layers: outcome.batchnorm_layers,
            next,
            seconds: outcome.seconds,
        }
    }

    /// For people: what was added and written, and what to do next.
    pub fn text(&self) -> String {
        let verb = if self.written { "wrote" } else { "nothing changed in" };
        let mut text = format!(
            "{verb} {}: mean of {} checkpoint(s), {} of them new, {} averaged, {} from the last, {} in {:.2} s",
            printable(&self.output),
            self.inputs.len(),
            self.added.len(),
            counted(self.tensors.averaged, "tensor"),
            self.tensors.copied,
            megabytes(self.bytes),
            self.seconds,
        );
        if let Some(path) = &self.state.path {
            text += &format!("\n  state {}, {}", printable(path), megabytes(self.state.bytes));
        }
        if let Some(next) = &self.next {
            let layers = counted(self.batchnorm_layers, "layer");
            text += &format!(
                "\nbatchnorm: the statistics of {layers} no longer match the averaged weights; next: {next}"
            );
        }
        text
    }
}

/// What `swa-avg --follow` prints after each update.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UpdateReport {
    /// `update`.
    pub event: &'static str,
    /// The file or folder.
    pub output: String,
    /// How many checkpoints it is the mean of.
    pub count: usize,
    /// Those that this update added, in natural order.
    pub added: Vec<String>,
    /// The largest number in their names, or the name of the last one if they have none.
    pub newest: String,
    /// Size of the output in bytes.
    pub bytes: u64,
    /// The state; null with `--last`.
    pub state: Option<StateReport>,
    /// Tensors with means that are not finite (with `--allow-nonfinite`).
    pub nonfinite: Vec<NonFinite>,
    /// Time that the update took.
    pub seconds: f64,
}

impl UpdateReport {
    /// Of an update.
    pub fn of(update: &Update) -> Self {
        UpdateReport {
            event: "update",
            output: update.output.display().to_string(),
            count: update.count,
            added: paths(&update.added),
            newest: update.newest.clone(),
            bytes: update.bytes,
            state: update.state.as_ref().map(StateReport::of),
            nonfinite: nonfinite(&update.nonfinite),
            seconds: update.seconds,
        }
    }

    /// For people: a line.
    pub fn text(&self) -> String {
        let added = match &self.added[..] {
            [] => "none new".into(),
            [one] => one.clone(),
            [.., last] => format!("{} new, up to {last}", self.added.len()),
        };
        format!(
            "{}: mean of {} checkpoint(s): {}, in {:.2} s",
            printable(&self.output),
            self.count,
            printable(&added),
            self.seconds
        )
    }
}

/// What `swa-avg --follow` prints at its end.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FollowReport {
    /// `end`.
    pub event: &'static str,
    /// Why it ended: `count`, `idle` or `stopped`.
    pub ended: &'static str,
    /// The file or folder.
    pub output: String,
    /// The checkpoints in it, in natural order; none: nothing was written.
    pub inputs: Vec<String>,
    /// How many updates there were.
    pub updates: usize,
    /// The state; null with `--last`.
    pub state: Option<StateReport>,
    /// Checkpoints that are complete and were not counted.
    pub refused: Vec<NotCounted>,
    /// Checkpoints that were not complete.
    pub unfinished: Vec<NotCounted>,
    /// How many times the command failed.
    pub failed_commands: usize,
    /// Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was counted.
    pub batchnorm_layers: usize,
    /// The command that recomputes their statistics; null where nothing needs recomputing.
    pub next: Option<String>,
    /// Time that the job took.
    pub seconds: f64,
}

/// A checkpoint that was not counted.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NotCounted {
    /// Its path.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FollowReport {
    /// Of an outcome. `next`: the command that recomputes the batchnorm statistics, if there are any.
    pub fn of(outcome: &Followed, next: Option<String>) -> Self {
        let not_counted = |path: &std::path::Path, reason: String| NotCounted {
            path: path.display().to_string(),
            reason,
        };
        FollowReport {
            event: "end",
            ended: outcome.ended.name(),
            output: outcome.output.display().to_string(),
            inputs: paths(&outcome.inputs),
            updates: outcome.updates,
            state: outcome.state.as_ref().map(StateReport::of),
            refused: outcome
                .refused
                .iter()
                .map(|(path, e)| not_counted(path, reason(path, e)))
                .collect(),
            unfinished: (outcome.unfinished.iter())
                .map(|(path, what)| not_counted(path, what.clone()))
                .collect(),
            failed_commands: outcome.failed_commands,
            batchnorm_layers: outcome.batchnorm_layers,
            next,
            seconds: outcome.seconds,
        }
    }

    /// For people: what there is, what was not counted, and what to do next.
    pub fn text(&self) -> String {
        let mut lines = match self.inputs.len() {
            0 => vec![format!(
                "ended: no checkpoint was counted, {} was not written",
                printable(&self.output)
            )],
            n => vec![format!(
                "ended: {} is the mean of {n} checkpoint(s), after {} update(s)",
                printable(&self.output),
                self.updates
            )],
        };
        for NotCounted { path, reason } in &self.unfinished {
            lines.push(format!("  not complete, not counted: {}: {reason}", printable(path)));
        }
        for NotCounted { path, reason } in &self.refused {
            lines.push(format!("  not counted: {}: {reason}", printable(path)));
        }
        if self.failed_commands > 0 {
            lines.push(format!("  the command failed {} time(s)", self.failed_commands));
        }
        if let Some(next) = &self.next {
            let layers = counted(self.batchnorm_layers, "layer");
            lines.push(format!(
                "batchnorm: the statistics of {layers} no longer match the averaged weights; next: {next}"
            ));
        }
        lines.join("\n")
    }
}

/// What `swa-avg --list` prints of a state.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HeldReport {
    /// The state's file.
    pub state: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// What was counted, in natural order of the paths.
    pub inputs: Vec<HeldInput>,
    /// How many tensors the model has.
    pub tensors: usize,
    /// How many values.
    pub values: u64,
    /// The settings it was begun with, as far as they are not the usual ones.
    pub settings: Vec<HeldSetting>,
}

/// A checkpoint in a state.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HeldInput {
    /// The path that it was given by.
    pub path: String,
    /// Bytes of its files.
    pub size: u64,
    /// XXH3-128 of the digests of its tensors, in the order of their names.
    pub digest: String,
}

/// A setting that a state was begun with.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct HeldSetting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl HeldReport {
    /// Of what a state holds.
    pub fn of(held: &Held) -> Self {
        let setting = |(name, value): &(&str, String)| HeldSetting {
            name: name.to_string(),
            value: value.clone(),
        };
        HeldReport {
            state: held.path.display().to_string(),
            bytes: held.bytes,
            inputs: (held.inputs.iter())
                .map(|input| HeldInput {
                    path: input.path.clone(),
                    size: input.size,
                    digest: input.digest.clone(),
                })
                .collect(),
            tensors: held.tensors.len(),
            values: held.tensors.iter().map(|tensor| tensor.len() as u64).sum(),
            settings: held.settings.iter().map(setting).collect(),
        }
    }

    /// For people: a table of what was counted.
    pub fn text(&self) -> String {
        let HeldReport { state, bytes, inputs, tensors, values, .. } = self;
        let mut lines = vec![format!(
            "{}: the running average of {} checkpoint(s), {}, {}, {}",
            printable(state),
            inputs.len(),
            counted(*tensors, "tensor"),
            counted(*values as usize, "value"),
            megabytes(*bytes)
        )];
        if *values > 0 {
            lines.push(format!("  {:.1} bytes a value", *bytes as f64 / *values as f64));
        }
        for HeldSetting { name, value } in &self.settings {
            lines.push(format!(
                "  begun with {} {}",
                crate::text::marked(name, None),
                printable(value)
            ));
        }
        if !inputs.is_empty() {
            let rows = inputs.iter().map(|input| {
                vec![format!("  {}", input.path), input.size.to_string(), input.digest.clone()]
            });
            lines.push(table(&["  checkpoint", "bytes", "digest of its tensors"], rows));
            lines.push(format!("continue it with {} {}", setting!("state"), printable(state)));
        }
        lines.join("\n")
    }
}

fn paths(paths: &[std::path::PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// What is wrong, without the path, which is said apart.
fn reason(path: &std::path::Path, error: &Error) -> String {
    let (what, place) = (error.cause(&crate::text::in_quotes), format!("`{}`: ", path.display()));
    what.strip_prefix(&place).unwrap_or(&what).to_string()
}

fn nonfinite(tensors: &[(String, u64)]) -> Vec<NonFinite> {
    tensors
        .iter()
        .map(|(tensor, values)| NonFinite { tensor: tensor.clone(), values: *values })
        .collect()
}
