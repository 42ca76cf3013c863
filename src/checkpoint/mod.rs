//! Reading checkpoints: every format ends here, at an index of tensors and byte extents.
//!
//! Nothing after this room knows which trainer wrote a file. A checkpoint is one file or a folder of
//! shards; a format is one file here that turns a file's header into entries.

pub mod checksum;
mod contents;
mod deepspeed;
pub mod digest;
mod distributed;
mod flax;
pub(crate) mod folder;
pub(crate) mod gather;
mod hdf5;
mod headers;
mod index;
mod names;
mod npy;
mod npz;
mod open;
pub mod pickle;
mod safetensors;
pub mod select;
mod sniff;
mod source;
pub(crate) mod torch;
mod tree;
mod verify;
mod weights;
mod zip;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use ::safetensors::Dtype;

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::{METADATA_KEY, Result};
pub use contents::Container;
use contents::{Place, Rest, Seals};
use gather::Gather;
use headers::Headers;
use index::Index;
pub use safetensors::MAX_HEADER;
pub(crate) use source::COLD;
pub use source::Source;
pub use weights::{Take, Taken};
use zip::Archive;

/// One tensor: its values lie row by row, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.len() as u64 * self.dtype.bitsize() as u64 / 8
    }
}

/// How the values of a tensor lie in its file.
pub(crate) enum Extent<'a> {
    /// One after the other, from this byte on.
    Row(u64),
    Gathered(&'a Gather),
}

/// An open checkpoint: the index and the files behind it. Of checkpoints opened together those of one
/// model share names, types and shapes.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    container: Container,
    files: Vec<Source>,
    /// Of safetensors files.
    headers: Option<Headers>,
    /// Of a file of torch.save that others are compared with.
    archive: Option<Archive>,
    index: Arc<Index>,
    /// Where the index's tensors lie in this checkpoint, if not where the index says.
    places: Option<Vec<Place>>,
    gathers: Arc<Vec<Gather>>,
    /// By file.
    seals: Arc<Vec<Seals>>,
    /// Bytes with a checksum that are not those of one tensor.
    rest: Arc<Vec<Rest>>,
    metadata: Arc<BTreeMap<String, String>>,
    taken: Arc<Taken>,
}

