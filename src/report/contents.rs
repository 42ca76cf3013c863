//! What checkpoints hold.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{ProgramReport, table};
use crate::Choice;
use crate::checkpoint::Taken;
use crate::jobs::{Contents, Listed};
use crate::setting;
use crate::text::{counted, megabytes, printable};

/// What `swa-avg --list` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ContentsReport {
    /// The checkpoints, in natural order.
    pub checkpoints: Vec<CheckpointReport>,
    /// The exported programs, in natural order.
    pub programs: Vec<ProgramReport>,
}

/// What a checkpoint holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckpointReport {
    /// The file or folder.
    pub path: String,
    /// How it is stored, such as `safetensors` or `PyTorch zip`.
    pub container: String,
    /// Where in the file the weights are: keys with dots between them; empty at the root.
    pub weights_key: String,
    /// The weights are an average that the trainer made.
    pub is_average: bool,
    /// The file holds averaged weights as well, which were not taken.
    pub has_average: bool,
    /// Parts of names that wrappers (DDP, torch.compile, FSDP) put there, and that were taken out.
    pub wrappers: Vec<String>,
    /// What else is in the file.
    pub others: Vec<Other>,
    /// What stands among the weights and is no tensor.
    pub no_tensors: Vec<Other>,
    /// The file's own metadata.
    pub metadata: BTreeMap<String, String>,
    /// The tensors of the weights.
    pub tensors: Vec<TensorReport>,
}

/// Something beside the weights, or among them.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Other {
    /// Its key at the root, or its name among the weights.
    pub key: String,
    /// What it is, in a few words.
    pub what: String,
}

/// A tensor.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TensorReport {
    /// Without what wrappers put into it.
    pub name: String,
    /// As the file has it.
    pub written_name: String,
    /// The type of its values, as safetensors names types: `F32`, `BF16`, `I64`.
    pub dtype: String,
    /// Its dimensions; empty for a single value.
    pub shape: Vec<usize>,
    /// What would become of it: `averaged`, `from the last`, `left out` or `refused`.
    pub fate: &'static str,
    /// In bytes.
    #[serde(skip)]
    size: u64,
}

impl ContentsReport {
    /// Of an outcome.
    pub fn of(outcome: &Listed) -> Self {
        ContentsReport {
            checkpoints: outcome.checkpoints.iter().map(CheckpointReport::of).collect(),
            programs: outcome.programs.iter().map(ProgramReport::of).collect(),
        }
    }

    /// For people: what is in each, and a table of its tensors.
    pub fn text(&self) -> String {
        let checkpoints = self.checkpoints.iter().map(CheckpointReport::text);
        let programs = self.programs.iter().map(ProgramReport::text);
        checkpoints.chain(programs).collect::<Vec<_>>().join("\n")
    }
}

impl CheckpointReport {
    fn of(contents: &Contents) -> Self {
        let Contents { checkpoint: input, fates } = contents;
        let Taken { key, is_average, has_average, others, rest, .. } = input.taken();
        let tensors = input.tensors().iter().zip(fates).enumerate();
        CheckpointReport {
            path: input.path().display().to_string(),
            container: input.container().name().into(),
            weights_key: key.clone(),
            is_average: *is_average,
            has_average: *has_average,
            wrappers: input.stripped().into_iter().map(String::from).collect(),
            others: (others.iter())
                .map(|(key, what)| Other { key: key.clone(), what: what.clone() })
                .collect(),
            no_tensors: (rest.iter())
                .map(|rest| Other { key: rest.name.clone(), what: rest.what.clone() })
                .collect(),
            metadata: input.metadata().clone(),
            tensors: tensors
                .map(|(i, (tensor, fate))| TensorReport {
                    name: tensor.name.clone(),
                    written_name: input.written_name(i).into(),
                    dtype: tensor.dtype.to_string(),
                    shape: tensor.shape.clone(),
                    fate: fate.name(),
                    size: tensor.size(),
                })
                .collect(),
        }
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{}: {}", printable(&self.path), self.container)];
        let place = match &self.weights_key[..] {
            "" => "at the root".into(),
            key => format!("`{}`", printable(key)),
        };
        let count = self.tensors.len();
        let values: usize = self.tensors.iter().map(|t| t.shape.iter().product::<usize>()).sum();
        let size = megabytes(self.tensors.iter().map(|t| t.size).sum());
        let (count, values) = (counted(count, "tensor"), counted(values, "value"));
        lines.push(format!("  weights  {place}: {count}, {values}, {size}"));
        if self.is_average {
            lines.push("  these are an average that the trainer made".into());
        }
        if self.has_average {
            lines.push(format!(
                "  averaged weights are in it as well: {} takes them",
                setting!("ema")
            ));
        }
        if !self.wrappers.is_empty() {
            let list = self.wrappers.join("`, `");
            lines.push(format!("  names    without `{list}`, put there by wrappers"));
        }
        for Other { key, what } in &self.others {
            // A name is no line of its own.
            lines.push(format!("  beside   {}: {}", printable(key), printable(what)));
        }
        for Other { key, what } in &self.no_tensors {
            lines.push(format!("  no tensor {}: {}", printable(key), printable(what)));
        }
        for (key, value) in &self.metadata {
            let value: String = value.chars().take(100).collect();
            lines.push(format!("  metadata {}: {}", printable(key), printable(&value)));
        }
        let rows = self.tensors.iter().map(|tensor| {
            let shape = tensor.shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(" × ");
            let shape = if tensor.shape.is_empty() { "scalar".into() } else { shape };
            vec![format!("  {}", tensor.name), tensor.dtype.clone(), shape, tensor.fate.into()]
        });
        lines.push(table(&["  tensor", "type", "shape", ""], rows));
        lines.join("\n")
    }
}
