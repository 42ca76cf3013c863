//! A folder with a Hugging Face model: `model.safetensors`, or shards and
//! `model.safetensors.index.json`, whose `weight_map` says which tensor lies in which file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::index::Index;
use super::{MAX_HEADER, Source};
use crate::error::printable;
use crate::{Error, Result};

/// Name of the file that lists the shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// Name of the file of a model without shards.
pub const SINGLE: &str = "model.safetensors";

/// What a folder says of its files.
pub(super) struct Shards {
    /// Names, sorted.
    pub files: Vec<String>,
    /// Tensor → file.
    map: BTreeMap<String, String>,
}

/// The files of the model in a folder. Fails if one of them is missing.
pub(super) fn shards(folder: &Path) -> Result<Shards> {
    let path = folder.join(INDEX);
    let text = match std::fs::metadata(&path) {
        Ok(meta) if meta.len() > MAX_HEADER as u64 => {
            return Err(Error::limit(format!(
                "has {} bytes, the limit is {MAX_HEADER}",
                meta.len()
            ))
            .at(&path));
        }
        Ok(_) => std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?,
        Err(_) if folder.join(SINGLE).is_file() => {
            return Ok(Shards { files: vec![SINGLE.into()], map: BTreeMap::new() });
        }
        Err(_) => {
            return Err(Error::usage(format!("holds neither {SINGLE} nor {INDEX}"))
                .at(folder)
                .remedy("name a checkpoint file or a model's folder"));
        }
    };
    #[derive(Deserialize)]
    struct Written {
        weight_map: BTreeMap<String, String>,
    }
    let Written { weight_map: map } = serde_json::from_slice(&text)
        .map_err(|e| Error::input(format!("bad index: {}", printable(&e.to_string()))).at(&path))?;
    let files: BTreeSet<&String> = map.values().collect();
    // A name is never a path.
    if let Some(bad) = files
        .iter()
        .find(|name| name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']))
    {
        return Err(Error::input(format!("names a shard `{bad}`, which is no file name")).at(&path));
    }
    if files.is_empty() {
        return Err(Error::input("names no shard").at(&path));
    }
    let missing: Vec<_> = files.iter().filter(|name| !folder.join(name).exists()).collect();
    if let Some(first) = missing.first() {
        let (lost, all) = (missing.len(), files.len());
        return Err(Error::input(format!("shard `{first}` is missing ({lost} of {all} are)"))
            .at(folder)
            .remedy("download or copy the model again"));
    }
    Ok(Shards { files: files.into_iter().cloned().collect(), map })
}

impl Shards {
    /// Fails if a tensor is not where the folder's index says.
    pub fn check(&self, folder: &Path, files: &[Source], index: &Index) -> Result<()> {
        for (name, file) in &self.map {
            let found = index.position(name).map(|i| index.places[i].file as usize);
            let found = found.map(|i| files[i].path());
            if found.and_then(|p| p.file_name()) != Some(file.as_ref()) {
                return Err(Error::input(format!(
                    "{INDEX} says it is in `{file}`, which has it not"
                ))
                .tensor(name)
                .at(folder));
            }
        }
        Ok(())
    }
}
