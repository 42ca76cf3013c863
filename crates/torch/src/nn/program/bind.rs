//! From a checkpoint's tensors to the network of a program.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::flat::{Action, Autocast, Called};
use super::plan::{Bound, Folded};
use super::prepared::Prepared;
use super::run::Programmed;
use crate::nn::batch_norm::Normalisation;
use crate::nn::fault::Result;
use crate::nn::network::Network;
use crate::nn::pass::{Layer, Pass, Stored};
use crate::nn::scope::{Scope, Setup, channels_last, is_float, kind_of};
use swa_base::{Error, Kind as ErrorKind};
use swa_tools::programs::{Argument, BatchNorm, Named, Output};

/// Operators that autocast lets compute in the narrower type, and whose weights may therefore come in it.
const NARROW: &[&str] = &[
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
    "matmul",
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
];

/// Convolutions of which a batchnorm layer can become a part.
const CONVOLUTIONS: &[&str] = &["conv1d", "conv2d", "conv3d", "convolution"];

/// The names of a layer's tensors, below its own.
const MEAN: &str = ".running_mean";
const COUNTER: &str = ".num_batches_tracked";

impl Prepared {
    /// Asks for the program's tensors, registers its batchnorm layers, and makes the network.
    pub fn build(self: &Rc<Self>, mut scope: Scope) -> Result<Box<dyn Network>> {
        if let Some(setup) = scope.setup() {
            let bound = self.bind(&mut scope, setup)?;
            return Ok(Box::new(Programmed::new(Rc::clone(self), bound)?));
        }
        self.register(&mut scope);
        self.ask(&mut scope);
        Ok(Box::new(Described))
    }

    /// All that the network takes from the checkpoint, and the program's constants.
    pub(super) fn bind(&self, scope: &mut Scope, setup: Setup) -> Result<Bound> {
        let layers = self.register(scope);
        let names = self.ask(scope);
        let folds = if setup.folded { self.folds() } else { vec![] };
        let mut bound = Bound {
            device: setup.device,
            autocast: Some(setup.precision.kind()).filter(|&kind| kind != Kind::Float),
            tensors: (0..self.program.graph().slots).map(|_| None).collect(),
            groups: vec![],
            layers: HashMap::new(),
            folded: HashMap::new(),
        };
        for fold in &folds {
            let folded = self.fold(scope, fold, &names, setup)?;
            bound.folded.insert(fold.convolution, folded);
        }
        self.load(scope, &names, &folds, setup, &mut bound)?;
        self.add_constants(&mut bound)?;
        self.add_layers(&layers, &mut bound);
        Ok(bound)
    }

    /// By index of the program's tensors, the name under which the file has it: its own, or that of another tensor
    /// with the same values. Those that no node takes are not needed.
    fn ask(&self, scope: &mut Scope) -> Vec<String> {
        let tensors = self.program.tensors();
        let first = |index: usize| tensors[index].alias_of.unwrap_or(index);
        let name = |index: usize| {
            let named = &tensors[index];
            let others = || {
                let all = tensors.iter().enumerate();
                all.filter(|(other, _)| first(*other) == first(index)).map(|(_, other)| other)
            };
            let found = match scope.has(&named.name) {
                true => named,
                false => others().find(|other| scope.has(&other.name)).unwrap_or(named),
            };
            found.name.clone()
        };
        let names: Vec<String> = (0..tensors.len()).map(name).collect();
        for (named, found) in tensors.iter().zip(&names) {
            if named.slot.is_none() || *found != named.name {
                scope.get_optional(&named.name, &named.shape);
            }
        }
        names
    }

