//! Keras's HDF5 files, `.weights.h5` and `.h5`, and the one within a `.keras` file: datasets in groups,
//! mapped where they lie.
//!
//! hdf5-pure says where that is; no value is read through it. It reads the file's structure from a
//! source of its own, and where a damaged file makes it panic, that is an error here.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdf5_pure::{
    AttrValue, Datatype, DatatypeByteOrder, File, FloatingPointLayout, FormatError, Group, Layout,
};

use super::contents::{Array, Contents, Rest, Seals};
use super::safetensors::MAX_RANK;
use super::torch::Storage;
use super::weights::{OTHER, Take};
use super::zip::{self, Archive};
use super::{Dtype, Source};
use crate::{Error, Result};
use swa_base::panics;

/// First bytes of an HDF5 file.
pub const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The one within a `.keras` file.
pub const IN_KERAS: &str = "model.weights.h5";

/// Of the thread that reads the structure: 8,192 types within each other or 65,536 nodes of a tree.
const STACK: usize = 128 << 20;

/// How deep groups may be nested.
const MAX_DEPTH: u32 = 64;

/// Longest path in bytes.
const MAX_NAME: usize = 1000;

/// What a file needs for each of its datasets and groups, at the least, in bytes: one met more often
/// than that has several names, and might have billions.
const LEAST: u64 = 16;

/// Where the weights are in a file that `Model.save` wrote as `.h5`, and in one of `save_weights`.
const PLACES: [&str; 2] = ["model_weights", "layers"];

/// What is no weights at the root, beside what other trainers call so.
const OPTIMIZER: &str = "optimizer_weights";

fn bad(what: impl std::fmt::Display) -> Error {
    Error::input(format!("bad HDF5 file: {what}")).remedy("save or copy the file again")
}

/// What a dataset holds.
enum Kind {
    Numbers(Array),
    Unreadable(String),
    /// No numbers: what they are.
    Other(&'static str),
}

/// The weights of an HDF5 file, or of the one in a zip file.
pub(super) fn read(source: &Source, take: &Take) -> Result<Contents> {
    let mut contents = Contents { seals: vec![Seals::None], ..Contents::default() };
    let mut within = 0..source.size();
    let mut scratch = vec![];
    let head = source.read(0..within.end.min(zip::MAGIC.len() as u64), &mut scratch)?;
    if head == zip::MAGIC {
        let archive = Archive::read(source, within)?;
        let entry = archive.get(IN_KERAS).ok_or_else(|| bad("no weights in it"))?;
        within = entry.stored()?;
        if entry.crc != 0 {
            let storage = Storage { bytes: within.clone(), crc: Some(entry.crc_places) };
            contents.rest.push(Rest { file: 0, storage, name: IN_KERAS.into() });
        }
    }
    let part = Part::new(source.again()?, within.clone());
    // Types and trees nest without a limit in the crate: with room for the deepest that fit in.
    let apart = std::thread::Builder::new().stack_size(STACK);
    let reader = apart.spawn(|| panics::catch(|| datasets(part, within)));
    let reader = reader.map_err(|e| Error::limit(format!("no thread to read it: {e}")))?;
    let found = reader.join().ok().flatten();
    let mut found = found.unwrap_or_else(|| Err(bad("its structure is broken")))?;
    let (key, others) = choose(&found, take)?;
    let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
    found.retain(|(path, _)| {
        path.starts_with(&prefix) && !others.contains(path.split('/').next().unwrap_or_default())
    });
    let others = others.into_iter().map(|name| (name, "a group".into()));
    contents.taken.others = others.collect();
    for (path, kind) in found {
        let name = &path[prefix.len()..];
        match kind {
            Kind::Numbers(array) => {
                contents.push_array(name.into(), array).map_err(|e| e.tensor(name))?;
            }
            Kind::Unreadable(why) => {
                return Err(Error::input(format!("it is {why}"))
                    .tensor(name)
                    .remedy("save it again with Keras's own save_weights"));
            }
            Kind::Other(what) => contents.taken.others.push((name.into(), what.into())),
        }
    }
    if contents.tensors.is_empty() {
        return Err(Error::input("holds no datasets of numbers"));
    }
    contents.taken.key = key;
    Ok(contents)
}

/// The group that the weights are in, and what else is at the root.
fn choose(found: &[(String, Kind)], take: &Take) -> Result<(String, BTreeSet<String>)> {
    if take.ema {
        return Err(Error::input("holds no averaged (EMA) weights").remedy("leave out --ema"));
    }
    let is_in = |path: &str, group: &str| {
        path.strip_prefix(group).is_some_and(|rest| rest.starts_with('/'))
    };
    let roots = found.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0));
    let mut others: BTreeSet<String> = roots.map(str::to_string).collect();
    if let Some(key) = &take.key {
        if !found.iter().any(|(path, _)| is_in(path, key)) {
            let what = format!("--weights-key {key}: no such group in it");
            let roots = others.into_iter().collect();
            return Err(Error::usage(what).list(roots));
        }
        others.retain(|name| name != key && !is_in(key, name));
        return Ok((key.clone(), others));
    }
    let is_other = |name: &str| OTHER.contains(&name) || name == OPTIMIZER;
    // All the weights, or they are in several places.
    let only = |group: &&&str| {
        let mut weights = others.iter().filter(|name| !is_other(name));
        others.contains(**group) && (**group == PLACES[0] || weights.all(|name| name == **group))
    };
    let place = PLACES.iter().find(only).map(|place| place.to_string()).unwrap_or_default();
    others.retain(|name| if place.is_empty() { is_other(name) } else { *name != place });
    Ok((place, others))
}

