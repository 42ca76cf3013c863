//! Where in a checkpoint the weights are: at the root or under the key that its trainer writes, raw or
//! averaged. What the trainers write stands in docs/formats.md.

use std::collections::HashSet;
use std::rc::Rc;

use super::tree::Node;
use crate::{Error, Result};

/// Keys under which trainers keep the weights they train.
const RAW: [&str; 6] = ["state_dict", "model_state_dict", "model", "model_state", "net", "module"];

/// Keys under which they keep a moving or stochastic average of them.
const AVERAGED: [&str; 11] = [
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "ema_model_state_dict",
    "model_ema_state_dict",
    "swa_state_dict",
    "model_avg",
    "average_model_state",
    "module_ema",
];

/// Keys that hold tensors but no weights.
const OTHER: [&str; 18] = [
    "optimizer",
    "optimizers",
    "optimizer_states",
    "optimizer_state_dict",
    "opt",
    "optim",
    "scheduler",
    "lr_scheduler",
    "lr_schedulers",
    "scaler",
    "grad_scaler",
    "amp_scaler",
    "callbacks",
    "loops",
    "rng",
    "rng_state",
    "train_state",
    "dataloader",
];

/// How deep weights are looked for.
const DEPTH: usize = 4;

/// Which of the weights in a file are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Take {
    /// The average that the trainer kept, not the weights it trained.
    pub ema: bool,
    /// Keys from the root, with dots between them.
    pub key: Option<String>,
    /// Names keep the parts that wrappers put into them.
    pub keep_names: bool,
}

/// What was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Keys from the root; empty for the root itself.
    pub key: String,
    /// They are an average that the trainer made.
    pub is_average: bool,
    /// The file holds such an average, but the weights themselves were taken.
    pub has_average: bool,
    /// What else is in the file at the root: key, and what it is.
    pub others: Vec<(String, String)>,
}

type Shared<T> = Rc<Node<T>>;

/// The named tensors of the weights, and where they were.
pub(super) fn find<T: Clone>(root: &Shared<T>, take: &Take) -> Result<(Vec<(String, T)>, Taken)> {
    let (key, node, prefix, is_average, has_average) = match &take.key {
        Some(key) => (key.clone(), descend(root, key)?, "", false, false),
        None => {
            let Choice { key, node, prefix, is_average, has_average } = choose(root, take.ema)?;
            (key, node, prefix, is_average, has_average)
        }
    };
    let mut tensors = vec![];
    let nested = !key.is_empty();
    collect(&node, prefix, nested, "", &mut tensors)?;
    if tensors.is_empty() {
        let place = if key.is_empty() { "at its root".into() } else { format!("under `{key}`") };
        return Err(Error::input(format!("holds no tensors {place}")).list(candidates(root)));
    }
    let is_average = means(&mut tensors) || is_average;
    let first = key.split('.').next().unwrap_or_default();
    let is_other = |(name, node): &&(Box<str>, Shared<T>)| match key.is_empty() {
        true => !node.is_tensor() || !name.starts_with(prefix),
        false => **name != *first,
    };
    let others = root.items().iter().filter(is_other);
    let others = others.map(|(name, node)| (name.to_string(), node.describe())).collect();
    Ok((tensors, Taken { key, is_average, has_average, others }))
}

/// SWAG keeps moments in place of weights: the means are taken under the weights' names, the others left.
/// Whether there were any.
fn means<T>(tensors: &mut Vec<(String, T)>) -> bool {
    let names: HashSet<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let of = |name: &str| {
        let (weight, moment) = ["_sq_mean", "_mean", "_cov_mat_sqrt"]
            .iter()
            .find_map(|ending| Some((name.strip_suffix(ending)?, *ending)))?;
        let all = ["_mean", "_sq_mean"].map(|ending| format!("{weight}{ending}"));
        all.iter().all(|name| names.contains(name.as_str())).then(|| (weight.to_string(), moment))
    };
    let moments: Vec<Option<(String, &str)>> = tensors.iter().map(|(name, _)| of(name)).collect();
    let found = moments.iter().any(Option::is_some);
    let mut moments = moments.into_iter();
    tensors.retain_mut(|(name, _)| match moments.next().flatten() {
        Some((weight, "_mean")) => {
            *name = weight;
            true
        }
        Some(_) => false,
        None => true,
    });
    found
}

