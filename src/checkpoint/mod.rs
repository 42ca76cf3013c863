//! Reading checkpoints: every format ends here, at an index of tensors and byte extents.
//!
//! Nothing after this room knows which trainer wrote a file. A checkpoint is one file or a folder of
//! shards; a format is one file here that turns a file's header into entries.

pub mod digest;
pub(crate) mod folder;
mod index;
mod safetensors;
pub mod select;
pub mod sigbus;
mod sniff;
mod source;
mod verify;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use ::safetensors::Dtype;

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::{METADATA_KEY, Result};
use index::{Header, Index, Place};
pub use safetensors::MAX_HEADER;
pub use source::Source;

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

/// An open checkpoint: the index and the files behind it. Of checkpoints opened together those of one
/// model share names, types and shapes.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<Source>,
    headers: Vec<Header>,
    index: Arc<Index>,
    /// Where the index's tensors lie in this checkpoint, if not where the index says.
    places: Option<Vec<Place>>,
    metadata: Arc<BTreeMap<String, String>>,
}

impl Checkpoint {
    /// Maps a file, or the files of a folder with a Hugging Face model, and reads the index; no tensor
    /// is read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_like(path, None)
    }

    /// Opens checkpoints of one model: what they have in common is held once.
    pub fn open_all(paths: &[PathBuf]) -> Result<Vec<Self>> {
        let Some((first, others)) = paths.split_first() else { return Ok(vec![]) };
        let first = Self::open(first)?;
        let others: Vec<Self> = (others.par_iter())
            .map(|path| Self::open_like(path, Some(&first)))
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<_>>()?; // of several errors the first in order
        Ok(std::iter::once(first).chain(others).collect())
    }

    fn open_like(path: &Path, like: Option<&Self>) -> Result<Self> {
        let names = if path.is_dir() { Some(folder::shards(path)?) } else { None };
        let paths = match &names {
            Some(names) => names.files.iter().map(|name| path.join(name)).collect(),
            None => vec![path.to_path_buf()],
        };
        let files: Vec<Source> = paths.iter().map(|p| Source::open(p)).collect::<Result<_>>()?;
        let headers: Vec<Header> = files.iter().map(Header::find).collect::<Result<_>>()?;
        let path = path.to_path_buf();
        if let Some(like) = like
            && like.has_headers(&files, &headers)?
        {
            // Byte for byte the same: most trainers write nothing that differs.
            let (index, places) = (like.index.clone(), like.places.clone());
            let metadata = like.metadata.clone();
            return Ok(Checkpoint { path, files, headers, index, places, metadata });
        }
        let (index, metadata, headers) = Index::read(&path, &files, &headers)?;
        if let Some(names) = names {
            names.check(&path, &files, &index)?;
        }
        let (mut index, mut metadata, mut places) = (Arc::new(index), Arc::new(metadata), None);
        if let Some(like) = like {
            if *like.metadata == *metadata {
                metadata = like.metadata.clone();
            }
            if let Some(own) = index.places_like(&like.index) {
                places = Some(own);
                index = like.index.clone();
            }
        }
        Ok(Checkpoint { path, files, headers, index, places, metadata })
    }

    fn has_headers(&self, files: &[Source], headers: &[Header]) -> Result<bool> {
        if self.files.len() != files.len() {
            return Ok(false);
        }
        let (mut a, mut b) = (vec![], vec![]);
        for ((file, header), (own, like)) in
            files.iter().zip(headers).zip(self.files.iter().zip(&self.headers))
        {
            // A header with digests differs in them at least.
            if file.size() != own.size()
                || header.length != like.length
                || like.digests.is_some()
                || header.read(file, &mut a)? != like.read(own, &mut b)?
                || self.files.len() > 1 && file.path().file_name() != own.path().file_name()
            {
                return Ok(false);
            }
        }
        Ok(true)
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

    fn place(&self, tensor: usize) -> Place {
        self.places.as_ref().unwrap_or(&self.index.places)[tensor]
    }

    /// Number of the file that holds a tensor.
    pub fn file_of(&self, tensor: usize) -> usize {
        self.place(tensor).file as usize
    }

    /// The file that holds a part of a tensor, and where.
    pub(crate) fn locate(&self, tensor: usize, bytes: Range<u64>) -> (&Source, Range<u64>) {
        let place = self.place(tensor);
        let (start, end) = (place.start + bytes.start, place.start + bytes.end);
        (&self.files[place.file as usize], start..end)
    }

    /// A part of a tensor's bytes: mapped, or read into `scratch`.
    pub fn read<'a>(
        &'a self,
        tensor: usize,
        bytes: Range<u64>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        let (file, range) = self.locate(tensor, bytes);
        file.read(range, scratch)
    }

    /// As [`Checkpoint::read`], for bytes that are read once: see [`Source::load`].
    pub(crate) fn load<'a>(
        &'a self,
        tensor: usize,
        bytes: Range<u64>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        let (file, range) = self.locate(tensor, bytes);
        file.load(range, scratch)
    }

    /// All bytes of a tensor.
    pub fn bytes(&self, tensor: usize) -> Result<Cow<'_, [u8]>> {
        let (file, range) = self.locate(tensor, 0..self.index.tensors[tensor].size());
        if file.is_mapped() || range.is_empty() {
            // No scratch is used, so it need not live on.
            let (start, end) = (range.start as usize, range.end as usize);
            return Ok(Cow::Borrowed(&file.mapped()[start..end]));
        }
        let mut scratch = Vec::new();
        file.read(range, &mut scratch)?;
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
