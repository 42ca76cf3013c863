//! What averaging came to.

use schemars::JsonSchema;
use serde::Serialize;

use super::SelectionReport;
use super::coefficients::bars;
use crate::jobs::{Averaged, AveragedOutput};
use crate::schemes::Scheme;
use crate::text::{counted, megabytes, printable};

/// What `swa-avg` prints. Of several outputs, `output`, `coefficients`, `tensors`, `nonfinite`, `bytes` and `next` are
/// the first one's.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AverageReport {
    /// The file or folder.
    pub output: String,
    /// False with `--dry-run`: nothing was written.
    pub written: bool,
    /// The checkpoints that were averaged, in natural order.
    pub inputs: Vec<String>,
    /// The share of each in the sum; all add up to 1.
    pub coefficients: Vec<f64>,
    /// How many checkpoints were found and not taken.
    pub left_out: usize,
    /// With `--metrics`: which checkpoints were chosen by results, and why; else null.
    pub selection: Option<SelectionReport>,
    /// What became of the tensors.
    pub tensors: TensorCounts,
    /// Tensors with means that are not finite (with `--allow-nonfinite`).
    pub nonfinite: Vec<NonFinite>,
    /// Size of the output in bytes, all files together.
    pub bytes: u64,
    /// Bytes read from the inputs, each once for all outputs.
    pub bytes_read: u64,
    /// Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was copied.
    pub batchnorm_layers: usize,
    /// The command that recomputes their statistics; null where nothing needs recomputing, or Keras has to do it.
    pub next: Option<String>,
    /// Time that the job took.
    pub seconds: f64,
    /// With `--dry-run`: the time that it would take, by a sample of the reading.
    pub seconds_expected: Option<f64>,
    /// With `--dry-run`: bytes of memory that it would take.
    pub memory_expected: Option<u64>,
    /// All outputs, the first included.
    pub outputs: Vec<OutputReport>,
    #[serde(skip)]
    explain: bool,
    #[serde(skip)]
    is_of_keras: bool,
}

/// An output.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OutputReport {
    /// The file or folder.
    pub output: String,
    /// What it is, such as `mean` or `ema:0.99`; `weights` where weights were given, `prefix` for the mean of the first
    /// few.
    pub scheme: String,
    /// The share of each input in the sum; all add up to 1. 0: it does not count.
    pub coefficients: Vec<f64>,
    /// How many inputs count.
    pub counting: usize,
    /// Of `posthoc-ema`: how well the inputs make what was asked for; null elsewhere.
    pub fit: Option<FitReport>,
    /// What became of the tensors.
    pub tensors: TensorCounts,
    /// Tensors with means that are not finite (with `--allow-nonfinite`).
    pub nonfinite: Vec<NonFinite>,
    /// Size in bytes, all files together.
    pub bytes: u64,
    /// The command that recomputes its batchnorm statistics; null where nothing needs recomputing.
    pub next: Option<String>,
}

/// How well stored moving averages make another one.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FitReport {
    /// Condition number of the system of equations: the coefficients are certain to about this times 1e-16.
    pub condition: f64,
    /// How far the profile is from the one that was asked for, relative to its length: 0 is the same.
    pub misfit: f64,
}

/// What became of the tensors.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TensorCounts {
    /// How many are means.
    pub averaged: usize,
    /// How many are the last checkpoint's.
    pub copied: usize,
}

/// A tensor with means that are not finite.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NonFinite {
    /// Its name.
    pub tensor: String,
    /// How many of its values are not finite.
    pub values: u64,
}

impl AverageReport {
    /// Of an outcome. `explain`: the text shows the coefficients. `next`: the command that recomputes an output's
    /// batchnorm statistics.
    pub fn of(outcome: &Averaged, explain: bool, next: impl Fn(&AveragedOutput) -> String) -> Self {
        let outputs = outcome.outputs.iter().map(|output| {
            // A single checkpoint is copied, and its statistics are its own.
            let is_stale = outcome.batchnorm_layers > 0 && output.counting() > 1;
            OutputReport::of(output, is_stale.then(|| next(output)))
        });
        let outputs: Vec<OutputReport> = outputs.collect();
        let first = outputs[0].clone();
        AverageReport {
            output: first.output,
            written: outcome.written,
            inputs: outcome.inputs.iter().map(|input| input.display().to_string()).collect(),
            coefficients: first.coefficients,
            left_out: outcome.left_out,
            selection: outcome.chosen.as_ref().map(SelectionReport::of),
            tensors: first.tensors,
            nonfinite: first.nonfinite,
            bytes: first.bytes,
            bytes_read: outcome.bytes_read,
            batchnorm_layers: outcome.batchnorm_layers + outcome.keras_batchnorm_layers,
            next: first.next,
            seconds: outcome.seconds,
            seconds_expected: outcome.estimate.map(|estimate| estimate.seconds),
            memory_expected: outcome.estimate.map(|estimate| estimate.memory),
            outputs,
            explain,
            is_of_keras: outcome.keras_batchnorm_layers > 0,
        }
    }

