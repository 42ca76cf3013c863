//! A program with its weights.

use std::cell::RefCell;
use std::rc::Rc;

use tch::{Kind, TchError, Tensor};

use super::dispatch::{Failure, Given, Listed, Value};
use super::plan::{Bound, By, CallWork, Input, Plan, Step, Work};
use super::prepared::Prepared;
use super::symbols::{Number, compute};
use crate::nn::batch_norm::batch_norm;
use crate::nn::fault::{Fault, Result, of_torch};
use crate::nn::network::Network;
use crate::nn::outputs::{self, Outputs};
use crate::nn::pass::Pass;
use crate::nn::precision::Precision;
use swa_base::{Error, Kind as ErrorKind};
use swa_tools::programs::{Argument, Int, SymbolOp};

/// A program as a network.
pub(super) struct Programmed {
    prepared: Rc<Prepared>,
    bound: Bound,
    plan: RefCell<Rc<Planned>>,
}

/// A plan, and whether each run copies its images first, since operators write to them.
struct Planned {
    plan: Plan,
    copies_images: bool,
}

/// The number of the images among the guarded tensors.
const IMAGES: i64 = -1;

/// What a slot holds.
enum Item {
    /// Nothing, or a weight.
    Empty,
    /// Python's None.
    None,
    Tensor(Tensor),
    Number(Number),
}

/// Why a run ended early.
enum Stop {
    Fault(Fault),
    /// An operator would have written to the guarded tensors of this number.
    Touched(i64),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<TchError> for Stop {
    fn from(error: TchError) -> Self {
        Stop::Fault(error.into())
    }
}

impl Programmed {
    pub fn new(prepared: Rc<Prepared>, bound: Bound) -> swa_base::Result<Self> {
        let plan = Plan::new(&prepared, &bound, vec![])?;
        let plan = RefCell::new(Rc::new(Planned { plan, copies_images: false }));
        Ok(Programmed { prepared, bound, plan })
    }

    /// From now on each run copies these tensors before an operator writes to them.
    fn copy(&self, number: i64) -> swa_base::Result<()> {
        let old = Rc::clone(&self.plan.borrow());
        let mut copied = old.plan.copied.clone();
        copied.extend(usize::try_from(number));
        let plan = Plan::new(&self.prepared, &self.bound, copied)?;
        let copies_images = old.copies_images || number == IMAGES;
        *self.plan.borrow_mut() = Rc::new(Planned { plan, copies_images });
        Ok(())
    }

    fn run(&self, plan: &Planned, x: &Tensor, pass: &mut Pass) -> Result<Vec<Item>, Stop> {
        let graph = self.prepared.program.graph();
        let mut values: Vec<Item> = (0..graph.slots).map(|_| Item::Empty).collect();
        let mut guard = plan.plan.guard.clone();
        let x = if self.prepared.by_layout { x.f_contiguous()? } else { x.shallow_clone() };
        let x = if plan.copies_images { copy_of(&x)? } else { x };
        if !plan.copies_images {
            guard.add(&x, IMAGES);
        }
        values[self.prepared.program.image().slot] = Item::Tensor(x);
        for &group in &plan.plan.copied {
            self.copy_group(group, &mut values)?;
        }
        let mut run = Run { network: self, values, guard, results: vec![] };
        for step in &plan.plan.steps {
            run.step(step, pass).map_err(|stop| self.named(step, stop))?;
            step.free.iter().for_each(|&slot| run.values[slot] = Item::Empty);
        }
        let output = |argument: &Argument| match argument {
            Argument::Slot(slot) => {
                run.tensor(*slot).map_or(Item::None, |tensor| Item::Tensor(tensor.shallow_clone()))
            }
            _ => Item::None,
        };
        Ok(graph.outputs.iter().map(output).collect())
    }

