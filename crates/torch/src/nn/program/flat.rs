//! A program's nodes in a row: blocks opened, operators resolved, arguments in the operators' order.

use std::collections::HashMap;
use std::rc::Rc;

use tch::{Device, Kind};

use super::dispatch::{Call, Operator, Value, Wanted};
use swa_base::{Error, Kind as ErrorKind};
use swa_tools::programs::{
    Argument, BatchNorm, BlockKind, Graph, Int, Node, Op, Output, Program, SymbolOp,
};

/// A node, or a part of what a block does.
pub(super) struct Flat {
    /// Where it stands: "node `view_3` (aten.view.default, in layers.2.attn)".
    pub place: String,
    pub action: Action,
    pub autocast: Autocast,
    pub outputs: Vec<Output>,
    /// Slots that nothing after it uses.
    pub free: Vec<usize>,
}

pub(super) enum Action {
    Call(Called),
    Normalise(BatchNorm),
    Compute(SymbolOp, Vec<Argument>),
    /// Its result is its argument.
    Set(Argument),
}

/// A call of an operator.
pub(super) struct Called {
    /// In `aten`, without the overload.
    pub name: String,
    pub op: Rc<Resolved>,
    /// By their positions.
    pub inputs: Vec<(usize, Argument)>,
}

/// An operator and the names of its arguments, each with whether it has no default.
pub(super) struct Resolved {
    pub operator: Operator,
    pub arguments: Vec<(String, bool)>,
}

/// What a node is run under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Autocast {
    /// As the run.
    Run,
    Off,
    /// To this type, or the device's own.
    On(Option<Kind>),
}

impl Autocast {
    /// What a call casts to, in a run that casts to `run`.
    pub fn kind(self, run: Option<Kind>, device: Device) -> Option<Kind> {
        match self {
            Autocast::Run => run,
            Autocast::Off => None,
            Autocast::On(kind) => {
                let own = if device.is_cuda() { Kind::Half } else { Kind::BFloat16 };
                Some(kind.unwrap_or(own))
            }
        }
    }
}

impl Called {
    /// The argument of this name, if the program gives it.
    pub fn argument(&self, name: &str) -> Option<&Argument> {
        let named = |(at, _): &&(usize, Argument)| self.op.arguments[*at].0 == name;
        self.inputs.iter().find(named).map(|(_, argument)| argument)
    }

    /// A call of its operator with the results that `outputs` have places for.
    pub fn call(&self, outputs: &[Output]) -> Result<Call, String> {
        let wanted = |output: &Output| match output {
            Output::Unused => Wanted::Nothing,
            Output::Slot(_) => Wanted::One,
            Output::Slots(slots) => Wanted::List(slots.len()),
        };
        Call::new(&self.op.operator, outputs.iter().map(wanted))
    }
}

impl Flat {
    /// Calls `visit` with each slot that it takes.
    pub fn each_input(&self, visit: &mut dyn FnMut(usize)) {
        match &self.action {
            Action::Call(Called { inputs, .. }) => {
                inputs.iter().for_each(|(_, argument)| argument.each_slot(visit));
            }
            Action::Normalise(bn) => {
                let running = bn.running.into_iter().flatten();
                [bn.input].into_iter().chain(bn.weight).chain(bn.bias).chain(running).for_each(visit);
            }
            Action::Compute(_, arguments) => arguments.iter().for_each(|a| a.each_slot(visit)),
            Action::Set(argument) => argument.each_slot(visit),
        }
    }
}

/// The nodes of a program in a row.
///
/// # Errors
/// `Unsupported`: all operators that libtorch lacks, or the first node that does not fit its operator.
pub(super) fn flatten(program: &Program) -> swa_base::Result<(Vec<Flat>, Vec<Argument>)> {
    let at = |e: Error| e.at(program.path());
    let mut row = Row::default();
    row.find_operators(program.graph());
    row.check_missing().map_err(at)?;
    row.add(program.graph(), Autocast::Run).map_err(at)?;
    let outputs = program.graph().outputs.iter().map(|output| row.original(output)).collect();
    Ok((row.nodes, outputs))
}

#[derive(Default)]
struct Row {
    /// By name and overload; None: libtorch has none.
    operators: HashMap<(String, String), Option<Rc<Resolved>>>,
    /// What is missing, with how many nodes call it, in the order of the nodes.
    missing: Vec<(String, usize)>,
    /// A block's inputs, each with what it stands for.
    aliases: HashMap<usize, usize>,
    nodes: Vec<Flat>,
}

/// Operators whose results are views of what they are given without a check of its layout; the others give the same.
const REPLACED: [(&str, &str); 2] = [("_unsafe_view", "reshape"), ("_unsafe_index", "index")];

