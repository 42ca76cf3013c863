//! A folder with a Hugging Face model: `model.safetensors` or `pytorch_model.bin`, or shards and an index,
//! whose `weight_map` says which tensor lies in which file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::contents::Container;
use super::index::Index;
use super::{Checkpoint, MAX_HEADER, deepspeed, distributed};
use crate::text::printable;
use crate::{Error, Result};

/// Names of the file that lists the shards, and of that of a model without shards.
pub struct Names {
    pub index: &'static str,
    pub single: &'static str,
    pub container: Container,
}

/// What the tools write.
pub const SAFETENSORS: Names = Names {
    index: "model.safetensors.index.json",
    single: "model.safetensors",
    container: Container::SafetensorsShards,
};

/// What is looked for; where a folder has both, the one that needs no pickle.
pub const MODELS: [Names; 2] = [
    SAFETENSORS,
    Names {
        index: "pytorch_model.bin.index.json",
        single: "pytorch_model.bin",
        container: Container::TorchShards,
    },
];

/// The file that makes a folder a model. A link that leads nowhere, as in a cache half filled, makes one
/// too: it is an error when opened, not a smaller average.
pub(super) fn marker(folder: &Path) -> Result<Option<PathBuf>> {
    let names = MODELS.iter().flat_map(|names| [names.index, names.single]);
    for name in names.chain([distributed::METADATA]) {
        let path = folder.join(name);
        match path.symlink_metadata() {
            Ok(meta) if !meta.is_dir() => return Ok(Some(path)),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(folder, "read", e));
            }
            _ => {}
        }
    }
    // Accelerate keeps a distributed checkpoint one folder deeper.
    let inner = folder.join(distributed::ACCELERATE).join(distributed::METADATA);
    if inner.is_file() {
        return Ok(Some(inner));
    }
    deepspeed::marker(folder)
}

/// What a folder says of its files.
pub(super) struct Shards {
    pub container: Container,
    /// Names, sorted.
    pub files: Vec<String>,
    /// Name of the index.
    index: &'static str,
    /// Tensor → file.
    map: BTreeMap<String, String>,
}

/// The files of the model in a folder, if it holds one of this kind. Fails if one of them is missing.
pub(super) fn shards(folder: &Path) -> Result<Option<Shards>> {
    for Names { index, single, container } in MODELS {
        let path = folder.join(index);
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() > MAX_HEADER as u64 => {
                let size = meta.len();
                let what = format!("has {size} bytes, the limit is {MAX_HEADER}");
                return Err(Error::limit(what).at(&path));
            }
            Ok(_) => {
                let text = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
                let (files, map) = listed(folder, &path, &text)?;
                return Ok(Some(Shards { container, files, index, map }));
            }
            // A link that leads nowhere is reported when it is opened.
            Err(_) if folder.join(single).symlink_metadata().is_ok_and(|meta| !meta.is_dir()) => {
                let (files, map) = (vec![single.into()], BTreeMap::new());
                return Ok(Some(Shards { container, files, index, map }));
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The shards that an index names, and which tensor is where.
fn listed(
    folder: &Path,
    path: &Path,
    text: &[u8],
) -> Result<(Vec<String>, BTreeMap<String, String>)> {
    #[derive(Deserialize)]
    struct Written {
        weight_map: BTreeMap<String, String>,
    }
    let Written { weight_map: map } = serde_json::from_slice(text)
        .map_err(|e| Error::input(format!("bad index: {}", printable(&e.to_string()))).at(path))?;
    let files: BTreeSet<&String> = map.values().collect();
    // A name is never a path.
    if let Some(bad) = files.iter().find(|name| !is_file_name(name)) {
        return Err(Error::input(format!("names a shard `{bad}`, which is no file name")).at(path));
    }
    if files.is_empty() {
        return Err(Error::input("names no shard").at(path));
    }
    let missing: Vec<_> = files.iter().filter(|name| !folder.join(name).exists()).collect();
    if let Some(first) = missing.first() {
        let (lost, all) = (missing.len(), files.len());
        return Err(Error::input(format!("shard `{first}` is missing ({lost} of {all} are)"))
            .at(folder)
            .remedy("download or copy the model again"));
    }
    Ok((files.into_iter().cloned().collect(), map))
}

/// Whether a name that stands in a file can be one of a file beside it.
pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

impl Shards {
    /// Fails if a tensor is not where the folder's index says.
    pub fn check(&self, checkpoint: &Checkpoint, index: &Index) -> Result<()> {
        let found: BTreeMap<&str, usize> = (0..index.tensors.len())
            .map(|i| (index.written_name(i), checkpoint.file_of(i)))
            .collect();
        for (name, file) in &self.map {
            let path = found.get(name.as_str()).map(|&i| checkpoint.files()[i].path());
            if path.and_then(|p| p.file_name()) != Some(file.as_ref()) {
                let index = self.index;
                return Err(Error::input(format!(
                    "{index} says it is in `{file}`, which has it not"
                ))
                .tensor(name)
                .at(checkpoint.path()));
            }
        }
        Ok(())
    }
}
