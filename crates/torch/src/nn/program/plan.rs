//! What a run does, step by step, once the weights are known.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use super::dispatch::{Call, Guard, Listed, Mode, Operator, Value};
use super::flat::{Action, Called, Flat, with_value};
use super::prepared::Prepared;
use crate::nn::batch_norm::Normalisation;
use swa_base::{Error, Kind as ErrorKind};
use swa_tools::programs::{Argument, Int, Output, SymbolOp};

/// What a checkpoint gave to a program.
pub(super) struct Bound {
    pub device: Device,
    /// What the run casts to.
    pub autocast: Option<Kind>,
    /// By slot: weights, buffers and constants.
    pub tensors: Vec<Option<Tensor>>,
    /// The slots of those that are the same memory, each tensor in one group.
    pub groups: Vec<Vec<usize>>,
    /// By node: the batchnorm layer that it is.
    pub layers: HashMap<usize, Rc<Normalisation>>,
    /// By node: convolutions of which a batchnorm layer is a part.
    pub folded: HashMap<usize, Folded>,
}

/// A convolution with the batchnorm layer after it.
pub(super) struct Folded {
    pub weight: Tensor,
    pub bias: Tensor,
    /// The batchnorm's node, which is left out.
    pub batchnorm: usize,
}

/// The steps of a run.
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// What no operator may write to, but for the images.
    pub guard: Guard,
    /// Groups of tensors that each run copies first, since operators write to them.
    pub copied: Vec<usize>,
}

pub(super) struct Step {
    /// Its number among the program's.
    pub node: usize,
    pub work: Work,
    pub free: Vec<usize>,
}

pub(super) enum Work {
    Call(Box<CallWork>),
    Normalise { input: usize, affine: [Option<usize>; 2], by: By, eps: f64, output: Option<usize> },
    Compute { op: SymbolOp, arguments: Vec<Argument>, output: Option<usize> },
}

/// What a batchnorm node normalises by.
pub(super) enum By {
    Layer(Rc<Normalisation>),
    /// Mean and variance of these slots.
    Slots([usize; 2]),
    /// Always the batch's own.
    Batch,
}

pub(super) struct CallWork {
    pub call: Call,
    pub mode: Mode,
    /// The arguments that a run gives.
    pub inputs: Vec<Input>,
    /// By result, lists tensor by tensor.
    pub outputs: Vec<Option<usize>>,
    /// Of a `view`: `reshape` with the same arguments, for tensors that lie in memory otherwise than in the export.
    pub reshape: Option<Call>,
    pub reshapes: Cell<bool>,
}

pub(super) enum Input {
    Slot(usize, usize),
    Tensors(usize, Vec<Option<usize>>),
    Ints(usize, Vec<Int>),
}

impl Plan {
    /// # Errors
    /// `Unsupported` for an argument of the wrong kind.
    pub fn new(prepared: &Prepared, bound: &Bound, copied: Vec<usize>) -> swa_base::Result<Self> {
        let mut guard = Guard::new();
        for (number, slots) in bound.groups.iter().enumerate() {
            let kept = slots.iter().filter(|_| !copied.contains(&number));
            for tensor in kept.filter_map(|&slot| bound.tensors[slot].as_ref()) {
                guard.add(tensor, number as i64);
            }
        }
        let changing: Vec<usize> =
            copied.iter().flat_map(|&group| &bound.groups[group]).copied().collect();
        let known =
            |slot: usize| bound.tensors[slot].as_ref().filter(|_| !changing.contains(&slot));
        let left_out: Vec<usize> = bound.folded.values().map(|folded| folded.batchnorm).collect();
        let mut steps = Vec::with_capacity(prepared.nodes.len());
        for (number, node) in prepared.nodes.iter().enumerate() {
            if left_out.contains(&number) {
                continue;
            }
            let mut free = node.free.clone();
            let output = node.outputs.first().and_then(single);
            let work = match &node.action {
                Action::Call(called) => {
                    let folded = bound.folded.get(&number);
                    let after = folded.map(|folded| &prepared.nodes[folded.batchnorm]);
                    free.extend(after.iter().flat_map(|after| &after.free));
                    let outputs = &after.unwrap_or(node).outputs;
                    let work = call(node, called, outputs, bound, folded, &known);
                    Work::Call(Box::new(work.map_err(|what| {
                        Error::new(ErrorKind::Unsupported, format!("{}: {what}", node.place))
                            .at(prepared.program.path())
                    })?))
                }
                Action::Normalise(bn) => Work::Normalise {
                    input: bn.input,
                    affine: [bn.weight, bn.bias],
                    by: match (bound.layers.get(&number), bn.running) {
                        (Some(layer), _) => By::Layer(Rc::clone(layer)),
                        (None, Some(slots)) => By::Slots(slots),
                        (None, None) => By::Batch,
                    },
                    eps: bn.eps,
                    output,
                },
                Action::Compute(op, arguments) => {
                    Work::Compute { op: *op, arguments: arguments.clone(), output }
                }
            };
            steps.push(Step { node: number, work, free });
        }
        Ok(Plan { steps, guard, copied })
    }
}

