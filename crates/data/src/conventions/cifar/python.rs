//! The version for Python: pickles of a dict with the images as an array, read without running anything.
//!
//! The original files are of Python 2, protocol 2; files that were written again with Python 3, in any
//! protocol, hold the same values in other forms.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::{File, PIXELS, Pixels};
use swa_base::{Error, Kind, Result};
use swa_tools::checkpoint::pickle::{Id, Pickle, Value};
use swa_tools::select::base_name;
use swa_tools::store::Source;

/// The largest pickle that is read, in bytes: six times the size of CIFAR-100's training images.
const MAX_FILE: usize = 1 << 30;

/// The most entries of a dict or a list of names that are looked at. CIFAR's dicts have six, its lists a hundred.
const MOST: usize = 100;

/// A pickle and the bytes that it is in.
struct Read<'a> {
    bytes: &'a [u8],
    pickle: Pickle,
}

pub(super) fn read(path: &Path, classes: usize) -> Result<File> {
    let source = Arc::new(Source::open(path)?);
    let mut scratch = Vec::new();
    let bytes = source.read(0..source.size(), &mut scratch)?;
    let read = Read::parse(bytes).map_err(|error| error.at(path))?;
    let batch = || -> Result<File> {
        let labels = read.labels(if classes == 100 { "fine_labels" } else { "labels" })?;
        let (count, data) = read.images(read.get("data")?)?;
        if count != labels.len() {
            let what = format!("{} labels for its {count} images", labels.len());
            return Err(Error::new(Kind::Damaged, what));
        }
        let pixels = match data {
            Cow::Borrowed(data) if within(bytes, data) => {
                let start = (data.as_ptr().addr() - bytes.as_ptr().addr()) as u64;
                Pixels::Source { source: source.clone(), start, stride: PIXELS as u64 }
            }
            data => Pixels::Memory(data.into_owned()),
        };
        Ok(File { name: base_name(path), pixels, labels })
    };
    batch().map_err(|error| error.at(path))
}

/// Whether `part` is a part of `bytes`, not of something made from them.
fn within(bytes: &[u8], part: &[u8]) -> bool {
    let (bytes, part) = (bytes.as_ptr_range(), part.as_ptr_range());
    bytes.start <= part.start && part.end <= bytes.end
}

/// The names of the classes: `label_names` of CIFAR-10, `fine_label_names` of CIFAR-100.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let source = Source::open(path)?;
    let mut scratch = Vec::new();
    let read = Read::parse(source.read(0..source.size(), &mut scratch)?);
    let names = read.and_then(|read| {
        let id = read.get("fine_label_names").or_else(|_| read.get("label_names"))?;
        let name = |&id: &Id| {
            let bytes = read.pickle.bytes(id, read.bytes)?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let ids = read.pickle.elements(id).filter(|ids| ids.len() <= MOST);
        let names = ids.and_then(|ids| ids.iter().map(name).collect());
        names.ok_or_else(|| Error::new(Kind::Damaged, "its class names are not a list of texts"))
    });
    names.map_err(|error| error.at(path))
}

impl<'a> Read<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        Ok(Read { bytes, pickle: Pickle::parse_within(bytes, MAX_FILE)? })
    }

    /// The dict's value for a key, which is text or bytes.
    fn get(&self, key: &str) -> Result<Id> {
        let root = self.pickle.root();
        let Some(items) = self.pickle.items(root) else {
            let found = self.pickle.describe(root);
            return Err(Error::input(format!(
                "expected a dict as in CIFAR's files, found {found}"
            )));
        };
        let is =
            |id| self.pickle.bytes(id, self.bytes).is_some_and(|found| *found == *key.as_bytes());
        match items.iter().take(MOST).rev().find(|(id, _)| is(*id)) {
            Some((_, value)) => Ok(*value),
            None => {
                let keys: Vec<String> =
                    items.iter().take(8).map(|(id, _)| self.pickle.describe(*id)).collect();
                let what = format!("its dict has no `{key}`, only {}", keys.join(", "));
                Err(Error::input(what))
            }
        }
    }

    fn labels(&self, key: &str) -> Result<Vec<u8>> {
        let id = self.get(key)?;
        let label = |&id: &Id| self.pickle.int(id)?.try_into().ok();
        let labels = self.pickle.elements(id).and_then(|ids| ids.iter().map(label).collect());
        labels.ok_or_else(|| {
            let found = self.pickle.describe(id);
            Error::new(
                Kind::Damaged,
                format!("expected `{key}` as a list of numbers from 0 to 255, found {found}"),
            )
        })
    }

    /// The images of an array of shape [n, 3072] of bytes: n, and the bytes.
    fn images(&self, id: Id) -> Result<(usize, Cow<'_, [u8]>)> {
        let refused = |kind, what: String| Err(Error::new(kind, format!("`data`: {what}")));
        let Some(Array { shape, dtype, fortran, data }) = self.array(id) else {
            return refused(
                Kind::Damaged,
                format!("expected an array, found {}", self.pickle.describe(id)),
            );
        };
        if dtype != "u1" && dtype != "uint8" {
            return refused(
                Kind::Unsupported,
                format!("expected an array of bytes (u1), found {dtype}"),
            );
        }
        let [count, pixels] = shape[..] else {
            return refused(Kind::Damaged, format!("expected 2 dimensions, found {shape:?}"));
        };
        if pixels != PIXELS as u64 || count.checked_mul(pixels) != Some(data.len() as u64) {
            let found = format!("{shape:?} and {} bytes", data.len());
            return refused(
                Kind::Damaged,
                format!("expected {PIXELS} bytes an image, found {found}"),
            );
        }
        if fortran {
            return refused(Kind::Unsupported, "column by column, expected row by row".into());
        }
        if count == 0 {
            return refused(Kind::Damaged, "it is empty".into());
        }
        Ok((count as usize, data))
    }

    fn array(&self, id: Id) -> Option<Array<'_>> {
        let pickle = &self.pickle;
        let name = |id: Id| pickle.text(*pickle.arguments(id)?.first()?);
        let (shape, dtype, fortran, data) = match pickle.called(id)? {
            // Protocol 5: _frombuffer(bytes, dtype, shape, order).
            maker if maker.starts_with("numpy.") && maker.ends_with("._frombuffer") => {
                let &[data, dtype, shape, order] = pickle.arguments(id)? else { return None };
                (shape, dtype, pickle.text(order) != Some("C"), data)
            }
            // _reconstruct(ndarray, (0,), b"b"), then the state (version, shape, dtype, fortran, bytes).
            maker if maker.starts_with("numpy.") && maker.ends_with("._reconstruct") => {
                let state = pickle.elements(pickle.state(id)?)?;
                let &[_, shape, dtype, fortran, data] = state else { return None };
                let fortran = match pickle.value(fortran) {
                    Value::Bool(fortran) => *fortran,
                    Value::Int(fortran) => *fortran != 0,
                    _ => return None,
                };
                (shape, dtype, fortran, data)
            }
            _ => return None,
        };
        let (shape, data) = (pickle.sizes(shape)?, pickle.bytes(data, self.bytes)?);
        Some(Array { shape, dtype: name(dtype)?, fortran, data })
    }
}

/// A numpy array.
struct Array<'a> {
    shape: Vec<u64>,
    dtype: &'a str,
    /// Whether it is stored column by column.
    fortran: bool,
    data: Cow<'a, [u8]>,
}