    /// For people: what was written, and what to do next.
    pub fn text(&self) -> String {
        let verb = if self.written { "wrote" } else { "would write" };
        let seconds = format!("in {:.2} s", self.seconds);
        let shows = self.explain || self.memory_expected.is_some();
        let mut lines = vec![];
        if let [only] = &self.outputs[..] {
            lines.push(format!("{verb} {} {seconds}", only.summary()));
        } else {
            let (n, m) = (self.outputs.len(), self.inputs.len());
            let n = counted(n, "output");
            lines.push(format!("{verb} {n} from {m} checkpoint(s) {seconds}"));
        }
        if self.left_out > 0 {
            lines.push(format!("  {} other checkpoint(s) not taken", self.left_out));
        }
        lines.extend(self.selection.iter().map(SelectionReport::text));
        for output in &self.outputs {
            if self.outputs.len() > 1 {
                lines.push(format!("  {}", output.summary()));
            }
            if let Some(FitReport { condition, misfit }) = output.fit {
                let percent = 100.0 * misfit;
                lines.push(format!("  {}: {percent:.2} % from the profile that was asked for, condition number {condition:.1e}", output.scheme));
            }
            // Prefixes say what they are.
            if shows && output.scheme != Scheme::Prefix.to_string() {
                lines.extend(bars(&output.coefficients, &self.inputs, self.explain));
            }
        }
        if let (Some(seconds), Some(memory)) = (self.seconds_expected, self.memory_expected) {
            lines.push(format!(
                "  {} to read, about {seconds:.1} s (by a sample of the reading), {} of memory",
                megabytes(self.bytes_read),
                megabytes(memory)
            ));
        }
        let stale: Vec<&String> =
            self.outputs.iter().filter_map(|output| output.next.as_ref()).collect();
        if let Some(next) = stale.first() {
            let layers = counted(self.batchnorm_layers, "layer");
            let each = if stale.len() > 1 { ", for each output" } else { "" };
            lines.push(format!(
                "batchnorm: the statistics of {layers} no longer match the averaged weights; next{each}: {next}"
            ));
        }
        if self.is_of_keras && self.outputs.iter().any(|output| output.counting > 1) {
            let n = self.batchnorm_layers;
            lines.push(format!(
                "batchnorm: the statistics of {n} layers no longer match the averaged weights; next: load them in Keras and call the model on batches of training data with training=True"
            ));
        }
        lines.join("\n")
    }
}

impl OutputReport {
    fn of(output: &AveragedOutput, next: Option<String>) -> Self {
        let AveragedOutput { averaged, copied, .. } = *output;
        let nonfinite = output.nonfinite.iter();
        OutputReport {
            output: output.path.display().to_string(),
            scheme: output.scheme.to_string(),
            coefficients: output.shares.iter().map(|share| share.unwrap_or(0.0)).collect(),
            counting: output.counting(),
            fit: output.fit.map(|fit| FitReport { condition: fit.condition, misfit: fit.misfit }),
            tensors: TensorCounts { averaged, copied },
            nonfinite: nonfinite
                .map(|(tensor, values)| NonFinite { tensor: tensor.clone(), values: *values })
                .collect(),
            bytes: output.bytes,
            next,
        }
    }

    /// In a line.
    fn summary(&self) -> String {
        let scheme = match &self.scheme[..] {
            "weights" => "weighted mean",
            "prefix" => "mean",
            scheme => scheme,
        };
        let TensorCounts { averaged, copied } = self.tensors;
        format!(
            "{}: {scheme} of {} checkpoint(s), {} averaged, {copied} from the last, {}",
            printable(&self.output),
            self.counting,
            counted(averaged, "tensor"),
            megabytes(self.bytes),
        )
    }
}