/// Every dataset by its path.
fn datasets(part: Part, within: Range<u64>) -> Result<Vec<(String, Kind)>> {
    let size = within.end - within.start;
    let file = File::from_source(part).map_err(bad)?;
    let mut walk = Walk { within, found: vec![], left: size / LEAST };
    walk.group(&file.root(), "", 0)?;
    Ok(walk.found)
}

struct Walk {
    within: Range<u64>,
    found: Vec<(String, Kind)>,
    /// How many datasets and groups may follow.
    left: u64,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &str, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::limit(format!("its groups nest deeper than {MAX_DEPTH}")));
        }
        // Names of groups multiply, so their length counts before they are put together.
        let full = |name: &str| match path {
            _ if path.len() + name.len() > MAX_NAME => {
                Err(Error::limit(format!("a name in it is longer than {MAX_NAME} bytes")))
            }
            "" => Ok(name.to_string()),
            _ => Ok(format!("{path}/{name}")),
        };
        for (name, dataset) in group.iter_datasets().map_err(bad)? {
            self.count()?;
            let path = full(&name)?;
            let kind = self.dataset(&dataset).map_err(|e| bad(e).tensor(&path))?;
            self.found.push((path, kind));
        }
        for (name, inner) in group.iter_groups().map_err(bad)? {
            self.count()?;
            self.group(&inner, &full(&name)?, depth + 1)?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            Error::limit("its groups hold far more names than the file has room for")
        })?;
        Ok(())
    }

    fn dataset(&self, dataset: &hdf5_pure::Dataset) -> Result<Kind, hdf5_pure::Error> {
        let unreadable = |why: &str| Ok(Kind::Unreadable(why.into()));
        let datatype = dataset.datatype()?;
        if matches!(datatype, Datatype::String { .. } | Datatype::VariableLength { .. }) {
            return Ok(Kind::Other("a dataset of texts"));
        }
        let Some((dtype, big_endian)) = number(&datatype).or_else(|| bfloat16(&datatype, dataset))
        else {
            return unreadable("of a type that safetensors lacks");
        };
        let shape = dataset.shape()?;
        if shape.len() > MAX_RANK {
            return unreadable("of too many dimensions");
        }
        let (start, size) = match dataset.layout()? {
            // Nothing is written where there is nothing.
            Layout::Contiguous { .. } if shape.contains(&0) => (0, 0),
            Layout::Contiguous { address: Some(address), size } => (address, size),
            Layout::Contiguous { address: None, .. } => {
                return unreadable("a dataset that was never written");
            }
            Layout::Chunked { .. } => {
                return unreadable("stored in chunks, which are not read");
            }
            _ => {
                return unreadable("stored otherwise than in a row, which is not read");
            }
        };
        let data = self.within.start.checked_add(start).and_then(|start| {
            Some(start..start.checked_add(size).filter(|&end| end <= self.within.end)?)
        });
        let Some(data) = data else { return unreadable("beyond the end of the file: truncated?") };
        let fortran_order = false;
        Ok(Kind::Numbers(Array { dtype, shape, fortran_order, big_endian, data }))
    }
}

