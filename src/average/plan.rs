//! A plan for all outputs, and which of their tensors are made of the same tensors of the inputs.

use std::collections::{BTreeMap, HashMap};

use super::{Column, Options, OutputPlan, Rule};
use crate::checkpoint::{Checkpoint, Dtype};
use crate::{Error, Result};

/// Inputs of one model, and what becomes of each tensor in each output.
#[derive(Debug)]
pub struct Plan<'a> {
    inputs: &'a [Checkpoint],
    outputs: Vec<OutputPlan<'a>>,
    groups: Groups,
    bytes_to_read: u64,
    pub(super) allow_nonfinite: bool,
    pub(super) verify: bool,
}

impl<'a> Plan<'a> {
    /// Plans an output for each column; [`Coefficients`](super::Coefficients) become a column in which
    /// all inputs count. An output is planned as if its column's inputs were the only ones: inputs that
    /// no output has in common may differ.
    ///
    /// # Errors
    /// `Usage` without columns, or if a column lacks an entry for an input. `Mismatch` with one
    /// report of every name, shape and type in which the inputs of an output differ. `Unsupported` for
    /// types that have no average, `Input` if no tensor is left.
    pub fn new(
        inputs: &'a [Checkpoint],
        columns: impl IntoIterator<Item = impl Into<Column>>,
        options: Options,
    ) -> Result<Self> {
        let mut outputs = vec![];
        for column in columns.into_iter().map(Into::into) {
            if column.len() != inputs.len() {
                let (n, m) = (column.len(), inputs.len());
                return Err(Error::usage(format!("{n} coefficient(s) for {m} checkpoint(s)")));
            }
            outputs.push(OutputPlan::new(inputs, column, options.clone())?);
        }
        if outputs.is_empty() {
            return Err(Error::usage("there is no output to plan"));
        }
        check_places(&outputs)?;
        let groups = Groups::new(&outputs);
        let Options { allow_nonfinite, no_verify, .. } = options;
        let mut plan =
            Plan { inputs, outputs, groups, bytes_to_read: 0, allow_nonfinite, verify: !no_verify };
        plan.bytes_to_read = plan.count_bytes();
        Ok(plan)
    }

    /// All inputs, those that count in no output included.
    pub fn inputs(&self) -> &'a [Checkpoint] {
        self.inputs
    }

    /// What becomes of each tensor in each output, in the order of the columns: one at least.
    pub fn outputs(&self) -> &[OutputPlan<'a>] {
        &self.outputs
    }

    /// Bytes that will be read from the inputs, each once for all outputs.
    pub fn bytes_to_read(&self) -> u64 {
        self.bytes_to_read
    }

    /// The inputs that count in some output.
    pub(super) fn counting(&self) -> impl Iterator<Item = &'a Checkpoint> + '_ {
        let mut counts = vec![false; self.inputs.len()];
        self.outputs.iter().flat_map(OutputPlan::rows).for_each(|&row| counts[row] = true);
        self.inputs.iter().zip(counts).filter_map(|(input, counts)| counts.then_some(input))
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// What a group is made of.
    pub(super) fn sources(&self, group: usize) -> Sources {
        let members = self.groups.members(group);
        let mut of: Vec<_> = members.iter().map(|m| self.output(m).sources(m.tensor())).collect();
        if let [only] = &mut of[..] {
            let all = std::mem::take(only);
            return Sources { of: vec![(0..all.len()).collect()], all };
        }
        let mut all = of.concat();
        all.sort_unstable();
        all.dedup();
        let place = |source| all.partition_point(|other| other < source);
        let of = of.iter().map(|sources| sources.iter().map(place).collect()).collect();
        Sources { all, of }
    }

    pub(super) fn output(&self, member: &Member) -> &OutputPlan<'a> {
        &self.outputs[member.output()]
    }

    fn count_bytes(&self) -> u64 {
        // Where all inputs have the tensors, as is usual, groups of the same outputs read the same inputs.
        let mut known: HashMap<Vec<(usize, bool)>, u64> = HashMap::new();
        let of = |group: usize| {
            let members = self.groups.members(group);
            let size = self.output(&members[0]).info(members[0].tensor()).size();
            let is_mean =
                |m: &Member| matches!(self.output(m).tensors()[m.tensor()].rule, Rule::Mean(_));
            if let [only] = members {
                let planned = &self.output(only).tensors()[only.tensor()];
                return size * if is_mean(only) { planned.inputs as u64 } else { 1 };
            }
            let count = || self.sources(group).all.len() as u64;
            if !members.iter().all(|m| self.output(m).is_complete(m.tensor())) {
                return size * count();
            }
            let key = members.iter().map(|m| (m.output(), is_mean(m))).collect();
            size * *known.entry(key).or_insert_with(count)
        };
        (0..self.groups.len()).map(of).sum()
    }
}

/// Compares the places of pruned and sparse weights, of inputs that are in several outputs once.
fn check_places(outputs: &[OutputPlan]) -> Result<()> {
    let mut sorted: Vec<&OutputPlan> = outputs.iter().collect();
    sorted.sort_by_key(|output| std::cmp::Reverse(output.rows().len()));
    let mut checked: Vec<&OutputPlan> = vec![];
    for output in sorted {
        let is_within = |other: &&OutputPlan| {
            output.rows().iter().all(|row| other.rows().binary_search(row).is_ok())
        };
        if !checked.iter().any(is_within) {
            output.check_places()?;
            checked.push(output);
        }
    }
    Ok(())
}

/// What a group is made of.
pub(super) struct Sources {
    /// (row of the matrix, number of the tensor in that input), ascending.
    pub all: Vec<(usize, usize)>,
    /// For each member, which of these it is made of, ascending.
    pub of: Vec<Vec<usize>>,
}

/// The tensors of all outputs, in groups: those of a group are made of the same tensors of the inputs,
/// perhaps of other inputs and in other ways, so that one pass over these makes all.
#[derive(Debug)]
pub(super) struct Groups {
    members: Vec<Member>,
    /// Where in `members` each group ends.
    ends: Vec<usize>,
}

/// A tensor of an output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    output: u32,
    tensor: u32,
}

impl Member {
    pub fn output(&self) -> usize {
        self.output as usize
    }

    /// Its number in the output.
    pub fn tensor(&self) -> usize {
        self.tensor as usize
    }
}

impl Groups {
    /// In the order of the first output, then of what only the next one has, and so on.
    fn new(outputs: &[OutputPlan]) -> Self {
        let of = |output: usize| {
            let member = move |tensor| Member { output: output as u32, tensor: tensor as u32 };
            (0..outputs[output].tensors().len()).map(member)
        };
        if outputs.len() == 1 {
            let members: Vec<Member> = of(0).collect();
            return Groups { ends: (1..=members.len()).collect(), members };
        }
        // Inputs that count in different outputs alone may have other shapes and types under one name.
        let mut found: BTreeMap<(&str, Dtype, &[usize]), usize> = BTreeMap::new();
        let mut groups: Vec<Vec<Member>> = vec![];
        for member in (0..outputs.len()).flat_map(of) {
            let info = outputs[member.output()].info(member.tensor());
            let group = *found.entry((&info.name, info.dtype, &info.shape)).or_insert(groups.len());
            if group == groups.len() {
                groups.push(vec![]);
            }
            groups[group].push(member);
        }
        let mut end = 0;
        let ends = groups.iter().map(|group| {
            end += group.len();
            end
        });
        Groups { ends: ends.collect(), members: groups.concat() }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// One at least, in the order of the outputs.
    pub fn members(&self, group: usize) -> &[Member] {
        let start = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.members[start..self.ends[group]]
    }
}
