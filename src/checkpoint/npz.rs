//! What `numpy.savez` writes, Marian's models among them: a zip file of arrays, `NAME.npy` each, mapped
//! where they lie.
//!
//! The CRC of a member covers header and values, so it is compared apart from the tensor.

use super::Source;
use super::contents::{Array, Contents, Rest, Seals};
use super::npy::{Header, Kind};
use super::torch::Storage;
use super::zip::{Archive, Entry};
use crate::{Error, Result};

/// How the names of arrays end.
const ARRAY: &str = ".npy";

/// Whether a zip file is one of arrays.
pub fn is_one(archive: &Archive) -> bool {
    let has = |ending: &str| archive.entries.iter().any(|e| e.name.ends_with(ending));
    has(ARRAY) && !has("data.pkl")
}

/// The arrays of a zip file, in the order of its directory.
pub(super) fn read(source: &Source, archive: &Archive) -> Result<Contents> {
    let mut contents = Contents { seals: vec![Seals::None], ..Contents::default() };
    for entry in &archive.entries {
        match entry.name.strip_suffix(ARRAY) {
            Some(name) => add(&mut contents, source, entry, name).map_err(|e| e.tensor(name))?,
            None => contents.taken.others.push((entry.name.to_string(), "no array".into())),
        }
    }
    match contents.tensors.is_empty() {
        true => Err(Error::input("holds no arrays of numbers")),
        false => Ok(contents),
    }
}

fn add(contents: &mut Contents, source: &Source, entry: &Entry, name: &str) -> Result<()> {
    let member = entry.stored().map_err(|e| e.remedy("save it with numpy.savez"))?;
    let Header { kind, fortran_order, shape, data } = Header::read(source, member.clone())?;
    let (dtype, big_endian) = match kind {
        Kind::Numbers { dtype, big_endian } => (dtype, big_endian),
        Kind::Objects => {
            return Err(Error::input("it is an array of objects, which is a pickle")
                .remedy("save arrays of numbers alone"));
        }
        Kind::Unreadable(why) => {
            return Err(Error::input(format!("it is {why}"))
                .remedy("save it as float32, or the model as safetensors"));
        }
        Kind::Other(what) => {
            contents.taken.others.push((name.to_string(), what.into()));
            return Ok(());
        }
    };
    let array = Array { dtype, shape, fortran_order, big_endian, data };
    contents.push_array(name.into(), array)?;
    if entry.crc != 0 {
        let storage = Storage { bytes: member, crc: Some(entry.crc_places) };
        contents.rest.push(Rest { file: 0, storage, name: name.into() });
    }
    Ok(())
}
