//! Where in a checkpoint the weights are: at the root or under the key that its trainer writes, as trained or
//! averaged. docs/formats.md lists what the trainers write.

mod elsewhere;
pub(crate) mod names;
mod trainers;
pub(crate) mod tree;
mod variables;

use std::rc::Rc;

use crate::error::LISTED;
use crate::text::counted;
use crate::{Error, Kind, Result, setting};
use elsewhere::{average_among, no_average, unnamed_average};
pub(crate) use trainers::OTHER;
use trainers::{AVERAGED, RAW, WeightSet, has_any, is_averaged, is_other};
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
    /// Whether the file also holds such an average, which was not taken.
    pub has_average: bool,
    /// What else is at the file's root: key and description.
    pub others: Vec<(String, String)>,
    /// Other dicts of parameters in the file, which are no average of these: the keys that lead to them, joined by dots,
    /// and how many tensors each holds. Not where `key` was asked for; the first ten.
    pub further: Vec<(String, usize)>,
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
    let choice = match &take.key {
        Some(key) => Choice {
            place: WeightSet { key: key.clone(), node: descend(root, key)?, prefix: "" },
            is_average: false,
            has_average: false,
            further: vec![],
        },
        None => choose(root, take.ema)?,
    };
    if take.ema
        && !choice.is_average
        && let Some(error) = unnamed_average(root)
    {
        return Err(error);
    }
    let Choice { place, is_average, has_average, further } = choice;
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
    Ok((tensors, Taken { key, is_average, has_average, others, further, rest }))
}

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

struct Choice<T> {
    place: WeightSet<T>,
    is_average: bool,
    has_average: bool,
    /// See [`Taken`].
    further: Vec<(String, usize)>,
}

fn choose<T>(root: &Shared<T>, ema: bool) -> Result<Choice<T>> {
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
        if ema && called.len() > 1 {
            let line = |set: &WeightSet<T>| {
                format!("{}: {}", short(&set.key), counted(set.node.tensors(), "tensor"))
            };
            let lines = called.iter().map(line).collect();
            return Err(several("holds several averages (EMA)", lines));
        }
        averaged = called.pop();
    }
    let (raw, averaged) = (raw.pop().map(full), averaged.map(full));
    let has_average = !ema && raw.is_some() && averaged.is_some();
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
    Ok(Choice { place, is_average, has_average, further: further(root, &known) })
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
    let (name, what) = (short(name), node.describe());
    let what = format!("holds `{name}`, {what}, and tensors beside it: which are the weights?");
    let remedy =
        concat!("name them with ", setting!("weights_key"), ", or save model.state_dict() alone");
    Err(Error::input(what).remedy(remedy))
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
fn candidates<T>(root: &Shared<T>) -> Vec<String> {
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

/// Adds the tensors of a dict, and of dicts within it if `nested`. At the root those are other things. What is no
/// tensor is added to `rest`.
fn collect<T: Clone>(
    node: &Node<T>,
    prefix: &str,
    nested: bool,
    path: &str,
    tensors: &mut Vec<(String, T)>,
    rest: &mut Vec<Rest>,
) -> Result<()> {
    for (name, value) in node.items() {
        let Some(tail) = name.strip_prefix(prefix) else { continue };
        // Nested names multiply, so lengths are checked before names are joined.
        if path.len() + tail.len() > MAX_NAME {
            match **value {
                Node::List(_) | Node::Plain(_) => continue,
                _ => {
                    let what = format!("its name is longer than {MAX_NAME} bytes");
                    return Err(Error::limit(what).tensor(&short(name)));
                }
            }
        }
        let full = if path.is_empty() { tail.to_string() } else { format!("{path}.{tail}") };
        let among = nested || is_among(name);
        match &**value {
            Node::Tensor(tensor) => tensors.push((full, tensor.clone())),
            // A state is one value, whatever tensors are in it.
            Node::Dict(_) | Node::List(_) if is_extra(name) => add(rest, full, value),
            Node::Unreadable(why) => return Err(unreadable(&full, why)),
            // State of a module's own, which may be anything.
            Node::Foreign(_) if is_extra(name) => add(rest, full, value),
            Node::Foreign(class) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("it is an object `{class}` among the weights, which cannot be read"),
                )
                .tensor(&full)
                .remedy("save model.state_dict() alone"));
            }
            // One value, whatever is in it.
            Node::Dict(_) if nested && value.all_tensors(MAX_DEPTH) == 0 => add(rest, full, value),
            Node::Dict(_) if nested && path.split('.').count() < MAX_DEPTH => {
                collect(value, "", nested, &full, tensors, rest)?;
            }
            Node::Dict(_)
                if value.all_tensors(DEPTH) > 0 && !is_other(name) && !is_averaged(name) =>
            {
                return Err(Error::input("it is a dict of tensors beside tensors")
                    .tensor(&full)
                    .remedy(concat!("say which are the weights with ", setting!("weights_key"))));
            }
            Node::List(nodes) if among => {
                // Packed weights of quantised modules.
                if let Some(why) = nodes.iter().find_map(|node| match &**node {
                    Node::Unreadable(why) => Some(why),
                    _ => None,
                }) {
                    return Err(unreadable(&full, why));
                }
                add(rest, full, value);
            }
            Node::Dict(_) | Node::Plain(_) if among => add(rest, full, value),
            Node::Dict(_) | Node::List(_) | Node::Plain(_) => {}
        }
    }
    Ok(())
}

fn unreadable(name: &str, why: &str) -> Error {
    let what = format!("it is {why}, which cannot be averaged");
    let error = Error::new(Kind::Unsupported, what).tensor(name);
    match why {
        "a quantized tensor" => error.remedy(
            "average the checkpoints that were quantised, or dequantise these and save them as \
             floating-point weights first",
        ),
        _ if why.contains("a device of its own") => {
            error.remedy("load it where it was saved, move the model to the CPU and save it again")
        }
        _ => error,
    }
}

fn add<T>(rest: &mut Vec<Rest>, name: String, node: &Node<T>) {
    rest.push(Rest { name, what: node.describe(), pickle: None });
}

#[cfg(test)]
mod tests;
