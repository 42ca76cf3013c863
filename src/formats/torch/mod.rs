//! PyTorch's files: a pickle that describes the tensors, and storages with the values, read in place.
//!
//! Since PyTorch 1.6 they are [`zip`](super::zip) files; [`legacy`] reads older ones. [`values`] finds the tensors in
//! the pickle.

mod folder;
mod legacy;
mod values;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use super::format::{Candidate, Format, HEAD, Like, Read, Reader, Request, Template};
use super::pickle::written::Kept;
use super::pickle::{Id, MAX_PICKLE, Pickle, is_legacy};
use super::safetensors::Metadata;
use super::strangers;
use super::zip::{self, Archive, Entry};
use crate::store::Source;
use crate::tensors::MAX_HEADER;
use crate::tensors::TensorInfo;
use crate::tensors::contents::{Contents, Location, NO_CHECKSUM, Region, StoredChecksums};
use crate::tensors::view::{Located, Storage, View, dimensions, locate};
use crate::weights::tree::Node;
use crate::weights::{self, Take, Taken};
use crate::{Error, Kind, METADATA_ENTRY, Result};

pub(super) const FORMAT: Format = Format {
    name: "PyTorch zip",
    endings: &["pth", "pt", "ckpt", "tar", "bin", "pyth", "th"],
    reader: Reader::File { is_one: is_zip, read: read_one },
};

pub(super) const LEGACY: Format = Format {
    name: "PyTorch before 1.6",
    endings: &[],
    reader: Reader::File {
        is_one: |candidate| Ok(is_legacy(&candidate.head)),
        read: |candidate: Candidate, request| {
            read_all(std::slice::from_ref(candidate.file), request)
        },
    },
};

/// Whether it is a zip file with a pickle. In most that is the first entry, so the directory need not be read.
fn is_zip(candidate: &Candidate) -> Result<bool> {
    let is_pickle = |name: &[u8]| name.ends_with(b"data.pkl");
    if !candidate.is_zip() || zip::first_name(&candidate.head).is_some_and(is_pickle) {
        return Ok(candidate.is_zip());
    }
    Ok(candidate.archive()?.entries.iter().any(|entry| is_pickle(entry.name.as_bytes())))
}

/// Reads a zip file, unless it equals the checkpoint to compare with, values aside.
fn read_one(candidate: Candidate, request: &Request) -> Result<Read> {
    let file = candidate.file;
    let archive = candidate.into_archive()?;
    if let Some(Like { files, template: Template::Archive(others) }) = request.like
        && let Some(metadata) = like(file, &archive, (&files[0], others))?
    {
        return Ok(Read::Same { template: None, metadata: Some(metadata) });
    }
    let mut contents = Contents::default();
    let has_values = push(&mut contents, 0, file, &read_zip(file, &archive)?, request.take)?;
    // What another file has in their place is not known from its layout.
    let is_template = request.like.is_none() && !has_values;
    let template = is_template.then_some(Template::Archive(archive));
    Ok(Read::Contents { contents: Box::new(contents), template })
}

/// Reads all files of a checkpoint.
pub(super) fn read_all(files: &[Source], request: &Request) -> Result<Read> {
    let mut contents = Contents::default();
    for (number, file) in files.iter().enumerate() {
        read(file, 0..file.size())
            .and_then(|saved| push(&mut contents, number as u32, file, &saved, request.take))
            .map_err(|e| e.at(file.path()))?;
    }
    Ok(contents.into())
}

/// The metadata of a safetensors file with PyTorch tensors: other tools look for them.
pub(super) fn of_pytorch() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_string(), "pt".to_string())])
}

/// The metadata that these tools recorded in a PyTorch file, or else [`of_pytorch`].
fn metadata(recorded: Option<&str>) -> BTreeMap<String, String> {
    match recorded {
        Some(text) => serde_json::from_str(text).map_or_else(|_| BTreeMap::new(), |Metadata(m)| m),
        None => of_pytorch(),
    }
}

/// Adds the weights of one file. Whether there are values of tensors in what stands among them.
fn push(
    contents: &mut Contents,
    number: u32,
    file: &Source,
    saved: &Saved,
    take: &Take,
) -> Result<bool> {
    let (views, mut taken): (Vec<(String, View)>, Taken) = weights::find(&saved.tree()?, take)?;
    let has_values = saved.keep(file, &mut taken);
    push_views(contents, number, saved, views)?;
    if number > 0 {
        contents.taken.rest.extend(taken.rest);
    } else {
        contents.taken = taken;
        contents.metadata = metadata(saved.metadata.as_deref());
    }
    Ok(has_values)
}

