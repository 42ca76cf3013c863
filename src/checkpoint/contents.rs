//! What a format's reader hands over: tensors, where their bytes are, what these can be checked against.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::gather::{self, Gather, Part};
use super::torch::{Storage, View};
use super::weights::Taken;
use super::{Dtype, TensorInfo};
use crate::{Error, Result};

/// How a checkpoint is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Safetensors,
    /// A folder of safetensors files.
    SafetensorsShards,
    /// A zip file, as `torch.save` writes it.
    Torch,
    /// As `torch.save` wrote it before PyTorch 1.6.
    TorchLegacy,
    /// A folder of PyTorch files.
    TorchShards,
    /// A folder of torch.distributed.checkpoint.
    Distributed,
    /// A folder of DeepSpeed's ZeRO optimizer states.
    DeepSpeed,
    /// NumPy's zip file of arrays.
    Npz,
    /// Flax's MessagePack.
    Flax,
    /// Keras's, alone or in a `.keras` file.
    Hdf5,
}

impl Container {
    pub fn name(self) -> &'static str {
        match self {
            Container::Safetensors => "safetensors",
            Container::SafetensorsShards => "safetensors, in shards",
            Container::Torch => "PyTorch zip",
            Container::TorchLegacy => "PyTorch before 1.6",
            Container::TorchShards => "PyTorch zip, in shards",
            Container::Distributed => "torch.distributed.checkpoint",
            Container::DeepSpeed => "DeepSpeed ZeRO",
            Container::Npz => "NumPy npz",
            Container::Flax => "Flax msgpack",
            Container::Hdf5 => "Keras HDF5",
        }
    }

    /// Whether it is one file of `torch.save`.
    pub fn is_torch_file(self) -> bool {
        matches!(self, Container::Torch | Container::TorchLegacy)
    }
}

/// Where a tensor's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One after the other.
    Row {
        file: u32,
        /// Number of the checksum among those of the file, or [`NO_SEAL`].
        seal: u32,
        start: u64,
    },
    /// Number of the gather.
    Gathered(u32),
}

pub const NO_SEAL: u32 = u32::MAX;

/// The checksums that a file has for its tensors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Seals {
    #[default]
    None,
    /// Ours, in a safetensors header: where in the file the first digit stands.
    Digests(u64),
    /// CRC-32 of the bytes of a tensor: where in the file each stands.
    Crcs(Vec<u64>),
}

/// Bytes with a CRC that no tensor's bytes are equal to: they are checked on their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    pub file: u32,
    pub storage: Storage,
    pub name: String,
}

#[derive(Debug, Default)]
pub struct Contents {
    /// Under the names they have in the file.
    pub tensors: Vec<TensorInfo>,
    pub places: Vec<Place>,
    pub gathers: Vec<Gather>,
    /// By file.
    pub seals: Vec<Seals>,
    pub rest: Vec<Rest>,
    pub metadata: BTreeMap<String, String>,
    pub taken: Taken,
}

/// An array of one file, as NumPy knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// The first dimension runs fastest.
    pub fortran_order: bool,
    pub big_endian: bool,
    /// Where in the file the values lie.
    pub data: Range<u64>,
}

/// A tensor's place before it is part of a checkpoint.
#[derive(Debug)]
pub enum Located {
    Row { start: u64, is_whole: bool },
    Gathered(Gather),
}

impl Contents {
    pub fn push_gathered(&mut self, info: TensorInfo, gather: Gather) {
        self.places.push(Place::Gathered(self.gathers.len() as u32));
        self.gathers.push(gather);
        self.tensors.push(info);
    }

    /// Adds an array of the only file, which must have as many bytes as type and shape say.
    pub fn push_array(&mut self, name: String, array: Array) -> Result<()> {
        let Array { dtype, shape, fortran_order, big_endian, data } = array;
        let (size, found) = (bytes(dtype, &shape)?, data.end - data.start);
        if size != found {
            let what = format!("{dtype:?} of shape {shape:?} has {size} bytes, not {found}");
            return Err(Error::input(what).remedy("the file is damaged: save or copy it again"));
        }
        let dims = dimensions(&shape).ok_or_else(|| Error::input("its shape is too large"))?;
        let mut stride = 1;
        // Cannot overflow: the size was counted.
        let mut next = |n: &u64| {
            let own = stride;
            stride *= (*n).max(1);
            own
        };
        let mut strides: Vec<u64> = match fortran_order {
            true => shape.iter().map(&mut next).collect(),
            false => shape.iter().rev().map(&mut next).collect(),
        };
        if !fortran_order {
            strides.reverse();
        }
        let view = View { storage: "".into(), dtype, shape, strides, offset: 0 };
        let info = TensorInfo { name, dtype, shape: dims };
        match locate(&view, &Storage { bytes: data, crc: None }, 0, big_endian)? {
            Located::Row { start, .. } => {
                self.places.push(Place::Row { file: 0, seal: NO_SEAL, start });
                self.tensors.push(info);
            }
            Located::Gathered(gather) => self.push_gathered(info, gather),
        }
        Ok(())
    }