fn single(output: &Output) -> Option<usize> {
    match output {
        Output::Slot(slot) => Some(*slot),
        Output::Slots(_) | Output::Unused => None,
    }
}

fn call<'a>(
    node: &Flat,
    called: &Called,
    outputs: &[Output],
    bound: &Bound,
    folded: Option<&Folded>,
    known: &dyn Fn(usize) -> Option<&'a Tensor>,
) -> Result<CallWork, String> {
    let mut call = called.call(outputs)?;
    let mut reshape = match &called.name[..] {
        "view" if called.op.arguments.len() == 2 && called.op.arguments[1].name == "size" => {
            Operator::find("aten::reshape", "").map(|op| Call::new(&op, wanted_of(outputs)))
        }
        _ => None,
    }
    .transpose()?;
    let mut set = |value: &Value| -> Result<(), String> {
        reshape.as_mut().map_or(Ok(()), |call| call.set(value))?;
        call.set(value)
    };
    let mut inputs = vec![];
    for (at, argument) in &called.inputs {
        let at = *at;
        let replaced = folded.and_then(|folded| match &called.op.arguments[at].name[..] {
            "weight" => Some(&folded.weight),
            "bias" => Some(&folded.bias),
            _ => None,
        });
        if let Some(tensor) = replaced {
            set(&Value::tensor(at, tensor))?;
            continue;
        }
        if let Some(result) = with_value(at, argument, bound.device, &mut set) {
            result?;
            continue;
        }
        match argument {
            Argument::Slot(slot) => match known(*slot) {
                Some(tensor) => set(&Value::tensor(at, tensor))?,
                None => inputs.push(Input::Slot(at, *slot)),
            },
            Argument::Ints(ints) => inputs.push(Input::Ints(at, ints.clone())),
            Argument::Slots(slots) => {
                inputs.push(Input::Tensors(at, slots.iter().copied().map(Some).collect()));
            }
            Argument::OptionalSlots(slots) => {
                let all = slots.iter().map(|slot| Some(slot.map(known)));
                let all: Option<Vec<Option<&Tensor>>> = all
                    .map(|slot| match slot {
                        Some(Some(Some(tensor))) => Some(Some(tensor)),
                        Some(Some(None)) => None,
                        _ => Some(None),
                    })
                    .collect();
                match all {
                    Some(tensors) => {
                        let listed: Vec<Listed> = tensors.into_iter().map(Listed::new).collect();
                        set(&Value::tensors(at, &listed))?;
                    }
                    None => inputs.push(Input::Tensors(at, slots.clone())),
                }
            }
            _ => {}
        }
    }
    if let Some(folded) = folded {
        let bias = called.op.arguments.iter().position(|argument| argument.name == "bias");
        set(&Value::tensor(bias.ok_or("it takes no bias")?, &folded.bias))?;
    }
    Ok(CallWork {
        call,
        mode: Mode::new(bound.device, node.autocast.kind(bound.autocast, bound.device)),
        inputs,
        outputs: outputs.iter().flat_map(places).collect(),
        reshape,
        reshapes: Cell::new(false),
    })
}

fn wanted_of(outputs: &[Output]) -> impl Iterator<Item = super::dispatch::Wanted> {
    use super::dispatch::Wanted;
    outputs.iter().map(|output| match output {
        Output::Unused => Wanted::Nothing,
        Output::Slot(_) => Wanted::One,
        Output::Slots(slots) => Wanted::List(slots.len()),
    })
}

/// Where the results of an output go.
fn places(output: &Output) -> Vec<Option<usize>> {
    match output {
        Output::Slot(slot) => vec![Some(*slot)],
        Output::Slots(slots) => slots.clone(),
        Output::Unused => vec![],
    }
}
