//! From a path to a checkpoint: which format it has, and what is shared with one that is like it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::{Container, Contents};
use super::folder::{self, Shards};
use super::headers::Headers;
use super::index::Index;
use super::sniff::{self, Format};
use super::torch::{self, View};
use super::tree::Node;
use super::weights::{self, Take, Taken};
use super::zip::{self, Archive};
use super::{Checkpoint, Source, TensorInfo, deepspeed, distributed, flax, hdf5, npz};
use crate::{Error, Result};

/// The files of a checkpoint.
struct Files {
    container: Container,
    files: Vec<Source>,
    /// What a folder says of them.
    shards: Option<Shards>,
    /// If they were read to be found.
    contents: Option<Contents>,
}

impl Files {
    fn find(path: &Path, take: &Take) -> Result<Self> {
        if !path.is_dir() {
            let file = Source::open(path)?;
            let container = container(&file)?;
            return Ok(Files { container, files: vec![file], shards: None, contents: None });
        }
        if let Some(shards) = folder::shards(path)? {
            let files = open_shards(path, &shards)?;
            let (container, shards) = (shards.container, Some(shards));
            return Ok(Files { container, files, shards, contents: None });
        }
        let (container, (files, contents)) = if let Some(folder) = distributed::folder(path) {
            (Container::Distributed, distributed::read(&folder, take)?)
        } else if let Some(folder) = deepspeed::folder(path)? {
            (Container::DeepSpeed, deepspeed::read(&folder)?)
        } else {
            return Err(Error::usage(
                "holds no model: no model.safetensors, pytorch_model.bin, index of either, .metadata \
                 or ZeRO states",
            )
            .at(path)
            .remedy("name a checkpoint file or a model's folder"));
        };
        Ok(Files { container, files, shards: None, contents: Some(contents) })
    }
}

fn open_shards(path: &Path, shards: &Shards) -> Result<Vec<Source>> {
    let paths: Vec<PathBuf> = shards.files.iter().map(|name| path.join(name)).collect();
    let files = paths.iter().map(|p| Source::open(p)).collect::<Result<Vec<_>>>()?;
    for file in &files {
        let found = container(file)?;
        let expected = shards.container == Container::SafetensorsShards;
        if expected != (found == Container::Safetensors) {
            let what = format!("is a {} file, which its name does not say", found.name());
            return Err(Error::input(what).at(file.path()));
        }
    }
    Ok(files)
}

fn container(file: &Source) -> Result<Container> {
    let at = |e: Error| e.at(file.path());
    let mut scratch = vec![];
    let head = file.read(0..file.size().min(sniff::HEAD), &mut scratch)?;
    Ok(match sniff::format(head).map_err(at)? {
        Format::Safetensors => Container::Safetensors,
        // PyTorch's own begin so, and their directories need not be read twice.
        Format::Zip if zip::first_name(head).is_some_and(|name| name.ends_with(b"data.pkl")) => {
            Container::Torch
        }
        Format::Zip => {
            let archive = Archive::read(file, 0..file.size()).map_err(at)?;
            match () {
                () if npz::is_one(&archive) => Container::Npz,
                () if archive.get(hdf5::IN_KERAS).is_some() => Container::Hdf5,
                () => Container::Torch,
            }
        }
        Format::TorchLegacy => Container::TorchLegacy,
        Format::Flax => Container::Flax,
        Format::Hdf5 => Container::Hdf5,
    })
}

/// Opens a checkpoint; what it has in common with `like` is shared.
pub(super) fn open(path: &Path, take: &Take, like: Option<&Checkpoint>) -> Result<Checkpoint> {
    let Files { container, files, shards, contents } = Files::find(path, take)?;
    let path = path.to_path_buf();
    let (mut headers, mut kept) = (None, None);
    let mut contents = match (contents, container) {
        (Some(contents), _) => contents,
        (None, Container::Safetensors | Container::SafetensorsShards) => {
            let mut own = Headers::find(&files)?;
            if let Some(like) = like
                && let Some(others) = &like.headers
                && own.are_those_of(&files, others, &like.files)?
            {
                return Ok(like.sharing(path, container, files, Some(own)));
            }
            let contents = own.read(&files)?;
            headers = Some(own);
            within(contents, take).map_err(|e| e.at(&path))?
        }
        (None, Container::Npz) => {
            let archive = Archive::read(&files[0], 0..files[0].size());
            let contents = archive.and_then(|archive| npz::read(&files[0], &archive));
            contents.and_then(|contents| within(contents, take)).map_err(|e| e.at(&path))?
        }
        (None, Container::Hdf5) => hdf5::read(&files[0], take).map_err(|e| e.at(&path))?,
        (None, Container::Flax) => flax::read(&files[0], take).map_err(|e| e.at(&path))?,
        (None, Container::Torch) => {
            let file = &files[0];
            let at = |e: Error| e.at(file.path());
            let archive = Archive::read(file, 0..file.size()).map_err(at)?;
            if let Some((like, others)) = like.and_then(|like| Some((like, like.archive.as_ref()?)))
                && let Some(metadata) =
                    torch::like(file, &archive, (&like.files[0], others)).map_err(at)?
            {
                let mut opened = like.sharing(path, container, files, None);
                if *opened.metadata != metadata {
                    opened.metadata = Arc::new(metadata);
                }
                return Ok(opened);
            }
            let mut contents = Contents::default();
            let read = torch::read_zip(file, &archive);
            read.and_then(|read| push_torch(&mut contents, 0, &read, take)).map_err(at)?;
            kept = like.is_none().then_some(archive);
            contents
        }
        (None, _) => {
            let mut contents = Contents::default();
            for (number, file) in files.iter().enumerate() {
                torch::read(file, 0..file.size())
                    .and_then(|read| push_torch(&mut contents, number as u32, &read, take))
                    .map_err(|e| e.at(file.path()))?;
            }
            contents
        }
    };
    check_size(&contents.tensors).map_err(|e| e.at(&path))?;
    // One storage may be that of many tensors.
    contents.rest.sort_by_key(|rest| (rest.file, rest.storage.bytes.start));
    contents.rest.dedup_by(|a, b| (a.file, &a.storage) == (b.file, &b.storage));
    let (tensors, places) =
        (std::mem::take(&mut contents.tensors), std::mem::take(&mut contents.places));
    let index = Index::new(tensors, places).map_err(|e| e.at(&path))?;
    let mut opened = Checkpoint {
        path,
        container,
        files,
        headers,
        archive: kept,
        index: Arc::new(index),
        places: None,
        gathers: Arc::new(contents.gathers),
        seals: Arc::new(contents.seals),
        rest: Arc::new(contents.rest),
        metadata: Arc::new(contents.metadata),
        taken: Arc::new(contents.taken),
    };
    if let Some(shards) = shards {
        shards.check(&opened, &opened.index)?;
    }
    if let Some(like) = like {
        opened.share(like);
    }
    Ok(opened)
}

