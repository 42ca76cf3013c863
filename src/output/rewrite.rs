//! Writing tensors that are in memory: a checkpoint with some of its tensors replaced.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::layout::{Destination, Format, Layout, Sink};
use super::memory::Memory;
use super::{AtomicFile, LikeLayout, SafetensorsLayout, Scatter, TorchLayout};
use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::{Error, Result};

/// A single file to write.
#[derive(Debug, Clone, Copy)]
pub struct FileTarget<'a> {
    /// Where.
    pub path: &'a Path,
    /// Its format.
    pub format: Format,
    /// A PyTorch file to copy, with the tensors in the place of its weights.
    pub like: Option<&'a Checkpoint>,
    /// Whether an existing file is replaced.
    pub force: bool,
}

/// Writes a checkpoint's tensors under the names that they have in its file, in the target's format.
/// `replaced` holds other bytes for some of them, by the name without wrappers' prefixes. A copy of another
/// file ([`FileTarget::like`]) keeps that file's metadata; `metadata` is not used then.
///
/// # Errors
/// As of [`AtomicFile::create`] and [`AtomicFile::commit`]; `Mismatch` if `like` has other tensors;
/// `Unsupported` for types that the format lacks; `Changed` if the checkpoint was written to meanwhile;
/// `Usage` if replaced bytes are not as many as the tensor has.
pub fn rewrite(
    checkpoint: &Checkpoint,
    target: &FileTarget,
    metadata: &BTreeMap<String, String>,
    replaced: &HashMap<String, Vec<u8>>,
) -> Result<()> {
    let written = |(i, info): (usize, &TensorInfo)| TensorInfo {
        name: checkpoint.written_name(i).to_string(),
        ..info.clone()
    };
    let tensors: Vec<TensorInfo> = checkpoint.tensors().iter().enumerate().map(written).collect();
    let layout: Box<dyn Layout> = match (target.like, target.format) {
        (Some(like), _) => {
            let names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
            Box::new(LikeLayout::new(like, &names, &tensors)?)
        }
        (None, Format::Safetensors) => Box::new(SafetensorsLayout::new(tensors.iter(), metadata)?),
        (None, Format::Torch) => {
            let rest = checkpoint.taken().rest.iter();
            let kept = rest.filter_map(|rest| Some((rest.name.clone(), rest.pickle.as_deref()?)));
            let kept: Vec<_> = kept.collect();
            Box::new(TorchLayout::new(tensors.iter(), &kept, metadata)?)
        }
    };
    let bytes = |i: usize| match replaced.get(&checkpoint.tensors()[i].name) {
        Some(bytes) => Ok(Cow::Borrowed(&bytes[..])),
        None => checkpoint.bytes(i),
    };
    let FileTarget { path, force, .. } = *target;
    write(layout.as_ref(), &tensors, &bytes, path, force, &|| checkpoint.check_unchanged())
}

/// Writes tensors whose bytes are requested one after the other. `check` may still refuse the file before it
/// has its name.
fn write<'b>(
    layout: &dyn Layout,
    tensors: &[TensorInfo],
    bytes: &dyn Fn(usize) -> Result<Cow<'b, [u8]>>,
    path: &Path,
    force: bool,
    check: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let output = AtomicFile::create(path, layout.size(), force)?;
    layout.begin(&output, 0)?;
    let scatter = Scatter::default();
    let mut sums = Vec::with_capacity(tensors.len());
    for (i, info) in tensors.iter().enumerate() {
        let bytes = bytes(i)?;
        if bytes.len() as u64 != info.size() {
            let what = format!("{} bytes were given for {}", bytes.len(), info.size());
            return Err(Error::usage(what).tensor(&info.name));
        }
        let sum = layout.checksum().map_or(0, |kind| kind.of_part(0, &bytes, info.size()));
        sums.push((info, sum));
        match layout.destination(i) {
            Destination::Row(offset) => output.write_at(&bytes, offset)?,
            Destination::Scattered(gather) => scatter.put(&output, 0, i, gather, 0, &bytes)?,
            Destination::Pieces(gather, file) => {
                let mut put = |offset, piece: &[u8]| output.write_at(piece, offset);
                gather.pieces(file, 0, &bytes, &mut put)?;
            }
        }
    }
    layout.finish(&output, 0, &sums)?;
    check()?;
    output.commit()
}

/// Writes tensors, with their bytes row by row and little-endian, to a safetensors file.
///
/// # Errors
/// As of [`AtomicFile::create`] and [`AtomicFile::commit`]; `Limit` for too long a header; `Usage` if a tensor
/// has not as many bytes as its shape and type need.
pub fn write_safetensors(
    tensors: &[(TensorInfo, Vec<u8>)],
    metadata: &BTreeMap<String, String>,
    path: &Path,
    force: bool,
) -> Result<()> {
    let infos: Vec<TensorInfo> = tensors.iter().map(|(info, _)| info.clone()).collect();
    let layout = SafetensorsLayout::new(infos.iter(), metadata)?;
    let bytes = |i: usize| Ok(Cow::Borrowed(&tensors[i].1[..]));
    write(&layout, &infos, &bytes, path, force, &|| Ok(()))
}

/// The bytes of such a file.
///
/// # Errors
/// `Limit` for too long a header; `Usage` if a tensor has not as many bytes as its shape and type need.
pub fn safetensors_bytes(
    tensors: &[(TensorInfo, Vec<u8>)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let layout = SafetensorsLayout::new(tensors.iter().map(|(info, _)| info), metadata)?;
    let file = Memory::new(layout.size());
    let mut sums = Vec::with_capacity(tensors.len());
    for (i, (info, bytes)) in tensors.iter().enumerate() {
        if bytes.len() as u64 != info.size() {
            let what = format!("{} bytes were given for {}", bytes.len(), info.size());
            return Err(Error::usage(what).tensor(&info.name));
        }
        sums.push((info, layout.checksum().map_or(0, |kind| kind.of_part(0, bytes, info.size()))));
        file.write_at(0, bytes, layout.offset(i))?;
    }
    layout.finish(&file, 0, &sums)?;
    Ok(file.into_bytes())
}
