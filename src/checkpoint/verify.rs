//! Verifying a checkpoint by the checksums in it: the digests that these tools write, and the CRCs of zip files.

use std::collections::HashSet;
use std::ops::Range;

use rayon::prelude::*;

use super::Checkpoint;
use crate::store::Source;
use crate::tensors::checksum::Checksum;
use crate::tensors::contents::{Location, NO_CHECKSUM, Region, StoredChecksums};
use crate::tensors::digest::{self, BLOCK};
use crate::tensors::view::Storage;
use crate::{Error, Kind, Result, setting};

const REMEDY: &str = concat!(
    "copy it again, or average again; if another tool changed the file and kept its metadata, ",
    setting!("no_verify"),
    " skips this"
);

/// Offset of a tensor's checksum in its file.
enum Stored {
    Digest(u64),
    Crc(u64),
}

impl Checkpoint {
    /// Whether every file with values of tensors has a checksum.
    pub fn has_checksums(&self) -> bool {
        let tensors = 0..self.tensors().len();
        let holding: HashSet<u32> = tensors.flat_map(|tensor| self.files_of(tensor)).collect();
        // A model may have nothing but empty tensors.
        let holds = |file: usize| holding.is_empty() || holding.contains(&(file as u32));
        let region = |file: usize| self.regions.iter().any(|region| region.file as usize == file);
        let checksums = self.checksums.iter().enumerate();
        checksums.len() > 0
            && checksums
                .filter(|(i, _)| holds(*i))
                .all(|(i, checksums)| *checksums != StoredChecksums::None || region(i))
    }

    /// How many tensors a checksum in their files covers: one of their own, or that of a storage of which they are
    /// views.
    pub fn tensors_with_checksum(&self) -> usize {
        let mut covered: Vec<(u32, Range<u64>)> = (self.regions.iter())
            .filter(|region| region.storage.crc.is_some())
            .map(|region| (region.file, region.storage.bytes.clone()))
            .collect();
        covered.sort_by_key(|(file, bytes)| (*file, bytes.start));
        let is_covered = |file: u32, bytes: Range<u64>| {
            let after = covered.partition_point(|(f, b)| (*f, b.start) <= (file, bytes.start));
            after.checked_sub(1).is_some_and(|i| {
                let (other, storage) = &covered[i];
                *other == file && bytes.end <= storage.end
            })
        };
        let has_one = |&tensor: &usize| match self.location(tensor) {
            _ if self.tensors()[tensor].is_empty() || self.checksum(tensor).is_some() => true,
            Location::Contiguous { file, start, .. } => {
                is_covered(file, start..start + self.tensors()[tensor].size())
            }
            Location::Gathered(number) => {
                let gather = &self.gathers[number as usize];
                gather.slabs.iter().all(|slab| is_covered(slab.file, slab.span(gather.width)))
            }
        };
        (0..self.tensors().len()).filter(has_one).count()
    }

    /// Reads everything that has a checksum and compares it. `progress` is told of bytes as they are read, from any
    /// thread.
    ///
    /// # Errors
    /// `Damaged` on the first difference, with file and tensor; `Changed` if a file changed meanwhile, `Io` where
    /// reading fails.
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

    /// Verifies what is not verified tensor by tensor: the metadata by their digest, and storages and members, of which
    /// tensors are only parts, by their CRCs.
    pub(crate) fn verify_apart(&self) -> Result<()> {
        self.verify_some_apart(&|_| true)
    }

