//! Whether a program's results depend on how tensors lie in memory.
//!
//! Exported programs were written for tensors that lie row by row. Here images and weights of convolutions lie with their
//! channels innermost, which is faster, and of which a `reshape` may be a copy where it was a view. That makes no
//! difference unless somebody writes to it and the original is used afterwards, or asks for strides.

use super::flat::{Action, Called, Flat};
use swa_tools::programs::{Argument, SymbolOp};

/// Operators whose result is a view of what they are given, or a copy, by its layout.
const BY_LAYOUT: &[&str] =
    &["reshape", "reshape_as", "flatten", "ravel", "contiguous", "view", "to"];

/// Operators whose result may be what they are given, though they are not declared so.
const SOMETIMES_THE_SAME: &[&str] = &[
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
    "type_as",
    "einsum",
    "broadcast_tensors",
    "meshgrid",
];

/// Writes that are looked into. A program with more runs as it was exported.
const MOST: usize = 1000;

/// Whether the tensors must lie as they did in the export.
pub(super) fn matters(nodes: &[Flat], outputs: &[Argument], slots: usize) -> bool {
    let by_strides = |node: &Flat| match &node.action {
        Action::Call(called) => called.name.starts_with("as_strided"),
        Action::Compute(op, _) => matches!(op, SymbolOp::Stride | SymbolOp::StorageOffset),
        Action::Normalise(_) => false,
    };
    if nodes.iter().any(by_strides) {
        return true;
    }
    let mut memory = Memory { others: (0..slots).collect(), by_layout: vec![false; slots] };
    let mut looked_into = 0;
    for (number, node) in nodes.iter().enumerate() {
        let Action::Call(called) = &node.action else { continue };
        let written = called.written();
        for &slot in &written {
            let class = memory.class(slot);
            if !memory.by_layout[class] {
                continue;
            }
            looked_into += 1;
            let later = &nodes[number + 1..];
            if looked_into > MOST || memory.is_seen(slot, later, outputs) {
                return true;
            }
        }
        memory.add(node, called, !written.is_empty());
    }
    false
}

/// Which slots may be the same memory.
struct Memory {
    /// By slot, another one of the same memory, or itself: the last of such a chain stands for all.
    others: Vec<usize>,
    /// By the slot that stands for all, whether one of them is a view or a copy by its layout.
    by_layout: Vec<bool>,
}

impl Memory {
    fn class(&mut self, mut slot: usize) -> usize {
        while self.others[slot] != slot {
            self.others[slot] = self.others[self.others[slot]];
            slot = self.others[slot];
        }
        slot
    }

    fn add(&mut self, node: &Flat, called: &Called, writes: bool) {
        let name = called.name.as_str();
        let by_layout = BY_LAYOUT.contains(&name);
        let views = called.op.operator.views() || SOMETIMES_THE_SAME.contains(&name);
        if !(by_layout || views || writes) {
            return;
        }
        let results = node.results();
        node.each_input(&mut |slot| {
            let class = self.class(slot);
            for &result in &results {
                let own = self.class(result);
                self.others[own] = class;
                self.by_layout[class] |= by_layout || self.by_layout[own];
            }
        });
    }

    /// Whether what was written to `slot` can be seen afterwards through another slot that there was before.
    fn is_seen(&mut self, slot: usize, later: &[Flat], outputs: &[Argument]) -> bool {
        let (class, mut seen) = (self.class(slot), false);
        let mut visit = |other: usize| seen |= other != slot && self.class(other) == class;
        later.iter().for_each(|node| node.each_input(&mut visit));
        outputs.iter().for_each(|output| output.each_slot(&mut visit));
        seen
    }
}
