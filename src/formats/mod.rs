//! Formats: each file here turns what one kind of file says of itself into [`Contents`]. A new one is a file that
//! ends in a [`Format`], and a line in the table below.
//!
//! `zip` and `npy` are layouts that several have, `headers` those of safetensors; `pickle` makes values of a pickle
//! and runs nothing; `packages` and `strangers` name files that are no weights.

mod deepspeed;
pub(crate) mod distributed;
mod flat;
mod flax;
mod format;
mod hdf5;
mod headers;
mod npy;
mod npz;
pub(crate) mod packages;
pub mod pickle;
mod safetensors;
pub(crate) mod shards;
mod strangers;
pub(crate) mod torch;
mod unpack;
pub(crate) mod zip;

use std::path::{Path, PathBuf};

use crate::store::{self, Source};
use crate::{Error, Kind, Result};
pub(crate) use format::{Candidate, Like, Read, Request, Template};
use format::{Format, Reader, head};

#[cfg(doc)]
use crate::tensors::contents::Contents;

/// One line a format, in the order in which they are tried.
macro_rules! formats {
    ($($(#[doc = $doc:literal])+ $container:ident = $format:path;)+) => {
        /// How a checkpoint is stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Container {
            $($(#[doc = $doc])+ $container,)+
        }

        const FORMATS: &[(Container, &Format)] = &[$((Container::$container, &$format),)+];
    };
}

formats! {
    /// A safetensors file.
    Safetensors = safetensors::FORMAT;
    /// A zip file, as `torch.save` writes it.
    Torch = torch::FORMAT;
    /// As `torch.save` wrote it before PyTorch 1.6.
    TorchLegacy = torch::LEGACY;
    /// NumPy's zip file of arrays.
    Npz = npz::FORMAT;
    /// Keras's, alone or in a `.keras` file.
    Hdf5 = hdf5::FORMAT;
    /// Flax's MessagePack.
    Flax = flax::FORMAT;
    /// A folder of safetensors files.
    SafetensorsShards = shards::SAFETENSORS_FORMAT;
    /// A folder of PyTorch files.
    TorchShards = shards::TORCH_FORMAT;
    /// A folder of torch.distributed.checkpoint.
    Distributed = distributed::FORMAT;
    /// A folder of DeepSpeed's ZeRO optimizer states.
    DeepSpeed = deepspeed::FORMAT;
}

impl Container {
    /// As lists and messages name it.
    pub fn name(self) -> &'static str {
        FORMATS[self as usize].1.name
    }

    /// Whether it is one file of `torch.save`.
    pub fn is_torch_file(self) -> bool {
        matches!(self, Container::Torch | Container::TorchLegacy)
    }
}

/// How the names of checkpoint files end, by which a folder is searched.
pub(crate) fn endings() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|(_, format)| format.endings.iter().copied())
}

/// The file that makes a folder a model. A link that leads nowhere, as in a cache half filled, makes one
/// too: it is an error when opened, not a smaller average.
pub(crate) fn marker(folder: &Path) -> Result<Option<PathBuf>> {
    for (_, format) in FORMATS {
        if let Reader::Folder { marker, .. } = format.reader
            && let Some(path) = marker(folder)?
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The files that make a folder a model: several where one is kept in two formats, as by a trainer beside the states of
/// DeepSpeed that it resumes from.
pub(crate) fn markers(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for (_, format) in FORMATS {
        if let Reader::Folder { marker, .. } = format.reader {
            found.extend(marker(folder)?);
        }
    }
    Ok(found)
}

/// Which format a file has.
fn recognise(candidate: &Candidate) -> Result<(Container, &'static Format)> {
    let mut fallback = Container::Safetensors;
    if !candidate.head.is_empty() {
        strangers::refuse_tar(&candidate.head)?;
        for &(container, format) in FORMATS {
            if let Reader::File { is_one, .. } = format.reader
                && is_one(candidate)?
            {
                return Ok((container, format));
            }
        }
        if candidate.is_zip() {
            packages::refuse(candidate.archive()?)?;
            strangers::refuse_zipped(candidate.archive()?)?;
            fallback = Container::Torch; // its reader says what is missing
        } else {
            strangers::refuse(&candidate.head)?;
            strangers::unknown(candidate.file.path(), &candidate.head)?;
        }
    } else {
        return Err(Error::new(Kind::NotACheckpoint, "the file is empty")
            .remedy("save or download it again"));
    }
    Ok((fallback, FORMATS[fallback as usize].1))
}

/// A file so that what is compressed in it can be read, its first bytes, and its directory if it is a zip file.
pub(crate) fn unpacked(file: Source) -> Result<(Source, Vec<u8>, Option<zip::Archive>)> {
    let head = head(&file)?;
    if !head.starts_with(zip::MAGIC) {
        return Ok((file, head, None));
    }
    let archive = zip::Archive::read(&file, 0..file.size())?;
    let has_packed = archive.packed().next().is_some();
    let file = if has_packed { unpack::over(file, &archive) } else { file };
    Ok((file, head, Some(archive)))
}

/// Opens the files of a checkpoint and reads what they say of themselves; no tensor is read.
pub(crate) fn open(path: &Path, request: &Request) -> Result<(Container, Vec<Source>, Read)> {
    // What is said of a file in a folder names that file.
    let at = |e: Error| if e.file().is_some() { e } else { e.at(path) };
    if !store::is_folder(path)? {
        return open_source(Source::open(path)?, request);
    }
    for &(container, format) in FORMATS {
        if let Reader::Folder { open, .. } = format.reader
            && let Some((files, read)) = open(path, request).map_err(at)?
        {
            return Ok((container, files, read));
        }
    }
    Err(Error::new(
        Kind::NoMatch,
        "holds no model: no model.safetensors, pytorch_model.bin, index of either, .metadata or ZeRO states",
    )
    .at(path)
    .remedy("name a checkpoint file or a model's folder"))
}

/// The same of one file.
pub(crate) fn open_source(
    file: Source,
    request: &Request,
) -> Result<(Container, Vec<Source>, Read)> {
    let path = file.path().to_path_buf();
    let at = |e: Error| if e.file().is_some() { e } else { e.at(&path) };
    let (file, head, archive) = unpacked(file).map_err(at)?;
    let candidate = Candidate::new(&file, head, archive);
    let (container, format) = recognise(&candidate).map_err(at)?;
    let Reader::File { read, .. } = format.reader else { unreachable!("only files are tried") };
    let read = read(candidate, request).map_err(at)?;
    Ok((container, vec![file], read))
}

#[cfg(test)]
mod tests;