/// Adds the tensors of a PyTorch file, views of its storages.
fn push_views(
    contents: &mut Contents,
    file: u32,
    saved: &Saved,
    tensors: Vec<(String, View)>,
) -> Result<()> {
    let mut crcs = vec![];
    let mut checked = HashSet::new();
    for (name, view) in tensors {
        let fail = |what: &str| Error::new(Kind::Damaged, what).tensor(&name);
        let storage = saved.storage(&view).map_err(|e| e.tensor(&name))?;
        let located =
            locate(&view, storage, file, saved.big_endian).map_err(|e| e.tensor(&name))?;
        let shape = dimensions(&view.shape).ok_or_else(|| fail("its shape is too large"))?;
        let info = TensorInfo { name, dtype: view.dtype, shape };
        let is_whole = matches!(located, Located::Contiguous { is_whole: true, .. });
        let checksum = match storage.crc {
            Some([place, _]) if is_whole => {
                crcs.push(place);
                (crcs.len() - 1) as u32
            }
            _ => NO_CHECKSUM,
        };
        if storage.crc.is_some() && !is_whole && checked.insert(view.storage.clone()) {
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
    }
    contents.checksums.push(if crcs.is_empty() {
        StoredChecksums::None
    } else {
        StoredChecksums::Crcs(crcs)
    });
    Ok(())
}

/// What one file holds.
#[derive(Debug)]
pub struct Saved {
    pub pickle: Pickle,
    /// Those of the pickle, where it has bytes that are not text.
    pub bytes: Vec<u8>,
    pub storages: HashMap<Box<str>, Storage>,
    /// Whether the values are big-endian.
    pub big_endian: bool,
    /// What these tools recorded, as compact JSON.
    pub metadata: Option<String>,
}

/// Most values beside tensors that are kept: modules have one each.
const MAX_KEPT: usize = 4096;

/// Most steps that finding one of them may take, all together.
const MAX_STEPS: usize = 1 << 22;

impl Saved {
    /// Adds what an output needs to hold what is no tensor. Whether values of tensors are in it.
    fn keep(&self, file: &Source, taken: &mut Taken) -> bool {
        let pickle = &self.pickle;
        let mut steps = 0;
        let mut below = |dict: Id, key: &str| {
            // The longest key that fits, as keys may have dots.
            let mut rest = Some(dict);
            let mut key = key;
            while let (Some(dict), false) = (rest, key.is_empty()) {
                let items = pickle.items(dict)?;
                steps += items.len();
                if steps > MAX_STEPS {
                    return None;
                }
                let leads = |name: &&str| {
                    key.strip_prefix(name).is_some_and(|t| t.is_empty() || t.starts_with('.'))
                };
                let names = items.iter().filter_map(|(name, _)| pickle.text(*name)).filter(leads);
                let name = names.max_by_key(|name| name.len())?;
                rest = pickle.get(dict, name);
                key = key[name.len()..].strip_prefix('.').unwrap_or_default();
            }
            rest
        };
        let Some(weights) = below(pickle.root(), &taken.key) else { return false };
        let mut has_values = false;
        let mut tensors = |id: Id| {
            let view = self.tensor(id)?;
            has_values = true;
            Some(view.ok().and_then(|view| self.kept(file, &view)?.written()))
        };
        for rest in taken.rest.iter_mut().take(MAX_KEPT) {
            let found = below(weights, &rest.name);
            rest.pickle = found.and_then(|id| pickle.written(id, &self.bytes, &mut tensors));
        }
        has_values
    }

    /// A small tensor with its bytes.
    fn kept(&self, file: &Source, view: &View) -> Option<Kept> {
        let storage = self.storage(view).ok()?;
        let located = locate(view, storage, 0, self.big_endian).ok()?;
        let Located::Contiguous { start, .. } = located else { return None };
        let shape = dimensions(&view.shape)?;
        let info = TensorInfo { name: String::new(), dtype: view.dtype, shape };
        let mut scratch = vec![];
        let size = Some(info.size()).filter(|&size| size <= MAX_HEADER as u64)?;
        let bytes = file.read(start..start + size, &mut scratch).ok()?.to_vec();
        Some(Kept { dtype: info.dtype, shape: info.shape, bytes })
    }

    pub(crate) fn tree(&self) -> Result<Rc<Node<View>>> {
        values::tree(&self.pickle)
    }

    /// The tensor that a value of the pickle describes; None if it describes none, `Err` if one that cannot be read.
    pub(super) fn tensor(&self, id: Id) -> Option<std::result::Result<View, String>> {
        values::tensor(&self.pickle, id)
    }

    pub fn storage(&self, view: &View) -> Result<&Storage> {
        let storage = self.storages.get(&view.storage);
        storage.ok_or_else(|| {
            Error::new(Kind::Damaged, format!("its storage `{}` is missing", view.storage))
                .remedy("the file is damaged: save or copy it again")
        })
    }
}

/// The entries of a PyTorch file other than storages.
struct Described<'a> {
    /// The folder that all entries are in, with its slash.
    root: String,
    pickle: &'a Entry,
    byte_order: Option<&'a Entry>,
    metadata: Option<String>,
}

