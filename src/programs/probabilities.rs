//! Outputs that are probabilities: networks are often exported for serving with a softmax at the end, and their outputs
//! are no logits.

use super::graph::{Argument, Node, Op, Output};

/// Operators that leave values as they are.
const SAME: [&str; 7] =
    ["to", "_to_copy", "clone", "contiguous", "alias", "detach", "lift_fresh_copy"];

/// Operators that give probabilities.
const SOFTMAX: [&str; 3] = ["softmax", "_softmax", "_safe_softmax"];

/// Of each output, whether it is the result of a softmax over the classes.
pub fn of(nodes: &[Node], outputs: &[Argument]) -> Vec<bool> {
    let is_one = |output: &Argument| match output {
        Argument::Slot(slot) => is_softmax(nodes, *slot),
        _ => false,
    };
    outputs.iter().map(is_one).collect()
}

fn is_softmax(nodes: &[Node], mut slot: usize) -> bool {
    while let Some(node) = node_of(nodes, slot)
        && let Op::Aten { name, .. } = &node.op
    {
        let name = name.as_str();
        if SOFTMAX.contains(&name) {
            return node.inputs.iter().any(is_of_classes);
        }
        match node.inputs.first() {
            Some((_, Argument::Slot(before))) if SAME.contains(&name) => slot = *before,
            _ => return false,
        }
    }
    false
}

/// Whether an argument says that the second dimension of [images, classes] is meant.
fn is_of_classes((name, value): &(String, Argument)) -> bool {
    name == "dim" && matches!(value, Argument::Int(1 | -1))
}

/// The node whose result a slot holds.
fn node_of(nodes: &[Node], slot: usize) -> Option<&Node> {
    nodes.iter().find_map(|node| match &node.op {
        Op::Autocast { nodes, .. } => node_of(nodes, slot),
        _ => node.outputs.contains(&Output::Slot(slot)).then_some(node),
    })
}