    /// Copies tensors that are the same memory, in which they stay.
    fn copy_group(&self, group: usize, values: &mut [Item]) -> Result<(), Stop> {
        let mut copy: Option<Tensor> = None;
        for &slot in &self.bound.groups[group] {
            let Some(tensor) = &self.bound.tensors[slot] else { continue };
            let copy = match &copy {
                Some(copy) => copy.shallow_clone(),
                None => copy.insert(copy_of(tensor)?).shallow_clone(),
            };
            values[slot] = Item::Tensor(copy);
        }
        Ok(())
    }

    /// The stop with the node that caused it.
    fn named(&self, step: &Step, stop: Stop) -> Stop {
        let Stop::Fault(Fault::Torch(error)) = stop else { return stop };
        if of_torch(&error).kind() == ErrorKind::OutOfMemory {
            return Stop::Fault(Fault::Torch(error));
        }
        let text = error.to_string();
        let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
        let line = text.lines().next().unwrap_or_default();
        let (path, place) =
            (self.prepared.program.path().display(), &self.prepared.nodes[step.node].place);
        Stop::Fault(Error::new(ErrorKind::Mismatch, format!("{path}, {place}: {line}")).into())
    }
}

impl Programmed {
    /// All outputs; of weights and images that operators write to, copies are made first.
    fn items(&self, x: &Tensor, pass: &mut Pass) -> Result<Vec<Item>> {
        if !self.bound.folded.is_empty() && !matches!(pass, Pass::Eval) {
            let what = "a model that was loaded for evaluation has no batchnorm layers";
            return Err(Error::usage(what).into());
        }
        let before = match pass {
            Pass::Collect(collected) => collected.moments.len(),
            _ => 0,
        };
        loop {
            let plan = Rc::clone(&self.plan.borrow());
            match self.run(&plan, x, pass) {
                Ok(outputs) => return Ok(outputs),
                Err(Stop::Fault(fault)) => return Err(fault),
                // Once for the images or a weight, whatever the batch.
                Err(Stop::Touched(number)) => self.copy(number)?,
            }
            if let Pass::Collect(collected) = pass {
                collected.moments.truncate(before);
            }
        }
    }
}

impl Network for Programmed {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let program = &self.prepared.program;
        logits(self.outputs(x, pass)?, x, |name| program.gives_probabilities(name))
    }

    fn outputs(&self, x: &Tensor, pass: &mut Pass) -> Result<Outputs> {
        let items = self.items(x, pass)?;
        let names = self.prepared.program.outputs();
        let tensor = |(item, name): (Item, &String)| match item {
            Item::Tensor(tensor) => Some((name.clone(), tensor)),
            _ => None,
        };
        Ok(items.into_iter().zip(names).filter_map(tensor).collect())
    }

    fn takes(&self, _: Precision) -> Kind {
        Kind::Float
    }
}

fn copy_of(x: &Tensor) -> Result<Tensor> {
    let mut copy = x.f_empty_like()?;
    copy.f_copy_(x)?;
    Ok(copy)
}

/// The logits among the outputs; an empty tensor, [images, 0], if there are none or it is not certain which they are.
/// Of probabilities the logarithms.
fn logits(
    mut outputs: Outputs,
    x: &Tensor,
    are_probabilities: impl Fn(&str) -> bool,
) -> Result<Tensor> {
    let images = x.size().first().copied().unwrap_or(0);
    match outputs::logits(&outputs, images) {
        Some(number) => {
            let (name, values) = outputs.swap_remove(number);
            if !are_probabilities(&name) {
                return Ok(values);
            }
            outputs::logarithms(&values)
        }
        None => Ok(Tensor::f_zeros([images, 0], (Kind::Float, x.device()))?),
    }
}

/// A run under way.
struct Run<'a> {
    network: &'a Programmed,
    values: Vec<Item>,
    guard: super::dispatch::Guard,
    results: Vec<Given>,
}

