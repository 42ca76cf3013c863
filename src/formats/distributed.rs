//! torch.distributed.checkpoint, as torchtitan, OLMo, FSDP and accelerate write it: a folder with `.metadata`, a
//! pickle that lists the tensors, their chunks, and where in the `.distcp` files each chunk is. A chunk is itself
//! what `torch.save` writes.
//!
//! Source: `torch/distributed/checkpoint/metadata.py` and `filesystem.py` of PyTorch 2.11.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::format::{Format, Reader, Request};
use super::pickle::{Id, MAX_PICKLE, Pickle};
use super::torch::{self, of_pytorch};
use crate::store::names::is_file_name;
use crate::store::{self, Source};
use crate::tensors::contents::{Contents, Location, NO_CHECKSUM, Region, StoredChecksums};
use crate::tensors::dtype::dtype_named;
use crate::tensors::gather::{Gather, Slab};
use crate::tensors::view::{Located, dimensions, locate};
use crate::tensors::{Dtype, TensorInfo};
use crate::weights::tree::Node;
use crate::weights::{self, Take};
use crate::{Error, Kind, Result};

pub(super) const FORMAT: Format = Format {
    name: "torch.distributed.checkpoint",
    endings: &[],
    reader: Reader::Folder {
        marker,
        open: |path, request: &Request| {
            let Some(folder) = folder(path)? else { return Ok(None) };
            let (files, contents) = read(&folder, request.take)?;
            Ok(Some((files, contents.into())))
        },
    },
};

/// Name of the file that says which tensors there are, and where.
pub(crate) const METADATA: &str = ".metadata";

/// Accelerate's name for a folder that holds one.
const ACCELERATE: &str = "pytorch_model_fsdp_0";

/// Most chunks of all tensors: a thousand processes with ten thousand tensors.
const MAX_CHUNKS: usize = 10_000_000;

/// Longest name of a tensor, key or file, in bytes.
const MAX_NAME: usize = 1000;

/// Most pairs of one tensor's chunks that are compared.
const MAX_PAIRS: usize = 100_000_000;

/// The file that makes a folder one of these. Accelerate keeps it one folder deeper.
fn marker(path: &Path) -> Result<Option<PathBuf>> {
    let (own, inner) = (path.join(METADATA), path.join(ACCELERATE).join(METADATA));
    match store::may_be_file(&own)? {
        true => Ok(Some(own)),
        false => Ok(store::is_file(&inner)?.then_some(inner)),
    }
}

