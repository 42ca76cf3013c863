//! Writing tensors that are at hand: a checkpoint again with other bytes for some of its tensors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::layout::{Destination, Format, Layout};
use super::{AtomicFile, LikeLayout, SafetensorsLayout, Scatter, TorchLayout};
use crate::Result;
use crate::checkpoint::{Checkpoint, TensorInfo};

/// A single file to write.
#[derive(Debug, Clone, Copy)]
pub struct FileTarget<'a> {
    pub path: &'a Path,
    pub format: Format,
    /// A PyTorch file that is copied, with the tensors in the place of its weights.
    pub like: Option<&'a Checkpoint>,
    /// Whether an existing file is replaced.
    pub force: bool,
}

/// Writes the tensors under the names that the checkpoint's file gives them, in the target's
/// format. `metadata` is left out of copies of other files. `replaced` is by name, without what wrappers put into it.
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
        (None, Format::Torch) => Box::new(TorchLayout::new(tensors.iter(), metadata)?),
    };
    let bytes = |i: usize| match replaced.get(&checkpoint.tensors()[i].name) {
        Some(bytes) => Ok(Cow::Borrowed(&bytes[..])),
        None => checkpoint.bytes(i),
    };
    let FileTarget { path, force, .. } = *target;
    write(layout.as_ref(), &tensors, &bytes, path, force, &|| checkpoint.check_unchanged())
}

/// Writes tensors, whose bytes are asked for one after the other; `check` may still refuse the file before it
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
        assert_eq!(bytes.len() as u64, info.size());
        let sum = layout.checksum().map_or(0, |kind| kind.of_part(0, &bytes, info.size()));
        sums.push((info, sum));
        match layout.destination(i) {
            Destination::Row(offset) => output.write_at(&bytes, offset)?,
            Destination::Scattered(gather) => scatter.put(&output, 0, i, gather, 0, &bytes)?,
        }
    }
    layout.finish(&output, 0, &sums)?;
    check()?;
    output.commit()
}

/// Writes tensors to a safetensors file.
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
