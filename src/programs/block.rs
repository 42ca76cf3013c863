//! Blocks: graphs within a graph, with names of their own. Those without gradients become nodes among the others, those
//! under autocast nodes of one that sets it.

use super::arguments::{Holds, Reason, Scope, Value};
use super::build::{Builder, at, module, name};
use super::graph::{Argument, Node, Op};
use super::schema::{self, Sym};
use super::targets::Target;
use crate::Result;
use crate::weights::tree::short;

impl Builder {
    /// Dissolves a block into the nodes around it, or into those of a setting of autocast.
    pub(super) fn block<'a>(
        &mut self,
        node: &'a schema::Node,
        scope: &mut Scope<'a>,
        nodes: &mut Vec<Node>,
    ) -> Result<()> {
        let fail = |what: &str| at(node, what);
        let is_graph =
            |input: &schema::NamedArgument| matches!(input.arg, schema::Argument::Graph(_));
        let place = node.inputs.iter().position(is_graph).ok_or_else(|| fail("it has no graph"))?;
        let (settings, rest) = node.inputs.split_at(place);
        let [graph, operands @ ..] = rest else { return Err(fail("it has no graph")) };
        let schema::Argument::Graph(graph) = &graph.arg else {
            return Err(fail("it has no graph"));
        };
        if graph.inputs.len() != operands.len() {
            let (takes, given) = (graph.inputs.len(), operands.len());
            return Err(fail(&format!("its graph takes {takes} values and is given {given}")));
        }
        let mut inner = Scope::default();
        for (input, operand) in graph.inputs.iter().zip(operands) {
            let given = scope.argument(&operand.arg, &self.holds).map_err(|e| fail(&e))?;
            self.bind(input, given, &mut inner).map_err(|e| fail(&e))?;
        }
        let mut within = vec![];
        self.nodes(graph, &mut inner, &mut within)?;
        let yielded = self.outputs(&graph.outputs, &inner).map_err(|e| fail(&e))?;
        self.yields(node, yielded, scope).map_err(|e| fail(&e))?;
        if Target::of(&node.target) == Target::SetGrad {
            nodes.append(&mut within);
            return Ok(());
        }
        let mut settings = settings.iter().map(|setting| &setting.arg);
        let (mut enabled, mut dtype) = (None, None);
        for setting in &mut settings {
            match setting {
                schema::Argument::Bool(on) if enabled.is_none() => enabled = Some(*on),
                schema::Argument::Dtype(n) => {
                    let known = schema::aten_type(*n);
                    dtype = Some(known.ok_or_else(|| fail(&format!("type {n} is not known")))?);
                }
                _ => {}
            }
        }
        let enabled = enabled.ok_or_else(|| fail("it does not say whether autocast is on"))?;
        let op = Op::Autocast { enabled, dtype, nodes: within };
        let (name, module) = (name(node).to_string(), module(node));
        nodes.push(Node { name, module, op, inputs: vec![], outputs: vec![], free: vec![] });
        Ok(())
    }

    /// Gives a name that a graph has for one of its inputs, or that a node has for a result, to a value.
    fn bind<'a>(
        &self,
        name: &'a schema::Argument,
        value: Argument,
        scope: &mut Scope<'a>,
    ) -> Reason<()> {
        use schema::Argument as From;
        let (name, holds) = match name {
            From::Tensor(name) => (name, Holds::Tensor),
            From::SymInt(Sym::Name(name)) => (name, Holds::Int),
            From::SymFloat(Sym::Name(name)) => (name, Holds::Float),
            From::SymBool(Sym::Name(name)) => (name, Holds::Bool),
            // Not named, so not used.
            _ => return Ok(()),
        };
        match (value, holds) {
            (Argument::Slot(slot), _) if self.holds[slot] == holds => {
                scope.define(name, Value::Slot(slot))
            }
            (
                plain @ (Argument::Int(_) | Argument::Float(_) | Argument::Bool(_)),
                Holds::Int | Holds::Float | Holds::Bool,
            ) => scope.define(name, Value::Plain(plain)),
            (Argument::None, _) => scope.define(name, Value::Withheld("which is none")),
            _ => Err(format!("`{}` is given a value of another kind", short(name))),
        }
    }

    /// Names the results of a block.
    fn yields<'a>(
        &self,
        node: &'a schema::Node,
        yielded: Vec<Argument>,
        scope: &mut Scope<'a>,
    ) -> Reason<()> {
        let mismatch = |names: usize, values: usize| {
            Err(format!("its graph yields {values} values, and it has {names} results"))
        };
        if let [schema::Argument::Tensors(names)] = &node.outputs[..] {
            let yielded = match &yielded[..] {
                [Argument::Slots(slots)] => slots.iter().map(|&s| Argument::Slot(s)).collect(),
                _ => yielded,
            };
            if names.len() != yielded.len() {
                return mismatch(names.len(), yielded.len());
            }
            for (name, value) in names.iter().zip(yielded) {
                match value {
                    Argument::Slot(slot) if self.holds[slot] == Holds::Tensor => {
                        scope.define(&name.name, Value::Slot(slot))?;
                    }
                    _ => return Err(format!("`{}` is no tensor", short(&name.name))),
                }
            }
            return Ok(());
        }
        if node.outputs.len() != yielded.len() {
            return mismatch(node.outputs.len(), yielded.len());
        }
        let pairs = node.outputs.iter().zip(yielded);
        pairs.into_iter().try_for_each(|(name, value)| self.bind(name, value, scope))
    }
}
