//! Writing safetensors: the header is laid out first, so every tensor's position is known before the
//! first byte is written. Only the digests in it come last, in room kept for them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::AtomicFile;
use super::layout::{Destination, Layout, Sink};
use crate::checkpoint::digest::{self, DIGEST_KEY};
use crate::checkpoint::{MAX_HEADER, TensorInfo};
use crate::tensors::checksum::Checksum;
use crate::{Error, Kind, Result, setting};

/// The entry of a header that is no tensor.
const METADATA: &str = "__metadata__";

/// Where everything goes in a safetensors file to be written.
#[derive(Debug)]
pub struct SafetensorsLayout {
    /// The length and the JSON header, padded to a multiple of 8 bytes.
    head: Vec<u8>,
    /// Where in it the digests go.
    digests: usize,
    /// Digest of the metadata.
    metadata: u128,
    /// Offset of each tensor's first byte in the file, in the order given.
    offsets: Vec<u64>,
    /// Size of the file in bytes.
    size: u64,
}

impl SafetensorsLayout {
    /// Tensors follow each other in the order given; metadata keys are sorted.
    ///
    /// # Errors
    /// `Limit` if the header would be longer than the format allows; `Unsupported` for the one name that no tensor can have.
    pub fn new<'a>(
        tensors: impl Iterator<Item = &'a TensorInfo>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        // Written as text, entry by entry: a tree of values would cost ten times the header.
        let (mut json, mut offsets, mut at) = (String::new(), Vec::new(), 0u64);
        for info in tensors {
            if info.name == METADATA {
                let what = "safetensors keeps its metadata under this name";
                return Err(Error::new(Kind::Unsupported, what).tensor(METADATA).remedy(concat!(
                    "write a PyTorch file (.pth), or ",
                    setting!("exclude"),
                    " it"
                )));
            }
            let end = at + info.size();
            let entry =
                json!({"dtype": info.dtype, "shape": info.shape, "data_offsets": [at, end]});
            json += &format!(",{}:{entry}", Value::from(info.name.as_str()));
            offsets.push(at);
            at = end;
        }
        let room = "0".repeat(digest::entry_length(offsets.len()));
        let mut all = metadata.clone();
        all.insert(DIGEST_KEY.into(), room);
        let start = format!("{{\"__metadata__\":{}", json!(all));
        // Within a value the quotes would be escaped.
        let key = format!("\"{DIGEST_KEY}\":\"");
        let digests = 8 + start.find(&key).expect("it was put there") + key.len();
        let mut head = vec![0; 8];
        head.extend_from_slice(start.as_bytes());
        head.extend_from_slice(json.as_bytes());
        head.push(b'}');
        // Aligns the tensors, as the reference implementation does.
        head.resize(head.len().next_multiple_of(8), b' ');
        let length = head.len() - 8;
        if length > MAX_HEADER {
            return Err(Error::limit(format!(
                "the header would have {length} bytes, the safetensors limit is {MAX_HEADER}"
            )));
        }
        head[..8].copy_from_slice(&(length as u64).to_le_bytes());
        let start = head.len() as u64;
        let size = start + at;
        offsets.iter_mut().for_each(|offset| *offset += start);
        let metadata = digest::of_metadata(metadata);
        Ok(SafetensorsLayout { head, digests, metadata, offsets, size })
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where a tensor's bytes begin in the file. Panics if there is no tensor of this number.
    pub fn offset(&self, tensor: usize) -> u64 {
        self.offsets[tensor]
    }

    /// Writes the header to a file that has all tensors. These are given again, each with the
    /// [`Checksum::Digest`] of its bytes.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn write_header(&self, file: &AtomicFile, tensors: &[(&TensorInfo, u128)]) -> Result<()> {
        file.write_at(&self.sealed(tensors), 0)
    }

    /// The head, with the digests of the tensors, in the order given, put into it.
    fn sealed(&self, tensors: &[(&TensorInfo, u128)]) -> Vec<u8> {
        let mut by_name: Vec<usize> = (0..tensors.len()).collect();
        by_name.sort_by(|&a, &b| tensors[a].0.name.cmp(&tensors[b].0.name));
        let digests = by_name.iter().map(|&i| digest::of_tensor(tensors[i].1, tensors[i].0));
        let entry = digest::entry(self.metadata, digests);
        let mut head = self.head.clone();
        head[self.digests..][..entry.len()].copy_from_slice(entry.as_bytes());
        head
    }
}

impl Layout for SafetensorsLayout {
    fn size(&self) -> u64 {
        self.size
    }

    fn destination(&self, tensor: usize) -> Destination<'_> {
        Destination::Row(self.offsets[tensor])
    }

    fn checksum(&self) -> Option<Checksum> {
        Some(Checksum::Digest)
    }

    fn finish(&self, sink: &dyn Sink, file: usize, tensors: &[(&TensorInfo, u128)]) -> Result<()> {
        sink.write_at(file, &self.sealed(tensors), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::Dtype;

    #[test]
    fn the_reference_implementation_reads_it() {
        let metadata = BTreeMap::from([("b".into(), "2".into()), ("a".into(), "1\"".into())]);
        let info = |name: &str, dtype, shape: &[usize]| TensorInfo {
            name: name.into(),
            dtype,
            shape: shape.into(),
        };
        let tensors = [
            info("z", Dtype::F32, &[2]),
            info("a", Dtype::I64, &[]),
            info("empty", Dtype::BF16, &[0, 3]),
        ];
        let layout = SafetensorsLayout::new(tensors.iter(), &metadata).unwrap();
        let sealed: Vec<_> = tensors.iter().map(|t| (t, 7)).collect();
        let mut file = layout.sealed(&sealed);
        file.extend(0..16u8);
        assert_eq!((file.len() as u64, file.len() % 8), (layout.size, 0));
        let parsed = ::safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(parsed.tensor("z").unwrap().data(), &file[layout.offsets[0] as usize..][..8]);
        assert_eq!(parsed.tensor("a").unwrap().data(), (8..16).collect::<Vec<u8>>());
        assert_eq!(parsed.tensor("empty").unwrap().shape(), [0, 3]);
        let (_, read) = ::safetensors::SafeTensors::read_metadata(&file).unwrap();
        let read = read.metadata().as_ref().unwrap();
        assert_eq!((&read["a"][..], &read["b"][..]), ("1\"", "2"));
        // By name: a, empty, z.
        let digits: Vec<&str> = read[DIGEST_KEY].split(' ').collect();
        assert_eq!(digits.len(), 4);
        assert_eq!(digits[3], digest::hex(digest::of_tensor(7, &tensors[0])));
        assert!(file.windows(30).any(|w| w.starts_with(br#"{"__metadata__":{"a":"1\"","b""#)));
    }
}
