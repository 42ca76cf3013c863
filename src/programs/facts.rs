//! What follows from the nodes: whether the export was one in training mode, what draws random numbers, which statistics
//! no batch normalisation has.

use std::collections::{HashMap, HashSet};

use super::graph::{Argument, Counted, Named, Node, Op};
use super::probabilities;
use super::targets::is_random;

/// See the accessors of [`Program`](super::Program).
#[derive(Debug, Default)]
pub struct Facts {
    pub operators: Vec<Counted>,
    pub batchnorm_nodes: usize,
    pub is_training: bool,
    pub random: Vec<Counted>,
    pub unread_statistics: Vec<usize>,
    pub unreached: Vec<String>,
    /// For each output.
    pub probabilities: Vec<bool>,
}

/// Operators that are random while training, and the argument that says so.
const WHILE_TRAINING: [(&str, &str); 10] = [
    ("alpha_dropout", "train"),
    ("dropout", "train"),
    ("feature_alpha_dropout", "train"),
    ("feature_dropout", "train"),
    ("gru", "train"),
    ("lstm", "train"),
    ("native_dropout", "train"),
    ("rnn_relu", "train"),
    ("rnn_tanh", "train"),
    ("rrelu", "training"),
];

/// Those that are no dropout: the means of their random numbers are not what a model has in evaluation.
const NO_DROPOUT: [&str; 2] = ["rrelu", "rrelu_with_noise"];

/// The name of an argument by which attention drops out, with what probability.
const PROBABILITY: &str = "dropout_p";

/// The argument that makes a node random, where it does.
fn drops(name: &str, inputs: &[(String, Argument)]) -> Option<usize> {
    let base = name.strip_suffix('_').unwrap_or(name);
    let position = |name: &str| inputs.iter().position(|(own, _)| own == name);
    if let Some(at) = position(PROBABILITY) {
        let is_zero = matches!(inputs[at].1, Argument::Int(0))
            || matches!(inputs[at].1, Argument::Float(p) if p == 0.0);
        return (!is_zero).then_some(at);
    }
    let known = WHILE_TRAINING.iter().find(|(own, _)| *own == base);
    let argument = match known {
        Some((_, argument)) => argument,
        None if base == "rrelu_with_noise" => "training",
        None => return None,
    };
    // Of recurrent networks the probability counts, too.
    if matches!(base, "gru" | "lstm" | "rnn_relu" | "rnn_tanh")
        && position("dropout")
            .is_some_and(|at| matches!(inputs[at].1, Argument::Float(p) if p == 0.0))
    {
        return None;
    }
    // `native_dropout` trains unless it is told not to.
    position(argument).filter(|&at| inputs[at].1 != Argument::Bool(false))
}

/// Turns dropout off, as `model.eval()` does.
fn turn_off(nodes: &mut [Node]) {
    for node in nodes {
        match &mut node.op {
            Op::Autocast { nodes, .. } => turn_off(nodes),
            Op::Aten { name, .. } => {
                let base = name.strip_suffix('_').unwrap_or(name);
                if NO_DROPOUT.contains(&base) {
                    continue;
                }
                if let Some(at) = drops(name, &node.inputs) {
                    let value = &mut node.inputs[at].1;
                    *value = match value {
                        Argument::Float(_) | Argument::Int(_) => Argument::Float(0.0),
                        _ => Argument::Bool(false),
                    };
                }
            }
            _ => {}
        }
    }
}

/// What a program has of each.
struct Seen<'a> {
    facts: Facts,
    operators: HashMap<String, usize>,
    random: HashMap<String, usize>,
    /// Slots of running statistics.
    statistics: HashSet<usize>,
    by_slot: &'a HashMap<usize, usize>,
}

impl Seen<'_> {
    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            match &node.op {
                Op::Autocast { nodes, .. } => self.nodes(nodes),
                Op::BatchNorm(norm) => {
                    *self.operators.entry(node.op.target()).or_default() += 1;
                    self.facts.batchnorm_nodes += 1;
                    self.facts.is_training |= norm.training && norm.running.is_some();
                    let own = norm.running.iter().flatten();
                    self.statistics.extend(own.filter(|slot| self.by_slot.contains_key(slot)));
                }
                Op::Aten { name, .. } => {
                    *self.operators.entry(node.op.target()).or_default() += 1;
                    if is_random(name) || drops(name, &node.inputs).is_some() {
                        *self.random.entry(node.op.target()).or_default() += 1;
                    }
                }
                Op::Symbol(_) => {}
            }
        }
    }
}

/// Whether a batchnorm node with running statistics normalises by the batch.
fn is_training(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match &node.op {
        Op::BatchNorm(norm) => norm.training && norm.running.is_some(),
        Op::Autocast { nodes, .. } => is_training(nodes),
        _ => false,
    })
}

/// Most nodes first.
fn counted(counts: HashMap<String, usize>) -> Vec<Counted> {
    let counted = counts.into_iter().map(|(target, nodes)| Counted { target, nodes });
    let mut counted: Vec<Counted> = counted.collect();
    counted.sort_by(|a, b| b.nodes.cmp(&a.nodes).then_with(|| a.target.cmp(&b.target)));
    counted
}

/// Looks at the nodes; those of an export in training mode drop nothing out from here on.
pub fn of(nodes: &mut [Node], tensors: &[Named], outputs: &[Argument]) -> Facts {
    if is_training(nodes) {
        turn_off(nodes);
    }
    let by_slot: HashMap<usize, usize> = (tensors.iter().enumerate())
        .filter_map(|(number, tensor)| Some((tensor.slot?, number)))
        .collect();
    let mut seen = Seen {
        facts: Facts::default(),
        operators: HashMap::new(),
        random: HashMap::new(),
        statistics: HashSet::new(),
        by_slot: &by_slot,
    };
    seen.nodes(nodes);
    let Seen { mut facts, operators, random, statistics, .. } = seen;
    (facts.operators, facts.random) = (counted(operators), counted(random));
    // Tied tensors are one: of the first of them.
    let first = |number: usize| tensors[number].alias_of.unwrap_or(number);
    let used: HashSet<usize> = by_slot.values().map(|&number| first(number)).collect();
    let read: HashSet<usize> = statistics.iter().map(|slot| first(by_slot[slot])).collect();
    for (number, tensor) in tensors.iter().enumerate() {
        let last = tensor.name.rsplit('.').next().unwrap_or_default();
        let number = (number, first(number));
        if !matches!(last, "running_mean" | "running_var") || read.contains(&number.1) {
            continue;
        }
        if used.contains(&number.1) {
            facts.unread_statistics.push(number.0);
        } else if let Some(layer) = tensor.name.strip_suffix(".running_mean") {
            facts.unreached.push(layer.to_string());
        }
    }
    facts.probabilities = probabilities::of(nodes, outputs);
    facts
}
