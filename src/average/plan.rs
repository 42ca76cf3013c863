//! What happens to every tensor, decided and checked before the first output byte.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::json;
use swa_base::{Choice, choices};

use super::compare::{Differences, differences};
use super::{Coefficients, Float};
use crate::checkpoint::{Checkpoint, Dtype, TensorInfo, is_running_statistic};
use crate::select::base_name;
use crate::{Error, METADATA_KEY, Result, TRANSFORM_KEY};

choices! {
    /// What becomes of batchnorm's running statistics.
    #[derive(Default)]
    pub enum BnStats {
        #[default]
        Mean = "mean": "Averaged like every other floating tensor",
        Last = "last": "Taken from the last checkpoint",
    }
}

choices! {
    /// Which tensors the output has, where the inputs do not have the same.
    #[derive(Default)]
    pub enum Keys {
        #[default]
        Strict = "strict": "Differing names are an error",
        Intersection = "intersection": "Those that all inputs have",
        Union = "union": "Those that any input has, each averaged over the inputs that have it",
    }
}

/// How to average.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub bn_stats: BnStats,
    pub keys: Keys,
    /// Type of the averaged tensors, one of the written ones; None: each keeps its own.
    pub dtype: Option<Float>,
    /// The output has the tensors whose names match, and
    pub include: Option<Regex>,
    /// not those whose names match this.
    pub exclude: Option<Regex>,
    /// NaN and infinity are averaged like numbers, not refused.
    pub allow_nonfinite: bool,
    /// Inputs with checksums are not compared with these.
    pub no_verify: bool,
    /// The output's names are those that the first input that has a tensor gives it, with what wrappers
    /// put into them.
    pub keep_names: bool,
}

/// Where a tensor of the output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The weighted mean over the inputs that have it.
    Mean(Float),
    /// The last input that has it, in another type.
    Convert(Float),
    /// The last input that has it, byte for byte: integers, booleans, and statistics on request.
    Last,
}

/// One tensor of the output.
#[derive(Debug, Clone)]
pub struct Planned {
    pub rule: Rule,
    /// Type in the output.
    pub dtype: Dtype,
    /// The first input that has it, and its number there.
    origin: (u32, u32),
    /// How many inputs have it.
    pub inputs: u32,
}

/// Inputs of one model, and what becomes of each tensor.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) inputs: &'a [Checkpoint],
    pub(super) coefficients: Coefficients,
    pub(super) options: Options,
    pub(super) tensors: Vec<Planned>,
    /// For each input that is not like the first: the numbers of the tensors in it.
    numbers: Vec<Option<Vec<u32>>>,
    /// Tensors that some inputs have and the output has not.
    left_out: Vec<String>,
    /// Tensors that --include and --exclude take away.
    filtered: usize,
}

const ABSENT: u32 = u32::MAX;

