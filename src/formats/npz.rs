//! What `numpy.savez` writes, and Marian too: a zip file of arrays, `NAME.npy` each, read in place.
//!
//! The CRC of a member covers header and values, so it is no tensor's own checksum.

use super::flat::within;
use super::format::{Candidate, Format, Reader, Request};
use super::npy::{Header, Values};
use super::zip::{Archive, Entry};
use crate::store::Source;
use crate::tensors::contents::{Array, Contents, Region, StoredChecksums};
use crate::tensors::view::Storage;
use crate::{Error, Kind, Result};

pub(super) const FORMAT: Format = Format {
    name: "NumPy npz",
    endings: &["npz"],
    reader: Reader::File {
        is_one: |candidate| Ok(candidate.is_zip() && holds_arrays(candidate.archive()?)),
        read: |candidate: Candidate, request: &Request| {
            let contents = read(candidate.file, candidate.archive()?)?;
            Ok(within(contents, request.take)?.into())
        },
    },
};

/// How the names of the arrays' entries end.
const ARRAY: &str = ".npy";

/// Whether a zip file is one of arrays.
fn holds_arrays(archive: &Archive) -> bool {
    let has = |ending: &str| archive.entries.iter().any(|e| e.name.ends_with(ending));
    has(ARRAY) && !has("data.pkl")
}

/// The arrays of a zip file, in the order of its directory.
fn read(source: &Source, archive: &Archive) -> Result<Contents> {
    let mut contents = Contents { checksums: vec![StoredChecksums::None], ..Contents::default() };
    for entry in &archive.entries {
        match entry.name.strip_suffix(ARRAY) {
            Some(name) => add(&mut contents, source, entry, name).map_err(|e| e.tensor(name))?,
            None => contents.taken.others.push((entry.name.to_string(), "no array".into())),
        }
    }
    match contents.tensors.is_empty() {
        true => Err(Error::new(Kind::NotACheckpoint, "holds no arrays of numbers")),
        false => Ok(contents),
    }
}

fn add(contents: &mut Contents, source: &Source, entry: &Entry, name: &str) -> Result<()> {
    let member = entry.values(source)?;
    let Header { values, fortran_order, shape, data } = Header::read(source, member.clone())?;
    let (dtype, big_endian) = match values {
        Values::Numbers { dtype, big_endian } => (dtype, big_endian),
        Values::Objects => {
            return Err(Error::new(
                Kind::Unsupported,
                "it is an array of objects, which is a pickle",
            )
            .remedy("save arrays of numbers alone"));
        }
        Values::Unreadable(why) => {
            return Err(Error::new(Kind::Unsupported, format!("it is {why}"))
                .remedy("save it as float32, or the model as safetensors"));
        }
        Values::Other(what) => {
            contents.taken.others.push((name.to_string(), what.into()));
            return Ok(());
        }
    };
    let array = Array { dtype, shape, fortran_order, big_endian, data };
    contents.push_array(name.into(), array)?;
    if entry.crc != 0 {
        let storage = Storage { bytes: member, crc: Some(entry.crc_places) };
        contents.regions.push(Region { file: 0, storage, name: name.into() });
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::tensors::Dtype;

    /// A zip file of stored entries without CRCs.
    pub fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let (mut file, mut directory) = (vec![], vec![]);
        for (name, bytes) in entries {
            let at = file.len() as u32;
            let (size, length) = (bytes.len() as u32, name.len() as u16);
            let sizes = [[0; 4], size.to_le_bytes(), size.to_le_bytes()].concat();
            let sizes = [&sizes, &length.to_le_bytes()[..], &[0; 2]].concat();
            file.extend([b"PK\x03\x04", &[0; 10][..], &sizes, name.as_bytes(), bytes].concat());
            directory.extend([b"PK\x01\x02", &[0; 12][..], &sizes, &[0; 10]].concat());
            directory.extend([&at.to_le_bytes(), name.as_bytes()].concat());
        }
        let (count, at) = ((entries.len() as u16).to_le_bytes(), file.len() as u32);
        let size = (directory.len() as u32).to_le_bytes();
        file.extend(directory);
        file.extend([b"PK\x05\x06", &[0; 4][..], &count, &count, &size].concat());
        file.extend([&at.to_le_bytes()[..], &[0; 2]].concat());
        file
    }

    fn array(descr: &str, order: &str, shape: &str, values: &[u8]) -> Vec<u8> {
        let text = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let length = (text.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\0", &length[..], text.as_bytes(), values].concat()
    }

    fn open(entries: &[(&str, Vec<u8>)]) -> Result<Checkpoint> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), zip(entries)).unwrap();
        Checkpoint::open(file.path())
    }

    #[test]
    fn every_order_of_values_and_bytes_is_read() {
        let opened = open(&[
            ("c.npy", array("'<u2'", "False", "(2, 3)", &[0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0])),
            ("f.npy", array("'<u2'", "True", "(2, 3)", &[0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5, 0])),
            ("big.npy", array("'>u2'", "True", "(2, 3)", &[0, 0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5])),
            ("names.npy", array("'<U1'", "False", "(1,)", &[0; 4])),
            ("empty.npy", array("'>f4'", "True", "(0, 3)", &[])),
            ("special:model.yml.npy", array("'|i1'", "False", "(2,)", b"a\n")),
            ("complex.npy", array("'>c8'", "False", "()", &[0, 1, 2, 3, 4, 5, 6, 7])),
            ("readme", b"x".to_vec()),
        ])
        .unwrap();
        let expected = [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0];
        for i in 0..3 {
            assert_eq!(*opened.bytes(i).unwrap(), expected, "{:?}", opened.tensors()[i]);
            assert_eq!(opened.tensors()[i].shape, [2, 3]);
        }
        let names: Vec<&str> = opened.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["c", "f", "big", "empty", "special:model.yml", "complex"]);
        assert!(opened.bytes(3).unwrap().is_empty());
        assert_eq!(opened.tensors()[4].dtype, Dtype::I8);
        assert_eq!(*opened.bytes(5).unwrap(), [3, 2, 1, 0, 7, 6, 5, 4]);
        let others: Vec<&str> = opened.taken().others.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(others, ["names", "readme"]);
    }

    #[test]
    fn what_is_no_numbers_is_refused_by_name() {
        let of = |descr: &str, shape: &str, values: &[u8]| {
            open(&[("w.npy", array(descr, "False", shape, values))]).unwrap_err().to_string()
        };
        for (error, expected) in [
            (of("'|O'", "()", b"\x80\x04."), "an array of objects"),
            (of("'<V2'", "(2,)", &[0; 4]), "bfloat16"),
            (of("'<c16'", "()", &[0; 16]), "`<c16`"),
            (of("'<f4'", "(2,)", &[0; 4]), "has 8 bytes, not 4"),
            (of("'<f4'", "(1,)", &[0; 8]), "has 4 bytes, not 8"),
            (of("'<f4'", "(4294967296, 4294967296)", &[]), "too large"),
            (of("'<f4'", "(4294967296, 0, 4294967296)", &[]), "too large"),
        ] {
            assert!(error.contains("`w`") && error.contains(expected), "{error}");
        }
        let error = of("'<U1'", "(1,)", &[0; 4]);
        assert!(error.contains("no arrays of numbers"), "{error}");
    }
}
