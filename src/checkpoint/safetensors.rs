//! The safetensors format: 8 bytes of header length, a JSON header, the tensors.
//!
//! Format: the README of the safetensors repository, section "Format". Checked here, because a file
//! may come from anywhere: no metadata key twice (names are checked where they are looked up), sizes that follow from dtype and shape,
//! extents that cover the data without holes, overlaps or trailing bytes. The header is read in one
//! streaming pass, so a hostile one costs no more memory than the index it describes.

use std::collections::BTreeMap;
use std::fmt;

use ::safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Index, TensorInfo};
use crate::error::printable;
use crate::{Error, Result};

/// Largest header that is read, in bytes: the reference implementation's limit.
pub const MAX_HEADER: usize = 100_000_000;

/// Most dimensions of a tensor: what PyTorch takes.
pub const MAX_RANK: usize = 64;

/// Most tensors in a file: ten times what the largest models have.
pub const MAX_TENSORS: usize = 1_000_000;

/// One header entry as it is written.
#[derive(Deserialize)]
struct Entry {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
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
                        return Err(S::Error::custom(format!("more than {MAX_RANK} dimensions")));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Dimensions)
    }
}

/// Reads the index of a whole file.
pub(super) fn index(file: &[u8]) -> Result<Index> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        let found = file.len();
        return Err(not_safetensors(format!("{found} bytes are too few for a header")));
    };
    let length = u64::from_le_bytes(*length);
    let length = match usize::try_from(length) {
        Ok(length) if length <= MAX_HEADER => length,
        _ => {
            return Err(not_safetensors(format!(
                "its first 8 bytes give a header of {length} bytes, the limit is {MAX_HEADER}"
            )));
        }
    };
    let Some((header, data)) = rest.split_at_checked(length) else {
        return Err(Error::input(format!(
            "truncated: the header should have {length} bytes, the file ends after {}",
            rest.len()
        ))
        .remedy("save or copy it again"));
    };
    if header.first() != Some(&b'{') {
        return Err(not_safetensors("its header is not JSON".to_string()));
    }
    let Header(mut index) = serde_json::from_slice(header).map_err(|e| {
        Error::input(format!("bad safetensors header: {}", printable(&e.to_string())))
    })?;
    check_extents(&mut index.tensors, data.len())?;
    let start = 8 + length;
    for tensor in &mut index.tensors {
        tensor.extent = start + tensor.extent.start..start + tensor.extent.end;
    }
    Ok(index)
}

fn not_safetensors(why: String) -> Error {
    Error::input(format!("not a safetensors file: {why}"))
}

/// Orders the tensors by their bytes and checks that these cover the data, each byte once.
fn check_extents(tensors: &mut [TensorInfo], data: usize) -> Result<()> {
    tensors.sort_by(|a, b| {
        (a.extent.start, a.extent.end, &a.name).cmp(&(b.extent.start, b.extent.end, &b.name))
    });
    let mut at = 0;
    for tensor in tensors.iter() {
        let fail = |what: String| Err(Error::input(what).tensor(&tensor.name));
        let extent = &tensor.extent;
        if extent.start > extent.end {
            return fail(format!("its bytes end ({}) before they begin", extent.end));
        }
        let bits = (tensor.shape.iter())
            .try_fold(1usize, |product, &n| product.checked_mul(n))
            .and_then(|n| n.checked_mul(tensor.dtype.bitsize()));
        let Some(bits) = bits else {
            return fail(format!("its shape {:?} is too large to count", tensor.shape));
        };
        if bits % 8 != 0 || bits / 8 != extent.len() {
            return fail(format!(
                "{:?} of shape {:?} takes {} bytes, the header gives it {}",
                tensor.dtype,
                tensor.shape,
                bits.div_ceil(8),
                extent.len()
            ));
        }
        if extent.start != at {
            let what = if extent.start < at { "overlaps the one before" } else { "leaves a hole" };
            return fail(format!("its extent {}..{} {what}", extent.start, extent.end));
        }
        at = extent.end;
        if at > data {
            let what = format!("truncated: its bytes end at {at} of the data, which has {data}");
            return Err(Error::input(what).tensor(&tensor.name).remedy("save or copy it again"));
        }
    }
    if at != data {
        return Err(Error::input(format!("{} bytes follow the last tensor", data - at)));
    }
    Ok(())
}

struct Header(Index);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensor names")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut index = Index::default();
                let mut metadata = None;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if metadata.replace(map.next_value::<Metadata>()?.0).is_some() {
                            return Err(M::Error::custom("`__metadata__` occurs twice"));
                        }
                        continue;
                    }
                    if index.tensors.len() == MAX_TENSORS {
                        return Err(M::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    let Entry { dtype, shape: Shape(shape), data_offsets: (start, end) } =
                        map.next_value()?;
                    index.tensors.push(TensorInfo { name, dtype, shape, extent: start..end });
                }
                index.metadata = metadata.unwrap_or_default();
                Ok(Header(index))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

struct Metadata(BTreeMap<String, String>);

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

    #[test]
    fn extents_point_into_the_file() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}} "#;
        let index = index(&file(header, 9)).unwrap();
        let start = 8 + header.len();
        let found: Vec<_> =
            index.tensors.iter().map(|t| (t.name.as_str(), t.extent.clone())).collect();
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