/// A type that is one of NumPy's, and whether its bytes are in the other order.
fn number(datatype: &Datatype) -> Option<(Dtype, bool)> {
    let is_big = |order: &DatatypeByteOrder| match order {
        DatatypeByteOrder::LittleEndian => Some(false),
        DatatypeByteOrder::BigEndian => Some(true),
        _ => None,
    };
    match datatype {
        Datatype::FixedPoint { size, byte_order, layout } => {
            if layout.bit_offset != 0 || u32::from(layout.bit_precision) != size.checked_mul(8)? {
                return None;
            }
            let dtype = match (size, layout.signed) {
                (1, true) => Dtype::I8,
                (2, true) => Dtype::I16,
                (4, true) => Dtype::I32,
                (8, true) => Dtype::I64,
                (1, false) => Dtype::U8,
                (2, false) => Dtype::U16,
                (4, false) => Dtype::U32,
                (8, false) => Dtype::U64,
                _ => return None,
            };
            Some((dtype, is_big(byte_order)?))
        }
        Datatype::FloatingPoint { size, byte_order, layout } => {
            let FloatingPointLayout { exponent_size, mantissa_size, exponent_bias, .. } = layout;
            if layout.bit_offset != 0
                || u32::from(layout.bit_precision) != size.checked_mul(8)?
                || layout.mantissa_location != 0
                || layout.exponent_location != *mantissa_size
            {
                return None;
            }
            let dtype = match (size, exponent_size, mantissa_size, exponent_bias) {
                (2, 5, 10, 15) => Dtype::F16,
                (2, 8, 7, 127) => Dtype::BF16,
                (4, 8, 23, 127) => Dtype::F32,
                (8, 11, 52, 1023) => Dtype::F64,
                _ => return None,
            };
            Some((dtype, is_big(byte_order)?))
        }
        // NumPy's bool by h5py.
        Datatype::Enumeration { base_type, members, .. } => {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            let is_bool = names == ["FALSE", "TRUE"] && number(base_type)?.0 == Dtype::I8;
            is_bool.then_some((Dtype::BOOL, false))
        }
        _ => None,
    }
}

/// Which h5py has no type for: Keras writes two bytes without one, and says so in an attribute.
fn bfloat16(datatype: &Datatype, dataset: &hdf5_pure::Dataset) -> Option<(Dtype, bool)> {
    if !matches!(datatype, Datatype::Opaque { size: 2, .. }) {
        return None;
    }
    match dataset.attrs().ok()?.get("dtype")? {
        AttrValue::String(text) | AttrValue::VarLenString(text) if text == "bfloat16" => {
            Some((Dtype::BF16, false))
        }
        _ => None,
    }
}

/// The part of a source that an HDF5 file is.
struct Part {
    source: Source,
    within: Range<u64>,
    /// How often it may still be read, and how many bytes: trees whose branches meet again have more paths
    /// than any file has bytes.
    left: [AtomicU64; 2],
}

impl Part {
    fn new(source: Source, within: Range<u64>) -> Self {
        let size = within.end - within.start;
        // Real files take a read for 65 bytes, and each byte once.
        let reads = 10_000 + size.min(1 << 30) / 16;
        let bytes = 1_000_000 + 4 * size.min(1 << 30);
        Part { source, within, left: [reads, bytes].map(AtomicU64::new) }
    }

    /// Whether there is so much left.
    fn charge(&self, bytes: u64) -> bool {
        let [reads, all] = &self.left;
        let take = |left: &AtomicU64, n: u64| {
            left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(n)).is_ok()
        };
        take(reads, 1) && take(all, bytes)
    }
}

