//! A program that libtorch can run.

use std::sync::Arc;

use super::flat::{Flat, flatten};
use super::layout;
use swa_base::{Error, Kind, Result};
use swa_tools::programs::{Counted, Program};

/// A program whose operators libtorch has. It takes the weights of a checkpoint by [`Prepared::build`].
pub(crate) struct Prepared {
    pub(super) program: Arc<Program>,
    pub(super) nodes: Vec<Flat>,
    /// By slot, how often it is taken.
    pub(super) uses: Vec<usize>,
    /// Whether tensors must lie in memory as they did in the export, row by row.
    pub(super) by_layout: bool,
}

impl Prepared {
    /// Resolves all operators.
    ///
    /// # Errors
    /// `Unsupported`: all operators that libtorch lacks, a node that does not fit its operator, or random numbers.
    pub fn new(program: Arc<Program>) -> Result<Self> {
        check_random(&program).map_err(|e| e.at(program.path()))?;
        let nodes = flatten(&program)?;
        let mut uses = vec![0; program.graph().slots];
        let mut count = |slot: usize| uses[slot] += 1;
        nodes.iter().for_each(|node| node.each_input(&mut count));
        program.graph().outputs.iter().for_each(|output| output.each_slot(&mut count));
        let by_layout = layout::matters(&nodes, &program.graph().outputs, program.graph().slots);
        Ok(Prepared { program, nodes, uses, by_layout })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }
}

/// Fails if the program draws random numbers: neither job has any use for them.
fn check_random(program: &Program) -> Result<()> {
    let random = program.random();
    if random.is_empty() {
        return Ok(());
    }
    let name = |counted: &Counted| match counted.nodes {
        1 => counted.target.clone(),
        n => format!("{}, {n} nodes", counted.target),
    };
    let names: Vec<String> = random.iter().map(name).collect();
    let what = format!("the program draws random numbers ({})", names.join("; "));
    Err(Error::new(Kind::Unsupported, what).remedy("export it after model.eval()"))
}