/// By keys with dots between them, of which each may have dots itself.
fn descend<T>(root: &Shared<T>, key: &str) -> Result<Shared<T>> {
    fn below<T>(node: &Shared<T>, key: &str) -> Option<Shared<T>> {
        if let Some(found) = node.get(key) {
            return Some(found.clone());
        }
        let dots = key.match_indices('.').map(|(at, _)| at);
        dots.filter_map(|at| below(node.get(&key[..at])?, &key[at + 1..])).next()
    }
    let found = below(root, key).filter(|node| matches!(**node, Node::Dict(_)));
    found.ok_or_else(|| {
        Error::usage(format!("--weights-key {key}: no such dict in it")).list(candidates(root))
    })
}

struct Choice<T> {
    key: String,
    node: Shared<T>,
    /// Only names that begin so, without it.
    prefix: &'static str,
    is_average: bool,
    has_average: bool,
}

fn choose<T>(root: &Shared<T>, ema: bool) -> Result<Choice<T>> {
    refuse_modules(root)?;
    // Composer keeps all below one key.
    let (base, start) = match root.get("state").filter(|_| root.tensors() == 0) {
        Some(state) if has_any(state, &RAW) => ("state.", state),
        _ => ("", root),
    };
    let raw = raw(start, base, root)?;
    let averaged = averaged(start, base);
    let has_average = averaged.is_some();
    let choice = |(key, node, prefix): Place<T>, is_average: bool| {
        let has_average = has_average && !is_average;
        Choice { key, node, prefix, is_average, has_average }
    };
    match (raw, averaged) {
        (_, Some(found)) if ema => Ok(choice(found, true)),
        (_, None) if ema => Err(Error::input("holds no averaged (EMA) weights")
            .remedy("leave out --ema, or name them with --weights-key")
            .list(candidates(root))),
        (Some(found), _) => Ok(choice(found, false)),
        (None, Some(found)) => Ok(choice(found, true)),
        (None, None) => match only_candidate(root)? {
            Some((key, node)) => Ok(choice((key, node, ""), false)),
            None => Err(Error::input("holds no weights: no dict of tensors in it")
                .remedy("save model.state_dict()")
                .list(candidates(root))),
        },
    }
}

type Place<T> = (String, Shared<T>, &'static str);

fn has_any<T>(node: &Node<T>, keys: &[&str]) -> bool {
    keys.iter().any(|key| node.get(key).is_some_and(|node| node.tensors() > 0))
}

/// The dict of tensors under a key, or under one key more, as in `{"model": {"state_dict": ...}}`.
fn under<T>(start: &Node<T>, key: &str) -> Option<(String, Shared<T>)> {
    let node = start.get(key)?;
    if node.tensors() > 0 {
        return Some((key.to_string(), node.clone()));
    }
    RAW.iter().find_map(|inner| {
        let node = node.get(inner).filter(|node| node.tensors() > 0)?;
        Some((format!("{key}.{inner}"), node.clone()))
    })
}

/// The weights that were trained.
fn raw<T>(start: &Shared<T>, base: &str, root: &Shared<T>) -> Result<Option<Place<T>>> {
    let swapped = swapped(start).filter_map(|(raw, _)| under(start, raw)).next();
    let mut found: Vec<_> = match swapped {
        Some(found) => vec![found],
        None => RAW.iter().filter_map(|key| under(start, key)).collect(),
    };
    if found.len() > 1 {
        return Err(ambiguous(root));
    }
    if let Some((key, node)) = found.pop() {
        return Ok(Some((format!("{base}{key}"), node, "")));
    }
    if start.tensors() == 0 {
        return Ok(None);
    }
    // ema-pytorch keeps both side by side.
    let all = |prefix: &str| start.items().iter().any(|(name, _)| name.starts_with(prefix));
    let prefix = if all("online_model.") && all("ema_model.") { "online_model." } else { "" };
    Ok(Some((String::new(), start.clone(), prefix)))
}

/// The average that the trainer kept.
fn averaged<T>(start: &Shared<T>, base: &str) -> Option<Place<T>> {
    let swapped = swapped(start).map(|(_, averaged)| averaged);
    if let Some((key, node)) = swapped.chain(AVERAGED).find_map(|key| under(start, key)) {
        return Some((format!("{base}{key}"), node, ""));
    }
    // Lightning's StochasticWeightAveraging.
    for (name, callback) in start.get("callbacks").map_or(&[][..], |node| node.items()) {
        if let Some(node) = callback.get("average_model_state").filter(|n| n.tensors() > 0) {
            let key = format!("{base}callbacks.{name}.average_model_state");
            return Some((key, node.clone(), ""));
        }
    }
    let both = ["online_model.", "ema_model."];
    let has = |prefix: &&str| start.items().iter().any(|(name, _)| name.starts_with(prefix));
    both.iter().all(has).then(|| (base.to_string(), start.clone(), "ema_model."))
}

/// Where a trainer keeps raw and averaged weights, if it saves them the other way round: Lightning's
/// WeightAveraging and MMEngine's EMA hook save the average as `state_dict`.
fn swapped<T>(start: &Node<T>) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lightning = start.get("current_model_state").is_some();
    let mmengine = start.get("message_hub").is_some() && start.get("ema_state_dict").is_some();
    let lightning = lightning.then_some(("current_model_state", "state_dict"));
    let mmengine = mmengine.then_some(("ema_state_dict", "state_dict"));
    lightning.into_iter().chain(mmengine)
}

