//! Keras's HDF5 files, `.weights.h5` and `.h5`, and the one within a `.keras` file: datasets in groups, read in
//! place.
//!
//! The crate hdf5-pure reads the file's structure; values are not read through it. If a damaged file makes it panic,
//! that is an error here.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdf5_pure::{
    AttrValue, Datatype, DatatypeByteOrder, File, FloatingPointLayout, FormatError, Group, Layout,
};

use super::format::{Candidate, Format, Reader, Request};
use super::zip::Archive;
use crate::store::Source;
use crate::tensors::contents::{Array, Contents, Region, StoredChecksums};
use crate::tensors::view::Storage;
use crate::tensors::{Dtype, MAX_RANK};
use crate::weights::{OTHER, Take};
use crate::{Error, Kind, Result, setting};
use swa_base::panics;

pub(super) const FORMAT: Format = Format {
    name: "Keras HDF5",
    endings: &["h5", "keras"],
    reader: Reader::File {
        is_one: |candidate| {
            Ok(candidate.head.starts_with(MAGIC)
                || candidate.is_zip() && is_keras(candidate.archive()?))
        },
        read: |candidate: Candidate, request: &Request| Ok(read(&candidate, request.take)?.into()),
    },
};

/// First bytes of an HDF5 file.
const MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The one within a `.keras` file.
const IN_KERAS: &str = "model.weights.h5";

/// Stack of the thread that reads the structure: room for 8,192 nested types or 65,536 nodes of a tree.
const STACK: usize = 128 << 20;

/// How deep groups may be nested.
const MAX_DEPTH: u32 = 64;

/// Longest path in bytes.
const MAX_NAME: usize = 1000;

/// Fewest bytes that a dataset or group takes in a file. If more are met than fit, some have several names, and
/// there might be billions of those.
const LEAST: u64 = 16;

/// Where the weights are in a file that `Model.save` wrote as `.h5`, and in one of `save_weights`.
const PLACES: [&str; 2] = ["model_weights", "layers"];

/// The optimizer's group at the root, in addition to the names that other trainers use.
const OPTIMIZER: &str = "optimizer_weights";

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("bad HDF5 file: {what}"))
        .remedy("save or copy the file again")
}

/// What a dataset holds.
enum Values {
    Numbers(Array),
    Unreadable(String),
    /// Not numbers, but this.
    Other(&'static str),
}

/// Whether a zip file is Keras's: PyTorch's may hold anything.
fn is_keras(archive: &Archive) -> bool {
    let is_torch = || archive.entries.iter().any(|e| e.name.ends_with("data.pkl"));
    archive.get(IN_KERAS).is_some() && !is_torch()
}

/// The weights of an HDF5 file, or of the one in a zip file.
fn read(candidate: &Candidate, take: &Take) -> Result<Contents> {
    let mut contents = Contents { checksums: vec![StoredChecksums::None], ..Contents::default() };
    let mut within = candidate.range();
    if candidate.is_zip() {
        let entry = candidate.archive()?.get(IN_KERAS).ok_or_else(|| bad("no weights in it"))?;
        within = entry.stored()?;
        if entry.crc != 0 {
            let storage = Storage { bytes: within.clone(), crc: Some(entry.crc_places) };
            contents.regions.push(Region { file: 0, storage, name: IN_KERAS.into() });
        }
    }
    let source = candidate.file;
    let section = Section::new(source.again()?, within.clone());
    // The crate recurses into types and trees without a limit, so it gets a stack for the deepest that a file can
    // hold.
    let apart = std::thread::Builder::new().stack_size(STACK);
    let reader = apart.spawn(|| panics::catch(|| datasets(section, within)));
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
    for (path, values) in found {
        let name = &path[prefix.len()..];
        match values {
            Values::Numbers(array) => {
                contents.push_array(name.into(), array).map_err(|e| e.tensor(name))?;
            }
            Values::Unreadable(why) => {
                return Err(Error::new(Kind::Unsupported, format!("it is {why}"))
                    .tensor(name)
                    .remedy("save it again with Keras's own save_weights"));
            }
            Values::Other(what) => contents.taken.others.push((name.into(), what.into())),
        }
    }
    if contents.tensors.is_empty() {
        return Err(Error::new(Kind::NotACheckpoint, "holds no datasets of numbers"));
    }
    contents.taken.key = key;
    Ok(contents)
}

/// The group that the weights are in, and what else is at the root.
fn choose(found: &[(String, Values)], take: &Take) -> Result<(String, BTreeSet<String>)> {
    if take.ema {
        return Err(Error::input("holds no averaged (EMA) weights")
            .remedy(concat!("leave out ", setting!("ema"))));
    }
    let is_in = |path: &str, group: &str| {
        path.strip_prefix(group).is_some_and(|rest| rest.starts_with('/'))
    };
    let roots = found.iter().filter_map(|(path, _)| Some(path.split_once('/')?.0));
    let mut others: BTreeSet<String> = roots.map(str::to_string).collect();
    if let Some(key) = &take.key {
        if !found.iter().any(|(path, _)| is_in(path, key)) {
            let what = format!("{} {key}: no such group in it", setting!("weights_key"));
            let roots = others.into_iter().collect();
            return Err(Error::new(Kind::NoMatch, what).list(roots));
        }
        others.retain(|name| name != key && !is_in(key, name));
        return Ok((key.clone(), others));
    }
    let is_other = |name: &str| OTHER.contains(&name) || name == OPTIMIZER;
    // Only if all weights are in it.
    let only = |group: &&&str| {
        let mut weights = others.iter().filter(|name| !is_other(name));
        others.contains(**group) && (**group == PLACES[0] || weights.all(|name| name == **group))
    };
    let place = PLACES.iter().find(only).map(|place| place.to_string()).unwrap_or_default();
    others.retain(|name| if place.is_empty() { is_other(name) } else { *name != place });
    Ok((place, others))
}

/// Every dataset by its path.
fn datasets(section: Section, within: Range<u64>) -> Result<Vec<(String, Values)>> {
    let size = within.end - within.start;
    let file = File::from_source(section).map_err(bad)?;
    let mut walk = Walk { within, found: vec![], left: size / LEAST };
    walk.group(&file.root(), "", 0)?;
    Ok(walk.found)
}

struct Walk {
    within: Range<u64>,
    found: Vec<(String, Values)>,
    /// How many more datasets and groups there can be.
    left: u64,
}

impl Walk {
    fn group(&mut self, group: &Group, path: &str, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::limit(format!("its groups nest deeper than {MAX_DEPTH}")));
        }
        // Nested names multiply, so lengths are checked before names are joined.
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
            let values = self.dataset(&dataset).map_err(|e| bad(e).tensor(&path))?;
            self.found.push((path, values));
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

