//! The index: names, types and shapes, and where the bytes are.

use super::TensorInfo;
use super::contents::Place;
use super::names;
use crate::{Error, Result};

#[derive(Debug, Default)]
pub(super) struct Index {
    pub tensors: Vec<TensorInfo>,
    pub places: Vec<Place>,
    /// The names as the file has them, if wrappers were taken out of any.
    pub written: Option<Vec<Box<str>>>,
    /// Numbers of the tensors, sorted by name.
    by_name: Vec<u32>,
}

impl Index {
    /// Takes wrappers out of the names. Of two tensors with one name none is taken: which was meant is
    /// unknown.
    pub fn new(mut tensors: Vec<TensorInfo>, places: Vec<Place>) -> Result<Self> {
        let mut written: Option<Vec<Box<str>>> = None;
        if tensors.iter().any(|t| names::is_wrapped(&t.name)) {
            written = Some(tensors.iter().map(|t| t.name.as_str().into()).collect());
            tensors.iter_mut().for_each(|t| t.name = names::strip(&t.name));
        }
        let name = |i: &u32| tensors[*i as usize].name.as_str();
        let mut by_name: Vec<u32> = (0..tensors.len() as u32).collect();
        by_name.sort_by(|a, b| name(a).cmp(name(b)));
        if let Some(twice) = by_name.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            let (what, remedy) = match &written {
                None => ("occurs twice".to_string(), "save or copy the file again"),
                Some(written) => {
                    let [a, b] = [twice[0], twice[1]].map(|i| &written[i as usize]);
                    (
                        format!("is what both `{a}` and `{b}` come to"),
                        "say which are the weights with --weights-key, or save them apart",
                    )
                }
            };
            return Err(Error::input(what).tensor(name(&twice[0])).remedy(remedy));
        }
        Ok(Index { by_name, tensors, places, written })
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .by_name
            .binary_search_by(|&i| self.tensors[i as usize].name.as_str().cmp(name))
            .ok()?;
        Some(self.by_name[found] as usize)
    }

    /// Numbers of the tensors, sorted by name.
    pub fn by_name(&self) -> impl Iterator<Item = usize> {
        self.by_name.iter().map(|&i| i as usize)
    }

    /// The name as the file has it.
    pub fn written_name(&self, tensor: usize) -> &str {
        match &self.written {
            Some(written) => &written[tensor],
            None => &self.tensors[tensor].name,
        }
    }

    /// The places in the order of another index, if both have the same names, types and shapes.
    pub fn places_like(&self, other: &Index) -> Option<Vec<Place>> {
        if self.tensors.len() != other.tensors.len() {
            return None;
        }
        let mut places = self.places.clone();
        for (i, j) in self.by_name().zip(other.by_name()) {
            if self.tensors[i] != other.tensors[j] || self.written_name(i) != other.written_name(j)
            {
                return None;
            }
            places[j] = self.places[i];
        }
        Some(places)
    }
}
