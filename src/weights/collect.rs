//! The tensors of the weights, and what stands among them.

use super::trainers::{is_averaged, is_other};
use super::tree::{Node, short};
use super::{DEPTH, MAX_DEPTH, MAX_NAME, Rest, is_among, is_extra};
use crate::{Error, Kind, Result, setting};

/// Under which quantised modules of PyTorch keep weight and bias as one value.
const PACKED: &str = "_packed_params";

/// Adds the tensors of a dict, and of dicts within it if `nested`. At the root those are other things. What is no
/// tensor is added to `rest`.
pub(super) fn collect<T: Clone>(
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
                if full.ends_with(PACKED) && nodes.iter().any(|node| node.is_tensor()) {
                    return Err(unreadable(&full, "weights in a tuple"));
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
        "a quantized tensor" | "weights in a tuple" => error.remedy(
            "average the checkpoints that were quantised, or dequantise these and save them as \
             floating-point weights first",
        ),
        _ if why.contains("no plain tensor") => error.remedy(
            "save plain tensors (`dequantize()` of quantised ones, `full_tensor()` of DTensor), or average the \
             checkpoints from before",
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
