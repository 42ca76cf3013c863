//! Open checkpoints: the index of names, types and shapes, and the bytes of each tensor.
//!
//! Nothing from here on knows which trainer wrote a file; the formats end below. No tensor is read before it is
//! asked for.

pub mod digest;
mod index;
mod open;
pub(crate) mod same;
mod verify;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::formats::Template;
pub use crate::formats::{Container, pickle};
pub use crate::store::Source;
use crate::tensors::contents::{Location, Region, StoredChecksums};
use crate::tensors::gather::Gather;
pub use crate::tensors::{Dtype, MAX_HEADER, TensorInfo, checksum};
use crate::weights::names;
pub use crate::weights::{Rest, Take, Taken};
use crate::{METADATA_KEY, Result};
use index::Index;

/// Where the values of a tensor are in its file.
pub(crate) enum Extent<'a> {
    /// One after the other, from this offset on.
    Contiguous(u64),
    Gathered(&'a Gather),
}

/// An open checkpoint: the index and the files behind it. Checkpoints of one model that are opened together share
/// names, types and shapes.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    container: Container,
    files: Vec<Source>,
    /// What others are compared with when they are opened, to share the index.
    template: Option<Template>,
    index: Arc<Index>,
    /// Where the tensors are in this checkpoint, if not where the index says.
    locations: Option<Vec<Location>>,
    gathers: Arc<Vec<Gather>>,
    /// By file.
    checksums: Arc<Vec<StoredChecksums>>,
    /// Bytes with a checksum that are not those of one tensor.
    regions: Arc<Vec<Region>>,
    metadata: Arc<BTreeMap<String, String>>,
    taken: Arc<Taken>,
}