    /// Adds the tensors of a PyTorch file, views of its storages.
    pub(super) fn push_views(
        &mut self,
        file: u32,
        contents: &super::torch::Contents,
        tensors: Vec<(String, View)>,
    ) -> Result<()> {
        let mut crcs = vec![];
        let mut checked = HashSet::new();
        for (name, view) in tensors {
            let fail = |what: &str| Error::input(what).tensor(&name);
            let storage = contents.storage(&view).map_err(|e| e.tensor(&name))?;
            let located =
                locate(&view, storage, file, contents.big_endian).map_err(|e| e.tensor(&name))?;
            let shape = dimensions(&view.shape).ok_or_else(|| fail("its shape is too large"))?;
            let info = TensorInfo { name, dtype: view.dtype, shape };
            let is_whole = matches!(located, Located::Row { is_whole: true, .. });
            let seal = match storage.crc {
                Some([place, _]) if is_whole => {
                    crcs.push(place);
                    (crcs.len() - 1) as u32
                }
                _ => NO_SEAL,
            };
            if storage.crc.is_some() && !is_whole && checked.insert(view.storage.clone()) {
                let (storage, name) = (storage.clone(), info.name.clone());
                self.rest.push(Rest { file, storage, name });
            }
            match located {
                Located::Row { start, .. } => {
                    self.places.push(Place::Row { file, seal, start });
                    self.tensors.push(info);
                }
                Located::Gathered(gather) => self.push_gathered(info, gather),
            }
        }
        self.seals.push(if crcs.is_empty() { Seals::None } else { Seals::Crcs(crcs) });
        Ok(())
    }
}

/// The shape as sizes in memory, if the number of bits can be counted, also without the zeros in it.
pub fn dimensions(shape: &[u64]) -> Option<Vec<usize>> {
    const BITS: u64 = 64;
    let others = shape.iter().filter(|n| **n != 0);
    others.copied().try_fold(BITS, |p, n| p.checked_mul(n).filter(|&n| n <= i64::MAX as u64))?;
    shape.iter().map(|&n| usize::try_from(n).ok()).collect()
}

/// Bytes of a tensor, if they can be counted.
pub fn bytes(dtype: Dtype, shape: &[u64]) -> Result<u64> {
    // Zeros do not make the others harmless.
    let mut nonzero = shape.iter().filter(|n| **n != 0);
    let bits = dtype.bitsize() as u64;
    let size = nonzero.try_fold(bits / 8, |size, &n| size.checked_mul(n));
    let size = size.filter(|&size| size <= i64::MAX as u64);
    let size =
        size.ok_or_else(|| Error::input(format!("its shape {shape:?} is too large to count")))?;
    Ok(if shape.contains(&0) { 0 } else { size })
}

/// Where a view's values are. Every sum and product is checked: the numbers come from a file.
pub fn locate(view: &View, storage: &Storage, file: u32, big_endian: bool) -> Result<Located> {
    let width = (view.dtype.bitsize() / 8) as u64;
    let size = storage.bytes.end - storage.bytes.start;
    bytes(view.dtype, &view.shape)?;
    if view.shape.contains(&0) {
        return Ok(Located::Row { start: storage.bytes.start, is_whole: false });
    }
    let steps = view.shape.iter().zip(&view.strides);
    let last = steps
        .clone()
        .try_fold(view.offset, |sum, (&n, &stride)| sum.checked_add((n - 1).checked_mul(stride)?));
    let end = last.and_then(|last| last.checked_add(1)?.checked_mul(width));
    if end.is_none_or(|end| end > size) {
        return Err(Error::input(format!(
            "{:?} of shape {:?}, strides {:?} and offset {} reaches beyond its storage of {size} bytes",
            view.dtype, view.shape, view.strides, view.offset
        ))
        .remedy("the file is damaged: save or copy it again"));
    }
    let start = storage.bytes.start + view.offset * width;
    let (sizes, strides) = gather::merged(&view.shape, &view.strides);
    let swap = match (big_endian, view.dtype) {
        (false, _) => 1,
        (true, Dtype::C64) => 4,
        (true, _) => width as usize,
    };
    let in_row = sizes.is_empty() || strides == [1];
    if in_row && swap == 1 {
        let bytes = sizes.first().unwrap_or(&1) * width;
        return Ok(Located::Row { start, is_whole: view.offset == 0 && bytes == size });
    }
    let strides = strides.iter().map(|stride| stride * width).collect();
    let part = Part { file, start, at: vec![0; sizes.len()], size: sizes.clone(), strides };
    let parts = vec![part];
    Ok(Located::Gathered(Gather { shape: sizes, width: width as usize, swap, parts }))
}
