//! Further models in the folder of a model.

use std::path::Path;

use super::folder::{is_shard, model};
use crate::Result;
use crate::store::{self, names::base_name};

/// Names of files in the folder of a model that look like further models, such as `model_1.safetensors`, which Accelerate
/// writes of a second one. The same weights in PyTorch's format, and shards, are none.
///
/// # Errors
/// `Io` where the folder cannot be read.
pub(crate) fn further_models(folder: &Path) -> Result<Vec<String>> {
    let Some(own) = model(folder)?.map(|model| base_name(&model.path)) else { return Ok(vec![]) };
    // Of PyTorch's files those that LLaVA writes beside an adapter, and Accelerate's.
    let is_further = |stem: &str| {
        let number = stem.strip_prefix("pytorch_model_");
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            || matches!(stem, "non_lora_trainables" | "mm_projector")
    };
    let mut names: Vec<String> = store::list(folder)?.iter().map(|path| base_name(path)).collect();
    names.retain(|name| {
        let is_model = match name.rsplit_once('.') {
            Some((_, "safetensors")) => !is_shard(name),
            Some((stem, "bin")) => is_further(stem),
            _ => false,
        };
        is_model && *name != own && !name.starts_with('.')
    });
    names.sort();
    Ok(names)
}

/// Names of folders in the folder of a model that hold further models, such as `2_Dense` of sentence-transformers.
/// Checkpoints of its own training are none.
///
/// # Errors
/// `Io` where a folder cannot be read.
pub(crate) fn further_folders(folder: &Path) -> Result<Vec<String>> {
    const CHECKPOINTS: [&str; 5] = ["checkpoint", "ckpt", "epoch", "global_step", "step"];
    let mut names = vec![];
    if model(folder)?.is_none() {
        return Ok(names);
    }
    for path in store::list(folder)? {
        let name = base_name(&path);
        let is_checkpoint = CHECKPOINTS.iter().any(|start| name.to_lowercase().starts_with(start));
        if !name.starts_with('.')
            && !is_checkpoint
            && store::is_folder(&path)?
            && model(&path)?.is_some()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
