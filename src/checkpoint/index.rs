//! The index: names, types and shapes, and where the bytes are. Checkpoints of one model share it.

use crate::tensors::TensorInfo;
use crate::tensors::contents::Location;
use crate::weights::tree::short;
use crate::weights::{MAX_NAME, names};
use crate::{Error, Kind, Result, setting};

#[derive(Debug, Default)]
pub(super) struct Index {
    pub tensors: Vec<TensorInfo>,
    pub locations: Vec<Location>,
    /// The names in the file, if any had a wrapper's part.
    pub written: Option<Vec<Box<str>>>,
    /// Indices of the tensors, sorted by name.
    by_name: Vec<u32>,
}

impl Index {
    /// Strips wrappers' parts from the names. Two tensors with one name are an error: nothing tells which is meant.
    pub fn new(mut tensors: Vec<TensorInfo>, locations: Vec<Location>) -> Result<Self> {
        if let Some(info) = tensors.iter().find(|info| info.name.len() > MAX_NAME) {
            let (start, n) = (short(&info.name), info.name.len());
            let what = format!("its name has {n} bytes, the limit is {MAX_NAME}");
            return Err(Error::limit(what).tensor(&start));
        }
        let mut written: Option<Vec<Box<str>>> = None;
        if tensors.iter().any(|t| names::is_wrapped(&t.name)) {
            written = Some(tensors.iter().map(|t| t.name.as_str().into()).collect());
            let in_front = names::are_in_front(tensors.iter().map(|t| t.name.as_str()));
            tensors.iter_mut().for_each(|t| t.name = names::strip_of(&t.name, in_front));
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
                        format!("is the name of both `{a}` and `{b}` without wrappers"),
                        concat!(
                            "say which are the weights with ",
                            setting!("weights_key"),
                            ", or save them apart"
                        ),
                    )
                }
            };
            return Err(Error::new(Kind::Damaged, what).tensor(name(&twice[0])).remedy(remedy));
        }
        Ok(Index { by_name, tensors, locations, written })
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .by_name
            .binary_search_by(|&i| self.tensors[i as usize].name.as_str().cmp(name))
            .ok()?;
        Some(self.by_name[found] as usize)
    }

    /// Indices of the tensors, sorted by name.
    pub fn by_name(&self) -> impl Iterator<Item = usize> {
        self.by_name.iter().map(|&i| i as usize)
    }

    /// The name in the file.
    pub fn written_name(&self, tensor: usize) -> &str {
        match &self.written {
            Some(written) => &written[tensor],
            None => &self.tensors[tensor].name,
        }
    }

    /// The locations in the order of another index, if both have the same names, types and shapes.
    pub fn locations_like(&self, other: &Index) -> Option<Vec<Location>> {
        if self.tensors.len() != other.tensors.len() {
            return None;
        }
        let mut locations = self.locations.clone();
        for (i, j) in self.by_name().zip(other.by_name()) {
            if self.tensors[i] != other.tensors[j] || self.written_name(i) != other.written_name(j)
            {
                return None;
            }
            locations[j] = self.locations[i];
        }
        Some(locations)
    }
}
