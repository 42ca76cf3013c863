//! What happens to every tensor of one output, decided and checked before its first byte.

use std::collections::BTreeMap;

use super::differences::{Differences, differences};
use super::options::{Keys, Options, Rule, is_state, rule};
use super::{Coefficients, Column, provenance};
use super::{pruned, quantised};
use crate::checkpoint::{Checkpoint, Dtype, Rest, TensorInfo};
use crate::formats::shards::is_shard;
use crate::select::base_name;
use crate::{Error, Kind, Result, TRANSFORM_KEY, setting};

/// One tensor of an output.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Where its values come from.
    pub rule: Rule,
    /// Type in the output.
    pub dtype: Dtype,
    /// The first input that has it, and its number there.
    origin: (u32, u32),
    /// How many of the inputs that count have it.
    pub inputs: u32,
}

/// What becomes of each tensor in one output of a [`Plan`](super::Plan). It depends on nothing but the
/// inputs that count: "all", "first" and "last" mean of these.
#[derive(Debug)]
pub struct OutputPlan<'a> {
    inputs: Vec<&'a Checkpoint>,
    column: Column,
    options: Options,
    tensors: Vec<Planned>,
    /// For each input that is not like the first: the numbers of the tensors in it.
    numbers: Vec<Option<Vec<u32>>>,
    /// Tensors that some inputs have and the output lacks.
    left_out: Vec<String>,
    /// How many tensors `include` and `exclude` took away.
    filtered: usize,
}

const ABSENT: u32 = u32::MAX;

fn is_float(dtype: Dtype) -> bool {
    super::Float::of(dtype).is_some()
}

impl<'a> OutputPlan<'a> {
    /// Fails with one report of every name, shape and dtype in which the inputs differ. The column has an
    /// entry for each of `all`.
    pub(super) fn new(all: &'a [Checkpoint], column: Column, mut options: Options) -> Result<Self> {
        options.dtype = column.dtype().or(options.dtype);
        let inputs: Vec<&Checkpoint> = column.counting().iter().map(|&row| &all[row]).collect();
        let first = inputs[0];
        let Differences { problems, absent, extra } =
            differences(&inputs, &|name| options.selects(name));
        // One alone is copied, codes with their scales.
        if inputs.len() > 1 {
            let unlike = inputs.iter().skip(1).filter(|input| !input.is_like(first));
            let mut all = std::iter::once(&first).chain(unlike);
            all.try_for_each(|input| quantised::refuse(input, &|name| options.selects(name)))?;
        }
        let strict = options.keys == Keys::Strict;
        let names = if strict { &absent[..] } else { &[] };
        let report: Vec<String> = problems.iter().chain(names).cloned().collect();
        if !report.is_empty() {
            let count = report.len();
            let what = format!("{count} difference(s) between this checkpoint and others");
            let are_shards = inputs.iter().all(|input| is_shard(&base_name(input.path())));
            let remedy = match strict && problems.is_empty() {
                true if are_shards => {
                    "if they are shards of one model, write their index beside them (model.safetensors.index.json) and name the folder"
                }
                true => concat!(
                    "average checkpoints of one model, or choose ",
                    setting!("keys", "intersection"),
                    " or union"
                ),
                false => "average checkpoints of one model only",
            };
            let error = Error::new(Kind::Mismatch, what).at(first.path());
            return Err(error.remedy(remedy).list(report));
        }
        // Candidates: the first's tensors, then what only others have, in the order it is met.
        let own = (0..first.tensors().len() as u32).map(|i| (0, i));
        let candidates: Vec<(u32, u32)> = own.chain(extra).collect();
        let mut plan = OutputPlan {
            inputs,
            column,
            options,
            tensors: Vec::with_capacity(candidates.len()),
            numbers: vec![],
            left_out: vec![],
            filtered: 0,
        };
        for origin in candidates {
            plan.push(origin)?;
        }
        if plan.tensors.is_empty() {
            return Err(Error::input("no tensor is left to average").at(first.path()));
        }
        // One alone is copied.
        let is_copied = |planned: &Planned| planned.rule == Rule::Last && !is_float(planned.dtype);
        if plan.inputs.len() > 1 && plan.tensors.iter().all(is_copied) {
            return Err(quantised::integers_alone(first));
        }
        let number = |input: &Checkpoint, planned: &Planned| {
            input.position(&plan.info_of(planned).name).map_or(ABSENT, |i| i as u32)
        };
        plan.numbers = (plan.inputs.iter())
            .map(|input| match input.is_like(first) {
                true => None,
                false => Some(plan.tensors.iter().map(|p| number(input, p)).collect()),
            })
            .collect();
        plan.check_weights()?;
        Ok(plan)
    }