/// The operator that is called in place of the one named.
fn replaced(name: &str) -> &str {
    REPLACED.iter().find(|(own, _)| *own == name).map_or(name, |(_, other)| other)
}

/// What an argument of the replaced operator is called in the other.
fn renamed<'a>(operator: &str, argument: &'a str) -> &'a str {
    if operator == "_unsafe_view" && argument == "size" { "shape" } else { argument }
}

impl Row {
    fn find_operators(&mut self, graph: &Graph) {
        for node in &graph.nodes {
            match &node.op {
                Op::Aten { name, overload } => {
                    let key = (name.clone(), overload.clone());
                    let found = self.operators.entry(key).or_insert_with(|| {
                        let operator =
                            Operator::find(&format!("aten::{}", replaced(name)), overload)?;
                        Some(Rc::new(Resolved { arguments: operator.arguments(), operator }))
                    });
                    if found.is_none() {
                        let target = node.op.target();
                        match self.missing.iter_mut().find(|(known, _)| *known == target) {
                            Some((_, nodes)) => *nodes += 1,
                            None => self.missing.push((target, 1)),
                        }
                    }
                }
                Op::Block { graph, .. } => self.find_operators(graph),
                Op::BatchNorm(_) | Op::Symbol(_) | Op::Skip => {}
            }
        }
    }

