//! What averaging came to.

use schemars::JsonSchema;
use serde::Serialize;

use crate::jobs::Averaged;
use crate::text::megabytes;

/// What `swa-avg` prints.
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
    /// What became of the tensors.
    pub tensors: TensorCounts,
    /// Tensors with means that are not finite (with `--allow-nonfinite`).
    pub nonfinite: Vec<NonFinite>,
    /// Size of the output in bytes, all files together.
    pub bytes: u64,
    /// Bytes read from the inputs.
    pub bytes_read: u64,
    /// Batchnorm layers. Their statistics no longer match the weights, unless a single checkpoint was copied.
    pub batchnorm_layers: usize,
    /// The command that recomputes their statistics; null where nothing needs recomputing.
    pub next: Option<String>,
    /// Time that the job took.
    pub seconds: f64,
    /// With `--dry-run`: the time that it would take, by a sample of the reading.
    pub seconds_expected: Option<f64>,
    /// With `--dry-run`: bytes of memory that it would take.
    pub memory_expected: Option<u64>,
    #[serde(skip)]
    is_weighted: bool,
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
    /// Of an outcome. `next`: the command that recomputes the batchnorm statistics, if there are any.
    pub fn of(outcome: &Averaged, next: Option<String>) -> Self {
        let Averaged { averaged, copied, .. } = *outcome;
        AverageReport {
            output: outcome.output.display().to_string(),
            written: outcome.written,
            inputs: outcome.inputs.iter().map(|input| input.path.display().to_string()).collect(),
            coefficients: outcome.inputs.iter().map(|input| input.share).collect(),
            left_out: outcome.left_out,
            tensors: TensorCounts { averaged, copied },
            nonfinite: (outcome.nonfinite.iter())
                .map(|(tensor, values)| NonFinite { tensor: tensor.clone(), values: *values })
                .collect(),
            bytes: outcome.bytes,
            bytes_read: outcome.bytes_read,
            batchnorm_layers: outcome.batchnorm_layers,
            next,
            seconds: outcome.seconds,
            seconds_expected: outcome.estimate.map(|estimate| estimate.seconds),
            memory_expected: outcome.estimate.map(|estimate| estimate.memory),
            is_weighted: outcome.is_weighted,
        }
    }

    /// For people: what was written, and what to do next.
    pub fn text(&self) -> String {
        let verb = if self.written { "wrote" } else { "would write" };
        let mean = if self.is_weighted { "weighted mean" } else { "mean" };
        let TensorCounts { averaged, copied } = self.tensors;
        let mut lines = vec![format!(
            "{verb} {}: {mean} of {} checkpoint(s), {averaged} tensors averaged, {copied} from the last, {} in {:.2} s",
            self.output,
            self.inputs.len(),
            megabytes(self.bytes),
            self.seconds,
        )];
        if self.left_out > 0 {
            lines.push(format!("  {} other checkpoint(s) not taken", self.left_out));
        }
        if let (Some(seconds), Some(memory)) = (self.seconds_expected, self.memory_expected) {
            let inputs = self.inputs.iter().zip(&self.coefficients);
            lines.extend(inputs.map(|(input, share)| format!("  {share:<8.6} {input}")));
            lines.push(format!(
                "  {} to read, about {seconds:.1} s (by a sample of the reading), {} of memory",
                megabytes(self.bytes_read),
                megabytes(memory)
            ));
        }
        if let Some(next) = &self.next {
            let n = self.batchnorm_layers;
            lines.push(format!(
                "batchnorm: the statistics of {n} layers no longer match the averaged weights; next: {next}"
            ));
        }
        lines.join("\n")
    }
}
