//! Writing safetensors: the header is laid out first, so every tensor's position is known before
//! the first byte is written.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ::safetensors::Dtype;
use serde_json::{Value, json};

use super::AtomicFile;
use crate::checkpoint::{Checkpoint, MAX_HEADER};
use crate::{Error, Result};

/// Where everything goes in a file to be written.
#[derive(Debug)]
pub struct Layout {
    /// The length and the JSON header, padded to a multiple of 8 bytes.
    pub head: Vec<u8>,
    /// Offset of each tensor's first byte in the file, in the order given.
    pub offsets: Vec<u64>,
    /// Size of the file in bytes.
    pub size: u64,
}

impl Layout {
    /// Tensors follow each other in the order given; metadata keys are sorted.
    pub fn new<'a>(
        tensors: impl IntoIterator<Item = (&'a str, Dtype, &'a [usize])>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        // Written as text, entry by entry: a tree of values would cost ten times the header.
        let mut json = String::from("{");
        if !metadata.is_empty() {
            json += &format!("\"__metadata__\":{},", json!(metadata));
        }
        let (mut offsets, mut at) = (Vec::new(), 0u64);
        for (name, dtype, shape) in tensors {
            let end = at + (shape.iter().product::<usize>() * dtype.bitsize() / 8) as u64;
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]});
            json += &format!("{}:{entry},", Value::from(name));
            offsets.push(at);
            at = end;
        }
        if json.ends_with(',') {
            json.pop();
        }
        let mut json = (json + "}").into_bytes();
        // Aligns the tensors, as the reference implementation does.
        json.resize(json.len().next_multiple_of(8), b' ');
        if json.len() > MAX_HEADER {
            return Err(Error::limit(format!(
                "the header would have {} bytes, the safetensors limit is {MAX_HEADER}",
                json.len()
            )));
        }
        let mut head = (json.len() as u64).to_le_bytes().to_vec();
        head.append(&mut json);
        let start = head.len() as u64;
        let size = start + at;
        offsets.iter_mut().for_each(|offset| *offset += start);
        Ok(Layout { head, offsets, size })
    }
}

/// Writes a checkpoint again with other bytes for some of its tensors and other metadata.
pub fn rewrite(
    checkpoint: &Checkpoint,
    path: &Path,
    force: bool,
    metadata: &BTreeMap<String, String>,
    replaced: &HashMap<String, Vec<u8>>,
) -> Result<()> {
    let tensors = checkpoint.tensors();
    let entries = tensors.iter().map(|t| (t.name.as_str(), t.dtype, &t.shape[..]));
    let layout = Layout::new(entries, metadata)?;
    let output = AtomicFile::create(path, layout.size, force)?;
    output.write_at(&layout.head, 0)?;
    for (tensor, &offset) in tensors.iter().zip(&layout.offsets) {
        let bytes = match replaced.get(&tensor.name) {
            Some(bytes) => bytes,
            None => checkpoint.bytes(tensor),
        };
        assert_eq!(bytes.len(), tensor.extent.len());
        output.write_at(bytes, offset)?;
    }
    checkpoint.check_unchanged()?;
    output.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_implementation_reads_it() {
        let metadata = BTreeMap::from([("b".into(), "2".into()), ("a".into(), "1\"".into())]);
        let tensors: [(&str, Dtype, &[usize]); 3] =
            [("z", Dtype::F32, &[2]), ("a", Dtype::I64, &[]), ("empty", Dtype::BF16, &[0, 3])];
        let layout = Layout::new(tensors, &metadata).unwrap();
        let mut file = layout.head.clone();
        file.extend(0..16u8);
        assert_eq!((file.len() as u64, file.len() % 8), (layout.size, 0));
        let parsed = ::safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(parsed.tensor("z").unwrap().data(), &file[layout.offsets[0] as usize..][..8]);
        assert_eq!(parsed.tensor("a").unwrap().data(), (8..16).collect::<Vec<u8>>());
        assert_eq!(parsed.tensor("empty").unwrap().shape(), [0, 3]);
        let (_, read) = ::safetensors::SafeTensors::read_metadata(&file).unwrap();
        assert_eq!(read.metadata().as_ref().unwrap()["a"], "1\"");
        assert!(file.windows(30).any(|w| w.starts_with(br#"{"__metadata__":{"a":"1\"","b""#)));
    }
}