    /// Registers the batchnorm layers in the order of the nodes; by node, whether it is one and its number.
    fn register(&self, scope: &mut Scope) -> Vec<(usize, Option<usize>, String)> {
        let tensors = self.program.tensors();
        let by_slot: HashMap<usize, usize> =
            tensors.iter().enumerate().filter_map(|(i, named)| Some((named.slot?, i))).collect();
        // By the first of the same values: tied modules are one layer.
        let index = |slot: usize| {
            let index = *by_slot.get(&slot)?;
            Some(tensors[index].alias_of.unwrap_or(index))
        };
        let mut groups: Vec<([usize; 2], Vec<usize>)> = vec![];
        for (number, node) in self.nodes.iter().enumerate() {
            let Action::Normalise(BatchNorm { running: Some([mean, variance]), .. }) = node.action
            else {
                continue;
            };
            let (Some(mean), Some(variance)) = (index(mean), index(variance)) else { continue };
            let [a, b] = [&tensors[mean], &tensors[variance]];
            if a.shape.len() != 1 || a.shape != b.shape {
                continue; // libtorch says what is wrong
            }
            match groups.iter_mut().find(|(running, _)| *running == [mean, variance]) {
                Some((_, nodes)) => nodes.push(number),
                None => groups.push(([mean, variance], vec![number])),
            }
        }
        let mut found = vec![];
        for ([mean, variance], nodes) in groups {
            let layer = layer(tensors, mean, variance, nodes.len());
            let name = layer.name.clone();
            let is_training = |&node: &usize| matches!(&self.nodes[node].action, Action::Normalise(bn) if bn.training);
            let number = if self.program.is_training() && !nodes.iter().any(is_training) {
                // The others were in training mode, this one was not.
                scope.register_frozen(&name);
                None
            } else {
                // A layer that never had a counter is not frozen for want of it.
                let counters = &layer.stored.counter;
                let has = |named: &Named| counters.contains(&named.name);
                let counted =
                    !tensors.iter().any(has) || counters.iter().any(|counter| scope.has(counter));
                scope.register_layer(layer, counted)
            };
            found.extend(nodes.into_iter().map(|node| (node, number, name.clone())));
        }
        found
    }

    /// The tensors that a run takes as they are; `names`: what the file calls them.
    fn load(
        &self,
        scope: &mut Scope,
        names: &[String],
        folds: &[Fold],
        setup: Setup,
        bound: &mut Bound,
    ) -> Result<()> {
        let taken = self.taken(folds);
        let narrow = match bound.autocast {
            Some(_) => self.narrow(),
            None => HashSet::new(),
        };
        let convolved = self.convolved();
        // Tensors by the name in the file: the same values are loaded once.
        let mut loaded: HashMap<(&str, Kind), (Tensor, usize)> = HashMap::new();
        for (named, name) in self.program.tensors().iter().zip(names) {
            let Some(slot) = named.slot.filter(|slot| taken.contains(slot)) else { continue };
            let own = kind_of(named.dtype).ok_or_else(|| unsupported(named))?;
            let kind = match is_float(own) {
                true if narrow.contains(&slot) => setup.precision.kind(),
                true => Kind::Float,
                false => own,
            };
            let (tensor, group) = match loaded.get(&(name.as_str(), kind)) {
                Some((tensor, group)) => (tensor.shallow_clone(), *group),
                None => {
                    let mut tensor = scope.get_kind(name, &named.shape, kind)?;
                    if convolved.contains(&slot) && !self.by_layout {
                        tensor = channels_last(&tensor)?;
                    }
                    bound.groups.push(vec![]);
                    let group = bound.groups.len() - 1;
                    loaded.insert((name, kind), (tensor.shallow_clone(), group));
                    (tensor, group)
                }
            };
            bound.groups[group].push(slot);
            bound.tensors[slot] = Some(tensor);
        }
        Ok(())
    }

