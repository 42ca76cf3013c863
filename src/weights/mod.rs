//! Where in a checkpoint the weights are: at the root or under the key that its trainer writes, as trained or
//! averaged. docs/formats.md lists what the trainers write.

mod choose;
mod collect;
mod elsewhere;
pub(crate) mod names;
mod trainers;
pub(crate) mod tree;
mod variables;

use std::rc::Rc;

use crate::{Error, Kind, Result};
use choose::{Choice, candidates, choose};
use collect::collect;
use elsewhere::{average_among, no_average, unnamed_average};
use trainers::WeightSet;
pub(crate) use trainers::{AVERAGE, OTHER};
use tree::{Node, short};
pub(crate) use variables::find_variables;

/// How deep weights are looked for.
const DEPTH: usize = 4;

/// How deep dicts within the weights are followed: as deep as pickles may nest.
const MAX_DEPTH: usize = 256;

/// Longest name of a tensor in bytes, including the keys of the dicts that it is in.
pub(crate) const MAX_NAME: usize = 1000;

/// Which of the weights in a file to take. By default the trained ones, where their trainer keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Take {
    /// The average that the trainer kept, instead of the trained weights.
    pub ema: bool,
    /// The keys that lead to the weights, joined by dots; None to look for them.
    pub key: Option<String>,
    /// Where SWAG keeps moments of each weight in their place: all of them under their own names, instead of the means
    /// alone under the weights'.
    pub moments: bool,
}

/// Which of the weights in a file were taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// The keys that lead to them, joined by dots; empty for the root.
    pub key: String,
    /// Whether they are an average that the trainer kept.
    pub is_average: bool,
    /// Whether that average is one of no snapshots yet.
    pub is_empty: bool,
    /// Whether the file also holds such an average, which was not taken.
    pub has_average: bool,
    /// What else is at the file's root: key and description.
    pub others: Vec<(String, String)>,
    /// Other dicts of parameters in the file, which are no average of these: the keys that lead to them, joined by dots,
    /// and how many tensors each holds. Not where `key` was asked for; the first ten.
    pub further: Vec<(String, usize)>,
    /// Tensors that the trained weights have and this average of them lacks: how many, and the first.
    pub lacking: Option<(usize, String)>,
    /// What stands among them and is no tensor, in their order.
    pub rest: Vec<Rest>,
}

/// Something among the weights that is no tensor, such as a module's `_extra_state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// As a tensor's.
    pub name: String,
    /// What it is, in a few words.
    pub what: String,
    /// The instructions of a pickle that make it, where it consists of plain values.
    pub pickle: Option<Vec<u8>>,
}

type Shared<T> = Rc<Node<T>>;

/// The named tensors of the weights, and where they were.
pub(crate) fn find<T: Clone>(root: &Shared<T>, take: &Take) -> Result<(Vec<(String, T)>, Taken)> {
    let choice = choose(root, take)?;
    if take.ema
        && !choice.is_average
        && let Some(error) = unnamed_average(root)
    {
        return Err(error);
    }
    let Choice { place, is_average, has_average, further, lacking } = choice;
    let WeightSet { key, node, prefix } = place;
    let (mut tensors, mut rest) = (vec![], vec![]);
    collect(&node, prefix, !key.is_empty(), "", &mut tensors, &mut rest)?;
    let is_average = !take.moments && trainers::take_means(&mut tensors) || is_average;
    if tensors.is_empty() {
        let place = if key.is_empty() { "at its root".into() } else { format!("under `{key}`") };
        return Err(Error::new(Kind::NotACheckpoint, format!("holds no tensors {place}"))
            .list(candidates(root)));
    }
    if take.ema && !is_average {
        return Err(average_among(&tensors).unwrap_or_else(|| no_average(root)));
    }
    let first = key.split('.').next().unwrap_or_default();
    let is_other = |(name, node): &&(Rc<str>, Shared<T>)| match key.is_empty() {
        true => !(node.is_tensor() || is_among(name)) || !name.starts_with(prefix),
        false => **name != *first,
    };
    let others = root.items().iter().filter(is_other);
    let others = others.map(|(name, node)| (short(name), node.describe())).collect();
    let is_empty = trainers::is_empty(root, &key);
    let taken = Taken { key, is_average, is_empty, has_average, others, further, lacking, rest };
    Ok((tensors, taken))
}

/// Whether what stands at a file's root under this name is part of the weights, whatever it is: parts of modules have
/// dots in their names.
fn is_among(name: &str) -> bool {
    name.contains('.') || name == EXTRA
}

/// What a module keeps of its own.
const EXTRA: &str = "_extra_state";

fn is_extra(name: &str) -> bool {
    name.strip_suffix(EXTRA).is_some_and(|module| module.is_empty() || module.ends_with('.'))
}

#[cfg(test)]
mod tests;
