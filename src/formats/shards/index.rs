//! The index of a model in shards: JSON, whose `weight_map` says which file holds which tensor.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::Kind;
use super::folder::Model;
use crate::Kind::{Damaged, Truncated};
use crate::store::names::{base_name, is_file_name};
use crate::store::{self, Source};
use crate::tensors::MAX_HEADER;
use crate::tensors::contents::{Contents, Location};
use crate::text::printable;
use crate::{Error, Result};

/// Largest file that is searched for an index if nothing about its name says that it is one.
const MAX_SEARCHED: u64 = 1 << 24;

/// What a folder says of its files.
pub(super) struct Shards {
    /// Names, sorted.
    pub files: Vec<String>,
    /// Tensor → file.
    map: BTreeMap<String, String>,
}

/// What an index names, if it is one that can be read.
pub(super) fn kind_of_index(path: &Path) -> Result<Option<Kind>> {
    let source = Source::open(path)?;
    let limit = if base_name(path).contains("index") { MAX_HEADER as u64 } else { MAX_SEARCHED };
    if source.size() > limit {
        return Ok(None);
    }
    let mut scratch = vec![];
    let text = source.read(0..source.size(), &mut scratch)?;
    let Written { weight_map } = match serde_json::from_slice(text) {
        Ok(written) => written,
        Err(_) => return Ok(None),
    };
    let has = |kind: &Kind| {
        let is =
            |name: &String| name.rsplit_once('.').is_some_and(|(_, e)| kind.endings().contains(&e));
        weight_map.values().next().is_some_and(is)
    };
    Ok([Kind::Safetensors, Kind::Torch].into_iter().find(has))
}

/// The files of a model. Fails if one of them is missing.
pub(super) fn shards(folder: &Path, model: &Model) -> Result<Shards> {
    // A dangling link is reported when it is opened.
    if !model.is_index || !store::exists(&model.path)? {
        return Ok(Shards { files: vec![base_name(&model.path)], map: BTreeMap::new() });
    }
    let path = &model.path;
    let source = Source::open(path)?;
    if source.size() > MAX_HEADER as u64 {
        let what = format!("has {} bytes, the limit is {MAX_HEADER}", source.size());
        return Err(Error::limit(what).at(path));
    }
    let mut scratch = vec![];
    let text = source.read(0..source.size(), &mut scratch)?;
    listed(folder, path, text)
}

/// An index as it is written.
#[derive(Deserialize)]
struct Written {
    #[serde(deserialize_with = "bounded")]
    weight_map: BTreeMap<String, String>,
}

/// Most tensors that an index names.
const MAX_TENSORS: usize = 1_000_000;

fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map of tensors to files")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut found = BTreeMap::new();
            while let Some((name, file)) = map.next_entry()? {
                if found.len() == MAX_TENSORS {
                    return Err(M::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                }
                found.insert(name, file);
            }
            Ok(found)
        }
    }
    from.deserialize_map(Entries)
}

/// The shards that an index names, and which tensor is where.
fn listed(folder: &Path, path: &Path, text: &[u8]) -> Result<Shards> {
    let Written { weight_map: map } = serde_json::from_slice(text).map_err(|e| {
        let what = printable(&e.to_string());
        let error = match what.starts_with("more than") {
            true => Error::limit(what),
            false => Error::new(Damaged, format!("bad index: {what}")),
        };
        error.at(path)
    })?;
    let files: BTreeSet<&String> = map.values().collect();
    // Never a path: a checkpoint has no business outside its folder.
    if let Some(bad) = files.iter().find(|name| !is_file_name(name)) {
        return Err(Error::new(
            Damaged,
            format!("names a shard `{bad}`, which is not a file name"),
        )
        .at(path));
    }
    if files.is_empty() {
        return Err(Error::new(Damaged, "names no shard").at(path));
    }
    let mut missing: Vec<&String> = vec![];
    for name in &files {
        if !store::exists(&folder.join(name))? {
            missing.push(name);
        }
    }
    if let Some(first) = missing.first() {
        let (lost, all) = (missing.len(), files.len());
        return Err(Error::new(
            Truncated,
            format!("shard `{first}` is missing ({lost} of {all} are)"),
        )
        .at(folder)
        .remedy("download or copy the model again"));
    }
    Ok(Shards { files: files.into_iter().cloned().collect(), map })
}

impl Shards {
    /// Fails if a tensor is not where the folder's index says.
    pub fn check(&self, contents: &Contents, files: &[Source], index: &str) -> Result<()> {
        let file_of = |location: &Location| match location {
            Location::Contiguous { file, .. } => *file as usize,
            Location::Gathered(number) => {
                let slabs = &contents.gathers[*number as usize].slabs;
                slabs.first().map_or(0, |slab| slab.file as usize)
            }
        };
        let found = contents.tensors.iter().zip(&contents.locations);
        let found: HashSet<(&str, String)> = found
            .map(|(tensor, at)| (tensor.name.as_str(), base_name(files[file_of(at)].path())))
            .collect();
        for (name, file) in &self.map {
            if !found.contains(&(name.as_str(), file.clone())) {
                let what = format!("{index} says it is in `{file}`, which does not have it");
                return Err(Error::new(crate::Kind::Mismatch, what).tensor(name));
            }
        }
        Ok(())
    }
}
