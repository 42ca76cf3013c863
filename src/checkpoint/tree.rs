//! What a checkpoint file holds, as a tree: dicts of tensors, and what is no tensor by a description.
//! Every format that nests comes down to this; [`super::weights`] finds the weights in it.

use std::rc::Rc;

/// `T` says where a tensor's values are.
#[derive(Debug)]
pub(super) enum Node<T> {
    /// Texts as keys; others are written out.
    Dict(Vec<(Rc<str>, Rc<Node<T>>)>),
    List(Vec<Rc<Node<T>>>),
    Tensor(T),
    /// A tensor of a kind that cannot be read, and why.
    Unreadable(String),
    /// What only its own program could make, by the name of its class.
    Foreign(String),
    /// Numbers, texts and the like, described.
    Plain(String),
}

impl<T> Node<T> {
    pub fn items(&self) -> &[(Rc<str>, Rc<Node<T>>)] {
        match self {
            Node::Dict(items) => items,
            _ => &[],
        }
    }

    /// Of two items with one key the later counts, as in Python.
    pub fn get(&self, key: &str) -> Option<&Rc<Node<T>>> {
        self.items().iter().rev().find(|(name, _)| **name == *key).map(|(_, node)| node)
    }

    pub fn is_tensor(&self) -> bool {
        matches!(self, Node::Tensor(_) | Node::Unreadable(_))
    }

    /// How many tensors a dict directly holds.
    pub fn tensors(&self) -> usize {
        self.items().iter().filter(|(_, node)| node.is_tensor()).count()
    }

    /// How many tensors stand anywhere below, as far as `depth` levels; shared ones count each time.
    pub fn all_tensors(&self, depth: usize) -> usize {
        let below = |node: &Rc<Node<T>>| match depth {
            0 => 0,
            _ => node.all_tensors(depth - 1),
        };
        match self {
            Node::Tensor(_) | Node::Unreadable(_) => 1,
            Node::Dict(items) => items.iter().map(|(_, node)| below(node)).sum(),
            Node::List(nodes) => nodes.iter().map(below).sum(),
            Node::Foreign(_) | Node::Plain(_) => 0,
        }
    }

    /// In words, for lists.
    pub fn describe(&self) -> String {
        match self {
            Node::Tensor(_) => "a tensor".into(),
            Node::Unreadable(why) => why.clone(),
            Node::Foreign(name) => format!("an object `{name}`"),
            Node::Plain(what) => what.clone(),
            Node::List(nodes) => format!("a list of {}", nodes.len()),
            Node::Dict(items) => format!("a dict of {}", items.len()),
        }
    }
}

/// A name for a list or a message; a very long one is cut.
pub(super) fn short(name: &str) -> String {
    const LONGEST: usize = 200;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_string(),
    }
}