impl<'a> Described<'a> {
    fn read(source: &Source, archive: &'a Archive) -> Result<Self> {
        let root = folder::root(archive)?;
        let entry = |name: &str| archive.get(&format!("{root}{name}"));
        let mut metadata = None;
        if let Some(entry) = entry(METADATA_ENTRY) {
            let (limit, mut scratch) = (MAX_HEADER as u64, vec![]);
            let bytes = archive.read_entry(source, entry, limit, &mut scratch)?;
            metadata = Some(String::from_utf8_lossy(bytes).into_owned());
        }
        let pickle = entry("data.pkl").expect("the root was found by it");
        check_growth(pickle)?;
        let byte_order = entry("byteorder");
        Ok(Described { root, pickle, byte_order, metadata })
    }
}

/// The metadata of a file that equals another one, values aside: it can share the other's index. None if it differs.
/// The files of one run usually differ in nothing but values.
fn like(
    source: &Source,
    archive: &Archive,
    (other, others): (&Source, &Archive),
) -> Result<Option<BTreeMap<String, String>>> {
    if !archive.is_laid_out_as(others) {
        return Ok(None);
    }
    let described = Described::read(source, archive)?;
    let (mut own, mut scratch) = (vec![], vec![]);
    for entry in described.byte_order.into_iter().chain([described.pickle]) {
        let bytes = archive.read_entry(source, entry, MAX_PICKLE as u64, &mut own)?;
        if bytes != other.load(entry.values(other)?, &mut scratch)? {
            return Ok(None);
        }
    }
    Ok(Some(metadata(described.metadata.as_deref())))
}

/// Fails if a compressed pickle becomes much larger than real ones do, which is seven times: what it takes to read it would not
/// be bounded by the file's size.
fn check_growth(pickle: &Entry) -> Result<()> {
    const MOST: u64 = 32;
    const ALWAYS: u64 = 1 << 20;
    match pickle.growth() {
        Some((packed, bytes)) if bytes > ALWAYS.max(packed.saturating_mul(MOST)) => {
            let what = format!(
                "its pickle grows from {packed} to {bytes} bytes, the limit is {MOST} times"
            );
            Err(Error::limit(what).remedy("save it again with torch.save, which does not compress"))
        }
        _ => Ok(()),
    }
}

/// Reads a zip file as `torch.save` writes it.
fn read_zip(source: &Source, archive: &Archive) -> Result<Saved> {
    folder::check_case(archive)?;
    let described = Described::read(source, archive)?;
    let mut scratch = vec![];
    let bytes = archive.read_entry(source, described.pickle, MAX_PICKLE as u64, &mut scratch)?;
    let pickle = Pickle::parse(bytes)?;
    let big_endian = match described.byte_order {
        None => false,
        Some(entry) => {
            let mut scratch = vec![];
            match archive.read_entry(source, entry, MAX_HEADER as u64, &mut scratch)? {
                b"little" => false,
                b"big" => true,
                other => {
                    let other = String::from_utf8_lossy(other);
                    return Err(Error::new(
                        Kind::Unsupported,
                        format!("byte order `{other}` is not known"),
                    ));
                }
            }
        }
    };
    let Described { root, metadata, .. } = described;
    let mut storages = HashMap::new();
    let data = format!("{root}data/");
    for entry in &archive.entries {
        if let Some(key) = entry.name.strip_prefix(&data) {
            let crc = (entry.crc != 0).then_some(entry.crc_places);
            storages.insert(key.into(), Storage { bytes: entry.values(source)?, crc });
        }
    }
    Ok(Saved { bytes: pickle.raw(bytes), pickle, storages, big_endian, metadata })
}

/// Reads what `torch.save` wrote: a file, or a part of one.
pub fn read(source: &Source, within: Range<u64>) -> Result<Saved> {
    let mut scratch = vec![];
    let head = source.read(within.start..within.end.min(within.start + HEAD), &mut scratch)?;
    if within.start == 0 {
        strangers::refuse_tar(head)?;
    }
    // A legacy file is never part of another.
    match is_legacy(head) && within == (0..source.size()) {
        true => legacy::read(source),
        false => read_zip(source, &Archive::read(source, within)?),
    }
}
