//! Which dict of a checkpoint holds the weights, where that is clear.

use std::collections::HashSet;
use std::rc::Rc;

use super::names::strip;
use super::trainers::{self, AVERAGED, RAW, WeightSet, has_any, is_averaged, is_other};
use super::tree::{Node, short};
use super::{DEPTH, MAX_DEPTH, MAX_NAME, Shared, Take, is_extra};
use crate::error::LISTED;
use crate::text::counted;
use crate::{Error, Kind, Result, setting};

/// The dict that keys lead to. They are joined by dots, and may contain dots themselves.
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
        let what = format!("{} {key}: no such dict in it", setting!("weights_key"));
        Error::new(Kind::NoMatch, what).list(candidates(root))
    })
}

pub(super) struct Choice<T> {
    pub place: WeightSet<T>,
    pub is_average: bool,
    pub has_average: bool,
    /// See [`super::Taken`].
    pub further: Vec<(String, usize)>,
    pub lacking: Option<(usize, String)>,
}

/// The dict that was asked for, or the one that holds the weights.
pub(super) fn choose<T>(root: &Shared<T>, take: &Take) -> Result<Choice<T>> {
    match &take.key {
        Some(key) => Ok(Choice {
            place: WeightSet { key: key.clone(), node: descend(root, key)?, prefix: "" },
            is_average: false,
            has_average: false,
            further: vec![],
            lacking: None,
        }),
        None => look_for(root, take.ema),
    }
}

fn look_for<T>(root: &Shared<T>, ema: bool) -> Result<Choice<T>> {
    refuse_modules(root)?;
    // Composer keeps everything under one key.
    let state = root.get("state").filter(|state| root.tensors() == 0 && has_any(state, &RAW));
    let start = state.unwrap_or(root);
    let full = |mut place: WeightSet<T>| {
        if state.is_some() {
            place.key = format!("state.{}", place.key);
        }
        place
    };
    let mut raw = trainers::raw(start);
    if raw.len() > 1 {
        return Err(ambiguous(root));
    }
    let mut averaged = trainers::averaged(start);
    if raw.first().is_some_and(|set| set.key.is_empty()) && !has_parameters(start) {
        match averaged {
            Some(_) => raw.clear(),
            None => refuse_others(start)?,
        }
    }
    // Beside weights that are known, or where it is asked for, a key is taken by its word.
    if averaged.is_none() && (ema || !raw.is_empty()) {
        let mut called = trainers::called_averages(start);
        if ema {
            refuse_several(&called)?;
        }
        averaged = called.pop();
    } else if ema {
        refuse_several(&trainers::all_averaged(start))?;
    }
    let (raw, averaged) = (raw.pop().map(full), averaged.map(full));
    let has_average = !ema && raw.is_some() && averaged.is_some();
    let lacking = match (&raw, &averaged) {
        (Some(trained), Some(average)) if ema => lacking(trained, average),
        _ => None,
    };
    let known: Vec<String> = raw.iter().chain(&averaged).map(|set| set.key.clone()).collect();
    let (place, is_average) = match (raw, averaged) {
        (Some(place), None) => (place, false),
        (Some(place), Some(_)) if !ema => (place, false),
        (_, Some(place)) => (place, true),
        (None, None) => match only_candidate(root)? {
            Some((key, node)) => (WeightSet { key, node, prefix: "" }, false),
            None => {
                let what = "holds no weights: no dict of tensors in it";
                return Err(Error::new(Kind::NotACheckpoint, what)
                    .remedy("save model.state_dict()")
                    .list(candidates(root)));
            }
        },
    };
    Ok(Choice { place, is_average, has_average, further: further(root, &known), lacking })
}

fn refuse_several<T>(averages: &[WeightSet<T>]) -> Result<()> {
    // One under two keys is one.
    if averages.windows(2).all(|pair| Rc::ptr_eq(&pair[0].node, &pair[1].node)) {
        return Ok(());
    }
    let line = |set: &WeightSet<T>| {
        format!("{}: {}", short(&set.key), counted(set.node.tensors(), "tensor"))
    };
    Err(several("holds several averages (EMA)", averages.iter().map(line).collect()))
}

/// The tensors of the trained weights that their average lacks, as one of parameters alone lacks batchnorm's statistics:
/// how many, and the first.
fn lacking<T>(trained: &WeightSet<T>, average: &WeightSet<T>) -> Option<(usize, String)> {
    let names = |set: &WeightSet<T>| -> Vec<String> {
        let tensors = set.node.items().iter().filter(|(_, node)| node.is_tensor());
        let own = tensors.filter_map(|(name, _)| name.strip_prefix(set.prefix));
        own.filter(|name| name.len() <= MAX_NAME).map(strip).collect()
    };
    let there: HashSet<String> = names(average).into_iter().collect();
    let mut lacking = names(trained);
    let all = lacking.len();
    lacking.retain(|name| !there.contains(name));
    // Under other names nothing can be told.
    let first = lacking.first().filter(|_| lacking.len() < all)?.clone();
    Some((lacking.len(), short(&first)))
}

