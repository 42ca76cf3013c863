//! The program that a model runs, as reports and records have it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fit::Fit;
use super::pass::Layer;
use swa_tools::programs::{Op, Program};
use swa_tools::select::base_name;

/// Names that a note shows; reports have them all.
const NAMED: usize = 5;

/// What identifies a program, as it is recorded in models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProgramRecord {
    /// The version of PyTorch that exported it; empty where its file does not say.
    pub torch: String,
    /// The version of its file's schema.
    pub schema: String,
    /// XXH3-128 of its operators, their arguments and the names of its tensors: equal exports have equal digests.
    pub digest: String,
}

impl ProgramRecord {
    /// Of a program.
    pub(crate) fn of(program: &Program) -> Self {
        let (major, minor) = program.schema();
        ProgramRecord {
            torch: program.torch().to_string(),
            schema: format!("{major}.{minor}"),
            digest: format!("{:032x}", program.digest()),
        }
    }
}

/// The program that a model runs, and what of the checkpoint it leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsedProgram {
    /// The file.
    pub file: String,
    /// How many operators it calls.
    pub operators: usize,
    /// What identifies it.
    #[serde(flatten)]
    pub record: ProgramRecord,
    /// Whether it was exported in training mode.
    pub training: bool,
    /// Batchnorm layers that it does not reach: they keep their statistics.
    pub not_reached: Vec<String>,
    /// Layers with running statistics that it computes with, but not as batchnorm (FrozenBatchNorm2d): they keep them.
    pub left: Vec<String>,
    /// Batchnorm layers that it calls at several places.
    pub shared: Vec<String>,
    /// Modules that normalise by the batch in use, too, having no running statistics.
    pub by_batch: Vec<String>,
    /// Tensors of the checkpoint that are not the program's: they stay as they are.
    pub surplus: Vec<String>,
}

impl UsedProgram {
    /// Of a program whose batchnorm layers are these, for a checkpoint that fits it.
    pub(crate) fn of(program: &Program, fit: &Fit, layers: &[Layer]) -> Self {
        let shapes = fit.shapes();
        let mut by_batch = vec![];
        for node in &program.graph().nodes {
            if let Op::BatchNorm(norm) = &node.op
                && norm.running.is_none()
                && norm.depends_on_image
            {
                let name = if node.module.is_empty() { &node.name } else { &node.module };
                by_batch.push(name.clone());
            }
        }
        by_batch.dedup();
        let unread = program.unread_statistics().iter().map(|&i| &program.tensors()[i].name);
        let mut left: Vec<String> = unread.map(|name| shapes.in_file(layer_of(name))).collect();
        left.dedup();
        let shared = layers.iter().filter(|layer| layer.calls > 1);
        UsedProgram {
            file: program.path().display().to_string(),
            operators: program.operators(),
            record: ProgramRecord::of(program),
            training: program.is_training(),
            not_reached: program.unreached_layers().iter().map(|n| shapes.in_file(n)).collect(),
            left,
            shared: shared.map(|layer| layer.name.clone()).collect(),
            by_batch,
            surplus: fit.surplus(),
        }
    }

    /// Its notes for people, a line each.
    pub fn notes(&self) -> Vec<String> {
        let UsedProgram { not_reached, left, shared, by_batch, surplus, .. } = self;
        let some = |names: &[String], what: &str| {
            let n = names.len();
            let mut shown: Vec<String> =
                names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
            if n > NAMED {
                shown.push(format!("and {} more", n - NAMED));
            }
            (n > 0).then(|| format!("note: {n} {what}: {}", shown.join(", ")))
        };
        [
            some(not_reached, "batchnorm layer(s) are not reached by the program and keep theirs"),
            some(left, "layer(s) with running statistics are plain arithmetic in the program (frozen batchnorm) and keep theirs"),
            some(shared, "batchnorm layer(s) run at several places, all of which count"),
            some(by_batch, "module(s) normalise by the batch in use, too: results depend on which images share a batch"),
            some(surplus, "tensor(s) of the checkpoint are not the program's and stay as they are"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What is said of a program whose outputs are to be evaluated.
pub(crate) fn evaluation_note(program: &Program) -> Option<String> {
    let is_one = program.outputs().iter().any(|name| program.gives_probabilities(name));
    is_one.then(|| {
        let file = base_name(program.path());
        format!("note: `{file}` ends in a softmax: the logarithms of its output count as logits")
    })
}

/// The architecture's name of a model that runs it: `program model.pt2 (175 operators, torch 2.11.0)`.
pub(crate) fn title(program: &Program) -> String {
    let (file, operators) = (base_name(program.path()), program.operators());
    match program.torch() {
        "" => format!("program {file} ({operators} operators)"),
        torch => format!("program {file} ({operators} operators, torch {torch})"),
    }
}

/// The layer of a statistic's name.
fn layer_of(name: &str) -> &str {
    let ends = [".running_mean", ".running_var"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}
