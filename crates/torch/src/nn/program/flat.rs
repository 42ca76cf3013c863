//! A program's nodes in a row: autocast noted, operators resolved, arguments in the operators' order.

use std::collections::HashMap;
use std::rc::Rc;

use tch::{Device, Kind};

use super::dispatch::{Call, Operator, Parameter, Value, Wanted};
use swa_base::{Error, Kind as ErrorKind};
use swa_tools::programs::{
    Argument, BatchNorm, Counted, Int, Node, Op, Output, Program, SymbolOp, missing_operators,
};

/// A node.
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
}

/// A call of an operator.
pub(super) struct Called {
    /// In `aten`, without the overload.
    pub name: String,
    pub op: Rc<Resolved>,
    /// By their positions.
    pub inputs: Vec<(usize, Argument)>,
}

/// An operator and its arguments.
pub(super) struct Resolved {
    pub operator: Operator,
    pub arguments: Vec<Parameter>,
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
    fn of(enabled: bool, dtype: Option<i64>) -> Result<Self, String> {
        Ok(match (enabled, dtype) {
            (false, _) => Autocast::Off,
            (true, None) => Autocast::On(None),
            (true, Some(5)) => Autocast::On(Some(Kind::Half)),
            (true, Some(6)) => Autocast::On(Some(Kind::Float)),
            (true, Some(15)) => Autocast::On(Some(Kind::BFloat16)),
            (true, Some(other)) => return Err(format!("autocast to type {other}")),
        })
    }

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
        let named = |(at, _): &&(usize, Argument)| self.op.arguments[*at].name == name;
        self.inputs.iter().find(named).map(|(_, argument)| argument)
    }

    /// The slots of the tensors that it changes.
    pub fn written(&self) -> Vec<usize> {
        let mut slots = vec![];
        for (at, argument) in &self.inputs {
            if self.op.arguments[*at].written {
                argument.each_slot(&mut |slot| slots.push(slot));
            }
        }
        slots
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
    /// The slots that it defines.
    pub fn results(&self) -> Vec<usize> {
        let mut slots = vec![];
        self.outputs.iter().for_each(|output| output.each_slot(&mut |slot| slots.push(slot)));
        slots
    }

    /// Calls `visit` with each slot that it takes.
    pub fn each_input(&self, visit: &mut dyn FnMut(usize)) {
        match &self.action {
            Action::Call(Called { inputs, .. }) => {
                inputs.iter().for_each(|(_, argument)| argument.each_slot(visit));
            }
            Action::Normalise(bn) => {
                let running = bn.running.into_iter().flatten();
                [bn.input]
                    .into_iter()
                    .chain(bn.weight)
                    .chain(bn.bias)
                    .chain(running)
                    .for_each(visit);
            }
            Action::Compute(_, arguments) => arguments.iter().for_each(|a| a.each_slot(visit)),
        }
    }
}

/// The nodes of a program in a row.
///
/// # Errors
/// `Unsupported`: all operators that libtorch lacks, or the first node that does not fit its operator.
pub(super) fn flatten(program: &Program) -> swa_base::Result<Vec<Flat>> {
    let at = |e: Error| e.at(program.path());
    let mut row = Row::default();
    row.find_operators(&program.graph().nodes);
    if !row.missing.is_empty() {
        return Err(at(missing_operators(&row.missing, "libtorch 2.11")));
    }
    row.add(&program.graph().nodes, Autocast::Run).map_err(at)?;
    Ok(row.nodes)
}

#[derive(Default)]
struct Row {
    /// By name and overload; None: libtorch has none.
    operators: HashMap<(String, String), Option<Rc<Resolved>>>,
    /// In the order of the nodes.
    missing: Vec<Counted>,
    nodes: Vec<Flat>,
}

impl Row {
    fn find_operators(&mut self, nodes: &[Node]) {
        for node in nodes {
            match &node.op {
                Op::Aten { name, overload } => {
                    let key = (name.clone(), overload.clone());
                    let found = self.operators.entry(key).or_insert_with(|| {
                        let operator = Operator::find(&format!("aten::{name}"), overload)?;
                        Some(Rc::new(Resolved { arguments: operator.arguments(), operator }))
                    });
                    if found.is_none() {
                        let target = node.op.target();
                        match self.missing.iter_mut().find(|known| known.target == target) {
                            Some(known) => known.nodes += 1,
                            None => self.missing.push(Counted { target, nodes: 1 }),
                        }
                    }
                }
                Op::Autocast { nodes, .. } => self.find_operators(nodes),
                Op::BatchNorm(_) | Op::Symbol(_) => {}
            }
        }
    }

    fn add(&mut self, nodes: &[Node], autocast: Autocast) -> swa_base::Result<()> {
        nodes.iter().try_for_each(|node| self.add_node(node, autocast))
    }

    fn add_node(&mut self, node: &Node, autocast: Autocast) -> swa_base::Result<()> {
        let place = place(node);
        let action = match &node.op {
            Op::Aten { name, overload } => {
                let op = self.operators[&(name.clone(), overload.clone())].clone();
                let op = op.expect("all that are missing were reported");
                Action::Call(called(name, op, node).map_err(|what| refused(&place, what))?)
            }
            Op::BatchNorm(bn) => {
                if node.outputs.iter().skip(1).any(|output| *output != Output::Unused) {
                    let what = "the network uses the statistics of a batch itself";
                    return Err(refused(&place, what.into()));
                }
                Action::Normalise(bn.clone())
            }
            Op::Symbol(symbol) => {
                let inputs = node.inputs.iter().map(|(_, argument)| argument.clone());
                Action::Compute(*symbol, inputs.collect())
            }
            Op::Autocast { enabled, dtype, nodes } => {
                let inner = Autocast::of(*enabled, *dtype).map_err(|what| refused(&place, what))?;
                return self.add(nodes, inner);
            }
        };
        let (outputs, free) = (node.outputs.clone(), node.free.clone());
        self.nodes.push(Flat { place, action, autocast, outputs, free });
        Ok(())
    }
}

/// The arguments in their places; those that are the same in every run are tried.
fn called(name: &str, op: Rc<Resolved>, node: &Node) -> Result<Called, String> {
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for (argument, value) in &node.inputs {
        let at = op.arguments.iter().position(|other| other.name == *argument);
        let at = at.ok_or_else(|| format!("libtorch's has no argument `{argument}`"))?;
        inputs.push((at, value.clone()));
    }
    for (at, argument) in op.arguments.iter().enumerate() {
        if argument.needed && !inputs.iter().any(|(given, _)| *given == at) {
            return Err(format!("the argument `{}` is missing", argument.name));
        }
    }
    let (results, given) = (op.operator.results(), node.outputs.len());
    if given > results {
        return Err(format!("it has {results} results, not {given}"));
    }
    let called = Called { name: name.to_string(), op, inputs };
    let mut call = called.call(&node.outputs)?;
    for (at, argument) in &called.inputs {
        with_value(*at, argument, Device::Cpu, |value| call.set(value)).unwrap_or(Ok(()))?;
    }
    Ok(called)
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
