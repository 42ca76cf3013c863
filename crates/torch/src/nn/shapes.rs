//! The names and shapes of a checkpoint's tensors, by which a network is recognised.

use std::collections::BTreeMap;

use swa_tools::checkpoint::{Checkpoint, TensorInfo};

/// Components of a common prefix (`a.b.` has two) that are tried.
pub(super) const MAX_PREFIX: usize = 4;

/// Largest number of channels or classes that is taken for a network's.
const MAX_SIZE: usize = 1 << 20;

/// A checkpoint's names and shapes, without a prefix that all its names share, or under a program's names.
#[derive(Debug)]
pub struct Shapes<'a> {
    /// What the names in the file have before them; often empty.
    prefix: String,
    /// What the names here have before them in its place.
    taken: String,
    tensors: BTreeMap<&'a str, &'a TensorInfo>,
}

impl<'a> Shapes<'a> {
    /// The names as they are, and without each leading component that is common to all (`model.` in a
    /// Lightning checkpoint).
    pub fn views(checkpoint: &'a Checkpoint) -> Vec<Self> {
        let view = |prefix: &str| {
            let all = checkpoint.tensors().iter().enumerate();
            let tensors = all.filter(|(i, _)| !checkpoint.is_counter(*i)).map(|(_, t)| t);
            let stripped = tensors.map(|t| Some((t.name.strip_prefix(prefix)?, t)));
            let (prefix, taken) = (prefix.to_string(), String::new());
            Some(Shapes { prefix, taken, tensors: stripped.collect::<Option<_>>()? })
        };
        let names = checkpoint.tensors().iter().map(|t| t.name.as_str());
        prefixes(names).map_while(view).collect()
    }

    /// Those whose names begin with `prefix`, without it.
    pub fn below(checkpoint: &'a Checkpoint, prefix: &str) -> Self {
        let all = checkpoint.tensors().iter().enumerate();
        let all = all.filter(|(i, _)| !checkpoint.is_counter(*i)).map(|(_, tensor)| tensor);
        let tensors = all.filter_map(|tensor| Some((tensor.name.strip_prefix(prefix)?, tensor)));
        Shapes { prefix: prefix.to_string(), taken: String::new(), tensors: tensors.collect() }
    }

    /// What the names in the file have before them.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Under other names: `taken` off them and `prefix` before them gives the names in the file.
    pub fn renamed(
        prefix: String,
        taken: String,
        tensors: BTreeMap<&'a str, &'a TensorInfo>,
    ) -> Self {
        Shapes { prefix, taken, tensors }
    }

    /// The name in the file of what is called `name` here.
    pub fn in_file(&self, name: &str) -> String {
        format!("{}{}", self.prefix, name.strip_prefix(&self.taken).unwrap_or(name))
    }

    /// A tensor by its name without the prefix.
    pub fn get(&self, name: &str) -> Option<&'a TensorInfo> {
        self.tensors.get(name).copied()
    }

    /// All names without the prefix, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.tensors.keys().copied()
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.tensors.get(name).map(|t| &t.shape[..])
    }

    /// Size of one dimension, if the tensor is there and the size is one that a network may have.
    pub fn dim(&self, name: &str, dim: usize) -> Option<usize> {
        self.shape(name)?.get(dim).copied().filter(|size| (1..=MAX_SIZE).contains(size))
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Whether there is a tensor of one of these names.
    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// The first few names, for a message.
    pub fn examples(&self) -> String {
        let names: Vec<_> = self.tensors.keys().take(3).map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}

/// Nothing, and what the first name with a component before its last begins with.
fn prefixes<'n>(mut names: impl Iterator<Item = &'n str>) -> impl Iterator<Item = &'n str> {
    let name = names.find(|name| name.contains('.')).unwrap_or_default();
    let prefixes = name.match_indices('.').map(|(at, _)| &name[..=at]).take(MAX_PREFIX);
    std::iter::once("").chain(prefixes)
}

/// Nothing, and each leading run of components that all names share.
pub fn common_prefixes<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<&'n str> {
    let all = |prefix: &&str| names.clone().all(|name| name.starts_with(prefix));
    prefixes(names.clone()).take_while(all).collect()
}

impl<'a> Shapes<'a> {
    /// Of tensors without a file.
    pub fn of(tensors: &'a [TensorInfo]) -> Self {
        let tensors = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        Shapes { prefix: String::new(), taken: String::new(), tensors }
    }
}
