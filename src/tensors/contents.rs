//! What a format's reader hands over: tensors, where their bytes are, and checksums to verify them by.

use std::collections::BTreeMap;
use std::ops::Range;

use super::gather::Gather;
use super::view::{Located, Storage, View, bytes, dimensions, locate};
use super::{Dtype, TensorInfo};
use crate::weights::Taken;
use crate::{Error, Kind, Result};

/// Where a tensor's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// One after the other.
    Contiguous {
        file: u32,
        /// Index among the file's checksums, or [`NO_CHECKSUM`].
        checksum: u32,
        start: u64,
    },
    /// Not contiguous: index of the gather.
    Gathered(u32),
}

/// The index of a checksum where there is none.
pub const NO_CHECKSUM: u32 = u32::MAX;

/// The checksums that a file has for its tensors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StoredChecksums {
    #[default]
    None,
    /// Digests of ours, in a safetensors header: offset of the first digit.
    Digests(u64),
    /// CRC-32s, each of one tensor's bytes: their offsets.
    Crcs(Vec<u64>),
}

/// Bytes with a CRC that are not exactly those of a tensor: a storage that several share, a member with a header.
/// They are verified on their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    pub file: u32,
    pub storage: Storage,
    /// Of a tensor in it, for messages.
    pub name: String,
}

/// What is known of a checkpoint once its headers are read.
#[derive(Debug, Default)]
pub struct Contents {
    /// Under the names they have in the file.
    pub tensors: Vec<TensorInfo>,
    /// By tensor.
    pub locations: Vec<Location>,
    pub gathers: Vec<Gather>,
    /// By file.
    pub checksums: Vec<StoredChecksums>,
    pub regions: Vec<Region>,
    pub metadata: BTreeMap<String, String>,
    pub taken: Taken,
}

/// An array of one file, as NumPy knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    pub dtype: Dtype,
    pub shape: Vec<u64>,
    /// The first dimension varies fastest.
    pub fortran_order: bool,
    pub big_endian: bool,
    /// The bytes of the file that hold the values.
    pub data: Range<u64>,
}

impl Contents {
    pub fn push_gathered(&mut self, info: TensorInfo, gather: Gather) {
        self.locations.push(Location::Gathered(self.gathers.len() as u32));
        self.gathers.push(gather);
        self.tensors.push(info);
    }

    /// Adds an array of the checkpoint's only file. Fails if it has another size than type and shape call for.
    pub fn push_array(&mut self, name: String, array: Array) -> Result<()> {
        let Array { dtype, shape, fortran_order, big_endian, data } = array;
        let (size, found) = (bytes(dtype, &shape)?, data.end - data.start);
        if size != found {
            let what = format!("{dtype:?} of shape {shape:?} has {size} bytes, not {found}");
            return Err(Error::new(Kind::Damaged, what)
                .remedy("the file is damaged: save or copy it again"));
        }
        let dims = dimensions(&shape)
            .ok_or_else(|| Error::new(Kind::Damaged, "its shape is too large"))?;
        let mut stride = 1;
        // Cannot overflow: the size did not.
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
            Located::Contiguous { start, .. } => {
                self.locations.push(Location::Contiguous { file: 0, checksum: NO_CHECKSUM, start });
                self.tensors.push(info);
            }
            Located::Gathered(gather) => self.push_gathered(info, gather),
        }
        Ok(())
    }
}
