//! The safetensors format: 8 bytes of header length, a JSON header, the tensors.
//!
//! Format: the README of the safetensors repository, section "Format". A file may come from anywhere, so this
//! checks that no metadata key occurs twice, that sizes follow from dtype and shape, and that the extents cover the
//! data without holes, overlaps or trailing bytes; the index checks that no name occurs twice. The header is read in
//! one streaming pass, so a hostile one costs no more memory than the index it describes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use ::safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::flat::within;
use super::format::{Candidate, Format, Read, Reader, Request, Template};
use super::headers::Headers;
use crate::store::Source;
use crate::tensors::{MAX_HEADER, MAX_RANK};
use crate::text::printable;
use crate::{Error, Kind, Result};

pub(super) const FORMAT: Format = Format {
    name: "safetensors",
    endings: &["safetensors"],
    reader: Reader::File {
        is_one: |candidate| Ok(starts_safetensors(&candidate.head)),
        read: |candidate: Candidate, request| read(std::slice::from_ref(candidate.file), request),
    },
};

/// A length below 4 GiB, followed by JSON. The bytes of the length alone could begin another format.
fn starts_safetensors(head: &[u8]) -> bool {
    head.get(4..9) == Some(b"\0\0\0\0{")
}

/// Reads the headers of all files, unless they equal those of the checkpoint to compare with.
pub(super) fn read(files: &[Source], request: &Request) -> Result<Read> {
    let mut own = Headers::find(files)?;
    if let Some(like) = request.like
        && let Template::Headers(others) = like.template
        && own.are_those_of(files, others, like.files)?
    {
        return Ok(Read::Same { template: Some(Template::Headers(own)), metadata: None });
    }
    let contents = own.read(files)?;
    let contents = within(contents, request.take)?;
    Ok(Read::Contents { contents: Box::new(contents), template: Some(Template::Headers(own)) })
}

/// Most tensors in a file: ten times what the largest models have.
const MAX_TENSORS: usize = 1_000_000;

/// Most entries of a file's metadata: a thousand times what files have.
const MAX_METADATA: usize = 100_000;

/// How messages of limits begin, which the JSON parser hands on.
const LIMIT: &str = "more than ";

/// One header entry as it is written.
#[derive(Deserialize)]
struct Written {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// At most [`MAX_RANK`] dimensions.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Shape, S::Error> {
                let mut shape = Vec::new();
                while let Some(size) = seq.next_element()? {
                    if shape.len() == MAX_RANK {
                        return Err(S::Error::custom(format!(
                            "a shape of more than {MAX_RANK} dimensions"
                        )));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Dimensions)
    }
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// In the order of their bytes in the file.
    pub tensors: Vec<Entry>,
    pub metadata: BTreeMap<String, String>,
}

/// One tensor, and the bytes of the file that hold it.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Range<u64>,
}

/// The length of the header, from the file's first bytes and its size.
pub(super) fn header_length(start: &[u8], size: u64) -> Result<u64> {
    let Some(length) = start.first_chunk::<8>() else {
        return Err(not_safetensors(format!("{size} bytes are too few for a header")));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER as u64 {
        return Err(not_safetensors(format!(
            "its first 8 bytes give a header of {length} bytes, the limit is {MAX_HEADER}"
        )));
    }
    if length > size - 8 {
        let found = size - 8;
        return Err(Error::new(
            Kind::Truncated,
            format!(
                "truncated: the header should have {length} bytes, the file ends after {found}"
            ),
        )
        .remedy("save or copy it again"));
    }
    Ok(length)
}

/// Reads the header of a file of `size` bytes.
pub(super) fn parse(header: &[u8], size: u64) -> Result<Parsed> {
    if header.first() != Some(&b'{') {
        return Err(not_safetensors("its header is not JSON".to_string()));
    }
    let Header(mut parsed) = serde_json::from_slice(header).map_err(|e| {
        let what = printable(&e.to_string());
        match what.strip_prefix(LIMIT) {
            Some(_) => Error::limit(format!("its header has {what}"))
                .remedy("split the model into several files, or save without what is no weight"),
            None => Error::new(Kind::Damaged, format!("bad safetensors header: {what}")),
        }
    })?;
    let start = 8 + header.len() as u64;
    check_extents(&mut parsed.tensors, size - start)?;
    for tensor in &mut parsed.tensors {
        tensor.bytes = start + tensor.bytes.start..start + tensor.bytes.end;
    }
    Ok(parsed)
}

fn not_safetensors(why: String) -> Error {
    Error::new(Kind::NotACheckpoint, format!("not a safetensors file: {why}"))
        .remedy("save or copy it again")
}

/// Orders the tensors by their bytes and checks that these cover the data, each byte once.
fn check_extents(tensors: &mut [Entry], data: u64) -> Result<()> {
    tensors.sort_by(|a, b| {
        (a.bytes.start, a.bytes.end, &a.name).cmp(&(b.bytes.start, b.bytes.end, &b.name))
    });
    let mut at = 0u64;
    for tensor in tensors.iter() {
        let fail = |what: String| Err(Error::new(Kind::Damaged, what).tensor(&tensor.name));
        let Range { start, end } = tensor.bytes;
        if start > end {
            return fail(format!("its bytes end ({end}) before they begin"));
        }
        let bits = (tensor.shape.iter())
            .try_fold(1u64, |product, &n| product.checked_mul(n as u64))
            .and_then(|n| n.checked_mul(tensor.dtype.bitsize() as u64));
        let Some(bits) = bits else {
            return fail(format!("its shape {:?} is too large to count", tensor.shape));
        };
        if bits % 8 != 0 || bits / 8 != end - start {
            return fail(format!(
                "{:?} of shape {:?} takes {} bytes, the header gives it {}",
                tensor.dtype,
                tensor.shape,
                bits.div_ceil(8),
                end - start
            ));
        }
        if start != at {
            let what = if start < at { "overlaps the one before" } else { "leaves a hole" };
            return fail(format!("its bytes {start}..{end}: this {what}"));
        }
        at = end;
        if at > data {
            let what = format!("truncated: its bytes end at {at} of the data, which has {data}");
            return Err(Error::new(Kind::Truncated, what)
                .tensor(&tensor.name)
                .remedy("save or copy it again"));
        }
    }
    if at != data {
        return Err(Error::new(
            Kind::Damaged,
            format!("{} bytes follow the last tensor", data - at),
        ));
    }
    Ok(())
}

struct Header(Parsed);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensor names")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut parsed = Parsed::default();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if metadata.replace(map.next_value::<Metadata>()?.0).is_some() {
                            return Err(M::Error::custom("`__metadata__` occurs twice"));
                        }
                        continue;
                    }
                    if parsed.tensors.len() == MAX_TENSORS {
                        return Err(M::Error::custom(format!("{LIMIT}{MAX_TENSORS} tensors")));
                    }
                    let Written { dtype, shape: Shape(shape), data_offsets: (start, end) } =
                        map.next_value()?;
                    parsed.tensors.push(Entry { name, dtype, shape, bytes: start..end });
                }
                parsed.metadata = metadata.unwrap_or_default();
                Ok(Header(parsed))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// At most [`MAX_METADATA`] entries, none of them twice.