    /// The slots that the nodes take, but for what only folded convolutions and their batchnorm layers do.
    fn taken(&self, folds: &[Fold]) -> HashSet<usize> {
        let mut taken = HashSet::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let folded = folds.iter().any(|f| f.convolution == number || f.batchnorm == number);
            node.each_input(&mut |slot| {
                if !folded {
                    taken.insert(slot);
                }
            });
        }
        taken.extend(self.given());
        for fold in folds {
            taken.insert(fold.input);
        }
        taken
    }

    /// The slots that the program gives.
    fn given(&self) -> Vec<usize> {
        let mut slots = vec![];
        let outputs = &self.program.graph().outputs;
        outputs.iter().for_each(|output| output.each_slot(&mut |slot| slots.push(slot)));
        slots
    }

    /// Weights that only convolutions and products under the run's autocast take.
    fn narrow(&self) -> HashSet<usize> {
        let (mut narrow, mut wide) = (HashSet::new(), HashSet::new());
        for node in &self.nodes {
            let is_narrow = matches!(&node.action, Action::Call(called)
                if NARROW.contains(&called.name.as_str()) && node.autocast == Autocast::Run);
            let slots = if is_narrow { &mut narrow } else { &mut wide };
            node.each_input(&mut |slot| slots.extend([slot]));
        }
        wide.extend(self.given());
        narrow.difference(&wide).copied().collect()
    }

    /// Weights of convolutions, which are to lie in memory with their channels innermost.
    fn convolved(&self) -> HashSet<usize> {
        let weight = |called: &Called| match called.argument("weight") {
            Some(Argument::Slot(slot)) if called.name.starts_with("conv") => Some(*slot),
            _ => None,
        };
        let all = self.nodes.iter().filter_map(|node| match &node.action {
            Action::Call(called) => weight(called),
            _ => None,
        });
        all.collect()
    }

    fn add_constants(&self, bound: &mut Bound) -> Result<()> {
        for constant in self.program.constants() {
            let kind = kind_of(constant.dtype).ok_or_else(|| {
                let what = format!("type {:?} is not one a network runs on", constant.dtype);
                Error::new(ErrorKind::Unsupported, what)
                    .at(self.program.path())
                    .tensor(&constant.name)
            })?;
            let shape: Vec<i64> = constant.shape.iter().map(|&n| n as i64).collect();
            let tensor = Tensor::f_from_data_size(&constant.bytes, &shape, kind)?;
            bound.tensors[constant.slot] = Some(tensor.f_to(bound.device)?);
            bound.groups.push(vec![constant.slot]);
        }
        Ok(())
    }

    fn add_layers(&self, layers: &[(usize, Option<usize>, String)], bound: &mut Bound) {
        for (node, layer, name) in layers {
            let Action::Normalise(BatchNorm { running: Some(running), eps, .. }) =
                &self.nodes[*node].action
            else {
                continue;
            };
            // None: it is folded.
            let statistics =
                running.map(|slot| Some(bound.tensors[slot].as_ref()?.shallow_clone()));
            let [Some(running_mean), Some(running_var)] = statistics else { continue };
            let (layer, name, eps) = (*layer, name.clone(), *eps);
            let layer = Normalisation { layer, name, running_mean, running_var, eps };
            bound.layers.insert(*node, Rc::new(layer));
        }
    }

    /// Convolutions whose result only a batchnorm layer takes, all of both being weights.
    pub(super) fn folds(&self) -> Vec<Fold> {
        let slots = self.program.tensors().iter().enumerate();
        let weights: HashMap<usize, usize> =
            slots.filter_map(|(i, n)| Some((n.slot?, i))).collect();
        let weight = |slot: usize| {
            let index = *weights.get(&slot)?;
            kind_of(self.program.tensors()[index].dtype).filter(|&kind| is_float(kind))?;
            Some(index)
        };
        let mut made: HashMap<usize, usize> = HashMap::new();
        let mut folds = vec![];
        for (number, node) in self.nodes.iter().enumerate() {
            match &node.action {
                Action::Call(called) if CONVOLUTIONS.contains(&called.name.as_str()) => {
                    if let [Output::Slot(slot)] = node.outputs[..] {
                        made.insert(slot, number);
                    }
                }
                Action::Normalise(bn) => {
                    let fold = made.get(&bn.input).and_then(|&convolution| {
                        let once = self.uses[bn.input] == 1;
                        let own = self.nodes[convolution].autocast == node.autocast;
                        let Action::Call(called) = &self.nodes[convolution].action else {
                            return None;
                        };
                        Fold::new(called, bn, [convolution, number], &weight)
                            .filter(|_| once && own)
                    });
                    folds.extend(fold);
                }
                _ => {}
            }
        }
        folds
    }

    /// As `layers::ConvBn` does: in f64, rounded once.
    fn fold(
        &self,
        scope: &mut Scope,
        fold: &Fold,
        names: &[String],
        setup: Setup,
    ) -> Result<Folded> {
        let mut get = |index: usize| {
            let shape = &self.program.tensors()[index].shape;
            scope.sub_exact().get_kind(&names[index], shape, Kind::Double)
        };
        let [weight, running_mean, running_var] =
            [get(fold.weight)?, get(fold.mean)?, get(fold.variance)?];
        let mut optional = |index: Option<usize>| index.map(&mut get).transpose();
        let [bias, factor, addend] =
            [optional(fold.bias)?, optional(fold.factor)?, optional(fold.addend)?];
        let (layer, name, eps) = (None, String::new(), fold.eps);
        let bn = Normalisation { layer, name, running_mean, running_var, eps };
        let (scale, shift) = bn.scale_and_shift([factor.as_ref(), addend.as_ref()])?;
        let mut by_output = vec![1; weight.dim()];
        by_output[0] = -1;
        let weight = weight.f_mul(&scale.f_view(&by_output[..])?)?;
        let bias = match bias {
            Some(bias) => bias.f_mul(&scale)?.f_add(&shift)?,
            None => shift,
        };
        let node = &self.nodes[fold.convolution];
        let narrow = matches!(&node.action, Action::Call(called)
            if NARROW.contains(&called.name.as_str()) && node.autocast == Autocast::Run);
        let kind = if narrow { setup.precision.kind() } else { Kind::Float };
        let round = |x: &Tensor| -> Result<Tensor> { Ok(x.f_to_kind(kind)?.f_to(setup.device)?) };
        Ok(Folded {
            weight: match self.by_layout {
                true => round(&weight)?,
                false => channels_last(&round(&weight)?)?,
            },
            bias: round(&bias)?,
            batchnorm: fold.batchnorm,
        })
    }
}