    fn check_missing(&self) -> swa_base::Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let name = |(target, nodes): &(String, usize)| match nodes {
            1 => format!("`{target}`"),
            n => format!("`{target}` ({n} nodes)"),
        };
        let names: Vec<String> = self.missing.iter().map(name).collect();
        let what = match names.len() {
            1 => "operator is",
            _ => "operators are",
        };
        let what = format!("{} {what} not in libtorch 2.11: {}", names.len(), names.join(", "));
        Err(Error::new(ErrorKind::Unsupported, what)
            .remedy("export the model with PyTorch 2.11, or without what only newer versions have"))
    }

    /// What a slot stands for outside of the block.
    fn slot(&self, slot: usize) -> usize {
        self.aliases.get(&slot).copied().unwrap_or(slot)
    }

    /// The argument, with slots that are no block's inputs.
    fn original(&self, argument: &Argument) -> Argument {
        let own = |slot: &usize| self.slot(*slot);
        match argument {
            Argument::Slot(slot) => Argument::Slot(own(slot)),
            Argument::Slots(slots) => Argument::Slots(slots.iter().map(own).collect()),
            Argument::OptionalSlots(slots) => {
                Argument::OptionalSlots(slots.iter().map(|slot| slot.as_ref().map(own)).collect())
            }
            Argument::Ints(ints) => Argument::Ints(
                ints.iter()
                    .map(|int| match int {
                        Int::Slot(slot) => Int::Slot(own(slot)),
                        Int::Const(value) => Int::Const(*value),
                    })
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    fn add(&mut self, graph: &Graph, autocast: Autocast) -> swa_base::Result<()> {
        for node in &graph.nodes {
            self.add_node(node, autocast)?;
        }
        Ok(())
    }

    fn add_node(&mut self, node: &Node, autocast: Autocast) -> swa_base::Result<()> {
        let place = place(node);
        let action = match &node.op {
            Op::Aten { name, overload } => {
                let op = self.operators[&(name.clone(), overload.clone())].clone();
                let op = op.expect("all that are missing were reported");
                let refused = |what: String| refused(&place, what);
                Action::Call(self.called(name, op, node).map_err(refused)?)
            }
            Op::BatchNorm(bn) => {
                let used = node.outputs.iter().skip(1).any(|output| *output != Output::Unused);
                if used {
                    let what = "the network uses the statistics of a batch itself";
                    return Err(refused(&place, what.into()));
                }
                Action::Normalise(BatchNorm {
                    input: self.slot(bn.input),
                    weight: bn.weight.map(|slot| self.slot(slot)),
                    bias: bn.bias.map(|slot| self.slot(slot)),
                    running: bn.running.map(|slots| slots.map(|slot| self.slot(slot))),
                    ..bn.clone()
                })
            }
            Op::Symbol(symbol) => {
                let inputs = node.inputs.iter().map(|(_, argument)| self.original(argument));
                Action::Compute(*symbol, inputs.collect())
            }
            Op::Skip => {
                let first = node.inputs.first().map(|(_, argument)| self.original(argument));
                Action::Set(first.unwrap_or(Argument::None))
            }
            Op::Block { kind, graph, inputs } => {
                return self.add_block(node, &place, (*kind, graph, inputs), autocast);
            }
        };
        let outputs = match action {
            Action::Call(_) => node.outputs.clone(),
            _ => node.outputs.iter().take(1).cloned().collect(),
        };
        let free = self.own(&node.free);
        self.nodes.push(Flat { place, action, autocast, outputs, free });
        Ok(())
    }

    /// Those that are freed here: what stands for a slot outside of a block is freed there.
    fn own(&self, free: &[usize]) -> Vec<usize> {
        free.iter().copied().filter(|slot| !self.aliases.contains_key(slot)).collect()
    }

    fn add_block(
        &mut self,
        node: &Node,
        place: &str,
        (kind, graph, inputs): (BlockKind, &Graph, &[usize]),
        autocast: Autocast,
    ) -> swa_base::Result<()> {
        let set = |argument: Argument, output: Output| Flat {
            place: place.to_string(),
            action: Action::Set(argument),
            autocast,
            outputs: vec![output],
            free: vec![],
        };
        for ((_, argument), &slot) in node.inputs.iter().zip(inputs) {
            match self.original(argument) {
                Argument::Slot(outer) => drop(self.aliases.insert(slot, outer)),
                value => self.nodes.push(set(value, Output::Slot(slot))),
            }
        }
        let inner = match kind {
            BlockKind::SetGrad => autocast,
            BlockKind::Autocast { enabled: false, .. } => Autocast::Off,
            BlockKind::Autocast { enabled: true, dtype } => Autocast::On(match dtype {
                Some(5) => Some(Kind::Half),
                Some(15) => Some(Kind::BFloat16),
                Some(6) => Some(Kind::Float),
                Some(other) => {
                    return Err(refused(place, format!("autocast to type {other}")));
                }
                None => None,
            }),
        };
        self.add(graph, inner)?;
        for (output, result) in node.outputs.iter().zip(&graph.outputs) {
            self.nodes.push(set(self.original(result), output.clone()));
        }
        let mut end = set(Argument::None, Output::Unused);
        end.free = self.own(&node.free);
        self.nodes.push(end);
        Ok(())
    }

    /// The arguments in their places; those that no run changes are tried.
    fn called(&self, name: &str, op: Rc<Resolved>, node: &Node) -> Result<Called, String> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (argument, value) in &node.inputs {
            let own = renamed(name, argument);
            let at = op.arguments.iter().position(|(other, _)| other == own);
            let at = at.ok_or_else(|| format!("libtorch's has no argument `{argument}`"))?;
            inputs.push((at, self.original(value)));
        }
        for (at, (argument, needed)) in op.arguments.iter().enumerate() {
            if *needed && !inputs.iter().any(|(given, _)| *given == at) {
                return Err(format!("the argument `{argument}` is missing"));
            }
        }
        let (results, given) = (op.operator.results(), node.outputs.len());
        if given > results {
            return Err(format!("it has {results} results, not {given}"));
        }
        let called = Called { name: replaced(name).to_string(), op, inputs };
        let mut call = called.call(&node.outputs)?;
        for (at, argument) in &called.inputs {
            with_value(*at, argument, Device::Cpu, |value| call.set(value)).unwrap_or(Ok(()))?;
        }
        Ok(called)
    }
}

/// Gives `take` an argument that is the same in every run; None if it is not.
pub(super) fn with_value<T>(
    at: usize,
    argument: &Argument,
    device: Device,
    take: impl FnOnce(&Value) -> T,
) -> Option<T> {
    let ints: Vec<i64>;
    Some(take(&match argument {
        Argument::None => Value::none(at),
        Argument::Bool(value) => Value::bool(at, *value),
        Argument::Int(value) => Value::int(at, *value),
        Argument::Float(value) => Value::float(at, *value),
        Argument::Str(text) => Value::string(at, text),
        Argument::Floats(values) => Value::floats(at, values),
        Argument::Bools(values) => Value::bools(at, values),
        Argument::Dtype(code) | Argument::Layout(code) | Argument::MemoryFormat(code) => {
            Value::int(at, *code)
        }
        Argument::Device => Value::device(at, device),
        Argument::Ints(values) => {
            let known = |int: &Int| match int {
                Int::Const(value) => Some(*value),
                Int::Slot(_) => None,
            };
            ints = values.iter().map(known).collect::<Option<_>>()?;
            Value::ints(at, &ints)
        }
        Argument::Slots(slots) if slots.is_empty() => Value::tensors(at, &[]),
        Argument::Slot(_) | Argument::Slots(_) | Argument::OptionalSlots(_) => return None,
    }))
}

fn place(node: &Node) -> String {
    let module = match &node.module[..] {
        "" => String::new(),
        module => format!(", in {module}"),
    };
    format!("node `{}` ({}{module})", node.name, node.op.target())
}

/// A node that cannot be run.
fn refused(place: &str, what: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{place}: {what}"))
}