pub(super) struct Metadata(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Metadata, M::Error> {
                let mut metadata = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if metadata.len() == MAX_METADATA {
                        let what = format!("{LIMIT}{MAX_METADATA} entries of metadata");
                        return Err(M::Error::custom(what));
                    }
                    if metadata.contains_key(&key) {
                        return Err(M::Error::custom(format!("metadata `{key}` occurs twice")));
                    }
                    metadata.insert(key, value);
                }
                Ok(Metadata(metadata))
            }
        }
        deserializer.deserialize_map(Strings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.resize(file.len() + data, 7);
        file
    }

    fn index(file: &[u8]) -> Result<Parsed> {
        let size = file.len() as u64;
        let length = header_length(&file[..file.len().min(8)], size)?;
        parse(&file[8..8 + length as usize], size)
    }

    #[test]
    fn extents_point_into_the_file() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}} "#;
        let index = index(&file(header, 9)).unwrap();
        let start = 8 + header.len() as u64;
        let found: Vec<_> =
            index.tensors.iter().map(|t| (t.name.as_str(), t.bytes.clone())).collect();
        assert_eq!(found, [("a", start..start + 1), ("b", start + 1..start + 9)]);
        assert_eq!(index.metadata["format"], "pt");
    }

    #[test]
    fn bad_files_are_refused_by_cause() {
        let one = |entry: &str| format!(r#"{{"a":{entry}}}"#);
        let deep =
            format!(r#"{{"dtype":"U8","shape":[{}0],"data_offsets":[0,0]}}"#, "0,".repeat(64));
        let cases = [
            (file("[]", 0), "header is not JSON"),
            (file("{", 0), "bad safetensors header"),
            (b"abc".to_vec(), "too few for a header"),
            (u64::MAX.to_le_bytes().to_vec(), "the limit is"),
            (file("{}", 0)[..9].to_vec(), "truncated: the header should have 2 bytes"),
            (file("{}", 3), "3 bytes follow the last tensor"),
            (file(&one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#), 7), "truncated"),
            (file(&one(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#), 4), "takes 8 bytes"),
            (file(&one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#), 8), "leaves a hole"),
            (file(&one(r#"{"dtype":"F32","shape":[1],"data_offsets":[8,4]}"#), 8), "before they"),
            (
                file(&one(r#"{"dtype":"X9","shape":[1],"data_offsets":[0,4]}"#), 4),
                "unknown variant",
            ),
            (
                file(
                    &one(
                        r#"{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}"#,
                    ),
                    0,
                ),
                "too large to count",
            ),
            (file(&one(&deep), 0), "more than 64 dimensions"),
            (file(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0), "metadata `k` occurs twice"),
            (
                file(
                    r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
                    3,
                ),
                "overlaps",
            ),
        ];
        for (bytes, expected) in cases {
            let text = index(&bytes).unwrap_err().to_string();
            assert!(text.contains(expected), "{expected:?} not in {text:?}");
        }
    }
}
