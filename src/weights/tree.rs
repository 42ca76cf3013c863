//! What a checkpoint file holds, as a tree: dicts of tensors, and descriptions of everything else. Formats that nest
//! produce it, and this room finds the weights in it.

use std::rc::Rc;

/// `T` says where a tensor's values are.
#[derive(Debug)]
pub(crate) enum Node<T> {
    /// Keys that are not strings are written out.
    Dict(Vec<(Rc<str>, Rc<Node<T>>)>),
    List(Vec<Rc<Node<T>>>),
    Tensor(T),
    /// A tensor of a kind that cannot be read, and why.
    Unreadable(String),
    /// An object that only its own program could make: the name of its class.
    Foreign(String),
    /// A number, a string and the like: its description.
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

    /// How many tensors there are at any of `depth` levels below, counting each occurrence of shared ones.
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

    /// Whether there is an object of a class at any of `depth` levels below, such as an array of NumPy.
    pub fn has_objects(&self, depth: usize) -> bool {
        let below = |node: &Rc<Node<T>>| depth > 0 && node.has_objects(depth - 1);
        match self {
            Node::Foreign(_) => true,
            Node::Dict(items) => items.iter().any(|(_, node)| below(node)),
            Node::List(nodes) => nodes.iter().any(below),
            Node::Tensor(_) | Node::Unreadable(_) | Node::Plain(_) => false,
        }
    }

    /// In words, for messages.
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

/// A name as messages show it: a very long one is cut.
pub(crate) fn short(name: &str) -> String {
    const LONGEST: usize = 200;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_string(),
    }
}
