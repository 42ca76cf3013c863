//! A folder with a model, as Hugging Face's libraries and others write it: a file of weights with its configuration, or
//! shards and an index, whose `weight_map` says which file holds which tensor.

mod folder;
mod further;
mod index;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::format::{Candidate, Format, Opened, Read, Reader, Request};
use super::{Container, recognise, safetensors, torch, unpacked};
use crate::store::Source;
use crate::store::names::base_name;
use crate::{Error, Result};
pub(crate) use folder::{index, is_shard, model, single, stem};
pub(crate) use further::{further_folders, further_models};
use index::shards;

pub(super) const SAFETENSORS_FORMAT: Format = Format {
    name: "safetensors, in a folder",
    endings: &[],
    reader: Reader::Folder {
        marker: |folder| marker(folder, Kind::Safetensors),
        open: |folder, request| open(folder, Kind::Safetensors, request),
    },
};

pub(super) const TORCH_FORMAT: Format = Format {
    name: "PyTorch zip, in a folder",
    endings: &[],
    reader: Reader::Folder {
        marker: |folder| marker(folder, Kind::Torch),
        open: |folder, request| open(folder, Kind::Torch, request),
    },
};

/// How the files of a model hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Safetensors,
    Torch,
}

impl Kind {
    /// How their names end.
    fn endings(self) -> &'static [&'static str] {
        match self {
            Kind::Safetensors => &["safetensors"],
            Kind::Torch => &["bin", "pth", "pt"],
        }
    }

    fn read(self, files: &[Source], request: &Request) -> Result<Read> {
        match self {
            Kind::Safetensors => safetensors::read(files, request),
            Kind::Torch => torch::read_all(files, request),
        }
    }
}

/// The file that makes a folder a model of this kind.
fn marker(folder: &Path, kind: Kind) -> Result<Option<PathBuf>> {
    Ok(model(folder)?.filter(|model| model.kind == kind).map(|model| model.path))
}

fn open(folder: &Path, kind: Kind, request: &Request) -> Result<Option<Opened>> {
    let Some(model) = model(folder)?.filter(|model| model.kind == kind) else { return Ok(None) };
    let shards = shards(folder, &model)?;
    let open = |name: &String| {
        let path = folder.join(name);
        let (file, head, archive) = unpacked(Source::open(&path)?).map_err(|e| e.at(&path))?;
        let found = recognise(&Candidate::new(&file, head, archive)).map_err(|e| e.at(&path))?.0;
        if (kind == Kind::Safetensors) != (found == Container::Safetensors) {
            let what = format!("is a {} file, despite its name", found.name());
            return Err(Error::new(crate::Kind::Mismatch, what).at(file.path()));
        }
        Ok(file)
    };
    // Several at a time: on file systems across a network each takes a while.
    let files: Vec<Result<Source>> = shards.files.par_iter().map(open).collect();
    let files = files.into_iter().collect::<Result<Vec<_>>>()?;
    let read = kind.read(&files, request)?;
    if let Read::Contents { contents, .. } = &read {
        shards.check(contents, &files, &base_name(&model.path))?;
    }
    Ok(Some((files, read)))
}
