//! Checking a checkpoint against the checksums in it: the digests that the tools write, the CRCs of zip
//! files.

use std::ops::Range;

use rayon::prelude::*;

use super::checksum::Checksum;
use super::contents::{NO_SEAL, Place, Seals};
use super::digest::{self, BLOCK};
use super::torch::Storage;
use super::{Checkpoint, Source};
use crate::{Error, Result};

const REMEDY: &str = "copy it again, or average again; if another tool changed the file and kept its \
                      metadata, --no-verify skips this";

/// Where in a file a tensor's checksum stands.
enum Seal {
    Digest(u64),
    Crc(u64),
}

impl Checkpoint {
    /// Whether every file has checksums.
    pub fn has_checksums(&self) -> bool {
        let rest = |file: usize| self.rest.iter().any(|rest| rest.file as usize == file);
        let seals = self.seals.iter().enumerate();
        seals.len() > 0 && seals.into_iter().all(|(i, seals)| *seals != Seals::None || rest(i))
    }

    /// How many tensors have bytes that a checksum of their files covers: their own, or that of a storage
    /// that they are a view of.
    pub fn tensors_with_checksum(&self) -> usize {
        let mut covered: Vec<(u32, Range<u64>)> = (self.rest.iter())
            .filter(|rest| rest.storage.crc.is_some())
            .map(|rest| (rest.file, rest.storage.bytes.clone()))
            .collect();
        covered.sort_by_key(|(file, bytes)| (*file, bytes.start));
        let is_covered = |file: u32, bytes: Range<u64>| {
            let after = covered.partition_point(|(f, b)| (*f, b.start) <= (file, bytes.start));
            after.checked_sub(1).is_some_and(|i| {
                let (other, storage) = &covered[i];
                *other == file && bytes.end <= storage.end
            })
        };
        let has_one = |&tensor: &usize| match self.place(tensor) {
            _ if self.tensors()[tensor].is_empty() || self.checksum(tensor).is_some() => true,
            Place::Row { file, start, .. } => {
                is_covered(file, start..start + self.tensors()[tensor].size())
            }
            Place::Gathered(number) => {
                let gather = &self.gathers[number as usize];
                gather.parts.iter().all(|part| is_covered(part.file, part.span(gather.width)))
            }
        };
        (0..self.tensors().len()).filter(has_one).count()
    }

    /// Reads everything and compares it with the checksums that the file has; files without are passed
    /// over. `progress` is told of bytes, from any thread. Fails on the first difference, by file and
    /// tensor.
    pub fn verify(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<()> {
        self.verify_apart()?;
        let results: Vec<Result<()>> = (0..self.tensors().len())
            .into_par_iter()
            .map(|tensor| {
                let Some(kind) = self.checksum(tensor) else { return Ok(()) };
                let size = self.tensors()[tensor].size();
                let blocks =
                    (0..size.div_ceil(BLOCK)).into_par_iter().map_init(Vec::new, |scratch, i| {
                        let range = i * BLOCK..size.min((i + 1) * BLOCK);
                        let Some((file, at)) = self.locate(tensor, range.clone()) else {
                            return Ok(0);
                        };
                        file.populate(at.clone());
                        let sum = kind.of_part(range.start, file.read(at.clone(), scratch)?, size);
                        file.release(at);
                        progress(range.end - range.start);
                        Ok::<_, Error>(sum)
                    });
                let add = |a: u128, b: u128| Ok(kind.add(a, b));
                self.compare(tensor, blocks.try_reduce(|| 0, add)?)
            })
            .collect();
        results.into_iter().collect::<Result<()>>()?;
        self.check_unchanged()
    }

    /// Compares what is not compared tensor by tensor: the metadata with its digest, and bytes of which
    /// tensors are only parts or views with their CRCs.
    pub(crate) fn verify_apart(&self) -> Result<()> {
        let digest = digest::hex(digest::of_metadata(&self.metadata));
        for (file, seals) in self.files.iter().zip(self.seals.iter()) {
            let Seals::Digests(at) = *seals else { continue };
            if digit_text(file, at)? != digest {
                return Err(Error::input("its metadata do not match their digest")
                    .at(file.path())
                    .remedy(REMEDY));
            }
        }
        let check = |rest: &super::contents::Rest| -> Result<()> {
            let file = &self.files[rest.file as usize];
            let Storage { bytes, crc: Some([place, _]) } = &rest.storage else { return Ok(()) };
            let (expected, mut scratch) = (crc_at(file, *place)?, vec![]);
            let starts = (bytes.start..bytes.end).step_by(BLOCK as usize);
            let mut hasher = crc32fast::Hasher::new();
            for start in starts {
                let part = start..bytes.end.min(start + BLOCK);
                hasher.update(file.read(part, &mut scratch)?);
            }
            if hasher.finalize() != expected {
                return Err(damaged(file, &rest.name));
            }
            Ok(())
        };
        self.rest.par_iter().map(check).collect::<Vec<_>>().into_iter().collect()
    }

    fn seal(&self, tensor: usize) -> Option<(&Source, Seal)> {
        let Place::Row { file, seal, .. } = self.place(tensor) else { return None };
        let seal = match (&self.seals[file as usize], seal) {
            (Seals::None, _) | (_, NO_SEAL) => return None,
            (Seals::Digests(at), rank) => {
                Seal::Digest(at + digest::position(1 + rank as usize) as u64)
            }
            (Seals::Crcs(places), number) => Seal::Crc(places[number as usize]),
        };
        Some((&self.files[file as usize], seal))
    }

    /// How a tensor's bytes are summed up for [`Checkpoint::compare`], if the file has a checksum of them.
    pub(crate) fn checksum(&self, tensor: usize) -> Option<Checksum> {
        self.seal(tensor).map(|(_, seal)| match seal {
            Seal::Digest(_) => Checksum::Digest,
            Seal::Crc(_) => Checksum::Crc,
        })
    }

    /// Fails if the sum over a tensor's bytes is not what the file says.
    pub(crate) fn compare(&self, tensor: usize, sum: u128) -> Result<()> {
        let Some((file, seal)) = self.seal(tensor) else { return Ok(()) };
        let name = self.written_name(tensor);
        let is_equal = match seal {
            Seal::Digest(at) => {
                let mut info = self.tensors()[tensor].clone();
                info.name = name.to_string();
                digit_text(file, at)? == digest::hex(digest::of_tensor(sum, &info))
            }
            Seal::Crc(at) => crc_at(file, at)? as u128 == sum,
        };
        if is_equal { Ok(()) } else { Err(damaged(file, name)) }
    }
}

fn damaged(file: &Source, name: &str) -> Error {
    Error::input("its bytes do not match their checksum: the file is damaged")
        .at(file.path())
        .tensor(name)
        .remedy(REMEDY)
}

fn digit_text(file: &Source, at: u64) -> Result<String> {
    let mut scratch = vec![];
    let digits = file.read(at..at + 32, &mut scratch)?;
    Ok(String::from_utf8_lossy(digits).into_owned())
}

fn crc_at(file: &Source, at: u64) -> Result<u32> {
    let mut scratch = vec![];
    let bytes = file.read(at..at + 4, &mut scratch)?;
    Ok(u32::from_le_bytes(*bytes.first_chunk().expect("four bytes")))
}
