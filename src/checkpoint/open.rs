//! From a path to a checkpoint, which shares what it can with another one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Checkpoint;
use super::index::Index;
use crate::formats::{self, Container, Like, Read, Request, Template};
use crate::store::{Blob, Source};
use crate::tensors::TensorInfo;
use crate::weights::Take;
use crate::{Error, Result};

/// Opens a checkpoint; what it has in common with `like` is shared.
pub(super) fn open(path: &Path, take: &Take, like: Option<&Checkpoint>) -> Result<Checkpoint> {
    let template =
        like.and_then(|like| Some(Like { files: &like.files, template: like.template.as_ref()? }));
    let opened = formats::open(path, &Request { take, like: template })?;
    of_read(path, opened, like)
}

/// Opens a safetensors file that is in memory; `path` is what messages call it.
pub(super) fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint> {
    let source = Source::new(path, bytes.len() as u64, Box::new(InMemory(bytes)));
    let take = Take::default();
    let opened = formats::open_source(source, &Request { take: &take, like: None })?;
    of_read(path, opened, None)
}

/// Bytes that nobody else can change.
#[derive(Debug)]
struct InMemory(Vec<u8>);

impl Blob for InMemory {
    fn in_memory(&self) -> Option<&[u8]> {
        Some(&self.0)
    }

    fn read_at(&self, from: u64, into: &mut [u8]) -> Result<()> {
        into.copy_from_slice(&self.0[from as usize..][..into.len()]);
        Ok(())
    }

    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }
}

fn of_read(
    path: &Path,
    (container, files, read): (Container, Vec<Source>, Read),
    like: Option<&Checkpoint>,
) -> Result<Checkpoint> {
    let (mut contents, template) = match (read, like) {
        (Read::Contents { contents, template }, _) => (*contents, template),
        (Read::Same { template, metadata }, Some(like)) => {
            let mut opened = like.sharing(path.to_path_buf(), container, files, template);
            if let Some(metadata) = metadata.filter(|metadata| *metadata != *opened.metadata) {
                opened.metadata = Arc::new(metadata);
            }
            return Ok(opened);
        }
        (Read::Same { .. }, None) => unreachable!("there is nothing that it could be the same as"),
    };
    check_size(&contents.tensors).map_err(|e| e.at(path))?;
    // Many tensors may share one storage.
    contents.regions.sort_by_key(|region| (region.file, region.storage.bytes.start));
    contents.regions.dedup_by(|a, b| (a.file, &a.storage) == (b.file, &b.storage));
    let index = Index::new(contents.tensors, contents.locations).map_err(|e| e.at(path))?;
    let mut opened = Checkpoint {
        path: path.to_path_buf(),
        container,
        files,
        template,
        index: Arc::new(index),
        locations: None,
        gathers: Arc::new(contents.gathers),
        checksums: Arc::new(contents.checksums),
        regions: Arc::new(contents.regions),
        metadata: Arc::new(contents.metadata),
        taken: Arc::new(contents.taken),
    };
    if let Some(like) = like {
        opened.share(like);
    }
    Ok(opened)
}

/// Most bytes of all tensors: totals over thousands of checkpoints do not overflow. A view that repeats one value can
/// claim any size.
const MAX_BYTES: u64 = 1 << 50;

fn check_size(tensors: &[TensorInfo]) -> Result<()> {
    let mut left = MAX_BYTES;
    for tensor in tensors {
        left = left.checked_sub(tensor.size()).ok_or_else(|| {
            let what = format!("its tensors are too large: more than {MAX_BYTES} bytes");
            Error::limit(what).tensor(&tensor.name)
        })?;
    }
    Ok(())
}

impl Checkpoint {
    /// A checkpoint that holds the same, values aside.
    fn sharing(
        &self,
        path: PathBuf,
        container: Container,
        files: Vec<Source>,
        template: Option<Template>,
    ) -> Self {
        Checkpoint {
            path,
            container,
            files,
            template,
            index: self.index.clone(),
            locations: self.locations.clone(),
            gathers: self.gathers.clone(),
            checksums: self.checksums.clone(),
            regions: self.regions.clone(),
            metadata: self.metadata.clone(),
            taken: self.taken.clone(),
        }
    }

    /// Shares what is equal.
    fn share(&mut self, like: &Checkpoint) {
        fn one<T: PartialEq>(own: &mut Arc<T>, other: &Arc<T>) {
            if **own == **other {
                *own = other.clone();
            }
        }
        one(&mut self.gathers, &like.gathers);
        one(&mut self.checksums, &like.checksums);
        one(&mut self.regions, &like.regions);
        one(&mut self.metadata, &like.metadata);
        one(&mut self.taken, &like.taken);
        if let Some(locations) = self.index.locations_like(&like.index) {
            self.locations = (locations != like.index.locations).then_some(locations);
            self.index = like.index.clone();
        }
    }
}