/// The folder of the checkpoint, if there is one here.
pub(crate) fn folder(path: &Path) -> Result<Option<PathBuf>> {
    for folder in [path.to_path_buf(), path.join(ACCELERATE)] {
        if store::is_file(&folder.join(METADATA))? {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// A box of a tensor's values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Chunk {
    at: Vec<u64>,
    size: Vec<u64>,
}

#[derive(Debug)]
struct Tensor {
    name: String,
    dtype: Option<Dtype>,
    shape: Vec<u64>,
    chunks: Vec<Chunk>,
}

/// Where a chunk is stored.
#[derive(Debug, Clone)]
struct Stored {
    file: String,
    start: u64,
    length: u64,
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("bad {METADATA}: {what}"))
        .remedy("save or copy the checkpoint again")
}

fn read(folder: &Path, take: &Take) -> Result<(Vec<Source>, Contents)> {
    let source = Source::open(&folder.join(METADATA))?;
    let mut scratch = vec![];
    let bytes = source.read(0..source.size().min(MAX_PICKLE as u64 + 1), &mut scratch)?;
    let at = |e: Error| e.at(source.path());
    let pickle = Pickle::parse(bytes).map_err(at)?;
    let described = tensors(&pickle).map_err(at)?;
    let stored = storages(&pickle).map_err(at)?;
    let tree = tree(&pickle, &described).map_err(at)?;
    let (found, taken) = weights::find(&tree, take).map_err(|e| e.at(folder))?;
    let mut contents = Contents { taken, metadata: of_pytorch(), ..Contents::default() };
    let (sources, numbers) = (vec![source], BTreeMap::new());
    let mut files = Files { folder, sources, numbers, crcs: vec![vec![]], left: vec![0] };
    for (name, number) in found {
        let tensor = &described[number];
        let at = |e: Error| e.tensor(&name).at(folder);
        files.push(&mut contents, tensor, name.clone(), &stored).map_err(at)?;
    }
    contents.checksums = (files.crcs.into_iter())
        .map(
            |crcs| {
                if crcs.is_empty() { StoredChecksums::None } else { StoredChecksums::Crcs(crcs) }
            },
        )
        .collect();
    Ok((files.sources, contents))
}

/// Where the chunks of tensors are in the folder of a checkpoint: for each the file's name, and its bytes there, which
/// are what `torch.save` writes.
pub(crate) fn chunks(folder: &Path) -> Result<Vec<(String, Range<u64>)>> {
    let source = Source::open(&folder.join(METADATA))?;
    let mut scratch = vec![];
    let bytes = source.read(0..source.size().min(MAX_PICKLE as u64 + 1), &mut scratch)?;
    let at = |e: Error| e.at(source.path());
    let stored = storages(&Pickle::parse(bytes).map_err(at)?).map_err(at)?;
    let places = stored.into_values();
    let end = |stored: &Stored| stored.start.saturating_add(stored.length);
    Ok(places.map(|stored| (stored.file.clone(), stored.start..end(&stored))).collect())
}

/// The tensors, in the order of the pickle.
fn tensors(pickle: &Pickle) -> Result<Vec<Tensor>> {
    let root = pickle.root();
    let all = pickle.field(root, "state_dict_metadata").and_then(|dict| pickle.items(dict));
    let all = all.ok_or_else(|| bad("no `state_dict_metadata`"))?;
    let (mut tensors, mut count) = (vec![], 0);
    for &(name, value) in all {
        let name =
            text(pickle, name).ok_or_else(|| bad("a name that is not a string, or too long"))?;
        let Some(chunks) = pickle.field(value, "chunks").and_then(|id| pickle.elements(id)) else {
            continue; // bytes: no tensor
        };
        let read = || {
            let shape = pickle.sizes(pickle.field(value, "size")?)?;
            let properties = pickle.field(value, "properties")?;
            let dtype = dtype(pickle, properties)?;
            let chunks = chunks.iter().map(|&chunk| {
                let at = pickle.sizes(pickle.field(chunk, "offsets")?)?;
                let size = pickle.sizes(pickle.field(chunk, "sizes")?)?;
                Some(Chunk { at, size })
            });
            Some((shape, dtype, chunks.collect::<Option<Vec<_>>>()?))
        };
        count += chunks.len();
        // A hostile pickle may share one list of chunks among thousands of tensors; real lists each take bytes.
        let most = MAX_CHUNKS.min(pickle.length);
        if count > most {
            return Err(Error::limit(format!("{METADATA} lists more than {most} chunks")));
        }
        let (shape, dtype, chunks) = read().ok_or_else(|| bad("broken").tensor(name))?;
        tensors.push(Tensor { name: name.into(), dtype: dtype_named(dtype), shape, chunks });
    }
    Ok(tensors)
}

/// `TensorProperties` gives its state as a tuple that begins with the dtype; older ones as a dict.
fn dtype(pickle: &Pickle, properties: Id) -> Option<&str> {
    let own = pickle.field(properties, "dtype");
    let first = || pickle.elements(pickle.state(properties)?)?.first().copied();
    pickle.global(own.or_else(first)?)
}

/// A name, if it is not far too long: one may stand in thousands of places.
fn text(pickle: &Pickle, id: Id) -> Option<&str> {
    pickle.text(id).filter(|text| text.len() <= MAX_NAME)
}

type Storages = HashMap<(String, Vec<u64>), Stored>;

/// Where each chunk is stored, by the tensor's name and the index of the chunk's first value.
fn storages(pickle: &Pickle) -> Result<Storages> {
    let all = pickle.field(pickle.root(), "storage_data").and_then(|dict| pickle.items(dict));
    let all = all.ok_or_else(|| bad("no `storage_data`"))?;
    let mut storages = HashMap::new();
    for &(index, info) in all {
        let read = || {
            let name = text(pickle, pickle.field(index, "fqn")?)?.to_string();
            let file = text(pickle, pickle.field(info, "relative_path")?)?.to_string();
            let start = pickle.size(pickle.field(info, "offset")?)?;
            let length = pickle.size(pickle.field(info, "length")?)?;
            Some((name, Stored { file, start, length }))
        };
        let (name, stored) = read().ok_or_else(|| bad("a broken entry of `storage_data`"))?;
        // Only chunks of tensors have offsets; bytes have none.
        let Some(at) = pickle.field(index, "offset").and_then(|id| pickle.sizes(id)) else {
            continue;
        };
        let transforms = pickle.field(info, "transform_descriptors");
        if transforms.and_then(|id| pickle.elements(id)).is_some_and(|list| !list.is_empty()) {
            return Err(Error::new(
                Kind::Unsupported,
                "is stored compressed or otherwise transformed",
            )
            .tensor(&name)
            .remedy("save it without stream transforms"));
        }
        storages.insert((name, at), stored);
    }
    Ok(storages)
}

/// A name with dots is a path of keys. The writer's planner records where one key ends and the next begins.
fn tree(pickle: &Pickle, tensors: &[Tensor]) -> Result<Rc<Node<usize>>> {
    #[derive(Default)]
    struct Dict(Vec<(String, usize)>, BTreeMap<String, Dict>);
    fn node(dict: Dict, tensors: &[Tensor]) -> Node<usize> {
        let leaves = dict.0.into_iter().map(|(key, i)| {
            let node = match tensors[i].dtype {
                Some(_) => Node::Tensor(i),
                None => Node::Unreadable("of a type that safetensors lacks".into()),
            };
            (key.into(), Rc::new(node))
        });
        let below =
            dict.1.into_iter().map(|(key, dict)| (key.into(), Rc::new(node(dict, tensors))));
        Node::Dict(leaves.chain(below).collect())
    }
    let planned = pickle.field(pickle.root(), "planner_data");
    let items = planned.and_then(|id| pickle.items(id)).unwrap_or_default();
    let paths: HashMap<&str, Id> =
        items.iter().filter_map(|&(key, path)| Some((pickle.text(key)?, path))).collect();
    let mut root = Dict::default();
    for (number, tensor) in tensors.iter().enumerate() {
        let key = |&id: &Id| match pickle.text(id) {
            Some(text) => text.to_string(),
            None => pickle.describe(id),
        };
        let path = paths.get(tensor.name.as_str()).and_then(|&path| pickle.elements(path));
        let length = |id: &Id| pickle.text(*id).map_or(1, str::len);
        if path.is_some_and(|path| path.iter().map(length).sum::<usize>() > MAX_NAME) {
            return Err(Error::limit("its path is too long").tensor(&tensor.name));
        }
        let path = match path {
            Some(path) => path.iter().map(key).collect(),
            None => vec![tensor.name.clone()],
        };
        let (last, dicts) = path.split_last().ok_or_else(|| bad("an empty path"))?;
        let dict = dicts.iter().fold(&mut root, |dict, key| dict.1.entry(key.clone()).or_default());
        dict.0.push((last.clone(), number));
    }
    Ok(Rc::new(node(root, tensors)))
}

/// The files that hold chunks, opened when a chunk first needs them.
struct Files<'a> {
    folder: &'a Path,
    sources: Vec<Source>,
    numbers: BTreeMap<String, u32>,
    /// Offsets of CRCs, by file.
    crcs: Vec<Vec<u64>>,
    /// Bytes that belong to no chunk yet, by file: no byte may belong to two.
    left: Vec<u64>,
}

