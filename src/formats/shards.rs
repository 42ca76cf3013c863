//! A folder with a Hugging Face model: `model.safetensors` or `pytorch_model.bin`, or shards and an index, whose
//! `weight_map` says which file holds which tensor.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::format::{Candidate, Format, Opened, Read, Reader, Request};
use super::{Container, recognise, safetensors, torch};
use crate::store::names::{base_name, is_file_name};
use crate::store::{self, Source};
use crate::tensors::MAX_HEADER;
use crate::tensors::contents::{Contents, Location};
use crate::text::printable;
use crate::{Error, Kind, Result};

pub(super) const SAFETENSORS_FORMAT: Format = Format {
    name: "safetensors, in shards",
    endings: &[],
    reader: Reader::Folder {
        marker: |folder| marker(folder, &SAFETENSORS),
        open: |folder, request| open(folder, &SAFETENSORS, request),
    },
};

pub(super) const TORCH_FORMAT: Format = Format {
    name: "PyTorch zip, in shards",
    endings: &[],
    reader: Reader::Folder {
        marker: |folder| marker(folder, &TORCH),
        open: |folder, request| open(folder, &TORCH, request),
    },
};

/// Names of the index of the shards, and of the file of a model without shards.
pub(crate) struct Names {
    pub index: &'static str,
    pub single: &'static str,
    read: fn(&[Source], &Request) -> Result<Read>,
}

/// What the tools write.
pub(crate) const SAFETENSORS: Names = Names {
    index: "model.safetensors.index.json",
    single: "model.safetensors",
    read: safetensors::read,
};

const TORCH: Names = Names {
    index: "pytorch_model.bin.index.json",
    single: "pytorch_model.bin",
    read: torch::read_all,
};

/// What a folder is searched for, in this order: safetensors need no pickle.
pub(crate) const MODELS: [Names; 2] = [SAFETENSORS, TORCH];

/// The file that makes a folder a model of this kind.
fn marker(folder: &Path, names: &Names) -> Result<Option<PathBuf>> {
    for name in [names.index, names.single] {
        let path = folder.join(name);
        if store::may_be_file(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// What a folder says of its files.
struct Shards {
    /// Names, sorted.
    files: Vec<String>,
    /// Tensor → file.
    map: BTreeMap<String, String>,
}

fn open(folder: &Path, names: &Names, request: &Request) -> Result<Option<Opened>> {
    let Some(shards) = shards(folder, names)? else { return Ok(None) };
    let files = shards.files.iter().map(|name| Source::open(&folder.join(name)));
    let files = files.collect::<Result<Vec<_>>>()?;
    for file in &files {
        let found = recognise(&Candidate::new(file)?).map_err(|e| e.at(file.path()))?.0;
        let expected = names.index == SAFETENSORS.index;
        if expected != (found == Container::Safetensors) {
            let what = format!("is a {} file, despite its name", found.name());
            return Err(Error::new(Kind::Mismatch, what).at(file.path()));
        }
    }
    let read = (names.read)(&files, request)?;
    if let Read::Contents { contents, .. } = &read {
        shards.check(contents, &files, names.index)?;
    }
    Ok(Some((files, read)))
}

/// The files of the model in a folder, if it holds one of this kind. Fails if one of them is missing.
fn shards(folder: &Path, names: &Names) -> Result<Option<Shards>> {
    let path = folder.join(names.index);
    if !store::exists(&path) {
        // A dangling link is reported when it is opened.
        let has_single = store::may_be_file(&folder.join(names.single))?;
        let single = || Shards { files: vec![names.single.into()], map: BTreeMap::new() };
        return Ok(has_single.then(single));
    }
    let source = Source::open(&path)?;
    if source.size() > MAX_HEADER as u64 {
        let what = format!("has {} bytes, the limit is {MAX_HEADER}", source.size());
        return Err(Error::limit(what).at(&path));
    }
    let mut scratch = vec![];
    let text = source.read(0..source.size(), &mut scratch)?;
    listed(folder, &path, text).map(Some)
}

/// The shards that an index names, and which tensor is where.
fn listed(folder: &Path, path: &Path, text: &[u8]) -> Result<Shards> {
    #[derive(Deserialize)]
    struct Written {
        weight_map: BTreeMap<String, String>,
    }
    let Written { weight_map: map } = serde_json::from_slice(text).map_err(|e| {
        Error::new(Kind::Damaged, format!("bad index: {}", printable(&e.to_string()))).at(path)
    })?;
    let files: BTreeSet<&String> = map.values().collect();
    // Never a path: a checkpoint has no business outside its folder.
    if let Some(bad) = files.iter().find(|name| !is_file_name(name)) {
        return Err(Error::new(
            Kind::Damaged,
            format!("names a shard `{bad}`, which is not a file name"),
        )
        .at(path));
    }
    if files.is_empty() {
        return Err(Error::new(Kind::Damaged, "names no shard").at(path));
    }
    let missing: Vec<_> = files.iter().filter(|name| !store::exists(&folder.join(name))).collect();
    if let Some(first) = missing.first() {
        let (lost, all) = (missing.len(), files.len());
        return Err(Error::new(
            Kind::Truncated,
            format!("shard `{first}` is missing ({lost} of {all} are)"),
        )
        .at(folder)
        .remedy("download or copy the model again"));
    }
    Ok(Shards { files: files.into_iter().cloned().collect(), map })
}

impl Shards {
    /// Fails if a tensor is not where the folder's index says.
    fn check(&self, contents: &Contents, files: &[Source], index: &str) -> Result<()> {
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
                return Err(Error::new(Kind::Mismatch, what).tensor(name));
            }
        }
        Ok(())
    }
}
