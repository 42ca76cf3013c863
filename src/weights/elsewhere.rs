//! Averages that are asked for and cannot be taken: the error says where they are.

use std::rc::Rc;

use super::Shared;
use super::choose::candidates;
use super::trainers::is_averaged;
use super::tree::{Node, short};
use crate::{Error, setting};

/// The error where there is no average.
pub fn no_average<T>(root: &Shared<T>) -> Error {
    Error::input("holds no averaged (EMA) weights")
        .remedy(concat!(
            "leave out ",
            setting!("ema"),
            ", or name them with ",
            setting!("weights_key")
        ))
        .list(candidates(root))
}

fn elements<T>(node: &Node<T>) -> &[Shared<T>] {
    match node {
        Node::List(all) => all,
        _ => &[],
    }
}

/// The error where the average is there, but in a list.
pub fn unnamed_average<T>(root: &Shared<T>) -> Option<Error> {
    // Of what is within, where the same may be within many.
    const MOST: usize = 20;
    let is_list = |node: &Shared<T>| elements(node).iter().any(|node| node.is_tensor());
    let within = |key: &str, node: &Shared<T>, names: &[&str]| {
        let mut items = node.items().iter().take(MOST);
        let is_name = |name: &str| names.contains(&name) || is_averaged(name);
        let (inner, _) = items.find(|(name, node)| is_name(name) && is_list(node))?;
        Some(format!("{}.{inner}", short(key)))
    };
    // torch_ema keeps the parameters in a list, in the order of the model's; NeMo in the optimizer's state.
    let listed = |(key, node): &(Rc<str>, Shared<T>)| match &**node {
        Node::List(_) if is_list(node) => {
            (is_averaged(key) || &**key == "shadow_params").then(|| short(key))
        }
        Node::List(all) => {
            let mut all = all.iter().take(MOST).enumerate();
            all.find_map(|(i, node)| within(&format!("{key}.{i}"), node, &[]))
        }
        _ => within(key, node, &["shadow_params", "params"]),
    };
    if let Some(key) = root.items().iter().find_map(listed) {
        let what = format!("its averaged (EMA) weights, `{key}`, are a list without names");
        return Some(Error::input(what).remedy(
            "copy them into the model (ema.copy_to(model.parameters()) in torch_ema) and save its state_dict()",
        ));
    }
    // Several of them, of different decays.
    let is_dicts = |node: &Shared<T>| elements(node).iter().any(|node| node.tensors() > 0);
    let (key, node) = root.items().iter().find(|(key, node)| is_averaged(key) && is_dicts(node))?;
    let what = format!("its averaged (EMA) weights, `{}`, are {}", short(key), node.describe());
    Some(Error::input(what).remedy("save the one that is meant as a dict of its own"))
}

/// The error where the average stands among the weights, under a prefix.
pub fn average_among<T>(tensors: &[(String, T)]) -> Option<Error> {
    let first = |name: &str| name.split_once('.').map(|(first, _)| first.to_string());
    let (_, of) = tensors
        .iter()
        .filter_map(|(name, _)| Some((name, first(name)?)))
        .find(|(_, first)| is_averaged(first))?;
    let of = short(&of);
    let what = format!(
        "its averaged (EMA) weights are no dict of their own: they are among the others, as `{of}.…`"
    );
    Some(Error::input(what).remedy(format!(
        "leave out {}; {} '^{of}[.]' takes them alone, under these names",
        setting!("ema"),
        setting!("include")
    )))
}
