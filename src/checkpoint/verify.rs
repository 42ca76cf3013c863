//! Checking a checkpoint against the digests that the tools write into it.

use rayon::prelude::*;

use super::digest::{self, BLOCK};
use super::{Checkpoint, Source};
use crate::{Error, Result};

const REMEDY: &str = "copy it again, or average again; if another tool changed the file and kept its \
                      metadata, --no-verify skips this";

impl Checkpoint {
    /// Whether every file has digests.
    pub fn has_digests(&self) -> bool {
        self.headers.iter().all(|header| header.digests.is_some())
    }

    /// Reads everything and compares it with the digests that the file has; files without are passed
    /// over. `progress` is told of bytes, from any thread. Fails on the first difference, by file and
    /// tensor.
    pub fn verify(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        self.verify_metadata()?;
        let results: Vec<Result<()>> = (0..self.tensors().len())
            .into_par_iter()
            .map(|tensor| {
                if self.expected(tensor)?.is_none() {
                    return Ok(());
                }
                let size = self.tensors()[tensor].size();
                let blocks =
                    (0..size.div_ceil(BLOCK)).into_par_iter().map_init(Vec::new, |scratch, i| {
                        let range = i * BLOCK..size.min((i + 1) * BLOCK);
                        let (file, at) = self.locate(tensor, range.clone());
                        file.populate(at.clone());
                        let sum = digest::of_block(i, file.read(at.clone(), scratch)?);
                        file.release(at);
                        progress(range.end - range.start);
                        Ok::<_, Error>(sum)
                    });
                let add = |a: u128, b: u128| Ok(a.wrapping_add(b));
                self.compare(tensor, blocks.try_reduce(|| 0, add)?)
            })
            .collect();
        results.into_iter().collect::<Result<()>>()?;
        self.check_unchanged()
    }

    /// Compares the metadata with its digest.
    pub(crate) fn verify_metadata(&self) -> Result<()> {
        let digest = digest::hex(digest::of_metadata(&self.metadata));
        for (file, header) in self.files.iter().zip(&self.headers) {
            let Some(at) = header.digests else { continue };
            if digit_text(file, at)? != digest {
                return Err(Error::input("its metadata do not match their digest")
                    .at(file.path())
                    .remedy(REMEDY));
            }
        }
        Ok(())
    }

    /// The digest that the file has for a tensor.
    fn expected(&self, tensor: usize) -> Result<Option<String>> {
        let file = self.file_of(tensor);
        let Some(at) = self.headers[file].digests else { return Ok(None) };
        let rank = self.place(tensor).rank as usize;
        digit_text(&self.files[file], at + digest::position(1 + rank) as u64).map(Some)
    }

    /// Whether a tensor has a digest to compare with.
    pub(crate) fn is_verifiable(&self, tensor: usize) -> bool {
        self.headers[self.file_of(tensor)].digests.is_some()
    }

    /// Fails if the sum over a tensor's blocks is not what the file's digest says.
    pub(crate) fn compare(&self, tensor: usize, blocks: u128) -> Result<()> {
        let info = &self.tensors()[tensor];
        match self.expected(tensor)? {
            Some(expected) if expected != digest::hex(digest::of_tensor(blocks, info)) => {
                Err(Error::input("its bytes do not match their digest: the file is damaged")
                    .at(self.files[self.file_of(tensor)].path())
                    .tensor(&info.name)
                    .remedy(REMEDY))
            }
            _ => Ok(()),
        }
    }
}

fn digit_text(file: &Source, at: u64) -> Result<String> {
    let mut scratch = vec![];
    let digits = file.read(at..at + 32, &mut scratch)?;
    Ok(String::from_utf8_lossy(digits).into_owned())
}
