//! The binary version: records of one label (CIFAR-100: the coarse one, then the fine one) and an image.

use std::path::Path;
use std::sync::Arc;

use super::{File, PIXELS, Pixels};
use crate::text::grouped;
use swa_base::{Error, Kind, Result};
use swa_tools::select::base_name;
use swa_tools::store::Source;

/// The largest file of names that is read, in bytes: it lists at most a hundred words.
const MAX_NAMES: u64 = 1 << 16;

pub(super) fn read(path: &Path, classes: usize) -> Result<File> {
    let source = Arc::new(Source::open(path)?);
    let before = if classes == 100 { 2 } else { 1 };
    let (size, stride) = (source.size(), before + PIXELS as u64);
    if size == 0 || !size.is_multiple_of(stride) {
        let what = format!(
            "{} bytes, which is no multiple of the {} of a CIFAR-{classes} record",
            grouped(size as usize),
            grouped(stride as usize)
        );
        let error = match size {
            0 => Error::new(Kind::Truncated, "the file is empty"),
            _ => Error::new(Kind::Damaged, what),
        };
        return Err(error.at(path).remedy("copy or download the file again"));
    }
    let mut labels = Vec::with_capacity((size / stride) as usize);
    let mut scratch = Vec::new();
    for record in 0..size / stride {
        // The last byte before the image.
        let at = record * stride + before - 1;
        labels.push(source.read(at..at + 1, &mut scratch)?[0]);
    }
    Ok(File {
        name: base_name(path),
        pixels: Pixels::Source { source, start: before, stride },
        labels,
    })
}

/// Reads the names of the classes, one a line.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let source = Source::open(path)?;
    if source.size() > MAX_NAMES {
        return Err(Error::limit(format!("names of more than {MAX_NAMES} bytes")).at(path));
    }
    let mut scratch = Vec::new();
    let text = String::from_utf8_lossy(source.read(0..source.size(), &mut scratch)?).into_owned();
    Ok(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_string).collect())
}
