//! The headers of a checkpoint's safetensors files: found, compared with those of another checkpoint, and read.

use std::ops::Range;

use rayon::prelude::*;

use super::safetensors;
use crate::store::Source;
use crate::tensors::TensorInfo;
use crate::tensors::contents::{Contents, Location, StoredChecksums};
use crate::tensors::digest::{self, DIGEST_KEY};
use crate::{Error, Kind, Result};

/// A file's header: JSON, preceded by its length in 8 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    length: u64,
    has_digests: bool,
}

/// The headers of all files, in the order of the files.
#[derive(Debug, Clone)]
pub(crate) struct Headers(Vec<Header>);

impl Header {
    fn find(file: &Source) -> Result<Self> {
        let mut scratch = vec![];
        let start = file.read(0..file.size().min(8), &mut scratch)?;
        let length =
            safetensors::header_length(start, file.size()).map_err(|e| e.at(file.path()))?;
        Ok(Header { length, has_digests: false })
    }

    fn range(&self) -> Range<u64> {
        8..8 + self.length
    }

    /// What it says, and where the digests are in it.
    fn read(&self, file: &Source) -> Result<(safetensors::Parsed, StoredChecksums)> {
        let mut scratch = vec![];
        let text = file.read(self.range(), &mut scratch)?;
        let mut parsed = safetensors::parse(text, file.size()).map_err(|e| e.at(file.path()))?;
        let Some(entry) = parsed.metadata.remove(DIGEST_KEY) else {
            return Ok((parsed, StoredChecksums::None));
        };
        let at = find_digests(text, &entry, parsed.tensors.len()).ok_or_else(|| {
            let what = format!("its metadata `{DIGEST_KEY}` does not have one digest per tensor");
            Error::new(Kind::Damaged, what)
                .at(file.path())
                .remedy("another tool may have kept it from an older file: save without that entry")
        })?;
        Ok((parsed, StoredChecksums::Digests(8 + at as u64)))
    }
}

impl Headers {
    pub fn find(files: &[Source]) -> Result<Self> {
        let found: Vec<_> = files.par_iter().map(Header::find).collect();
        found.into_iter().collect::<Result<_>>().map(Headers)
    }

    /// Whether these files have headers that are byte for byte those of others: most trainers write
    /// nothing that differs.
    pub fn are_those_of(
        &self,
        files: &[Source],
        like: &Headers,
        others: &[Source],
    ) -> Result<bool> {
        if files.len() != others.len() {
            return Ok(false);
        }
        let (mut a, mut b) = (vec![], vec![]);
        let own = files.iter().zip(&self.0);
        for ((file, header), (other, like)) in own.zip(others.iter().zip(&like.0)) {
            // A header with digests differs at least in those.
            if file.size() != other.size()
                || header.length != like.length
                || like.has_digests
                || files.len() > 1 && file.path().file_name() != other.path().file_name()
                || file.read(header.range(), &mut a)? != other.read(like.range(), &mut b)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the headers, several at a time: on file systems across a network each takes a while. The metadata are those
    /// of the first file that has any.
    pub fn read(&mut self, files: &[Source]) -> Result<Contents> {
        let read = |(file, header): (&Source, &Header)| header.read(file);
        let parsed: Vec<_> = files.par_iter().zip(&self.0).map(read).collect();
        let mut contents = Contents::default();
        for (number, (parsed, header)) in parsed.into_iter().zip(&mut self.0).enumerate() {
            let (parsed, checksums) = parsed?; // of several errors the first in order
            header.has_digests = checksums != StoredChecksums::None;
            contents.checksums.push(checksums);
            if contents.metadata.is_empty() {
                contents.metadata = parsed.metadata;
            }
            // Digests are in the order of the names.
            let mut by_name: Vec<usize> = (0..parsed.tensors.len()).collect();
            by_name.sort_by(|&a, &b| parsed.tensors[a].name.cmp(&parsed.tensors[b].name));
            let mut ranks = vec![0; by_name.len()];
            by_name.iter().enumerate().for_each(|(rank, &i)| ranks[i] = rank as u32);
            for (entry, checksum) in parsed.tensors.into_iter().zip(ranks) {
                let safetensors::Entry { name, dtype, shape, bytes } = entry;
                contents.locations.push(Location::Contiguous {
                    file: number as u32,
                    checksum,
                    start: bytes.start,
                });
                contents.tensors.push(TensorInfo { name, dtype, shape });
            }
        }
        Ok(contents)
    }
}

/// Offset of the digests' entry in the header, if it has as many as there are tensors. It follows its key, which
/// with its quotes can be part of no other string.
fn find_digests(header: &[u8], entry: &str, tensors: usize) -> Option<usize> {
    if !digest::is_entry(entry, tensors) {
        return None;
    }
    let key = format!("\"{DIGEST_KEY}\"");
    let mut keys = header.windows(key.len()).enumerate().filter(|(_, w)| *w == key.as_bytes());
    keys.find_map(|(i, _)| {
        let between = |b: &u8| b" \t\r\n:".contains(b);
        let rest = &header[i + key.len()..];
        let at = rest.iter().position(|b| !between(b)).filter(|&at| at > 0)?;
        let value = rest[at..].strip_prefix(b"\"")?;
        value.starts_with(entry.as_bytes()).then_some(i + key.len() + at + 1)
    })
}