impl Files<'_> {
    fn number(&mut self, name: &str) -> Result<u32> {
        if let Some(&number) = self.numbers.get(name) {
            return Ok(number);
        }
        // A name is never a path.
        if !is_file_name(name) {
            return Err(bad(format!("`{name}` is not a file name")));
        }
        let path = self.folder.join(name);
        if !store::exists(&path)? {
            return Err(Error::new(Kind::Truncated, format!("`{name}` is missing"))
                .remedy("copy the checkpoint again, all files of all processes"));
        }
        let number = self.sources.len() as u32;
        self.sources.push(Source::open(&path)?);
        self.crcs.push(vec![]);
        self.left.push(self.sources[number as usize].size());
        self.numbers.insert(name.to_string(), number);
        Ok(number)
    }

    fn push(
        &mut self,
        contents: &mut Contents,
        tensor: &Tensor,
        name: String,
        stored: &Storages,
    ) -> Result<()> {
        let dtype = tensor.dtype.expect("others are not found");
        let width = (dtype.bitsize() / 8) as u64;
        let too_large =
            || Error::new(Kind::Damaged, format!("shape {:?} is too large", tensor.shape));
        let shape = dimensions(&tensor.shape).ok_or_else(too_large)?;
        let info = TensorInfo { name, dtype, shape };
        check_cover(tensor).map_err(bad)?;
        let mut slabs = vec![];
        for chunk in &tensor.chunks {
            if chunk.size.contains(&0) {
                continue;
            }
            let key = (tensor.name.clone(), chunk.at.clone());
            let place = stored.get(&key).ok_or_else(|| bad("a chunk that is stored nowhere"))?;
            let file = self.number(&place.file)?;
            let source = &self.sources[file as usize];
            let end = place.start.checked_add(place.length).filter(|&end| end <= source.size());
            let end = end.ok_or_else(|| {
                Error::new(
                    Kind::Truncated,
                    format!("`{}` ends before its chunk does: truncated?", place.file),
                )
                .remedy("copy it again")
            })?;
            let left = &mut self.left[file as usize];
            *left = left.checked_sub(place.length).ok_or_else(|| {
                bad(format!("the chunks in `{}` have more bytes than it has", place.file))
            })?;
            let inner = torch::read(source, place.start..end)?;
            let view = inner.tensor(inner.pickle.root());
            let view = view.ok_or_else(|| bad("a chunk that is not a tensor"))?;
            let view =
                view.map_err(|why| Error::new(Kind::Unsupported, format!("a chunk is {why}")))?;
            if view.shape != chunk.size || view.dtype != dtype {
                return Err(bad(format!(
                    "a chunk of {:?} {:?} is stored as {:?} {:?}",
                    dtype, chunk.size, view.dtype, view.shape
                )));
            }
            let storage = inner.storage(&view)?;
            let located = locate(&view, storage, file, inner.big_endian)?;
            let is_whole = matches!(located, Located::Contiguous { is_whole: true, .. });
            if chunk.size == tensor.shape {
                let checksum = match storage.crc {
                    Some([place, _]) if is_whole => {
                        self.crcs[file as usize].push(place);
                        (self.crcs[file as usize].len() - 1) as u32
                    }
                    _ => NO_CHECKSUM,
                };
                if storage.crc.is_some() && !is_whole {
                    let (storage, name) = (storage.clone(), info.name.clone());
                    contents.regions.push(Region { file, storage, name });
                }
                match located {
                    Located::Contiguous { start, .. } => {
                        contents.locations.push(Location::Contiguous { file, checksum, start });
                        contents.tensors.push(info);
                    }
                    Located::Gathered(gather) => contents.push_gathered(info, gather),
                }
                return Ok(());
            }
            if storage.crc.is_some() {
                let (storage, name) = (storage.clone(), info.name.clone());
                contents.regions.push(Region { file, storage, name });
            }
            if inner.big_endian {
                return Err(Error::new(Kind::Unsupported, "its chunks are big-endian"));
            }
            let start = storage.bytes.start + view.offset * width;
            // The stride of a dimension of size 1 means nothing.
            let strides = view.strides.iter().zip(&view.shape);
            let strides =
                strides.map(|(stride, &n)| if n == 1 { 0 } else { stride * width }).collect();
            let (at, size) = (chunk.at.clone(), chunk.size.clone());
            slabs.push(Slab { file, start, at, size, strides });
        }
        let gather = Gather { shape: tensor.shape.clone(), width: width as usize, swap: 1, slabs };
        contents.push_gathered(info, gather.flattened());
        Ok(())
    }
}

