//! Exported programs, `.pt2`: what `torch.export.save` writes becomes a checked graph as plain data. Nothing of it is
//! executed here, no pickle is run, and libtorch is not needed; the package swa-torch carries graphs out.
//!
//! Sources: `torch/_export/serde/schema.py` and `torch/export/pt2_archive` of PyTorch. docs/formats.md has the rules by
//! which programs are taken or refused.

mod archive;
mod arguments;
mod batch_norm;
mod block;
mod build;
mod digest;
mod facts;
mod graph;
mod json;
mod liveness;
mod names;
mod open;
mod output_names;
mod probabilities;
mod refusals;
mod schema;
mod signature;
mod symbols;
mod targets;

use std::path::{Path, PathBuf};

use crate::Result;
use facts::Facts;
pub use graph::{
    Argument, BatchNorm, Constant, Counted, Graph, Image, Int, Named, Node, Op, Output, SymbolOp,
};
pub use refusals::{RECIPE, missing_operators};

/// A program, opened and checked: every value is defined once and before it is used, every operator is one that may
/// run. Nothing of it was executed.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    torch: String,
    schema: (u64, u64),
    digest: u128,
    graph: Graph,
    tensors: Vec<Named>,
    constants: Vec<Constant>,
    image: Image,
    outputs: Vec<String>,
    facts: Facts,
}

impl Program {
    /// Whether a path leads to a file with an exported program, or with several. Its contents are not looked at.
    ///
    /// # Errors
    /// Those of opening a file; `Damaged` for a zip file that is broken.
    pub fn is_one(path: &Path) -> Result<bool> {
        open::is_one(path)
    }

    /// Reads a program and checks it.
    ///
    /// # Errors
    /// `Unsupported` for what is no program, or one that cannot be run: what it is, or all operators that stand in the
    /// way; `Damaged` and `Truncated` where it contradicts itself, with the node; `Limit` where it claims more than is
    /// read; those of opening a file.
    pub fn open(path: &Path) -> Result<Self> {
        open::open(path)
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of PyTorch that exported it, `2.11.0`; empty where the file does not say.
    pub fn torch(&self) -> &str {
        &self.torch
    }

    /// The version of the file's schema, major and minor.
    pub fn schema(&self) -> (u64, u64) {
        self.schema
    }

    /// XXH3-128 of targets, arguments, results, names of the model's tensors, constants and outputs. Labels, source
    /// lines, devices and versions do not enter it, nor do weights: equal exports have equal digests.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// What is computed.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The model's parameters and buffers, as its state dict has them, in the order of the file.
    pub fn tensors(&self) -> &[Named] {
        &self.tensors
    }

    /// The tensors that are in the program alone.
    pub fn constants(&self) -> &[Constant] {
        &self.constants
    }

    /// The images that it takes.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The names of its outputs, in the order of the graph's: keys of dicts and positions, joined by dots; empty for
    /// an only one.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// Whether the output of this name is the result of a softmax over the classes: probabilities, no logits.
    pub fn gives_probabilities(&self, output: &str) -> bool {
        let position = self.outputs.iter().position(|name| name == output);
        position.is_some_and(|number| self.facts.probabilities[number])
    }

    /// How many nodes call operators, in blocks too; arithmetic on sizes and what is skipped do not count.
    pub fn operators(&self) -> usize {
        self.facts.operators.iter().map(|operator| operator.nodes).sum()
    }

    /// The operators that they call, most nodes first.
    pub fn operator_counts(&self) -> &[Counted] {
        &self.facts.operators
    }

    /// How many nodes are batch normalisations.
    pub fn batchnorm_nodes(&self) -> usize {
        self.facts.batchnorm_nodes
    }

    /// Whether it was exported in training mode: a batchnorm node with running statistics normalises by the batch.
    /// Its dropout was turned off when it was opened.
    pub fn is_training(&self) -> bool {
        self.facts.is_training
    }

    /// The operators that draw random numbers, most nodes first.
    pub fn random(&self) -> &[Counted] {
        &self.facts.random
    }

    /// Buffers that are called like running statistics and that no batchnorm node has as such, though others use
    /// them: indices of [`Program::tensors`]. Frozen batchnorm is such a thing.
    pub fn unread_statistics(&self) -> &[usize] {
        &self.facts.unread_statistics
    }

    /// Batchnorm layers of the model whose statistics no node uses, by name: the program does not reach them.
    pub fn unreached_layers(&self) -> &[String] {
        &self.facts.unreached
    }
}