/// Most bytes of all tensors: so much that sums over thousands of checkpoints can be counted. A view that
/// repeats one value can claim any number.
const MAX_BYTES: u64 = 1 << 50;

fn check_size(tensors: &[TensorInfo]) -> Result<()> {
    let mut left = MAX_BYTES;
    for tensor in tensors {
        left = left.checked_sub(tensor.size()).ok_or_else(|| {
            let what = format!("its tensors are too large: more than {MAX_BYTES} bytes");
            Error::limit(what).tensor(&tensor.name)
        })?;
    }
    Ok(())
}

impl Checkpoint {
    /// One with the same headers.
    fn sharing(
        &self,
        path: PathBuf,
        container: Container,
        files: Vec<Source>,
        headers: Option<Headers>,
    ) -> Self {
        Checkpoint {
            path,
            container,
            files,
            headers,
            archive: None,
            index: self.index.clone(),
            places: self.places.clone(),
            gathers: self.gathers.clone(),
            seals: self.seals.clone(),
            rest: self.rest.clone(),
            metadata: self.metadata.clone(),
            taken: self.taken.clone(),
        }
    }

    /// Holds what is equal once.
    fn share(&mut self, like: &Checkpoint) {
        fn one<T: PartialEq>(own: &mut Arc<T>, other: &Arc<T>) {
            if **own == **other {
                *own = other.clone();
            }
        }
        one(&mut self.gathers, &like.gathers);
        one(&mut self.seals, &like.seals);
        one(&mut self.rest, &like.rest);
        one(&mut self.metadata, &like.metadata);
        one(&mut self.taken, &like.taken);
        if let Some(places) = self.index.places_like(&like.index) {
            self.places = (places != like.index.places).then_some(places);
            self.index = like.index.clone();
        }
    }
}

/// The weights in files whose tensors have flat names: all, those below a key, or the averaged ones of two
/// sets side by side.
fn within(mut contents: Contents, take: &Take) -> Result<Contents> {
    let has = |prefix: &str| contents.tensors.iter().any(|t| t.name.starts_with(prefix));
    let found: Vec<(String, usize)> = match &take.key {
        Some(key) => {
            let prefix = format!("{key}.");
            let names = contents.tensors.iter().enumerate();
            let below = names.filter_map(|(i, t)| Some((t.name.strip_prefix(&prefix)?.into(), i)));
            let below: Vec<_> = below.collect();
            if below.is_empty() {
                return Err(Error::usage(format!("--weights-key {key}: no name begins so")));
            }
            contents.taken.key = key.clone();
            below
        }
        // Nothing to look for in most.
        None if !(take.ema || has("online_model.") && has("ema_model.")) => return Ok(contents),
        None => {
            let names = contents.tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i));
            let (found, taken) = weights::find(&flat(names), take)?;
            contents.taken = taken;
            found
        }
    };
    let places = found.iter().map(|(_, i)| contents.places[*i]).collect();
    let infos =
        found.into_iter().map(|(name, i)| TensorInfo { name, ..contents.tensors[i].clone() });
    contents.tensors = infos.collect();
    contents.places = places;
    Ok(contents)
}

/// Tensors side by side.
fn flat<T>(tensors: impl Iterator<Item = (String, T)>) -> std::rc::Rc<Node<T>> {
    let items = tensors.map(|(name, tensor)| (name.into(), Node::Tensor(tensor).into()));
    Node::Dict(items.collect()).into()
}

/// What a safetensors file of PyTorch tensors says of itself, which others look for.
pub(super) fn of_pytorch() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_string(), "pt".to_string())])
}

/// What these tools recorded in a file of torch.save, or what every such file says.
pub(super) fn metadata(recorded: Option<&str>) -> BTreeMap<String, String> {
    match recorded {
        Some(text) => serde_json::from_str(text).unwrap_or_default(),
        None => of_pytorch(),
    }
}

/// Adds what one file of torch.save holds.
fn push_torch(
    contents: &mut Contents,
    number: u32,
    read: &torch::Contents,
    take: &Take,
) -> Result<()> {
    let (views, taken): (Vec<(String, View)>, Taken) = weights::find(&read.tree()?, take)?;
    contents.push_views(number, read, views)?;
    if number == 0 {
        contents.taken = taken;
        contents.metadata = metadata(read.metadata.as_deref());
    }
    Ok(())
}