impl hdf5_pure::Source for Part {
    fn len(&self) -> u64 {
        self.within.end - self.within.start
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::result::Result<(), FormatError> {
        let length = buf.len() as u64;
        let end = offset.checked_add(length);
        let end = end.ok_or(FormatError::OffsetOverflow { offset, length })?;
        if end > self.len() {
            let (expected, available) = (end as usize, self.len() as usize);
            return Err(FormatError::UnexpectedEof { expected, available });
        }
        if !self.charge(length) {
            return Err(FormatError::Source("its parts lead to the same again and again".into()));
        }
        let range = self.within.start + offset..self.within.start + end;
        let mut scratch = vec![];
        let bytes = self.source.read(range, &mut scratch);
        buf.copy_from_slice(bytes.map_err(|e| FormatError::Source(e.to_string()))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hdf5_pure::FileBuilder;

    use super::*;
    use crate::Kind as ErrorKind;
    use crate::checkpoint::Checkpoint;

    /// Groups with a dataset each: their paths end in its name.
    fn file(datasets: &[(&str, &[f32])]) -> Vec<u8> {
        let mut file = FileBuilder::new();
        for (path, values) in datasets {
            let (group, name) = path.split_once('/').unwrap();
            let mut group = file.create_group(group);
            let shape = [values.len() as u64];
            group.create_dataset(name).with_f32_data(values).with_shape(&shape);
            file.add_group(group.finish());
        }
        file.finish().unwrap()
    }

    fn open(bytes: &[u8], take: &Take) -> Result<Checkpoint> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Checkpoint::open_with(file.path(), take)
    }

    fn names(checkpoint: &Checkpoint) -> Vec<&str> {
        checkpoint.tensors().iter().map(|t| t.name.as_str()).collect()
    }

    #[test]
    fn weights_are_where_each_of_keras_writers_keeps_them() {
        let key = |key: &str| Take { ema: false, key: Some(key.into()) };
        let cases: [(&[&str], Take, &str, &[&str]); 6] = [
            (&["layers/a", "optimizer/b"], Take::default(), "layers", &["a"]),
            (&["model_weights/a", "optimizer_weights/b"], Take::default(), "model_weights", &["a"]),
            // A subclassed model keeps some beside its list of layers; an old one has its layers alone.
            (&["layers/a", "head/b", "optimizer/c"], Take::default(), "", &["head/b", "layers/a"]),
            (&["dense/a", "conv/b"], Take::default(), "", &["conv/b", "dense/a"]),
            (&["layers/a", "head/b"], key("head"), "head", &["b"]),
            (&["layers/a", "optimizer/b"], key("optimizer"), "optimizer", &["b"]),
        ];
        for (paths, take, expected, tensors) in cases {
            let datasets: Vec<(&str, &[f32])> = paths.iter().map(|p| (*p, &[1.0][..])).collect();
            let opened = open(&file(&datasets), &take).unwrap();
            let mut found = names(&opened);
            found.sort();
            assert_eq!((opened.taken().key.as_str(), &found[..]), (expected, tensors), "{paths:?}");
        }
        let bytes = file(&[("layers/a", &[1.0])]);
        assert!(open(&bytes, &key("heads")).is_err());
        assert!(open(&bytes, &Take { ema: true, key: None }).is_err());
    }

    #[test]
    fn values_are_mapped_and_what_is_not_in_a_row_is_refused() {
        let opened = open(&file(&[("layers/a", &[1.0, 2.0])]), &Take::default()).unwrap();
        let expected = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
        assert_eq!(*opened.bytes(0).unwrap(), expected);
        let mut file = FileBuilder::new();
        file.create_dataset("a").with_f32_data(&[1.0; 64]).with_shape(&[64]).with_chunks(&[8]);
        let error = open(&file.finish().unwrap(), &Take::default()).unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("chunks"), "{error}");
        let mut file = FileBuilder::new();
        file.create_dataset("a").with_complex64_data(&[(1.0, 2.0)]).with_shape(&[1]);
        let error = open(&file.finish().unwrap(), &Take::default()).unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("lacks"), "{error}");
    }

    #[test]
    fn damaged_files_end_in_an_error_or_in_their_bytes() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/formats");
        let whole = std::fs::read(folder.join("keras-weights-h5/epoch_0.weights.h5")).unwrap();
        assert_eq!(open(&whole, &Take::default()).unwrap().tensors().len(), 8);
        for end in (9..whole.len()).step_by(97) {
            let error = open(&whole[..end], &Take::default()).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Input | ErrorKind::Limit), "{error}");
        }
        // Bytes all over the structure, each with a change that comes out different each time.
        for at in (8..9000).step_by(11) {
            let mut bytes = whole.clone();
            bytes[at] = bytes[at].wrapping_mul(5).wrapping_add(at as u8 | 1);
            if let Ok(opened) = open(&bytes, &Take::default()) {
                for (i, tensor) in opened.tensors().iter().enumerate() {
                    assert_eq!(opened.bytes(i).unwrap().len() as u64, tensor.size());
                }
            }
        }
    }
}
