//! A folder with a model, as Hugging Face's libraries and others write it: a file of weights with its configuration, or
//! shards and an index, whose `weight_map` says which file holds which tensor.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::format::{Candidate, Format, Opened, Read, Reader, Request};
use super::{Container, recognise, safetensors, torch, unpacked};
use crate::Kind::{Damaged, Truncated};
use crate::store::names::{base_name, is_file_name};
use crate::store::{self, Source};
use crate::tensors::MAX_HEADER;
use crate::tensors::contents::{Contents, Location};
use crate::text::printable;
use crate::{Error, Result};

pub(super) const SAFETENSORS_FORMAT: Format = Format {
    name: "safetensors, in a folder",
    endings: &[],
    reader: Reader::Folder {
        marker: |folder| marker(folder, Kind::Safetensors),
        open: |folder, request| open(folder, Kind::Safetensors, request),
    },
};

pub(super) const TORCH_FORMAT: Format = Format {
    name: "PyTorch zip, in a folder",
    endings: &[],
    reader: Reader::Folder {
        marker: |folder| marker(folder, Kind::Torch),
        open: |folder, request| open(folder, Kind::Torch, request),
    },
};

/// How the files of a model hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Safetensors,
    Torch,
}

impl Kind {
    /// How their names end.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Kind::Safetensors => &["safetensors"],
            Kind::Torch => &["bin", "pth", "pt"],
        }
    }

    fn read(self, files: &[Source], request: &Request) -> Result<Read> {
        match self {
            Kind::Safetensors => safetensors::read(files, request),
            Kind::Torch => torch::read_all(files, request),
        }
    }
}

/// Where the weights of the model in a folder are.
#[derive(Debug)]
pub(crate) struct Model {
    /// The index of the shards, or the only file.
    pub path: PathBuf,
    pub is_index: bool,
    kind: Kind,
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

/// Largest file that is searched for an index if nothing about its name says that it is one.
const MAX_SEARCHED: u64 = 1 << 24;

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

/// What an index names, if it is one that can be read.
fn kind_of_index(path: &Path) -> Result<Option<Kind>> {
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

/// The file that makes a folder a model of this kind.
fn marker(folder: &Path, kind: Kind) -> Result<Option<PathBuf>> {
    Ok(model(folder)?.filter(|model| model.kind == kind).map(|model| model.path))
}

/// What a folder says of its files.
struct Shards {
    /// Names, sorted.
    files: Vec<String>,
    /// Tensor → file.
    map: BTreeMap<String, String>,
}

fn open(folder: &Path, kind: Kind, request: &Request) -> Result<Option<Opened>> {
    let Some(model) = model(folder)?.filter(|model| model.kind == kind) else { return Ok(None) };
    let shards = shards(folder, &model)?;
    let open = |name: &String| {
        let path = folder.join(name);
        let (file, head, archive) = unpacked(Source::open(&path)?).map_err(|e| e.at(&path))?;
        let found = recognise(&Candidate::new(&file, head, archive)).map_err(|e| e.at(&path))?.0;
        if (kind == Kind::Safetensors) != (found == Container::Safetensors) {
            let what = format!("is a {} file, despite its name", found.name());
            return Err(Error::new(crate::Kind::Mismatch, what).at(file.path()));
        }
        Ok(file)
    };
    // Several at a time: on file systems across a network each takes a while.
    let files: Vec<Result<Source>> = shards.files.par_iter().map(open).collect();
    let files = files.into_iter().collect::<Result<Vec<_>>>()?;
    let read = kind.read(&files, request)?;
    if let Read::Contents { contents, .. } = &read {
        shards.check(contents, &files, &base_name(&model.path))?;
    }
    Ok(Some((files, read)))
}

/// The files of a model. Fails if one of them is missing.
fn shards(folder: &Path, model: &Model) -> Result<Shards> {
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
                return Err(Error::new(crate::Kind::Mismatch, what).tensor(name));
            }
        }
        Ok(())
    }
}