    fn dataset(&self, dataset: &hdf5_pure::Dataset) -> Result<Values, hdf5_pure::Error> {
        let unreadable = |why: &str| Ok(Values::Unreadable(why.into()));
        let datatype = dataset.datatype()?;
        if matches!(datatype, Datatype::String { .. } | Datatype::VariableLength { .. }) {
            return Ok(Values::Other("a dataset of texts"));
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
            // An empty dataset has no address.
            Layout::Contiguous { .. } if shape.contains(&0) => (0, 0),
            Layout::Contiguous { address: Some(address), size } => (address, size),
            Layout::Contiguous { address: None, .. } => {
                return unreadable("a dataset that was never written");
            }
            Layout::Chunked { .. } => {
                return unreadable("stored in chunks, which is not supported");
            }
            _ => {
                return unreadable("not stored contiguously, which is not supported");
            }
        };
        let data = self.within.start.checked_add(start).and_then(|start| {
            Some(start..start.checked_add(size).filter(|&end| end <= self.within.end)?)
        });
        let Some(data) = data else { return unreadable("beyond the end of the file: truncated?") };
        let fortran_order = false;
        Ok(Values::Numbers(Array { dtype, shape, fortran_order, big_endian, data }))
    }
}

/// A type of numbers, and whether it is big-endian.
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
        // How h5py writes NumPy's bool.
        Datatype::Enumeration { base_type, members, .. } => {
            let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            let is_bool = names == ["FALSE", "TRUE"] && number(base_type)?.0 == Dtype::I8;
            is_bool.then_some((Dtype::BOOL, false))
        }
        _ => None,
    }
}

/// h5py has no type for bfloat16: Keras writes opaque pairs of bytes and names the type in an attribute.
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

/// A section of a source that is an HDF5 file.
struct Section {
    source: Source,
    within: Range<u64>,
    /// How many more reads, and bytes, are allowed: if branches of a tree meet again, there can be more paths than
    /// the file has bytes.
    left: [AtomicU64; 2],
}

impl Section {
    fn new(source: Source, within: Range<u64>) -> Self {
        let size = within.end - within.start;
        // Real files take one read for every 65 bytes, and read each byte once.
        let reads = 10_000 + size.min(1 << 30) / 16;
        let bytes = 1_000_000 + 4 * size.min(1 << 30);
        Section { source, within, left: [reads, bytes].map(AtomicU64::new) }
    }

    /// Counts one read; false if it is no longer allowed.
    fn charge(&self, bytes: u64) -> bool {
        let [reads, all] = &self.left;
        let take = |left: &AtomicU64, n: u64| {
            left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(n)).is_ok()
        };
        take(reads, 1) && take(all, bytes)
    }
}

impl hdf5_pure::Source for Section {
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
            return Err(FormatError::Source("its structure leads back to itself".into()));
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
        let key = |key: &str| Take { ema: false, key: Some(key.into()), moments: false };
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
        assert!(open(&bytes, &Take { ema: true, key: None, moments: false }).is_err());
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
            let kind = error.kind();
            assert!(matches!(kind.exit_code(), 3 | 6) && kind != Kind::Input, "{error}");
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
