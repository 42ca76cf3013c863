//! What happens to every tensor, decided and checked before the first output byte.

use std::collections::BTreeMap;

use serde_json::json;

use super::Coefficients;
use super::kernel::Float;
use crate::checkpoint::select::base_name;
use crate::checkpoint::{Checkpoint, Dtype, TensorInfo, is_running_statistic};
use crate::{Error, METADATA_KEY, Result, TRANSFORM_KEY};

/// What becomes of batchnorm's running statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BnStats {
    /// Averaged like every other floating tensor
    Mean,
    /// Taken from the last checkpoint
    Last,
}

/// Where a tensor of the output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The weighted mean over the inputs.
    Mean(Float),
    /// The last input, byte for byte: integers, booleans, and statistics on request.
    Last,
}

/// One tensor of the output.
#[derive(Debug)]
pub struct Planned<'a> {
    /// As the first input has it.
    pub info: &'a TensorInfo,
    pub rule: Rule,
    /// The tensor in each input.
    pub(super) sources: Vec<&'a TensorInfo>,
}

/// Inputs of one model, and what becomes of each tensor.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) inputs: &'a [Checkpoint],
    pub(super) coefficients: Coefficients,
    bn_stats: BnStats,
    tensors: Vec<Planned<'a>>,
}

impl<'a> Plan<'a> {
    /// Fails with one report of every name, shape and dtype in which the inputs differ.
    /// `coefficients` has a weight for each input.
    pub fn new(
        inputs: &'a [Checkpoint],
        coefficients: Coefficients,
        bn_stats: BnStats,
    ) -> Result<Self> {
        assert_eq!(inputs.len(), coefficients.weights.len());
        let Some(first) = inputs.first() else {
            return Err(Error::usage("no checkpoints to average"));
        };
        if first.tensors().is_empty() {
            return Err(Error::input("holds no tensors").at(first.path()));
        }
        let problems: Vec<String> =
            inputs[1..].iter().flat_map(|other| differences(first, other)).collect();
        if !problems.is_empty() {
            return Err(Error::input(format!(
                "{} difference(s) between this checkpoint and others",
                problems.len()
            ))
            .at(first.path())
            .remedy("average checkpoints of one model only")
            .list(problems));
        }
        let mut tensors = Vec::with_capacity(first.tensors().len());
        for info in first.tensors() {
            let rule = if bn_stats == BnStats::Last && is_running_statistic(&info.name) {
                Rule::Last
            } else {
                rule(info).map_err(|e| e.at(first.path()))?
            };
            let sources = inputs.iter().filter_map(|input| input.get(&info.name)).collect();
            tensors.push(Planned { info, rule, sources });
        }
        Ok(Plan { inputs, coefficients, bn_stats, tensors })
    }

    /// In the order of the output.
    pub fn tensors(&self) -> &[Planned<'a>] {
        &self.tensors
    }

    /// Bytes that will be read from the inputs.
    pub fn bytes_to_read(&self) -> u64 {
        let of = |planned: &Planned| {
            let inputs = match planned.rule {
                Rule::Mean(_) => self.inputs.len(),
                Rule::Last => 1,
            };
            (planned.info.extent.len() * inputs) as u64
        };
        self.tensors.iter().map(of).sum()
    }

    /// The last input's metadata, and under the key `swa` how the output came about.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.inputs[self.inputs.len() - 1].metadata().clone();
        let mut provenance = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "inputs": self.inputs.iter().map(|i| base_name(i.path())).collect::<Vec<_>>(),
            "weights": self.coefficients.weights,
            "bn_stats": match self.bn_stats { BnStats::Mean => "mean", BnStats::Last => "last" },
        });
        // The pixels they take, if all agree.
        let mut transforms = self.inputs.iter().map(|i| i.provenance().remove(TRANSFORM_KEY));
        let first = transforms.next().flatten();
        if let Some(first) = first
            && transforms.all(|other| other.as_ref() == Some(&first))
        {
            provenance[TRANSFORM_KEY] = first;
        }
        metadata.insert(METADATA_KEY.into(), provenance.to_string());
        metadata
    }
}

/// The rule that follows from a tensor's type.
fn rule(info: &TensorInfo) -> Result<Rule> {
    if let Some(float) = Float::of(info.dtype) {
        return Ok(Rule::Mean(float));
    }
    match info.dtype {
        Dtype::BOOL
        | Dtype::U8
        | Dtype::I8
        | Dtype::U16
        | Dtype::I16
        | Dtype::U32
        | Dtype::I32
        | Dtype::U64
        | Dtype::I64 => Ok(Rule::Last),
        other => Err(Error::input(format!("type {other:?} cannot be averaged"))
            .tensor(&info.name)
            .remedy("convert it to F32, F16 or BF16 first")),
    }
}

/// Every name, shape and dtype in which `other` differs from `first`, one line each.
fn differences(first: &Checkpoint, other: &Checkpoint) -> Vec<String> {
    let path = other.path().display();
    let mut found = Vec::new();
    for a in first.tensors() {
        let name = &a.name;
        match other.get(name) {
            None => found.push(format!("`{path}`: tensor `{name}`: missing")),
            Some(b) => {
                if a.shape != b.shape {
                    let (a, b) = (&a.shape, &b.shape);
                    found.push(format!(
                        "`{path}`: tensor `{name}`: expected shape {a:?}, found {b:?}"
                    ));
                }
                if a.dtype != b.dtype {
                    let (a, b) = (a.dtype, b.dtype);
                    found.push(format!("`{path}`: tensor `{name}`: expected {a:?}, found {b:?}"));
                }
            }
        }
    }
    for b in other.tensors() {
        if first.get(&b.name).is_none() {
            found.push(format!("`{path}`: tensor `{}`: not in the first checkpoint", b.name));
        }
    }
    found
}