    /// Fails where the inputs have weights in different places.
    pub(super) fn check_places(&self) -> Result<()> {
        pruned::refuse(&self.inputs, &|name| self.options.selects(name))
    }

    /// Adds a tensor of some input, if the options want it.
    fn push(&mut self, origin: (u32, u32)) -> Result<()> {
        let (input, first) = (self.inputs[origin.0 as usize], self.inputs[0]);
        let info = &input.tensors()[origin.1 as usize];
        if input.is_counter(origin.1 as usize) && !self.options.keep_names {
            return Ok(());
        }
        if !self.options.selects(&info.name) {
            self.filtered += 1;
            return Ok(());
        }
        let has = |input: &Checkpoint| {
            origin.0 == 0 && input.is_like(first) || input.position(&info.name).is_some()
        };
        let count = self.inputs.iter().filter(|input| has(input)).count();
        if self.options.keys == Keys::Intersection && count < self.inputs.len() {
            self.left_out.push(info.name.clone());
            return Ok(());
        }
        let (origin, info) = match is_state(&info.name) {
            true => self.of_the_last(origin),
            false => (origin, info),
        };
        let (rule, dtype) = rule(info, &self.options).map_err(|e| e.at(input.path()))?;
        self.tensors.push(Planned { rule, dtype, origin, inputs: count as u32 });
        Ok(())
    }

    /// Where the last input that has a tensor of the name has it, if it is of another form there.
    fn of_the_last(&self, origin: (u32, u32)) -> ((u32, u32), &'a TensorInfo) {
        let info = &self.inputs[origin.0 as usize].tensors()[origin.1 as usize];
        let of = |i: usize| Some((i as u32, self.inputs[i].position(&info.name)? as u32));
        let last = (0..self.inputs.len()).rev().find_map(of).unwrap_or(origin);
        let own = &self.inputs[last.0 as usize].tensors()[last.1 as usize];
        if own == info { (origin, info) } else { (last, own) }
    }

    /// The weights of the inputs that have a tensor must add up to something.
    fn check_weights(&self) -> Result<()> {
        for tensor in 0..self.tensors.len() {
            let is_mean = matches!(self.tensors[tensor].rule, Rule::Mean(_));
            if is_mean && !self.is_complete(tensor) {
                self.coefficients_of(tensor).map_err(|e| e.tensor(self.name(tensor)))?;
            }
        }
        Ok(())
    }

    /// Whether all inputs have a tensor.
    pub(super) fn is_complete(&self, tensor: usize) -> bool {
        self.tensors[tensor].inputs as usize == self.inputs.len()
    }

    /// The weights that a tensor is averaged with.
    pub(super) fn coefficients_of(&self, tensor: usize) -> Result<Coefficients> {
        let weights = self.coefficients().weights().iter().enumerate();
        let having = weights.filter(|(input, _)| self.number(*input, tensor).is_some());
        Coefficients::new(having.map(|(_, &weight)| weight).collect())
    }

    /// In the order of the output.
    pub fn tensors(&self) -> &[Planned] {
        &self.tensors
    }