/// Fails unless the chunks cover each value of the tensor exactly once.
fn check_cover(tensor: &Tensor) -> std::result::Result<(), String> {
    let rank = tensor.shape.len();
    let volume = |sizes: &[u64]| sizes.iter().try_fold(1u64, |p, &n| p.checked_mul(n));
    let mut sum = 0u64;
    for chunk in &tensor.chunks {
        let inside = chunk.at.len() == rank
            && chunk.size.len() == rank
            && (0..rank).all(|d| {
                chunk.at[d].checked_add(chunk.size[d]).is_some_and(|end| end <= tensor.shape[d])
            });
        if !inside {
            return Err("a chunk reaches beyond its tensor".into());
        }
        sum = sum.saturating_add(volume(&chunk.size).ok_or("a chunk is too large to count")?);
    }
    if volume(&tensor.shape) != Some(sum) {
        return Err(format!("its chunks have {sum} values, its shape is {:?}", tensor.shape));
    }
    // Sorted along the dimension with the most cuts, only neighbours can overlap.
    let mut chunks: Vec<&Chunk> = tensor.chunks.iter().filter(|c| !c.size.contains(&0)).collect();
    let cuts = |&d: &usize| chunks.iter().map(|c| c.at[d]).collect::<HashSet<_>>().len();
    let most = (0..rank.min(8)).max_by_key(cuts);
    chunks.sort_by_key(|chunk| most.map(|d| chunk.at[d]));
    let mut pairs = 0;
    for (i, a) in chunks.iter().enumerate() {
        let is_near = |b: &&&Chunk| most.is_none_or(|d| b.at[d] < a.at[d] + a.size[d]);
        for b in chunks[i + 1..].iter().take_while(is_near) {
            pairs += 1;
            if pairs > MAX_PAIRS {
                return Err("it is cut into chunks in too many ways".into());
            }
            let meet =
                (0..rank).all(|d| a.at[d] < b.at[d] + b.size[d] && b.at[d] < a.at[d] + a.size[d]);
            if meet {
                return Err("two of its chunks overlap".into());
            }
        }
    }
    Ok(())
}
