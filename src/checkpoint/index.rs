//! The index: names, types and shapes, and where the bytes are.

use std::collections::BTreeMap;
use std::path::Path;

use super::digest::{self, DIGEST_KEY};
use super::{Source, TensorInfo, safetensors, sniff};
use crate::{Error, Result};

/// Where a tensor's first byte is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub file: u32,
    /// How many tensors of its file have a name before its own.
    pub rank: u32,
    pub start: u64,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub tensors: Vec<TensorInfo>,
    pub places: Vec<Place>,
    /// Numbers of the tensors, sorted by name.
    by_name: Vec<u32>,
}

/// A file's header: JSON after 8 bytes of its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub length: u64,
    /// Where in the file the digests of its tensors begin, if it has them.
    pub digests: Option<u64>,
}

impl Header {
    pub fn find(file: &Source) -> Result<Self> {
        let mut scratch = vec![];
        let start = file.read(0..file.size().min(512), &mut scratch)?;
        let length = sniff::refuse_what_holds_no_weights(start)
            .and_then(|()| safetensors::header_length(start, file.size()))
            .map_err(|e| e.at(file.path()))?;
        Ok(Header { length, digests: None })
    }

    pub fn read<'a>(&self, file: &'a Source, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        file.read(8..8 + self.length, scratch)
    }
}

impl Index {
    /// Reads the headers of a checkpoint's files. Metadata is that of the first file that has any.
    pub fn read(
        path: &Path,
        files: &[Source],
        headers: &[Header],
    ) -> Result<(Self, BTreeMap<String, String>, Vec<Header>)> {
        let (mut index, mut metadata) = (Index::default(), BTreeMap::new());
        let mut headers = headers.to_vec();
        let mut scratch = vec![];
        for (number, (file, header)) in files.iter().zip(&mut headers).enumerate() {
            let text = header.read(file, &mut scratch)?;
            let mut parsed =
                safetensors::parse(text, file.size()).map_err(|e| e.at(file.path()))?;
            if let Some(entry) = parsed.metadata.remove(DIGEST_KEY) {
                let at = find_digests(text, &entry, parsed.tensors.len()).ok_or_else(|| {
                    let what = format!("its metadata `{DIGEST_KEY}` has not one digest a tensor");
                    Error::input(what)
                        .at(file.path())
                        .remedy("another tool may have kept it from an older file: save without it")
                })?;
                header.digests = Some(8 + at as u64);
            }
            if metadata.is_empty() {
                metadata = parsed.metadata;
            }
            for entry in parsed.tensors {
                let safetensors::Entry { name, dtype, shape, bytes } = entry;
                index.places.push(Place { file: number as u32, rank: 0, start: bytes.start });
                index.tensors.push(TensorInfo { name, dtype, shape });
            }
        }
        let name = |i: &u32| index.tensors[*i as usize].name.as_str();
        let mut by_name: Vec<u32> = (0..index.tensors.len() as u32).collect();
        by_name.sort_by(|a, b| name(a).cmp(name(b)));
        if let Some(twice) = by_name.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err(Error::input("occurs twice").tensor(name(&twice[0])).at(path));
        }
        let mut ranks = vec![0; files.len()];
        for &i in &by_name {
            let place = &mut index.places[i as usize];
            let rank = &mut ranks[place.file as usize];
            place.rank = *rank;
            *rank += 1;
        }
        index.by_name = by_name;
        Ok((index, metadata, headers))
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .by_name
            .binary_search_by(|&i| self.tensors[i as usize].name.as_str().cmp(name))
            .ok()?;
        Some(self.by_name[found] as usize)
    }

    /// Numbers of the tensors, sorted by name.
    pub fn by_name(&self) -> impl Iterator<Item = usize> {
        self.by_name.iter().map(|&i| i as usize)
    }

    /// The places in the order of another index, if both have the same names, types and shapes.
    pub fn places_like(&self, other: &Index) -> Option<Vec<Place>> {
        if self.tensors.len() != other.tensors.len() {
            return None;
        }
        let mut places = self.places.clone();
        for (i, j) in self.by_name().zip(other.by_name()) {
            if self.tensors[i] != other.tensors[j] {
                return None;
            }
            places[j] = self.places[i];
        }
        Some(places)
    }
}

/// Where in the header the entry with the digests begins, if it is one for so many tensors.
fn find_digests(header: &[u8], entry: &str, tensors: usize) -> Option<usize> {
    if !digest::is_entry(entry, tensors) {
        return None;
    }
    let entry = entry.as_bytes();
    let first = entry.first_chunk::<32>()?;
    let mut at = 0;
    loop {
        at += header[at..].windows(first.len()).position(|window| window == first)?;
        if header[at..].starts_with(entry) {
            return Some(at);
        }
        at += 1;
    }
}