/// The dicts of parameters beside those that are known.
fn further<T>(root: &Shared<T>, known: &[String]) -> Vec<(String, usize)> {
    const MOST: usize = 10;
    let mut found = vec![];
    walk(root, &mut vec![], DEPTH, &mut |keys, node: &Shared<T>| {
        if known.is_empty() || found.len() == MOST || keys.iter().any(|key| is_averaged(key)) {
            return;
        }
        let is_parameter = |name: &str| name.contains('.') || name == "weight" || name == "bias";
        let is_one =
            || node.items().iter().any(|(name, node)| node.is_tensor() && is_parameter(name));
        if keys.iter().map(|key| key.len()).sum::<usize>() > MAX_NAME || !is_one() {
            return;
        }
        let key = keys.join(".");
        // What is within the weights is one of them.
        let is_known = known.iter().any(|known| {
            let rest = key.strip_prefix(known.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        if !is_known {
            found.push((short(&key), node.tensors()));
        }
    });
    found
}

/// Whether a dict directly holds parts of modules, which have dots in their names. Tensors without may be a network's,
/// or a loss and a step beside it.
fn has_parameters<T>(root: &Node<T>) -> bool {
    root.items().iter().any(|(name, node)| node.is_tensor() && name.contains('.'))
}

/// Refuses to take tensors at the root for the weights where something beside them may be the weights.
fn refuse_others<T>(root: &Node<T>) -> Result<()> {
    let is_usual = |name: &str| RAW.contains(&name) || AVERAGED.contains(&name);
    let may_be = |name: &str, node: &Node<T>| match node {
        Node::Dict(_) | Node::List(_) if is_other(name) || is_extra(name) => false,
        Node::Dict(_) | Node::List(_) => {
            node.all_tensors(MAX_DEPTH) > 0 || is_usual(name) && node.has_objects(MAX_DEPTH)
        }
        Node::Foreign(_) => is_usual(name),
        Node::Tensor(_) | Node::Unreadable(_) | Node::Plain(_) => false,
    };
    let Some((name, node)) = root.items().iter().find(|(name, node)| may_be(name, node)) else {
        return Ok(());
    };
    let mut within = vec![];
    walk(node, &mut vec![name], DEPTH, &mut |keys, node: &Shared<T>| {
        if within.len() < LISTED {
            within.push(format!(
                "{}: {}",
                short(&keys.join(".")),
                counted(node.tensors(), "tensor")
            ));
        }
    });
    let (name, what) = (short(name), node.describe());
    let what = format!("holds `{name}`, {what}, and tensors beside it: which are the weights?");
    let remedy =
        concat!("name them with ", setting!("weights_key"), ", or save model.state_dict() alone");
    Err(Error::input(what).remedy(remedy).list(within))
}

/// Refuses whole pickled modules: only their own code knows the names of their weights.
fn refuse_modules<T>(root: &Node<T>) -> Result<()> {
    let under = RAW.iter().chain(&AVERAGED).filter_map(|key| Some((*key, root.get(key)?)));
    let all = under.map(|(key, node)| (key, &**node)).chain([("", root)]);
    for (key, node) in all {
        let Node::Foreign(class) = node else { continue };
        // If there are weights under another key, it is ignored like any other object.
        if key.is_empty() || !has_any(root, &RAW) && root.tensors() == 0 {
            let place = if key.is_empty() { "is".into() } else { format!("holds, as `{key}`,") };
            return Err(Error::new(
                Kind::Unsupported,
                format!("{place} a whole pickled `{class}`, not a state dict"),
            )
            .remedy("load it where it was saved and save model.state_dict()"));
        }
    }
    Ok(())
}

/// The only dict of tensors in a file, if there is exactly one.
fn only_candidate<T>(root: &Shared<T>) -> Result<Option<(String, Shared<T>)>> {
    let (mut found, mut count) = (None, 0);
    walk(root, &mut vec![], DEPTH, &mut |keys, node| {
        count += 1;
        found.get_or_insert_with(|| (keys.join("."), node.clone()));
    });
    if count > 1 { Err(ambiguous(root)) } else { Ok(found) }
}

fn ambiguous<T>(root: &Shared<T>) -> Error {
    several("holds several sets of weights", candidates(root))
}

fn several(what: &str, lines: Vec<String>) -> Error {
    Error::input(what)
        .remedy(concat!("name the one that is meant with ", setting!("weights_key")))
        .list(lines)
}

/// The dicts that directly hold tensors, one line each.
pub(super) fn candidates<T>(root: &Shared<T>) -> Vec<String> {
    let mut lines = vec![];
    walk(root, &mut vec![], DEPTH, &mut |keys, node: &Shared<T>| {
        // Lines that will not be shown need no name.
        let shown = if lines.len() < LISTED { keys } else { &[] };
        let name = if keys.is_empty() { "(the root)".into() } else { short(&shown.join(".")) };
        lines.push(format!("{name}: {}", counted(node.tensors(), "tensor")));
    });
    lines
}

/// Visits the dicts that directly hold tensors, and nothing within those.
fn walk<'a, T>(
    node: &'a Shared<T>,
    keys: &mut Vec<&'a str>,
    depth: usize,
    visit: &mut dyn FnMut(&[&str], &Shared<T>),
) {
    if node.tensors() > 0 {
        return visit(keys, node);
    }
    for (name, inner) in node.items() {
        if depth > 0 && !inner.items().is_empty() && !is_other(name) {
            keys.push(name);
            walk(inner, keys, depth - 1, visit);
            keys.pop();
        }
    }
}
