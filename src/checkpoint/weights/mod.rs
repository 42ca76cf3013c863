//! Where in a checkpoint the weights are: at the root or under the key that its trainer writes, raw or
//! averaged. What the trainers write stands in docs/formats.md.

mod trainers;
mod variables;

use std::rc::Rc;

use super::tree::{Node, short};
use crate::error::LISTED;
use crate::{Error, Result};
pub(super) use trainers::OTHER;
use trainers::{AVERAGED, Place, RAW, has_any};
pub(super) use variables::find_variables;

/// How deep weights are looked for.
const DEPTH: usize = 4;

/// Longest name of a tensor, in bytes, with the keys of all dicts that it is in.
const MAX_NAME: usize = 1000;

/// Which of the weights in a file are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Take {
    /// The average that the trainer kept, not the weights it trained.
    pub ema: bool,
    /// Keys from the root, with dots between them.
    pub key: Option<String>,
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
    let choice = match &take.key {
        Some(key) => Choice {
            place: Place { key: key.clone(), node: descend(root, key)?, prefix: "" },
            is_average: false,
            has_average: false,
        },
        None => choose(root, take.ema)?,
    };
    let Choice { place: Place { key, node, prefix }, is_average, has_average } = choice;
    let mut tensors = vec![];
    collect(&node, prefix, !key.is_empty(), "", &mut tensors)?;
    let is_average = trainers::take_means(&mut tensors) || is_average;
    if tensors.is_empty() {
        let place = if key.is_empty() { "at its root".into() } else { format!("under `{key}`") };
        return Err(Error::input(format!("holds no tensors {place}")).list(candidates(root)));
    }
    if take.ema && !is_average {
        return Err(no_average(root));
    }
    let first = key.split('.').next().unwrap_or_default();
    let is_other = |(name, node): &&(Rc<str>, Shared<T>)| match key.is_empty() {
        true => !node.is_tensor() || !name.starts_with(prefix),
        false => **name != *first,
    };
    let others = root.items().iter().filter(is_other);
    let others = others.map(|(name, node)| (short(name), node.describe())).collect();
    Ok((tensors, Taken { key, is_average, has_average, others }))
}

fn no_average<T>(root: &Shared<T>) -> Error {
    Error::input("holds no averaged (EMA) weights")
        .remedy("leave out --ema, or name them with --weights-key")
        .list(candidates(root))
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
    place: Place<T>,
    is_average: bool,
    has_average: bool,
}

fn choose<T>(root: &Shared<T>, ema: bool) -> Result<Choice<T>> {
    refuse_modules(root)?;
    // Composer keeps all below one key.
    let state = root.get("state").filter(|state| root.tensors() == 0 && has_any(state, &RAW));
    let start = state.unwrap_or(root);
    let full = |mut place: Place<T>| {
        if state.is_some() {
            place.key = format!("state.{}", place.key);
        }
        place
    };
    let mut raw = trainers::raw(start);
    if raw.len() > 1 {
        return Err(ambiguous(root));
    }
    let averaged = trainers::averaged(start);
    let has_average = averaged.is_some();
    match (raw.pop(), averaged) {
        (Some(place), None) => {
            Ok(Choice { place: full(place), is_average: false, has_average: false })
        }
        (Some(place), Some(_)) if !ema => {
            Ok(Choice { place: full(place), is_average: false, has_average })
        }
        (_, Some(place)) => Ok(Choice { place: full(place), is_average: true, has_average: false }),
        (None, None) => match only_candidate(root)? {
            Some((key, node)) => {
                let place = Place { key, node, prefix: "" };
                Ok(Choice { place, is_average: false, has_average: false })
            }
            None => Err(Error::input("holds no weights: no dict of tensors in it")
                .remedy("save model.state_dict()")
                .list(candidates(root))),
        },
    }
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
    let (mut found, mut count) = (None, 0);
    walk(root, &mut vec![], DEPTH, &mut |keys, node| {
        count += 1;
        found.get_or_insert_with(|| (keys.join("."), node.clone()));
    });
    if count > 1 { Err(ambiguous(root)) } else { Ok(found) }
}

fn ambiguous<T>(root: &Shared<T>) -> Error {
    Error::input("holds several sets of weights")
        .remedy("name the one that is meant with --weights-key")
        .list(candidates(root))
}

/// Dicts that directly hold tensors, one line each.
fn candidates<T>(root: &Shared<T>) -> Vec<String> {
    let mut lines = vec![];
    walk(root, &mut vec![], DEPTH, &mut |keys, node: &Shared<T>| {
        // What is not shown need not be put together.
        let shown = if lines.len() < LISTED { keys } else { &[] };
        let name = if keys.is_empty() { "(the root)".into() } else { short(&shown.join(".")) };
        lines.push(format!("{name}: {} tensors", node.tensors()));
    });
    lines
}

/// Visits dicts that hold tensors, no deeper than the first on each way.
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
        if depth > 0 && !OTHER.contains(&&**name) {
            keys.push(name);
            walk(inner, keys, depth - 1, visit);
            keys.pop();
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
        // Names of dicts multiply, so their length counts before they are put together.
        if path.len() + rest.len() > MAX_NAME {
            match **value {
                Node::List(_) | Node::Plain(_) => continue,
                _ => {
                    let what = format!("its name is longer than {MAX_NAME} bytes");
                    return Err(Error::limit(what).tensor(&short(name)));
                }
            }
        }
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
