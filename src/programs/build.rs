//! From the nodes of the file to those of the graph: every name is looked up among those that are defined before it, in
//! the scope that it stands in. Blocks are dissolved, batch normalisation is recognised, what does nothing is left out.

use std::collections::HashSet;

use super::arguments::{Holds, Reason, Scope, Value};
use super::batch_norm;
use super::graph::{Argument, Node, Op, Output};
use super::schema::{self, OptionalTensor, Sym};
use super::targets::{Target, is_in_place};
use crate::weights::tree::short;
use crate::{Error, Kind, Result};

/// The slots so far.
#[derive(Debug, Default)]
pub struct Builder {
    pub(super) holds: Vec<Holds>,
    marks: Vec<Mark>,
}

#[derive(Debug)]
struct Mark {
    /// Whether the image reaches it.
    depends_on_image: bool,
    /// The slot whose memory it may share: an operator may return a view of its first tensor.
    root: usize,
    is_counter: bool,
}

/// The module that a node belongs to, as the file has it: of `key,path,type;key,path,type` the last path.
pub(super) fn module(node: &schema::Node) -> String {
    let stack = node.metadata.nn_module_stack.as_deref().unwrap_or_default();
    let last = stack.rsplit(';').next().unwrap_or_default();
    let path = last.split(',').nth(1).unwrap_or_default();
    if path.starts_with("_empty_nn_module_stack") { String::new() } else { short(path) }
}

/// Its name, which files of old versions lack: then that of its first result.
pub(super) fn name(node: &schema::Node) -> &str {
    let first = node.outputs.first().and_then(|output| match output {
        schema::Argument::Tensor(name) => Some(name),
        schema::Argument::SymInt(Sym::Name(name)) => Some(name),
        schema::Argument::Tensors(names) => names.first().map(|first| &first.name),
        _ => None,
    });
    node.name.as_ref().or(first).map_or("?", |name| name)
}

/// What is wrong with a node.
pub(super) fn at(node: &schema::Node, what: &str) -> Error {
    let target = node.target.strip_prefix("torch.ops.").unwrap_or(&node.target);
    let within = match &module(node)[..] {
        "" => String::new(),
        module => format!(", in {module}"),
    };
    let place = format!("node `{}` ({}{within})", short(name(node)), short(target));
    Error::new(Kind::Damaged, format!("{place}: {what}"))
        .remedy("save the program again, or ask where it came from")
}

impl Builder {
    /// A new slot.
    fn slot(&mut self, holds: Holds, depends_on_image: bool, like: Option<usize>) -> usize {
        let new = self.holds.len();
        let root = like.map_or(new, |like| self.marks[like].root);
        self.holds.push(holds);
        self.marks.push(Mark { depends_on_image, root, is_counter: false });
        new
    }

    /// A slot for one of the program's own tensors.
    pub fn tensor(&mut self, name: &str) -> usize {
        let slot = self.slot(Holds::Tensor, false, None);
        self.marks[slot].is_counter = name.rsplit('.').next() == Some("num_batches_tracked");
        slot
    }

    pub fn image(&mut self) -> usize {
        self.slot(Holds::Tensor, true, None)
    }

    /// How many there are.
    pub fn slots(&self) -> usize {
        self.holds.len()
    }