impl<'a> Plan<'a> {
    /// Fails with one report of every name, shape and dtype in which the inputs differ.
    /// `coefficients` has a weight for each input.
    pub fn new(
        inputs: &'a [Checkpoint],
        coefficients: Coefficients,
        options: Options,
    ) -> Result<Self> {
        assert_eq!(inputs.len(), coefficients.weights().len());
        let first = &inputs[0];
        let wanted = |name: &str| {
            options.include.as_ref().is_none_or(|regex| regex.is_match(name))
                && !options.exclude.as_ref().is_some_and(|regex| regex.is_match(name))
        };
        let Differences { problems, absent, extra } = differences(inputs, &wanted);
        let strict = options.keys == Keys::Strict;
        let names = if strict { &absent[..] } else { &[] };
        let report: Vec<String> = problems.iter().chain(names).cloned().collect();
        if !report.is_empty() {
            let count = report.len();
            let what = format!("{count} difference(s) between this checkpoint and others");
            let remedy = match strict && problems.is_empty() {
                true => "average checkpoints of one model, or choose --keys intersection or union",
                false => "average checkpoints of one model only",
            };
            return Err(Error::input(what).at(first.path()).remedy(remedy).list(report));
        }
        // Candidates: the first's tensors, then what only others have, in the order it is met.
        let own = (0..first.tensors().len() as u32).map(|i| (0, i));
        let candidates: Vec<(u32, u32)> = own.chain(extra).collect();
        let mut plan = Plan {
            inputs,
            coefficients,
            options: options.clone(),
            tensors: Vec::with_capacity(candidates.len()),
            numbers: vec![],
            left_out: vec![],
            filtered: 0,
        };
        for origin in candidates {
            let input = &inputs[origin.0 as usize];
            let info = &input.tensors()[origin.1 as usize];
            if input.is_counter(origin.1 as usize) && !options.keep_names {
                continue;
            }
            if !wanted(&info.name) {
                plan.filtered += 1;
                continue;
            }
            let has = |input: &Checkpoint| {
                origin.0 == 0 && input.is_like(first) || input.position(&info.name).is_some()
            };
            let count = inputs.iter().filter(|input| has(input)).count();
            if options.keys == Keys::Intersection && count < inputs.len() {
                plan.left_out.push(info.name.clone());
                continue;
            }
            let (rule, dtype) =
                rule(info, &options).map_err(|e| e.at(inputs[origin.0 as usize].path()))?;
            plan.tensors.push(Planned { rule, dtype, origin, inputs: count as u32 });
        }
        if plan.tensors.is_empty() {
            return Err(Error::input("no tensor is left to average").at(first.path()));
        }
        let number = |input: &Checkpoint, planned: &Planned| {
            input.position(&plan.info_of(planned).name).map_or(ABSENT, |i| i as u32)
        };
        plan.numbers = (inputs.iter())
            .map(|input| match input.is_like(first) {
                true => None,
                false => Some(plan.tensors.iter().map(|p| number(input, p)).collect()),
            })
            .collect();
        plan.check_weights()?;
        Ok(plan)
    }

    /// The weights of the inputs that have a tensor must add up to something.
    fn check_weights(&self) -> Result<()> {
        for tensor in 0..self.tensors.len() {
            let planned = &self.tensors[tensor];
            if planned.inputs as usize != self.inputs.len() && matches!(planned.rule, Rule::Mean(_))
            {
                self.coefficients_of(tensor).map_err(|e| e.tensor(self.name(tensor)))?;
            }
        }
        Ok(())
    }

    /// The weights that a tensor of the output is averaged with.
    pub(super) fn coefficients_of(&self, tensor: usize) -> Result<Coefficients> {
        let weights = self.coefficients.weights().iter().enumerate();
        let having = weights.filter(|(input, _)| self.number(*input, tensor).is_some());
        Coefficients::new(having.map(|(_, &weight)| weight).collect())
    }

    /// In the order of the output.
    pub fn tensors(&self) -> &[Planned] {
        &self.tensors
    }

