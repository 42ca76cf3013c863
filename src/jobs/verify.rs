//! Whether files are still the bytes that were written.

use std::path::PathBuf;

use super::say_selected;
use crate::checkpoint::{Checkpoint, Take};
use crate::select::{Criteria, select_any};
use crate::{Error, Progress, Result, Unit};

/// Which files to compare with the checksums in them.
#[derive(Debug, Clone, Default)]
pub struct Verify {
    /// Files, folders and patterns.
    pub checkpoints: Vec<PathBuf>,
    /// Which of them count.
    pub criteria: Criteria,
    /// Which of the weights in a file are meant.
    pub take: Take,
}

/// All files are as they were written.
#[derive(Debug, Clone)]
pub struct Verified {
    /// In natural order.
    pub files: Vec<VerifiedFile>,
    /// Bytes of tensors in all files.
    pub bytes: u64,
}

/// A checkpoint that is as it was written.
#[derive(Debug, Clone)]
pub struct VerifiedFile {
    /// A file, or the folder of a model.
    pub path: PathBuf,
    /// How many tensors it has.
    pub tensors: usize,
    /// How many of them the file has a checksum of, alone or with others.
    pub with_checksum: usize,
}

/// Compares files with the checksums in them.
///
/// # Errors
/// `Damaged` where bytes do not match; `Input` where a file has no checksums; and those of opening.
pub fn verify(options: &Verify, progress: &dyn Progress) -> Result<Verified> {
    let selection = select_any(&options.checkpoints, &options.criteria)?;
    say_selected(progress, &selection);
    // What SWAG keeps beside the weights is to be whole as well.
    let take = Take { moments: !options.take.ema, ..options.take.clone() };
    let inputs = Checkpoint::open_all(&selection.paths, &take)?;
    if let Some(bare) = inputs.iter().find(|input| !input.has_checksums()) {
        return Err(Error::input("holds no checksums to compare with")
            .at(bare.path())
            .remedy("these tools write them; other tools leave them out"));
    }
    let bytes = inputs.iter().flat_map(|i| i.tensors()).map(|t| t.size()).sum();
    progress.begin("verifying", bytes, 0, Unit::Bytes);
    inputs.iter().try_for_each(|input| input.verify(&|bytes| progress.advance(bytes)))?;
    progress.end();
    let file = |input: &Checkpoint| VerifiedFile {
        path: input.path().to_path_buf(),
        tensors: input.tensors().len(),
        with_checksum: input.tensors_with_checksum(),
    };
    Ok(Verified { files: inputs.iter().map(file).collect(), bytes })
}
