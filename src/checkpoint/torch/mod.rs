//! PyTorch's files: a pickle that describes, and storages that hold the values, mapped where they lie.
//!
//! Since PyTorch 1.6 a [`zip`](super::zip) file, [`legacy`] before; [`values`] finds the tensors in the
//! pickle.

mod legacy;
mod values;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use super::open::metadata;
use super::pickle::{Id, MAX_PICKLE, Pickle};
use super::tree::Node;
use super::zip::{Archive, Entry};
use super::{Dtype, Source};
use crate::{Error, METADATA_ENTRY, Result};
pub use values::View;
pub(super) use values::{dtype_called, dtype_named};

/// The magic number of a file before PyTorch 1.6, as an instruction of the pickle at its start.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether a file begins as those before PyTorch 1.6 do; protocol 4 has a frame before the number.
pub fn is_legacy(head: &[u8]) -> bool {
    head.first() == Some(&0x80)
        && [2, 11]
            .iter()
            .any(|&at| head.get(at..).is_some_and(|tail| tail.starts_with(LEGACY_MAGIC)))
}

/// Bytes of a file that hold one storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub bytes: Range<u64>,
    /// Where the CRC of these bytes stands, if the writer computed it: in the zip file's directory, and
    /// beside the bytes.
    pub crc: Option<[u64; 2]>,
}

/// What a file holds.
#[derive(Debug)]
pub struct Contents {
    pub pickle: Pickle,
    pub storages: HashMap<Box<str>, Storage>,
    /// Values have the other byte order.
    pub big_endian: bool,
    /// What these tools recorded, as compact JSON.
    pub metadata: Option<String>,
}

impl Contents {
    pub(super) fn tree(&self) -> Result<Rc<Node<View>>> {
        values::tree(&self.pickle)
    }

    /// A tensor by its number in the pickle.
    pub(super) fn tensor(&self, id: Id) -> Option<std::result::Result<View, String>> {
        values::tensor(&self.pickle, id)
    }

    pub fn storage(&self, view: &View) -> Result<&Storage> {
        let storage = self.storages.get(&view.storage);
        storage.ok_or_else(|| {
            Error::input(format!("its storage `{}` is missing", view.storage))
                .remedy("the file is damaged: save or copy it again")
        })
    }
}

/// The entries of a zip file of `torch.save` that are no storages.
struct Described<'a> {
    /// The folder that all are in.
    root: String,
    pickle: &'a Entry,
    byte_order: Option<&'a Entry>,
    metadata: Option<String>,
}

impl<'a> Described<'a> {
    fn read(source: &Source, archive: &'a Archive) -> Result<Self> {
        let root = root(archive)?;
        let entry = |name: &str| archive.get(&format!("{root}{name}"));
        let mut metadata = None;
        if let Some(entry) = entry(METADATA_ENTRY) {
            let (limit, mut scratch) = (super::MAX_HEADER as u64, vec![]);
            let bytes = archive.read_entry(source, entry, limit, &mut scratch)?;
            metadata = Some(String::from_utf8_lossy(bytes).into_owned());
        }
        let pickle = entry("data.pkl").expect("the root was found by it");
        let byte_order = entry("byteorder");
        Ok(Described { root, pickle, byte_order, metadata })
    }
}

/// Whether a file holds what another one holds at the same places, values aside: then the other's index is
/// its own. Its metadata are returned. Many trainers write nothing that differs but the values.
pub(super) fn like(
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
        if bytes != other.load(entry.stored()?, &mut scratch)? {
            return Ok(None);
        }
    }
    Ok(Some(metadata(described.metadata.as_deref())))
}

/// Reads a zip file as `torch.save` writes it.
pub(super) fn read_zip(source: &Source, archive: &Archive) -> Result<Contents> {
    let described = Described::read(source, archive)?;
    let mut scratch = vec![];
    let bytes = archive.read_entry(source, described.pickle, MAX_PICKLE as u64, &mut scratch)?;
    let pickle = Pickle::parse(bytes)?;
    let big_endian = match described.byte_order {
        None => false,
        Some(entry) => {
            let mut scratch = vec![];
            match archive.read_entry(source, entry, super::MAX_HEADER as u64, &mut scratch)? {
                b"little" => false,
                b"big" => true,
                other => {
                    let other = String::from_utf8_lossy(other);
                    return Err(Error::input(format!("byte order `{other}` is not known")));
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
            storages.insert(key.into(), Storage { bytes: entry.stored()?, crc });
        }
    }
    Ok(Contents { pickle, storages, big_endian, metadata })
}

/// The folder that all entries are in: the one with `data.pkl`.
fn root(archive: &Archive) -> Result<String> {
    let mut roots = archive.entries.iter().filter_map(|e| {
        let root = e.name.strip_suffix("data.pkl")?;
        (root.is_empty() || root.ends_with('/')).then_some(root)
    });
    let root = roots.next().ok_or_else(|| {
        let what = match archive.get("constants.pkl").is_some()
            || archive.entries.iter().any(|e| e.name.ends_with("/constants.pkl"))
        {
            true => "a TorchScript file without `data.pkl`",
            false => "a zip file without `data.pkl`: torch.save did not write it",
        };
        Error::input(what).remedy("save the state dict with torch.save or as safetensors")
    })?;
    if let Some(other) = roots.next() {
        return Err(Error::input(format!(
            "has two pickles, `{root}data.pkl` and `{other}data.pkl`: which is meant is unknown"
        )));
    }
    Ok(root.to_string())
}

/// Reads what `torch.save` wrote: a file, or a part of one.
pub fn read(source: &Source, within: Range<u64>) -> Result<Contents> {
    let mut scratch = vec![];
    let head = source.read(within.start..within.end.min(within.start + 64), &mut scratch)?;
    // Such a file is never a part of one.
    match is_legacy(head) && within == (0..source.size()) {
        true => legacy::read(source),
        false => read_zip(source, &Archive::read(source, within)?),
    }
}

/// Bytes a value of a type, which storages count in.
fn width(dtype: Dtype) -> u64 {
    (dtype.bitsize() / 8) as u64
}