impl Checkpoint {
    /// Opens a file, or the files of a folder that holds a model, and reads the index; no tensor is read.
    ///
    /// # Errors
    /// `Usage` or `NoMatch` where the path leads to nothing that could be one; `NotACheckpoint`, `Unsupported`,
    /// `Truncated`, `Damaged`, `Hostile`, `Mismatch` or `Input` by what is wrong with it; `Limit` where it claims
    /// more than is read; `Io` where it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, &Take::default())
    }

    /// The same, of the weights that are meant.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`]; `Input` or `NoMatch` where these weights are not in it.
    pub fn open_with(path: &Path, take: &Take) -> Result<Self> {
        open::open(path, take, None)
    }

    /// Opens a file that is in memory; `path` is what messages call it. The file is not looked for.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`].
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        open::of_bytes(path, bytes)
    }

    /// Opens checkpoints of one model: what they have in common is held once.
    ///
    /// # Errors
    /// The first error in the order of the paths, of [`Checkpoint::open_with`].
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

    /// Which of the weights in the file were taken.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// The name that a tensor has in the file, with the wrappers' parts.
    pub fn written_name(&self, tensor: usize) -> &str {
        self.index.written_name(tensor)
    }

    /// Whether a tensor is the counter of an averaged model whose wrapper was stripped from the names: one integer
    /// beside them. `module.steps` is a buffer of the model itself.
    pub fn is_counter(&self, tensor: usize) -> bool {
        let info = &self.index.tensors[tensor];
        let is_integer = matches!(info.dtype, Dtype::I64 | Dtype::I32);
        let is_named = match names::COUNTERS.iter().find(|counter| **counter == info.name) {
            Some(&"n_averaged") => true,
            Some(counter) => self.written_name(tensor) == *counter,
            None => false,
        };
        self.index.written.is_some() && is_integer && info.len() == 1 && is_named
    }

    /// The wrappers' parts that were stripped from names.
    pub fn stripped(&self) -> Vec<&'static str> {
        let written = self.index.written.as_deref().unwrap_or_default();
        let in_front = names::are_in_front(written.iter().map(|name| &**name));
        let mut found: Vec<&'static str> = vec![];
        for part in written.iter().flat_map(|name| names::stripped(name)) {
            if !found.contains(&part) && (in_front || part != names::IN_FRONT) {
                found.push(part);
            }
        }
        found
    }

    /// Whether it was opened as a folder, in which its files lie.
    pub(crate) fn is_folder(&self) -> bool {
        self.files.first().is_some_and(|file| file.path() != self.path)
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that it consists of: one, or the shards in the order of their names.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// The tensors, in the order of their bytes in the file, or in that of the checkpoint it was opened with.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.index.tensors
    }

    /// Whether both share names, types, shapes and order.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    /// The metadata of its files, without the digests of these tools.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The index of a tensor in [`Checkpoint::tensors`].
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.position(name)
    }

    /// A tensor by its name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.position(name).map(|i| &self.index.tensors[i])
    }

    /// Where the values of a tensor are in the file.
    pub(crate) fn extent(&self, tensor: usize) -> Extent<'_> {
        match self.location(tensor) {
            Location::Contiguous { start, .. } => Extent::Contiguous(start),
            Location::Gathered(number) => Extent::Gathered(&self.gathers[number as usize]),
        }
    }

    /// The files that hold values of a tensor, ascending.
    pub(crate) fn files_of(&self, tensor: usize) -> Vec<u32> {
        if self.tensors()[tensor].size() == 0 {
            return vec![];
        }
        match self.location(tensor) {
            Location::Contiguous { file, .. } => vec![file],
            Location::Gathered(number) => {
                let slabs = &self.gathers[number as usize].slabs;
                let mut files: Vec<u32> = slabs.iter().map(|slab| slab.file).collect();
                files.sort_unstable();
                files.dedup();
                files
            }
        }
    }

    /// What a tensor has in one of the files: for each piece there the bytes from its first value to its last.
    pub(crate) fn spans(&self, tensor: usize, file: u32) -> Vec<Range<u64>> {
        let size = self.tensors()[tensor].size();
        match self.location(tensor) {
            Location::Contiguous { file: own, start, .. } if own == file => {
                std::iter::once(start..start + size).collect()
            }
            Location::Gathered(number) if size > 0 => {
                let gather = &self.gathers[number as usize];
                let slabs = gather.slabs.iter().filter(|slab| slab.file == file);
                slabs.map(|slab| slab.span(gather.width)).collect()
            }
            _ => vec![],
        }
    }

    fn location(&self, tensor: usize) -> Location {
        self.locations.as_ref().unwrap_or(&self.index.locations)[tensor]
    }

    /// Index of the file that holds a tensor, or its first value.
    pub fn file_of(&self, tensor: usize) -> usize {
        match self.location(tensor) {
            Location::Contiguous { file, .. } => file as usize,
            Location::Gathered(number) => {
                let slabs = &self.gathers[number as usize].slabs;
                slabs.first().map_or(0, |slab| slab.file as usize)
            }
        }
    }

    /// The file that holds a part of a tensor, and where; None if the values are not contiguous.
    pub(crate) fn locate(&self, tensor: usize, bytes: Range<u64>) -> Option<(&Source, Range<u64>)> {
        match self.location(tensor) {
            Location::Contiguous { file, start, .. } => {
                Some((&self.files[file as usize], start + bytes.start..start + bytes.end))
            }
            Location::Gathered(_) => None,
        }
    }

    /// A part of a tensor's bytes, which begins and ends with whole values: in memory, or put together in `scratch`.
    ///
    /// # Errors
    /// `Changed` if a file has become shorter, `Io` where reading fails.
    ///
    /// # Panics
    /// If there is no such tensor, or `bytes` reaches beyond it.
    pub fn read<'a>(
        &'a self,
        tensor: usize,
        bytes: Range<u64>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        match self.location(tensor) {
            Location::Contiguous { file, start, .. } => {
                self.files[file as usize].read(start + bytes.start..start + bytes.end, scratch)
            }
            Location::Gathered(number) => {
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
    ///
    /// # Errors
    /// Those of [`Checkpoint::read`].
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn bytes(&self, tensor: usize) -> Result<Cow<'_, [u8]>> {
        let bytes = 0..self.index.tensors[tensor].size();
        if bytes.is_empty() {
            return Ok(Cow::Borrowed(&[]));
        }
        if let Some((file, range)) = self.locate(tensor, bytes.clone())
            && let Some(bytes) = file.in_memory(range)
        {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut scratch = Vec::new();
        self.read(tensor, bytes, &mut scratch)?;
        Ok(Cow::Owned(scratch))
    }

    /// Fails if a file was replaced or written to since it was opened.
    ///
    /// # Errors
    /// `Changed` if one was, `Io` where that cannot be told.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(Source::check_unchanged)
    }

    /// What these tools recorded in the file; an empty object if nothing, or nothing that can be read.
    pub fn provenance(&self) -> Map<String, Value> {
        let text = self.metadata.get(METADATA_KEY);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// Names of the batchnorm layers, in the order of the tensors: those with a running mean and a running variance, by
    /// PyTorch's names.
    pub fn batchnorm_layers(&self) -> Vec<&str> {
        let tensors = self.index.tensors.iter();
        tensors
            .filter_map(|t| t.name.strip_suffix(".running_mean"))
            .filter(|layer| self.position(&format!("{layer}.running_var")).is_some())
            .collect()
    }

    /// Names of Keras's batchnorm layers, in the order of the tensors: by their variables' names, or where Keras numbers
    /// these (`.weights.h5`, `.keras`) by the layer's own, if it is the one that Keras gives it.
    pub fn keras_batchnorm_layers(&self) -> Vec<&str> {
        let layer = |info: &TensorInfo| {
            let (layer, variable) = info.name.rsplit_once('/')?;
            let numbered = || layer.strip_suffix("/vars").filter(|_| variable == "0");
            match variable.strip_suffix(":0").unwrap_or(variable) {
                "moving_mean" => Some(layer.len()),
                _ => numbered().filter(|layer| is_keras_batchnorm(layer)).map(str::len),
            }
        };
        let tensors = self.index.tensors.iter();
        tensors.filter_map(|info| layer(info).map(|length| &info.name[..length])).collect()
    }
}

/// Whether Keras calls a layer so: `batch_normalization`, `batch_normalization_7`.
fn is_keras_batchnorm(layer: &str) -> bool {
    let name = layer.rsplit('/').next().unwrap_or(layer);
    let number = name.strip_prefix("batch_normalization");
    number.is_some_and(|number| {
        number.is_empty()
            || number.strip_prefix('_').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Whether a tensor is a batchnorm layer's running statistic, by PyTorch's names or by those that Keras writes.
pub fn is_running_statistic(name: &str) -> bool {
    let last = name.rsplit(['.', '/']).next().unwrap_or(name);
    let last = last.strip_suffix(":0").unwrap_or(last);
    matches!(last, "running_mean" | "running_var" | "moving_mean" | "moving_variance")
}
