//! Which folders are models, and which of their files hold the weights.

use std::path::{Path, PathBuf};

use super::Kind;
use super::index::kind_of_index;
use crate::Result;
use crate::store::{self, names::base_name};

/// Where the weights of the model in a folder are.
#[derive(Debug)]
pub(crate) struct Model {
    /// The index of the shards, or the only file.
    pub path: PathBuf,
    pub is_index: bool,
    pub(super) kind: Kind,
}

/// Names that models have in folders without endings, in the order in which they are taken: Transformers, then
/// adapters (PEFT, Diffusers), components of pipelines (Diffusers), OpenCLIP, Mistral.
const STEMS: [(&str, Kind); 10] = [
    (MODEL, Kind::Safetensors),
    ("pytorch_model", Kind::Torch),
    ("adapter_model", Kind::Safetensors),
    ("adapter_model", Kind::Torch),
    ("pytorch_lora_weights", Kind::Safetensors),
    ("diffusion_pytorch_model", Kind::Safetensors),
    ("diffusion_pytorch_model", Kind::Torch),
    ("open_clip_model", Kind::Safetensors),
    ("open_clip_pytorch_model", Kind::Torch),
    ("consolidated", Kind::Safetensors),
];

/// What the tools call a model that has no other name.
const MODEL: &str = "model";

/// What the tools call the only file of a model.
pub(crate) fn single(stem: &str) -> String {
    format!("{stem}.safetensors")
}

/// What the tools call its index.
pub(crate) fn index(stem: &str) -> String {
    format!("{stem}.safetensors.index.json")
}

/// The model in a folder, if it is one's: told by its form. That is an index (JSON with a `weight_map`), or the only file
/// of weights beside a configuration; usual names need no configuration.
///
/// # Errors
/// `Io` where the folder cannot be read.
pub(crate) fn model(folder: &Path) -> Result<Option<Model>> {
    for (stem, kind) in STEMS {
        // Of both, Transformers loads the file: an index may be left from an earlier save, whose shards are gone.
        let ending = kind.endings()[0];
        for (name, is_index) in
            [(format!("{stem}.{ending}"), false), (format!("{stem}.{ending}.index.json"), true)]
        {
            let path = folder.join(name);
            if store::may_be_file(&path)? {
                return Ok(Some(Model { path, is_index, kind }));
            }
        }
    }
    by_form(folder)
}

/// The same where nothing has a usual name.
fn by_form(folder: &Path) -> Result<Option<Model>> {
    let (mut indices, mut others, mut weights, mut configured) = (vec![], vec![], vec![], false);
    for path in store::list(folder)? {
        let name = base_name(&path);
        let (stem, ending) = name.rsplit_once('.').unwrap_or((&name, ""));
        let kind = [Kind::Safetensors, Kind::Torch];
        let kind = kind.into_iter().find(|kind| kind.endings().contains(&ending));
        if name.starts_with('.') {
            continue;
        } else if ending == "json" {
            configured |= stem.ends_with("config") || stem == "params";
            if stem.contains("index") { &mut indices } else { &mut others }.push(path);
        } else if let Some(kind) = kind {
            weights.push((path, kind));
        }
    }
    if weights.is_empty() {
        return Ok(None);
    }
    indices.sort();
    others.sort();
    let sharded = weights.iter().any(|(path, _)| is_shard(&base_name(path)));
    for path in indices.into_iter().chain(others.into_iter().filter(|_| sharded)) {
        if let Some(kind) = kind_of_index(&path)? {
            return Ok(Some(Model { path, is_index: true, kind }));
        }
    }
    // A number is a snapshot's: the folder holds snapshots. That of a type (`model.fp16.safetensors`) is none.
    let is_model = |path: &Path| {
        let name = base_name(path).replace(".fp16.", ".").replace(".bf16.", ".");
        name.contains("model") && !name.contains(|c: char| c.is_ascii_digit())
    };
    Ok(match <[_; 1]>::try_from(weights) {
        Ok([(path, kind)]) if configured && is_model(&path) => {
            Some(Model { path, is_index: false, kind })
        }
        _ => None,
    })
}

/// Whether a file's name is that of a part of a model, as `model-00001-of-00002.safetensors`.
pub(crate) fn is_shard(name: &str) -> bool {
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let known = [Kind::Safetensors, Kind::Torch];
    let parts =
        stem.rsplit_once("-of-").and_then(|(rest, all)| Some((rest.rsplit_once('-')?.1, all)));
    known.iter().any(|kind| kind.endings().contains(&ending))
        && parts.is_some_and(|(number, all)| digits(number) && digits(all))
}

impl Model {
    /// What the tools call its files, without endings: as it does, but PyTorch's names become those of safetensors.
    pub fn stem(&self) -> String {
        let name = base_name(&self.path);
        let mut stem = name.as_str();
        if self.is_index {
            stem = stem.strip_suffix(".json").unwrap_or(stem);
            stem = stem.strip_suffix(".index").unwrap_or(stem);
        }
        let kinds = [Kind::Safetensors, Kind::Torch];
        for ending in kinds.iter().flat_map(|kind| kind.endings()) {
            stem = stem.strip_suffix(&format!(".{ending}")).unwrap_or(stem);
        }
        match stem {
            "pytorch_model" => MODEL.into(),
            "open_clip_pytorch_model" => "open_clip_model".into(),
            stem if self.is_index && !stem.contains("model") => MODEL.into(),
            stem => stem.into(),
        }
    }
}

/// What the tools call the files of a model like that in a folder.
pub(crate) fn stem(folder: &Path) -> String {
    let found = model(folder).ok().flatten();
    found.map_or_else(|| MODEL.into(), |model| model.stem())
}