impl Run<'_> {
    fn tensor(&self, slot: usize) -> Option<&Tensor> {
        match &self.values[slot] {
            Item::Tensor(tensor) => Some(tensor),
            Item::Empty => self.network.bound.tensors[slot].as_ref(),
            Item::None | Item::Number(_) => None,
        }
    }

    fn needed(&self, slot: usize) -> Result<&Tensor, Stop> {
        self.tensor(slot).ok_or_else(|| worded("a tensor is needed"))
    }

    fn number(&self, slot: usize) -> Result<Number, Stop> {
        match &self.values[slot] {
            Item::Number(number) => Ok(*number),
            _ => Err(worded("a number is needed")),
        }
    }

    fn set(&mut self, slot: Option<usize>, item: Item) {
        if let Some(slot) = slot {
            self.values[slot] = item;
        }
    }

    fn step(&mut self, step: &Step, pass: &mut Pass) -> Result<(), Stop> {
        match &step.work {
            Work::Call(work) => self.call(work),
            Work::Normalise { input, affine, by, eps, output } => {
                let y = self.normalise(*input, *affine, by, *eps, pass)?;
                self.set(*output, Item::Tensor(y));
                Ok(())
            }
            Work::Compute { op, arguments, output } => {
                let number = self.compute(*op, arguments)?;
                self.set(*output, Item::Number(number));
                Ok(())
            }
        }
    }

    fn call(&mut self, work: &CallWork) -> Result<(), Stop> {
        let mut results = std::mem::take(&mut self.results);
        self.call_into(work, &mut results)?;
        for (result, &slot) in results.drain(..).zip(&work.outputs) {
            let item = match result {
                Given::None => Item::None,
                Given::Tensor(tensor) => Item::Tensor(tensor),
                Given::Int(n) => Item::Number(Number::Int(n)),
                Given::Float(x) => Item::Number(Number::Float(x)),
                Given::Bool(b) => Item::Number(Number::Bool(b)),
            };
            self.set(slot, item);
        }
        self.results = results;
        Ok(())
    }

    fn call_into(&self, work: &CallWork, results: &mut Vec<Given>) -> Result<(), Stop> {
        // What the arguments borrow.
        let (mut ints, mut tensors) = (vec![], vec![]);
        for input in &work.inputs {
            match input {
                Input::Slot(..) => {}
                Input::Ints(_, all) => {
                    let int = |int: &Int| match int {
                        Int::Const(value) => Ok(*value),
                        Int::Slot(slot) => {
                            self.number(*slot)?.int().ok_or_else(|| worded("an integer is needed"))
                        }
                    };
                    ints.push(all.iter().map(int).collect::<Result<Vec<i64>, _>>()?);
                }
                Input::Tensors(_, slots) => {
                    let listed = |slot: &Option<usize>| match slot {
                        Some(slot) => self.needed(*slot).map(|tensor| Listed::new(Some(tensor))),
                        None => Ok(Listed::new(None)),
                    };
                    tensors.push(slots.iter().map(listed).collect::<Result<Vec<_>, _>>()?);
                }
            }
        }
        let (mut ints, mut tensors) = (ints.iter(), tensors.iter());
        let mut inputs = Vec::with_capacity(work.inputs.len());
        for input in &work.inputs {
            inputs.push(match input {
                Input::Slot(at, slot) => match &self.values[*slot] {
                    Item::Tensor(tensor) => Value::tensor(*at, tensor),
                    Item::Number(Number::Int(n)) => Value::int(*at, *n),
                    Item::Number(Number::Float(x)) => Value::float(*at, *x),
                    Item::Number(Number::Bool(b)) => Value::bool(*at, *b),
                    Item::None => Value::none(*at),
                    Item::Empty => Value::tensor(*at, self.needed(*slot)?),
                },
                Input::Ints(at, _) => Value::ints(*at, ints.next().expect("made above")),
                Input::Tensors(at, _) => Value::tensors(*at, tensors.next().expect("made above")),
            });
        }
        let run = |call: &super::dispatch::Call, results: &mut Vec<Given>| {
            call.run(&inputs, work.mode, &self.guard, results)
        };
        let result = match &work.reshape {
            Some(reshape) if work.reshapes.get() => run(reshape, results),
            Some(reshape) => match run(&work.call, results) {
                Err(Failure::Torch(message)) if message.contains(OTHER_STRIDES) => {
                    work.reshapes.set(true);
                    run(reshape, results)
                }
                result => result,
            },
            None => run(&work.call, results),
        };
        result.map_err(|failure| match failure {
            Failure::Torch(message) => TchError::Torch(message).into(),
            Failure::Touched(number) => Stop::Touched(number),
        })
    }

    fn normalise(
        &self,
        input: usize,
        affine: [Option<usize>; 2],
        by: &By,
        eps: f64,
        pass: &mut Pass,
    ) -> Result<Tensor, Stop> {
        let x = self.needed(input)?;
        let [weight, bias] = affine.map(|slot| slot.map(|slot| self.needed(slot)).transpose());
        let affine = [weight?, bias?];
        Ok(match by {
            By::Layer(layer) => {
                let channels = layer.running_mean.numel() as i64;
                if x.dim() < 2 || x.size()[1] != channels {
                    let found = x.size();
                    return Err(worded(&format!("{channels} channels are needed: {found:?}")));
                }
                layer.forward(x, affine, pass)?
            }
            By::Slots([mean, variance]) => {
                let statistics = [self.needed(*mean)?, self.needed(*variance)?];
                batch_norm(x, affine, Some(statistics), false, eps)?
            }
            By::Batch => batch_norm(x, affine, None, true, eps)?,
        })
    }

    fn compute(&self, op: SymbolOp, arguments: &[Argument]) -> Result<Number, Stop> {
        let number = |argument: &Argument| match argument {
            Argument::Slot(slot) => self.number(*slot),
            other => plain(other).ok_or_else(|| worded("a number is needed")),
        };
        let shape = || match arguments.first() {
            Some(Argument::Slot(slot)) => Ok(self.needed(*slot)?.size()),
            _ => Err(worded("a tensor is needed")),
        };
        let dimension = |shape: &[i64]| {
            let asked = arguments.get(1).map(number).transpose()?.and_then(Number::int);
            let asked = asked.ok_or_else(|| worded("a dimension is needed"))?;
            let at = if asked < 0 { asked + shape.len() as i64 } else { asked };
            let at = usize::try_from(at).ok().filter(|&at| at < shape.len());
            at.ok_or_else(|| worded(&format!("{shape:?} has no dimension {asked}")))
        };
        // Of a tensor that lies in memory row by row, as it did in the export.
        Ok(match op {
            SymbolOp::Size => {
                let shape = shape()?;
                Number::Int(shape[dimension(&shape)?])
            }
            SymbolOp::Numel => product(&shape()?)?,
            SymbolOp::Stride => {
                let shape: Vec<i64> = shape()?.into_iter().map(|n| n.max(1)).collect();
                product(&shape[dimension(&shape)? + 1..])?
            }
            SymbolOp::StorageOffset => Number::Int(0),
            other => {
                let numbers: Vec<Number> =
                    arguments.iter().map(number).collect::<Result<_, _>>()?;
                compute(other, &numbers).map_err(|what| worded(&what))?
            }
        })
    }
}

fn product(sizes: &[i64]) -> Result<Number, Stop> {
    let product = sizes.iter().try_fold(1i64, |all, &n| all.checked_mul(n));
    product.map(Number::Int).ok_or_else(|| worded(&format!("{sizes:?} are too many values")))
}

/// How libtorch says that a view would need another layout.
const OTHER_STRIDES: &str = "view size is not compatible";

/// An error whose node is not yet named.
fn worded(what: &str) -> Stop {
    Stop::Fault(Fault::Torch(TchError::Torch(what.to_string())))
}

fn plain(argument: &Argument) -> Option<Number> {
    match argument {
        Argument::Int(n) => Some(Number::Int(*n)),
        Argument::Float(x) => Some(Number::Float(*x)),
        Argument::Bool(b) => Some(Number::Bool(*b)),
        _ => None,
    }
}