    /// Name, shape and, as the inputs have it, type.
    fn info_of(&self, planned: &Planned) -> &'a TensorInfo {
        &self.inputs[planned.origin.0 as usize].tensors()[planned.origin.1 as usize]
    }

    pub fn name(&self, tensor: usize) -> &'a str {
        &self.info_of(&self.tensors[tensor]).name
    }

    /// A tensor as the inputs have it.
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

    /// A tensor as the output has it.
    pub(super) fn output_info(&self, tensor: usize) -> TensorInfo {
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

    /// Number of the tensor in an input, if it has it.
    pub(super) fn number(&self, input: usize, tensor: usize) -> Option<usize> {
        let origin = self.tensors[tensor].origin;
        let number = match &self.numbers[input] {
            None if origin.0 == 0 => origin.1,
            None => ABSENT,
            Some(numbers) => numbers[tensor],
        };
        (number != ABSENT).then_some(number as usize)
    }

    /// The last input that has a tensor, and its number there.
    pub(super) fn last(&self, tensor: usize) -> (usize, usize) {
        let inputs = (0..self.inputs.len()).rev();
        let mut having = inputs.filter_map(|i| Some((i, self.number(i, tensor)?)));
        having.next().expect("its origin has it")
    }

    /// Names that some inputs have and the output has not, because not all have them.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Names that the output has though not all inputs do.
    pub fn filled(&self) -> Vec<&str> {
        let partial = |t: &usize| (self.tensors[*t].inputs as usize) < self.inputs.len();
        (0..self.tensors.len()).filter(partial).map(|t| self.name(t)).collect()
    }

    /// How many tensors `include` and `exclude` take away.
    pub fn filtered(&self) -> usize {
        self.filtered
    }

    pub fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    pub fn inputs(&self) -> &'a [Checkpoint] {
        self.inputs
    }

    /// Bytes that will be read from the inputs.
    pub fn bytes_to_read(&self) -> u64 {
        let of = |planned: &Planned| {
            let inputs = if matches!(planned.rule, Rule::Mean(_)) { planned.inputs } else { 1 };
            self.info_of(planned).size() * inputs as u64
        };
        self.tensors.iter().map(of).sum()
    }

    /// The last input's metadata, and under the key `swa` how the output came about.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let mut metadata = self.inputs[self.inputs.len() - 1].metadata().clone();
        let mut provenance = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "inputs": self.inputs.iter().map(|i| base_name(i.path())).collect::<Vec<_>>(),
            "weights": self.coefficients.weights(),
            "bn_stats": self.options.bn_stats.name(),
        });
        // What narrowed the tensors down or changed their type, if anything.
        let text = |regex: &Option<Regex>| regex.as_ref().map(|regex| regex.as_str().to_string());
        let settings = [
            ("dtype", self.options.dtype.map(|float| format!("{float:?}"))),
            (
                "keys",
                Some(self.options.keys)
                    .filter(|keys| *keys != Keys::Strict)
                    .map(|keys| keys.name().into()),
            ),
            ("include", text(&self.options.include)),
            ("exclude", text(&self.options.exclude)),
        ];
        for (key, value) in settings {
            if let Some(value) = value {
                provenance[key] = value.into();
            }
        }
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

/// What a module keeps of its own under this name is not weights, whatever its type.
const EXTRA_STATE: &str = "_extra_state";

/// What becomes of a tensor, and its type in the output. Fails for types that have no average.
pub fn rule(info: &TensorInfo, options: &Options) -> Result<(Rule, Dtype)> {
    let Some(float) = Float::of(info.dtype) else {
        return match info.dtype {
            Dtype::BOOL
            | Dtype::U8
            | Dtype::I8
            | Dtype::U16
            | Dtype::I16
            | Dtype::U32
            | Dtype::I32
            | Dtype::U64
            | Dtype::I64 => Ok((Rule::Last, info.dtype)),
            other => Err(Error::input(format!("type {other:?} cannot be averaged"))
                .tensor(&info.name)
                .remedy("convert it to F32, F16 or BF16 first, or --exclude it")),
        };
    };
    if info.name == EXTRA_STATE || info.name.ends_with(&format!(".{EXTRA_STATE}")) {
        return Ok((Rule::Last, info.dtype));
    }
    let last = options.bn_stats == BnStats::Last && is_running_statistic(&info.name);
    let dtype = match options.dtype {
        // Complex numbers have no narrower type.
        Some(to) if info.dtype != Dtype::C64 => to.dtype(),
        _ => info.dtype,
    };
    if last && dtype == info.dtype {
        return Ok((Rule::Last, dtype));
    }
    if !Float::of(dtype).is_some_and(Float::is_written) {
        return Err(Error::input(format!("averages of {dtype:?} need a wider type"))
            .tensor(&info.name)
            .remedy("add --dtype bf16, f16 or f32"));
    }
    Ok((if last { Rule::Convert(float) } else { Rule::Mean(float) }, dtype))
}