    /// The same of the tensors of these numbers alone, and of some of their values: by the numbers of the first and of
    /// the one behind the last.
    pub(crate) fn verify_apart_of(&self, wanted: &[(usize, Range<u64>)]) -> Result<()> {
        let mut spans: Vec<(u32, Range<u64>)> = vec![];
        for (tensor, values) in wanted.iter().filter(|(_, values)| !values.is_empty()) {
            let info = &self.tensors()[*tensor];
            match self.location(*tensor) {
                Location::Contiguous { file, start, .. } => {
                    let width = info.size() / info.len().max(1) as u64;
                    spans.push((file, start + values.start * width..start + values.end * width));
                }
                Location::Gathered(number) => {
                    let gather = &self.gathers[number as usize];
                    let meets = |own: Range<u64>| own.start < values.end && values.start < own.end;
                    let slabs = gather.slabs.iter().filter(|slab| meets(gather.values(slab)));
                    spans.extend(slabs.map(|slab| (slab.file, slab.span(gather.width))));
                }
            }
        }
        spans.sort_unstable_by_key(|(file, bytes)| (*file, bytes.start));
        // How far those up to each reach in its file: they may overlap.
        for i in 1..spans.len() {
            if spans[i - 1].0 == spans[i].0 {
                spans[i].1.end = spans[i].1.end.max(spans[i - 1].1.end);
            }
        }
        self.verify_some_apart(&|region| {
            let Region { file, storage, .. } = region;
            let before = spans.partition_point(|(f, b)| (*f, b.start) < (*file, storage.bytes.end));
            let last = before.checked_sub(1).map(|last| &spans[last]);
            last.is_some_and(|(f, bytes)| f == file && storage.bytes.start < bytes.end)
        })
    }

    fn verify_some_apart(&self, is_wanted: &(dyn Fn(&Region) -> bool + Sync)) -> Result<()> {
        let digest = digest::hex(digest::of_metadata(&self.metadata));
        for (file, checksums) in self.files.iter().zip(self.checksums.iter()) {
            let StoredChecksums::Digests(at) = *checksums else { continue };
            if digit_text(file, at)? != digest {
                return Err(Error::new(Kind::Damaged, "its metadata do not match their digest")
                    .at(file.path())
                    .remedy(REMEDY));
            }
        }
        let check = |region: &Region| -> Result<()> {
            let file = &self.files[region.file as usize];
            let Storage { bytes, crc: Some([place, _]) } = &region.storage else { return Ok(()) };
            let (expected, mut scratch) = (crc_at(file, *place)?, vec![]);
            let starts = (bytes.start..bytes.end).step_by(BLOCK as usize);
            let mut hasher = crc32fast::Hasher::new();
            for start in starts {
                let part = start..bytes.end.min(start + BLOCK);
                hasher.update(file.read(part, &mut scratch)?);
            }
            if hasher.finalize() != expected {
                return Err(damaged(file, &region.name));
            }
            Ok(())
        };
        let regions = self.regions.par_iter().filter(|region| is_wanted(region));
        regions.map(check).collect::<Vec<_>>().into_iter().collect()
    }

    fn stored_checksum(&self, tensor: usize) -> Option<(&Source, Stored)> {
        let Location::Contiguous { file, checksum, .. } = self.location(tensor) else {
            return None;
        };
        let checksum = match (&self.checksums[file as usize], checksum) {
            (StoredChecksums::None, _) | (_, NO_CHECKSUM) => return None,
            (StoredChecksums::Digests(at), rank) => {
                Stored::Digest(at + digest::position(1 + rank as usize) as u64)
            }
            (StoredChecksums::Crcs(places), number) => Stored::Crc(places[number as usize]),
        };
        Some((&self.files[file as usize], checksum))
    }

    /// The kind of a tensor's checksum, for [`Checkpoint::compare`]; None if the file has none.
    pub(crate) fn checksum(&self, tensor: usize) -> Option<Checksum> {
        self.stored_checksum(tensor).map(|(_, checksum)| match checksum {
            Stored::Digest(_) => Checksum::Digest,
            Stored::Crc(_) => Checksum::Crc,
        })
    }

    /// Fails if the checksum of a tensor's bytes is not the one in the file.
    pub(crate) fn compare(&self, tensor: usize, sum: u128) -> Result<()> {
        let Some((file, checksum)) = self.stored_checksum(tensor) else { return Ok(()) };
        let name = self.written_name(tensor);
        let is_equal = match checksum {
            Stored::Digest(at) => {
                let mut info = self.tensors()[tensor].clone();
                info.name = name.to_string();
                digit_text(file, at)? == digest::hex(digest::of_tensor(sum, &info))
            }
            Stored::Crc(at) => crc_at(file, at)? as u128 == sum,
        };
        if is_equal { Ok(()) } else { Err(damaged(file, name)) }
    }
}

fn damaged(file: &Source, name: &str) -> Error {
    Error::new(Kind::Damaged, "its bytes do not match their checksum: the file is damaged")
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
