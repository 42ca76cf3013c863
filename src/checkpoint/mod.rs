//! Reading checkpoints: every format ends here, at an index of tensors and byte extents.
//!
//! Nothing after this room knows which trainer wrote a file. A format is one file with a function
//! that turns the mapped bytes into an `Index`, and one line in [`Checkpoint::open`].

mod safetensors;
pub mod select;
pub mod sigbus;
mod sniff;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

pub use ::safetensors::Dtype;

use serde_json::{Map, Value};

use crate::{Error, METADATA_KEY, Result};
pub use safetensors::MAX_HEADER;
pub use source::Source;

/// One tensor: its values lie row by row, little-endian, in `extent`.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Byte range in the file.
    pub extent: Range<usize>,
}

impl TensorInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a format's reader delivers.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// In the order of their bytes in the file.
    pub tensors: Vec<TensorInfo>,
    pub metadata: BTreeMap<String, String>,
}

/// An open checkpoint: the index and the mapped file behind it.
#[derive(Debug)]
pub struct Checkpoint {
    source: Source,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Maps the file and reads its index; no tensor is read.
    pub fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        sniff::refuse_what_holds_no_weights(source.bytes()).map_err(|e| e.at(path))?;
        let index = safetensors::index(source.bytes()).map_err(|e| e.at(path))?;
        let mut by_name = HashMap::with_capacity(index.tensors.len());
        for (i, tensor) in index.tensors.iter().enumerate() {
            if by_name.insert(tensor.name.clone(), i).is_some() {
                return Err(Error::input("occurs twice").tensor(&tensor.name).at(path));
            }
        }
        Ok(Checkpoint { source, tensors: index.tensors, by_name, metadata: index.metadata })
    }

    pub fn path(&self) -> &Path {
        self.source.path()
    }

    /// In the order of their bytes in the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.position(name).map(|i| &self.tensors[i])
    }

    /// The tensor's bytes, mapped.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        &self.source.bytes()[tensor.extent.clone()]
    }

    /// Fails if the file was replaced or written to since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.source.check_unchanged()
    }

    /// What the tools recorded in the file so far; an empty object if nothing readable.
    pub fn provenance(&self) -> Map<String, Value> {
        let text = self.metadata.get(METADATA_KEY);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Names of the batchnorm layers, in file order: those with a running mean and a running
    /// variance, by PyTorch's naming.
    pub fn batchnorm_layers(&self) -> Vec<&str> {
        self.tensors
            .iter()
            .filter_map(|t| t.name.strip_suffix(".running_mean"))
            .filter(|layer| self.by_name.contains_key(&format!("{layer}.running_var")))
            .collect()
    }
}

/// Whether a tensor is a batchnorm layer's running statistic.
pub fn is_running_statistic(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    matches!(last, "running_mean" | "running_var")
}