/// A convolution and the batchnorm layer after it: their nodes, and their tensors among the program's.
pub(super) struct Fold {
    convolution: usize,
    batchnorm: usize,
    input: usize,
    weight: usize,
    bias: Option<usize>,
    mean: usize,
    variance: usize,
    factor: Option<usize>,
    addend: Option<usize>,
    eps: f64,
}

impl Fold {
    /// None if something is not a weight, or the convolution is transposed.
    fn new(
        called: &Called,
        bn: &BatchNorm,
        [convolution, batchnorm]: [usize; 2],
        weight: &dyn Fn(usize) -> Option<usize>,
    ) -> Option<Self> {
        let transposed = called.argument("transposed");
        if !matches!(transposed, None | Some(Argument::Bool(false))) {
            return None;
        }
        let Some(Argument::Slot(input)) = called.argument("input") else { return None };
        let Some(Argument::Slot(own)) = called.argument("weight") else { return None };
        let optional = |slot: Option<usize>| match slot {
            Some(slot) => Some(Some(weight(slot)?)),
            None => Some(None),
        };
        let bias = match called.argument("bias") {
            Some(Argument::Slot(slot)) => Some(*slot),
            Some(Argument::None) | None => None,
            Some(_) => return None,
        };
        let [mean, variance] = bn.running?;
        Some(Fold {
            convolution,
            batchnorm,
            input: *input,
            weight: weight(*own)?,
            bias: optional(bias)?,
            mean: weight(mean)?,
            variance: weight(variance)?,
            factor: optional(bn.weight)?,
            addend: optional(bn.bias)?,
            eps: bn.eps,
        })
    }
}

/// The layer of these statistics, at so many places; with them are their aliases'.
fn layer(tensors: &[Named], mean: usize, variance: usize, calls: usize) -> Layer {
    let aliases = |index: usize| -> Vec<String> {
        let all = tensors.iter().enumerate();
        let same = all.filter(|(i, named)| *i == index || named.alias_of == Some(index));
        same.map(|(_, named)| named.name.clone()).collect()
    };
    let own = &tensors[mean].name;
    let stored = Stored {
        mean: aliases(mean),
        variance: aliases(variance),
        counter: aliases(mean)
            .iter()
            .filter_map(|name| Some(format!("{}{COUNTER}", name.strip_suffix(MEAN)?)))
            .collect(),
    };
    Layer {
        name: own.strip_suffix(MEAN).unwrap_or(own).to_string(),
        channels: tensors[mean].shape[0],
        calls,
        stored,
    }
}

fn unsupported(named: &Named) -> Error {
    let what = format!("type {:?} is not one a network runs on", named.dtype);
    Error::new(ErrorKind::Unsupported, what).tensor(&named.name)
}

/// A program without weights.
struct Described;

impl Network for Described {
    fn forward(&self, _: &Tensor, _: &mut Pass) -> Result<Tensor> {
        Err(Error::usage("the network is only described").into())
    }
}
