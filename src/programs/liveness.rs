//! What of a graph is needed, and until when.

use super::graph::{Argument, Node, Op, Output};
use super::targets::is_in_place;

/// Leaves out what nothing uses, and notes after which node each slot is free; those that are kept never are. Answers
/// which slots are used.
///
/// Batch normalisation is needed whoever uses its result, since its statistics are what a pass is for; so is what
/// writes in place.
pub fn settle(
    nodes: &mut Vec<Node>,
    outputs: &[Argument],
    slots: usize,
    kept: &[bool],
) -> Vec<bool> {
    let mut used = vec![false; slots];
    for output in outputs {
        output.each_slot(&mut |slot| used[slot] = true);
    }
    walk(nodes, &mut used, kept);
    used
}

fn walk(nodes: &mut Vec<Node>, used: &mut [bool], kept: &[bool]) {
    let mut needed = vec![true; nodes.len()];
    for (node, needed) in nodes.iter_mut().zip(&mut needed).rev() {
        if let Op::Autocast { nodes, .. } = &mut node.op {
            walk(nodes, used, kept);
            *needed = !nodes.is_empty();
            continue;
        }
        let mut has_use = false;
        for output in &mut node.outputs {
            match output {
                Output::Slot(slot) if !used[*slot] => *output = Output::Unused,
                Output::Slots(list) => list.iter_mut().for_each(|slot| {
                    *slot = slot.filter(|&slot| used[slot]);
                    has_use |= slot.is_some();
                }),
                Output::Slot(_) => has_use = true,
                Output::Unused => {}
            }
        }
        let acts = match &node.op {
            Op::BatchNorm(_) => true,
            Op::Aten { name, .. } => is_in_place(name),
            _ => false,
        };
        if !has_use && !acts {
            *needed = false;
            continue;
        }
        for (_, input) in &node.inputs {
            input.each_slot(&mut |slot| {
                if !std::mem::replace(&mut used[slot], true) && !kept[slot] {
                    node.free.push(slot);
                }
            });
        }
    }
    let mut needed = needed.into_iter();
    nodes.retain(|_| needed.next() == Some(true));
}