    fn info_of(&self, planned: &Planned) -> &'a TensorInfo {
        &self.inputs[planned.origin.0 as usize].tensors()[planned.origin.1 as usize]
    }

    /// The name of a tensor, without what wrappers put into it. This and what follows panic if there
    /// is no tensor of this number.
    pub fn name(&self, tensor: usize) -> &'a str {
        &self.info(tensor).name
    }

    /// Name, shape and type of a tensor as the inputs have it.
    pub fn info(&self, tensor: usize) -> &'a TensorInfo {
        self.info_of(&self.tensors[tensor])
    }

    /// The name that a tensor has in the output.
    pub fn output_name(&self, tensor: usize) -> &'a str {
        let (input, number) = self.tensors[tensor].origin;
        match self.options.keep_names {
            true => self.inputs[input as usize].written_name(number as usize),
            false => self.name(tensor),
        }
    }

    /// Name, shape and type of a tensor as the output has it.
    pub fn output_info(&self, tensor: usize) -> TensorInfo {
        let name = self.output_name(tensor).to_string();
        TensorInfo {
            name,
            dtype: self.tensors[tensor].dtype,
            shape: self.info(tensor).shape.clone(),
        }
    }

    /// Size of a tensor in the output, in bytes.
    pub(super) fn output_size(&self, tensor: usize) -> u64 {
        self.info(tensor).len() as u64 * self.tensors[tensor].dtype.bitsize() as u64 / 8
    }

    /// Number of the tensor in one of the inputs that count, if it has it.
    pub(super) fn number(&self, input: usize, tensor: usize) -> Option<usize> {
        let origin = self.tensors[tensor].origin;
        let number = match &self.numbers[input] {
            None if origin.0 == 0 => origin.1,
            None => ABSENT,
            Some(numbers) => numbers[tensor],
        };
        (number != ABSENT).then_some(number as usize)
    }

    /// What a tensor is made of: (row of the matrix, number of the tensor in that input), ascending.
    pub(super) fn sources(&self, tensor: usize) -> Vec<(usize, usize)> {
        let rows = self.rows();
        let having = (0..rows.len()).filter_map(|i| Some((rows[i], self.number(i, tensor)?)));
        match self.tensors[tensor].rule {
            Rule::Mean(_) => having.collect(),
            Rule::Convert(_) | Rule::Last => {
                let mut from_last = having.rev();
                from_last.next().into_iter().collect()
            }
        }
    }

    /// Names that some inputs have and the output lacks, because not all have them.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Names that the output has though not all inputs do.
    pub fn filled(&self) -> Vec<&'a str> {
        let tensors = 0..self.tensors.len();
        tensors.filter(|&t| !self.is_complete(t)).map(|t| self.name(t)).collect()
    }

    /// How many tensors `include` and `exclude` took away.
    pub fn filtered(&self) -> usize {
        self.filtered
    }

    /// The weights of the inputs that count.
    pub fn coefficients(&self) -> &Coefficients {
        self.column.coefficients()
    }

    /// Numbers of the inputs that count, among all of the plan, ascending.
    pub fn rows(&self) -> &[usize] {
        self.column.counting()
    }

    /// The inputs that count, in order.
    pub fn inputs(&self) -> &[&'a Checkpoint] {
        &self.inputs
    }

    /// What stands among the last input's weights and is no tensor, by the name that it has in the output.
    pub fn rest(&self) -> impl Iterator<Item = (String, &'a Rest)> + '_ {
        self.options.rest_of(self.inputs[self.inputs.len() - 1])
    }

    /// The part of it that a PyTorch file can hold.
    pub(super) fn kept(&self) -> Vec<(String, &'a [u8])> {
        self.rest().filter_map(|(name, rest)| Some((name, rest.pickle.as_deref()?))).collect()
    }

    /// The last input's metadata, and under the key `swa` how the output came about.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        // How pixels are prepared, if all agree on it.
        let mut transforms = self.inputs.iter().map(|i| i.provenance().remove(TRANSFORM_KEY));
        let first = transforms.next().flatten();
        let first = first.filter(|first| transforms.all(|other| other.as_ref() == Some(first)));
        let names = self.inputs.iter().map(|i| base_name(i.path())).collect();
        let last = self.inputs[self.inputs.len() - 1].metadata();
        provenance::metadata(last, names, self.coefficients().weights(), &self.options, first)
    }
}