/// A whole pickled module is code and weights in one: its weights have no names of their own.
fn refuse_modules<T>(root: &Node<T>) -> Result<()> {
    let under = RAW.iter().chain(&AVERAGED).filter_map(|key| Some((*key, root.get(key)?)));
    let all = under.map(|(key, node)| (key, &**node)).chain([("", root)]);
    for (key, node) in all {
        let Node::Foreign(class) = node else { continue };
        // Beside weights under another key it is left like any other object.
        if key.is_empty() || !has_any(root, &RAW) && root.tensors() == 0 {
            let place = if key.is_empty() { "is".into() } else { format!("holds, as `{key}`,") };
            return Err(Error::input(format!(
                "{place} a whole pickled `{class}`, not a state dict"
            ))
            .remedy("load it where it was saved and save model.state_dict()"));
        }
    }
    Ok(())
}

/// The one dict of tensors in a file, if it is one.
fn only_candidate<T>(root: &Shared<T>) -> Result<Option<(String, Shared<T>)>> {
    let mut found = vec![];
    walk(root, "", DEPTH, &mut |key, node| found.push((key.to_string(), node.clone())));
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(ambiguous(root)),
    }
}

fn ambiguous<T>(root: &Shared<T>) -> Error {
    Error::input("holds several sets of weights")
        .remedy("name the one that is meant with --weights-key")
        .list(candidates(root))
}

/// Dicts that directly hold tensors, one line each.
fn candidates<T>(root: &Shared<T>) -> Vec<String> {
    let mut lines = vec![];
    walk(root, "", DEPTH, &mut |key, node: &Shared<T>| {
        let name = if key.is_empty() { "(the root)" } else { key };
        lines.push(format!("{name}: {} tensors", node.tensors()));
    });
    lines
}

/// Visits dicts that hold tensors, no deeper than the first on each way.
fn walk<T>(node: &Shared<T>, key: &str, depth: usize, visit: &mut dyn FnMut(&str, &Shared<T>)) {
    if node.tensors() > 0 {
        return visit(key, node);
    }
    for (name, inner) in node.items() {
        if depth > 0 && !OTHER.contains(&&**name) {
            let key = if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
            walk(inner, &key, depth - 1, visit);
        }
    }
}

/// Adds the tensors of a dict; those in dicts within it too, unless it is the root, where dicts are
/// other things.
fn collect<T: Clone>(
    node: &Node<T>,
    prefix: &str,
    nested: bool,
    path: &str,
    tensors: &mut Vec<(String, T)>,
) -> Result<()> {
    for (name, value) in node.items() {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let full = if path.is_empty() { rest.to_string() } else { format!("{path}.{rest}") };
        match &**value {
            Node::Tensor(tensor) => tensors.push((full, tensor.clone())),
            Node::Unreadable(why) => {
                let what = format!("it is {why}, which cannot be averaged");
                return Err(Error::input(what).tensor(&full));
            }
            // What modules keep of their own; may be anything.
            Node::Foreign(_) if name.ends_with("_extra_state") => {}
            Node::Foreign(class) => {
                return Err(Error::input(format!(
                    "it is an object `{class}` among the weights, which nothing here makes"
                ))
                .tensor(&full)
                .remedy("save model.state_dict() alone"));
            }
            Node::Dict(_)
                if nested && path.split('.').count() < super::pickle::MAX_DEPTH as usize =>
            {
                collect(value, "", nested, &full, tensors)?;
            }
            Node::Dict(_) if value.all_tensors(DEPTH) > 0 && !OTHER.contains(&&**name) => {
                return Err(Error::input("it is a dict of tensors beside tensors")
                    .tensor(&full)
                    .remedy("say which are the weights with --weights-key"));
            }
            Node::Dict(_) | Node::List(_) | Node::Plain(_) => {}
        }
    }
    Ok(())
}