impl Checkpoint {
    /// Maps a file, or the files of a folder that holds a model, and reads the index; no tensor is read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &Take::default())
    }

    /// The same, of the weights that are meant.
    pub fn open_with(path: &Path, take: &Take) -> Result<Self> {
        open::open(path, take, None)
    }

    /// Opens checkpoints of one model: what they have in common is held once.
    pub fn open_all(paths: &[PathBuf], take: &Take) -> Result<Vec<Self>> {
        let Some((first, others)) = paths.split_first() else { return Ok(vec![]) };
        let first = Self::open_with(first, take)?;
        let others: Vec<Self> = (others.par_iter())
            .map(|path| open::open(path, take, Some(&first)))
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<_>>()?; // of several errors the first in order
        Ok(std::iter::once(first).chain(others).collect())
    }

    /// How it is stored.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Which of the weights in the file these are.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// The name that a tensor has in the file, before wrappers were taken out of it.
    pub fn written_name(&self, tensor: usize) -> &str {
        self.index.written_name(tensor)
    }

    /// Whether a tensor is a counter of the wrapper that was taken out of the names.
    pub fn is_counter(&self, tensor: usize) -> bool {
        self.index.written.is_some()
            && names::COUNTERS.contains(&self.index.tensors[tensor].name.as_str())
    }

    /// Parts of wrappers that were taken out of names.
    pub fn stripped(&self) -> Vec<&'static str> {
        let written = self.index.written.as_deref().unwrap_or_default();
        let has = |part: &&&str| written.iter().any(|name| name.split('.').any(|p| p == **part));
        names::WRAPPERS.iter().filter(has).copied().collect()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files it consists of: one, or the shards in the order of their names.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// In the order of their bytes in the file, or in that of the checkpoint it was opened with.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.index.tensors
    }

    /// Whether both share names, types, shapes and order.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.position(name)
    }

    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.position(name).map(|i| &self.index.tensors[i])
    }

    /// How the values of a tensor lie in the file.
    pub(crate) fn extent(&self, tensor: usize) -> Extent<'_> {
        match self.place(tensor) {
            Place::Row { start, .. } => Extent::Row(start),
            Place::Gathered(number) => Extent::Gathered(&self.gathers[number as usize]),
        }
    }

    /// The bytes between its first and its last value, of a tensor in one file.
    pub(crate) fn span(&self, tensor: usize) -> Range<u64> {
        match self.extent(tensor) {
            Extent::Row(start) => start..start + self.tensors()[tensor].size(),
            Extent::Gathered(gather) => gather.span(),
        }
    }

    fn place(&self, tensor: usize) -> Place {
        self.places.as_ref().unwrap_or(&self.index.places)[tensor]
    }

    /// Number of the file that holds a tensor, or its first value.
    pub fn file_of(&self, tensor: usize) -> usize {
        match self.place(tensor) {
            Place::Row { file, .. } => file as usize,
            Place::Gathered(number) => {
                self.gathers[number as usize].parts.first().map_or(0, |part| part.file as usize)
            }
        }
    }

    /// The file that holds a part of a tensor, and where; none if the values do not lie in a row.
    pub(crate) fn locate(&self, tensor: usize, bytes: Range<u64>) -> Option<(&Source, Range<u64>)> {
        match self.place(tensor) {
            Place::Row { file, start, .. } => {
                Some((&self.files[file as usize], start + bytes.start..start + bytes.end))
            }
            Place::Gathered(_) => None,
        }
    }

    /// A part of a tensor's bytes, whole values: mapped, or put together in `scratch`.
    pub fn read<'a>(
        &'a self,
        tensor: usize,
        bytes: Range<u64>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        match self.place(tensor) {
            Place::Row { file, start, .. } => {
                self.files[file as usize].read(start + bytes.start..start + bytes.end, scratch)
            }
            Place::Gathered(number) => {
                self.gathers[number as usize].read(&self.files, bytes, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// As [`Checkpoint::read`], for bytes that are read once: see [`Source::load`].
    pub(crate) fn load<'a>(
        &'a self,
        tensor: usize,
        bytes: Range<u64>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        match self.locate(tensor, bytes.clone()) {
            Some((file, range)) => file.load(range, scratch),
            None => self.read(tensor, bytes, scratch),
        }
    }

    /// All bytes of a tensor.
    pub fn bytes(&self, tensor: usize) -> Result<Cow<'_, [u8]>> {
        let bytes = 0..self.index.tensors[tensor].size();
        if let Some((file, range)) = self.locate(tensor, bytes.clone())
            && (file.is_mapped() || range.is_empty())
        {
            // No scratch is used, so it need not live on.
            let (start, end) = (range.start as usize, range.end as usize);
            return Ok(Cow::Borrowed(if range.is_empty() {
                &[]
            } else {
                &file.mapped()[start..end]
            }));
        }
        let mut scratch = Vec::new();
        self.read(tensor, bytes, &mut scratch)?;
        Ok(Cow::Owned(scratch))
    }

    /// Fails if a file was replaced or written to since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(Source::check_unchanged)
    }

    /// What the tools recorded in the file so far; an empty object if nothing readable.
    pub fn provenance(&self) -> Map<String, Value> {
        let text = self.metadata.get(METADATA_KEY);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Names of the batchnorm layers, in file order: those with a running mean and a running
    /// variance, by PyTorch's naming.
    pub fn batchnorm_layers(&self) -> Vec<&str> {
        let tensors = self.index.tensors.iter();
        tensors
            .filter_map(|t| t.name.strip_suffix(".running_mean"))
            .filter(|layer| self.position(&format!("{layer}.running_var")).is_some())
            .collect()
    }
}

/// Whether a tensor is a batchnorm layer's running statistic.
pub fn is_running_statistic(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    matches!(last, "running_mean" | "running_var")
}
