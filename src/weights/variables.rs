//! Where Flax keeps weights: in `params` and other collections (`batch_stats`), which may be part of a train state; or
//! in a plain dict of modules.

use std::rc::Rc;

use super::trainers::is_other;
use super::tree::Node;
use super::{Shared, Take, Taken, candidates, collect, find, no_average};
use crate::{Error, Kind, Result};

const PARAMS: &str = "params";

/// Keys of a moving average of `params`.
const AVERAGED: [&str; 2] = ["ema_params", "params_ema"];

/// The named arrays of the collections. Names keep those of the collections, so that an average can replace the file;
/// an average of `params` is taken as `params`.
pub fn find_variables<T: Clone>(
    root: &Shared<T>,
    take: &Take,
) -> Result<(Vec<(String, T)>, Taken)> {
    if take.key.is_some() {
        return find(root, take);
    }
    let is_dict = |node: &&Shared<T>| matches!(***node, Node::Dict(_));
    let averaged = AVERAGED.iter().find_map(|key| root.get(key).filter(is_dict));
    let has_params = root.get(PARAMS).filter(is_dict).is_some();
    if take.ema && averaged.is_none() {
        return Err(no_average(root));
    }
    let is_taken = |key: &str, node: &Shared<T>| match has_params {
        // Single arrays beside collections are counters and random keys.
        true => is_dict(&node) && !is_other(key) && !AVERAGED.contains(&key),
        false => true,
    };
    let (mut taken, mut others) = (vec![], vec![]);
    for (key, node) in root.items() {
        // A train state beside collections, as in `{"state": …, "batch_stats": …}`.
        if !has_params && node.get(PARAMS).filter(is_dict).is_some() {
            let (own, other): (Vec<_>, Vec<_>) =
                node.items().iter().cloned().partition(|(inner, _)| !is_other(inner));
            taken.push((key.clone(), Rc::new(Node::Dict(own))));
            others.extend(
                other.iter().map(|(inner, node)| (format!("{key}.{inner}"), node.describe())),
            );
            continue;
        }
        match (is_taken(key, node), averaged) {
            (true, Some(average)) if take.ema && **key == *PARAMS => {
                taken.push((key.clone(), average.clone()));
            }
            (true, _) => taken.push((key.clone(), node.clone())),
            (false, _) => others.push((key.to_string(), node.describe())),
        }
    }
    let (mut tensors, mut rest) = (vec![], vec![]);
    collect(&Rc::new(Node::Dict(taken)), "", true, "", &mut tensors, &mut rest)?;
    if tensors.is_empty() {
        return Err(Error::new(Kind::NotACheckpoint, "holds no arrays").list(candidates(root)));
    }
    let has_average = averaged.is_some() && !take.ema;
    let is_average = take.ema;
    Ok((tensors, Taken { is_average, has_average, others, rest, ..Taken::default() }))
}