    /// What a graph yields.
    pub fn outputs<'s>(
        &self,
        from: impl IntoIterator<Item = &'s schema::Argument>,
        scope: &Scope,
    ) -> Reason<Vec<Argument>> {
        from.into_iter().map(|output| scope.argument(output, &self.holds)).collect()
    }

    /// Adds the nodes of a graph.
    pub fn nodes<'a>(
        &mut self,
        graph: &'a schema::Graph,
        scope: &mut Scope<'a>,
        nodes: &mut Vec<Node>,
    ) -> Result<()> {
        for node in &graph.nodes {
            let added = match Target::of(&node.target) {
                Target::SetGrad | Target::Autocast => {
                    self.block(node, scope, nodes)?;
                    continue;
                }
                Target::Assertion => withhold(node, 0, "the result of an assertion", scope),
                Target::Refused(..) => Err("it cannot be run".into()),
                target => self.node(node, target, scope, nodes),
            };
            added.map_err(|what| at(node, &what))?;
        }
        Ok(())
    }

    fn node<'a>(
        &mut self,
        node: &'a schema::Node,
        target: Target<'a>,
        scope: &mut Scope<'a>,
        nodes: &mut Vec<Node>,
    ) -> Reason<()> {
        let (mut inputs, mut names) = (vec![], HashSet::new());
        for input in &node.inputs {
            if !names.insert(&input.name) {
                return Err(format!("it has its argument `{}` twice", short(&input.name)));
            }
            inputs.push((input.name.clone(), scope.argument(&input.arg, &self.holds)?));
        }
        let first = inputs.iter().find_map(|(_, value)| first_slot(value));
        let mut depends = false;
        for (_, value) in &inputs {
            value.each_slot(&mut |slot| depends |= self.marks[slot].depends_on_image);
        }
        let (op, outputs) = match target {
            Target::BatchNorm { name, overload } => {
                let mut norm = batch_norm::of(name, overload, &inputs)?;
                norm.depends_on_image = self.marks[norm.input].depends_on_image;
                let outputs =
                    self.results(&node.outputs[..1.min(node.outputs.len())], depends, None, scope)?;
                withhold(node, 1, "a batchnorm's own statistics", scope)?;
                (Op::BatchNorm(norm), outputs)
            }
            // Sizes do not depend on what the image shows.
            Target::Symbol(symbol) => {
                (Op::Symbol(symbol), self.results(&node.outputs, false, None, scope)?)
            }
            Target::Aten { name, overload } => {
                if let Some(first) = first.filter(|_| is_in_place(name)) {
                    if self.marks[first].is_counter {
                        return alias(node, first, scope);
                    }
                    // Written to: all that may be views of the same memory.
                    if depends {
                        let root = self.marks[first].root;
                        self.marks[first].depends_on_image = true;
                        self.marks[root].depends_on_image = true;
                    }
                }
                if name == "reshape" {
                    // The names of what it stands in for.
                    inputs.retain(|(name, _)| name != "stride");
                    inputs.iter_mut().filter(|(name, _)| name == "size").for_each(|(name, _)| {
                        *name = "shape".into();
                    });
                }
                let outputs = self.results(&node.outputs, depends, first, scope)?;
                let overload = if overload == "default" { "" } else { overload };
                (Op::Aten { name: name.into(), overload: overload.into() }, outputs)
            }
            _ => return Err("it cannot be run".into()),
        };
        let (name, module) = (name(node).to_string(), module(node));
        nodes.push(Node { name, module, op, inputs, outputs, free: vec![] });
        Ok(())
    }

    /// Slots for the results of a node.
    fn results<'a>(
        &mut self,
        results: &'a [schema::Argument],
        depends: bool,
        like: Option<usize>,
        scope: &mut Scope<'a>,
    ) -> Reason<Vec<Output>> {
        use schema::Argument as From;
        let mut outputs = vec![];
        for result in results {
            let mut define = |name: &'a str, holds: Holds| -> Reason<usize> {
                let slot = self.slot(holds, depends, like);
                scope.define(name, Value::Slot(slot)).map(|()| slot)
            };
            outputs.push(match result {
                From::Tensor(name) => Output::Slot(define(name, Holds::Tensor)?),
                From::Tensors(names) => {
                    let slots =
                        names.iter().map(|name| define(&name.name, Holds::Tensor).map(Some));
                    Output::Slots(slots.collect::<Reason<_>>()?)
                }
                From::OptionalTensors(names) => {
                    let mut one = |name: &'a OptionalTensor| match name {
                        OptionalTensor::Tensor(name) => define(&name.name, Holds::Tensor).map(Some),
                        OptionalTensor::None(_) => Ok(None),
                    };
                    Output::Slots(names.iter().map(&mut one).collect::<Reason<_>>()?)
                }
                From::SymInt(Sym::Name(name)) => Output::Slot(define(name, Holds::Int)?),
                From::SymFloat(Sym::Name(name)) => Output::Slot(define(name, Holds::Float)?),
                From::SymBool(Sym::Name(name)) => Output::Slot(define(name, Holds::Bool)?),
                From::Other(kind) => {
                    return Err(format!("a result of the kind `{kind}` is not supported"));
                }
                From::Graph(_) => return Err("its result is a graph".into()),
                // A value that is known to the export is written where it is used.
                _ => Output::Unused,
            });
        }
        Ok(outputs)
    }
}

fn first_slot(value: &Argument) -> Option<usize> {
    let mut first = None;
    value.each_slot(&mut |slot| _ = first.get_or_insert(slot));
    first
}

/// The names of a node's results from one on, which no node may use.
fn withhold<'a>(
    node: &'a schema::Node,
    from: usize,
    what: &'static str,
    scope: &mut Scope<'a>,
) -> Reason<()> {
    for output in node.outputs.iter().skip(from) {
        if let schema::Argument::Tensor(name) = output {
            scope.define(name, Value::Withheld(what))?;
        }
    }
    Ok(())
}

/// Leaves a node out whose result is what it was given.
fn alias<'a>(node: &'a schema::Node, slot: usize, scope: &mut Scope<'a>) -> Reason<()> {
    match &node.outputs[..] {
        [schema::Argument::Tensor(name)] => scope.define(name, Value::Slot(slot)),
        [] => Ok(()),
        _ => Err("it has several results".into()),
    }
}
