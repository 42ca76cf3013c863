//! Files from before PyTorch 1.6 (`_use_new_zipfile_serialization=False`): four pickles in a row, for a magic number,
//! the protocol, the writer's system and the value; then one with the keys of the storages, and for each storage, in
//! that order, the number of its values and the values.
//!
//! Source: `_legacy_save` in `torch/serialization.py`.

use std::collections::HashMap;

use super::super::pickle::{Id, MAX_PICKLE, Pickle, Value};
use super::Saved;
use super::values::stored_type;
use crate::store::Source;
use crate::tensors::view::Storage;
use crate::{Error, Kind, Result};

const PROTOCOL: i64 = 1001;

fn bad(what: &str) -> Error {
    Error::new(Kind::Damaged, format!("bad PyTorch file (before 1.6): {what}"))
        .remedy("save it again with torch 1.6 or later")
}

fn truncated() -> Error {
    let what = "bad PyTorch file (before 1.6): it ends before its storages do: truncated?";
    Error::new(Kind::Truncated, what).remedy("save or copy the file again")
}

/// Reads pickles in a row.
struct Pickles<'a> {
    source: &'a Source,
    at: u64,
    scratch: Vec<u8>,
}

impl Pickles<'_> {
    fn next(&mut self) -> Result<Pickle> {
        self.next_with_bytes().map(|(pickle, _)| pickle)
    }

    /// With its bytes, where some of its values are bytes.
    fn next_with_bytes(&mut self) -> Result<(Pickle, Vec<u8>)> {
        let end = self.source.size().min(self.at + MAX_PICKLE as u64);
        let bytes = self.source.read(self.at..end, &mut self.scratch)?;
        let pickle = Pickle::parse(bytes)?;
        let bytes = pickle.raw(bytes);
        self.at += pickle.length as u64;
        Ok((pickle, bytes))
    }
}

pub fn read(source: &Source) -> Result<Saved> {
    let mut pickles = Pickles { source, at: 0, scratch: vec![] };
    pickles.next()?; // the magic number, by which the file was recognised
    let protocol = pickles.next()?;
    if protocol.int(protocol.root()) != Some(PROTOCOL) {
        return Err(bad("another protocol than 1001"));
    }
    pickles.next()?; // the writer's system: storages are little-endian on all of them
    let (pickle, bytes) = pickles.next_with_bytes()?;
    let keys = pickles.next()?;
    let keys = keys.elements(keys.root()).map(|ids| ids.iter().map(|&id| keys.text(id)).collect());
    let Some(Some(keys)): Option<Option<Vec<&str>>> = keys else {
        return Err(bad("no list of storages"));
    };
    let described = described(&pickle)?;
    let mut storages = HashMap::new();
    let mut at = pickles.at;
    for key in keys {
        let Some(width) = described.widths.get(key) else {
            return Err(bad("a storage that nothing names"));
        };
        let mut scratch = vec![];
        if source.size() - at < 8 {
            return Err(truncated());
        }
        let bytes = source.read(at..at + 8, &mut scratch)?;
        let count = u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"));
        at += 8;
        let size = count.checked_mul(*width).filter(|&size| size <= source.size() - at);
        let size = size.ok_or_else(truncated)?;
        if storages.insert(key, Storage { bytes: at..at + size, crc: None }).is_some() {
            return Err(bad("it has a storage twice"));
        }
        at += size;
    }
    if at != source.size() {
        return Err(bad("more bytes follow its storages"));
    }
    let mut all: HashMap<Box<str>, Storage> =
        storages.iter().map(|(key, storage)| ((*key).into(), storage.clone())).collect();
    for (key, view) in &described.views {
        let root = storages.get(view.root).ok_or_else(|| bad("a view of no storage"))?;
        let (start, end) = (root.bytes.start, root.bytes.end);
        let first = view.offset.checked_mul(view.width).and_then(|n| n.checked_add(start));
        let last = view.count.checked_mul(view.width).and_then(|n| n.checked_add(first?));
        let (Some(first), Some(last)) = (first, last.filter(|&last| last <= end)) else {
            return Err(bad("a view beyond its storage"));
        };
        if all.insert((*key).into(), Storage { bytes: first..last, crc: None }).is_some() {
            return Err(bad("a view under the key of a storage"));
        }
    }
    Ok(Saved { bytes, pickle, storages: all, big_endian: false, metadata: None })
}

/// A storage that is part of another.
struct SubStorage<'p> {
    root: &'p str,
    /// In values.
    offset: u64,
    count: u64,
    width: u64,
}

/// What the persistent ids describe: `('storage', class, key, location, count, view)`, where the view is None or
/// `(key, offset, count)`.
#[derive(Default)]
struct Described<'p> {
    /// Bytes per value, by key.
    widths: HashMap<&'p str, u64>,
    views: HashMap<&'p str, SubStorage<'p>>,
}

fn described(pickle: &Pickle) -> Result<Described<'_>> {
    let mut described = Described::default();
    for id in pickle.persistent() {
        let Some([_, class, key, _, _, rest @ ..]) = pickle.elements(id) else { continue };
        let (Some(class), Some(key)) = (pickle.global(*class), pickle.text(*key)) else {
            continue;
        };
        let name = class.rsplit('.').next().unwrap_or(class);
        let width = match stored_type(name) {
            Ok(Some(dtype)) => (dtype.bitsize() / 8) as u64,
            Ok(None) => 1,
            // Not supported, but its size is needed to find what follows.
            Err(()) => match name {
                "ComplexDoubleStorage" => 16,
                "QInt32Storage" => 4,
                "QInt8Storage" | "QUInt8Storage" => 1,
                _ => return Err(bad(&format!("a storage of class `{class}`"))),
            },
        };
        described.widths.insert(key, width);
        if let Some(view) = rest.first().and_then(|&view| part(pickle, view, key, width)) {
            let (own, part) = view?;
            described.views.insert(own, part);
        }
    }
    Ok(described)
}

/// The view, if it is not None: under its own key, of the storage that the id names.
fn part<'p>(
    pickle: &'p Pickle,
    view: Id,
    root: &'p str,
    width: u64,
) -> Option<Result<(&'p str, SubStorage<'p>)>> {
    if matches!(pickle.value(view), Value::None) {
        return None;
    }
    let Some([own, offset, count]) = pickle.elements(view) else {
        return Some(Err(bad("a broken view")));
    };
    let read = (pickle.text(*own), pickle.size(*offset), pickle.size(*count));
    let (Some(own), Some(offset), Some(count)) = read else {
        return Some(Err(bad("a broken view")));
    };
    Some(Ok((own, SubStorage { root, offset, count, width })))
}
