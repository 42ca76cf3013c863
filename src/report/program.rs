//! What an exported program holds.

use schemars::JsonSchema;
use serde::Serialize;

use super::table;
use crate::programs::{Counted, Program};
use crate::setting;
use crate::text::printable;

/// What an exported program holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProgramReport {
    /// The file.
    pub path: String,
    /// The version of PyTorch that exported it; empty where the file does not say.
    pub torch: String,
    /// The version of the file's schema, such as `8.17`.
    pub schema: String,
    /// What tells programs apart: 32 hexadecimal digits. Two exports of one model are equal.
    pub digest: String,
    /// The dimensions of a batch of images, such as batch, channels, height and width; null for one that is free.
    pub image: Vec<Option<usize>>,
    /// The names of its outputs, from its dicts and positions; empty for an only one.
    pub outputs: Vec<String>,
    /// The operators that its nodes call, most nodes first.
    pub operators: Vec<OperatorReport>,
    /// How many nodes are batch normalisations.
    pub batchnorm_nodes: usize,
    /// It was exported in training mode.
    pub is_training: bool,
    /// Operators that draw random numbers, most nodes first.
    pub random: Vec<OperatorReport>,
    /// Batchnorm layers of the model that it does not reach.
    pub unreached: Vec<String>,
    /// Buffers that are called like running statistics and are none: no batch normalisation has them.
    pub unread_statistics: Vec<String>,
    /// How many tensors stand in the program alone.
    pub constants: usize,
    /// The parameters and buffers that a checkpoint must have.
    pub tensors: Vec<ProgramTensorReport>,
}

/// An operator and how many nodes call it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OperatorReport {
    /// As PyTorch spells it: `aten.conv2d.default`.
    pub target: String,
    /// How many nodes call it.
    pub nodes: usize,
}

/// A parameter or buffer of an exported program.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProgramTensorReport {
    /// As a state dict has it.
    pub name: String,
    /// The type of its values, as safetensors names types.
    pub dtype: String,
    /// Its dimensions; empty for a single value.
    pub shape: Vec<usize>,
    /// It is trained; buffers are not.
    pub is_parameter: bool,
    /// A node uses it.
    pub is_used: bool,
    /// The first of the tensors that are the same values, if it is not this one; null else.
    pub alias_of: Option<String>,
}

fn operators(counted: &[Counted]) -> Vec<OperatorReport> {
    let one = |one: &Counted| OperatorReport { target: one.target.clone(), nodes: one.nodes };
    counted.iter().map(one).collect()
}

impl ProgramReport {
    /// Of a program.
    pub fn of(program: &Program) -> Self {
        let (major, minor) = program.schema();
        let tensors = program.tensors();
        let name = |number: usize| tensors[number].name.clone();
        ProgramReport {
            path: program.path().display().to_string(),
            torch: program.torch().into(),
            schema: format!("{major}.{minor}"),
            digest: format!("{:032x}", program.digest()),
            image: program.image().shape.clone(),
            outputs: program.outputs().to_vec(),
            operators: operators(program.operator_counts()),
            batchnorm_nodes: program.batchnorm_nodes(),
            is_training: program.is_training(),
            random: operators(program.random()),
            unreached: program.unreached_layers().to_vec(),
            unread_statistics: program.unread_statistics().iter().map(|&n| name(n)).collect(),
            constants: program.constants().len(),
            tensors: (tensors.iter())
                .map(|tensor| ProgramTensorReport {
                    name: tensor.name.clone(),
                    dtype: tensor.dtype.to_string(),
                    shape: tensor.shape.clone(),
                    is_parameter: tensor.is_parameter,
                    is_used: tensor.slot.is_some(),
                    alias_of: tensor.alias_of.map(name),
                })
                .collect(),
        }
    }

    /// For people: what it is, and a table of the tensors that a checkpoint must have.
    pub fn text(&self) -> String {
        let torch = match &self.torch[..] {
            "" => String::new(),
            torch => format!("torch {}, ", printable(torch)),
        };
        let program = setting!("program");
        let mut lines = vec![
            format!(
                "{}: exported program ({torch}schema {}), which {program} takes",
                self.path, self.schema
            ),
            format!("  digest   {}", self.digest),
            format!("  images   {}", dimensions(&self.image)),
        ];
        let nodes: usize = self.operators.iter().map(|operator| operator.nodes).sum();
        let most: Vec<String> = self.operators.iter().take(5).map(counted).collect();
        let more = if self.operators.len() > 5 { ", …" } else { "" };
        lines.push(format!(
            "  nodes    {nodes}, of {} operators: {}{more}",
            self.operators.len(),
            most.join(", ")
        ));
        let training = if self.is_training { "; exported in training mode" } else { "" };
        lines.push(format!("  batchnorm {} nodes{training}", self.batchnorm_nodes));
        if !self.random.is_empty() {
            let random: Vec<String> = self.random.iter().map(counted).collect();
            lines.push(format!("  random   {}", random.join(", ")));
        }
        if self.outputs.len() > 1 || self.outputs.iter().any(|name| !name.is_empty()) {
            lines.push(format!("  outputs  {}", printable(&self.outputs.join(", "))));
        }
        for (what, names) in
            [("does not reach", &self.unreached), ("leaves as they are", &self.unread_statistics)]
        {
            if !names.is_empty() {
                lines.push(format!("  {what}: {}", printable(&names.join(", "))));
            }
        }
        let rows = self.tensors.iter().map(|tensor| {
            let shape = tensor.shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(" × ");
            let shape = if tensor.shape.is_empty() { "scalar".into() } else { shape };
            let kind = match (&tensor.alias_of, tensor.is_parameter) {
                (Some(first), _) => format!("= {first}"),
                (None, true) => "parameter".into(),
                (None, false) => "buffer".into(),
            };
            vec![format!("  {}", tensor.name), tensor.dtype.clone(), shape, kind]
        });
        lines.push(table(&["  tensor", "type", "shape", ""], rows));
        lines.join("\n")
    }
}

/// `batch × 3 × 224 × 224`: the first dimension that is free is the batch, others may be any.
fn dimensions(image: &[Option<usize>]) -> String {
    let one = |(number, size): (usize, &Option<usize>)| match (size, number) {
        (Some(size), _) => size.to_string(),
        (None, 0) => "batch".into(),
        (None, _) => "any".into(),
    };
    image.iter().enumerate().map(one).collect::<Vec<_>>().join(" × ")
}

fn counted(operator: &OperatorReport) -> String {
    let target = operator.target.strip_suffix(".default").unwrap_or(&operator.target);
    format!("{} {}", operator.nodes, target.strip_prefix("aten.").unwrap_or(target))
}
