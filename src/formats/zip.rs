//! The layout of a zip file: names and byte extents. Only entries that are stored, not compressed, can be read in
//! place; PyTorch, NumPy's `savez` and Keras store theirs. Compressed ones are read where `unpack` gives them a place
//! behind the file's end; else asking for one is an error.
//!
//! Format: PKWARE's APPNOTE 6.3. A directory with gaps, entries that overlap, and entries whose local headers have
//! other names are refused: two readers might see two different files.

use std::ops::Range;

use crate::store::Source;
use crate::{Error, Kind, Result};

/// Largest directory that is read, in bytes: a million entries.
const MAX_DIRECTORY: u64 = 200_000_000;

/// First bytes of a zip file.
pub const MAGIC: &[u8] = b"PK\x03\x04";

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;

/// Lengths of the parts of fixed size.
const LOCAL_SIZE: u64 = 30;
const CENTRAL_SIZE: usize = 46;
const END_SIZE: u64 = 22;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: Box<str>,
    /// Offset of its local header in the source.
    header: u64,
    /// Its bytes in the source, as they are stored.
    pub data: Range<u64>,
    /// Of its bytes; 0 if the writer did not compute it.
    pub crc: u32,
    packing: Packing,
    /// Offsets of the CRC in the source: in the directory, and in the local header or descriptor.
    pub crc_places: [u64; 2],
}

/// How the bytes of an entry lie in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Packing {
    Stored,
    /// Compressed, to be read from this place on if the source has it.
    Deflated(Range<u64>),
    /// By a method that is not read.
    Other,
}

/// Most bytes that a compressed one becomes.
const MOST_EACH: u64 = 1032;

/// The name of the first entry in a zip file, if its first bytes hold all of it.
pub fn first_name(head: &[u8]) -> Option<&[u8]> {
    let length = u16::from_le_bytes(*head.get(26..28)?.first_chunk()?);
    head.get(LOCAL_SIZE as usize..)?.get(..length as usize)
}

/// A zip file, or a part of a file that is one.
#[derive(Debug)]
pub struct Archive {
    /// In the order of the directory.
    pub entries: Vec<Entry>,
    /// Indices of the entries, sorted by name.
    by_name: Vec<u32>,
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("bad zip file: {what}")).remedy("save or copy the file again")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller checked"))
}

/// The directory: how many entries, and where.
struct End {
    entries: u64,
    directory: Range<u64>,
}

impl Archive {
    /// Reads the directory of the zip file that a part of a source is.
    pub fn read(source: &Source, within: Range<u64>) -> Result<Self> {
        let end = End::find(source, &within)?;
        let (mut scratch, mut local) = (vec![], vec![]);
        let bytes = source.load(end.directory.clone(), &mut scratch)?;
        let mut entries = Vec::new();
        let mut at = 0;
        // What is compressed follows the file, one after the other.
        let mut behind = source.size();
        for _ in 0..end.entries {
            let start = end.directory.start;
            let mut entry = Entry::read(source, &within, bytes, &mut at, start, &mut local)?;
            if let Packing::Deflated(place) = &mut entry.packing {
                *place = behind..behind + place.end;
                behind = place.end;
            }
            entries.push(entry);
        }
        if at != bytes.len() {
            return Err(bad("its directory holds more than its entries"));
        }
        let name = |i: &u32| &*entries[*i as usize].name;
        let mut by_name: Vec<u32> = (0..entries.len() as u32).collect();
        by_name.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        if let Some(pair) = by_name.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            return Err(bad(format!("it names `{}` twice", name(&pair[0]))));
        }
        let archive = Archive { entries, by_name };
        archive.check_overlaps(end.directory.start)?;
        Ok(archive)
    }

    /// Whether another file has the same entries at the same offsets; their bytes may differ.
    pub fn is_laid_out_as(&self, other: &Self) -> bool {
        // If only one of the files has a CRC, they are not verified in the same way.
        let place =
            |e: &Entry| (e.header, e.data.clone(), e.packing.clone(), e.crc_places, e.crc == 0);
        let alike = |(a, b): (&Entry, &Entry)| a.name == b.name && place(a) == place(b);
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(alike)
    }

    fn check_overlaps(&self, directory: u64) -> Result<()> {
        let mut extents: Vec<_> =
            self.entries.iter().map(|e| (e.header, e.end(), &e.name)).collect();
        extents.sort();
        let starts = extents.iter().skip(1).map(|next| next.0).chain([directory]);
        for ((start, end, name), next) in extents.iter().zip(starts) {
            if *end > next || start > end {
                return Err(bad(format!("`{name}` overlaps what follows")));
            }
        }
        Ok(())
    }

    /// For each compressed entry where it lies and where its bytes are read, in the order of the latter.
    pub fn packed(&self) -> impl Iterator<Item = (Range<u64>, Range<u64>)> {
        self.entries.iter().filter_map(|entry| match &entry.packing {
            Packing::Deflated(bytes) if !bytes.is_empty() => {
                Some((entry.data.clone(), bytes.clone()))
            }
            _ => None,
        })
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        let entry = |i: &u32| &self.entries[*i as usize];
        let found = self.by_name.binary_search_by(|i| (*entry(i).name).cmp(name)).ok()?;
        Some(entry(&self.by_name[found]))
    }

    /// The bytes of an entry, verified against its CRC.
    pub fn read_entry<'a>(
        &self,
        source: &'a Source,
        entry: &Entry,
        limit: u64,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        let (data, name) = (entry.values(source)?, &entry.name);
        let size = data.end - data.start;
        if size > limit {
            return Err(Error::limit(format!("`{name}` has {size} bytes, the limit is {limit}")));
        }
        let bytes = source.read(data, scratch)?;
        if entry.crc != 0 && crc32fast::hash(bytes) != entry.crc {
            return Err(Error::new(Kind::Damaged, format!("the CRC of `{name}` does not match"))
                .remedy("the file is damaged: copy it again"));
        }
        Ok(bytes)
    }
}

impl Entry {
    /// How many bytes it has in the file, and how many they become, if they are compressed.
    pub fn growth(&self) -> Option<(u64, u64)> {
        match &self.packing {
            Packing::Deflated(bytes) => {
                Some((self.data.end - self.data.start, bytes.end - bytes.start))
            }
            Packing::Stored | Packing::Other => None,
        }
    }

    /// The extent of its bytes in the file. Fails if they are compressed.
    pub fn stored(&self) -> Result<Range<u64>> {
        match self.packing {
            Packing::Stored => Ok(self.data.clone()),
            Packing::Deflated(_) => Err(self.is_packed("compressed")),
            Packing::Other => Err(self.is_packed("compressed by a method that is not read")),
        }
    }

    /// Where its bytes are read in a source: in the file or, if they are compressed and the source has them, behind it.
    pub fn values(&self, source: &Source) -> Result<Range<u64>> {
        match &self.packing {
            Packing::Deflated(bytes) if bytes.end <= source.reach() => Ok(bytes.clone()),
            _ => self.stored(),
        }
    }

    fn is_packed(&self, how: &str) -> Error {
        let what = format!("`{}` is {how}, so it cannot be mapped", self.name);
        Error::new(Kind::Unsupported, what).remedy("save it again without compression")
    }

    /// The end of its bytes, or of the descriptor if it has one.
    fn end(&self) -> u64 {
        self.data.end.max(self.crc_places[1] + 4)
    }

    /// Reads the entry at offset `at` of the directory, and moves `at` past it.
    fn read(
        source: &Source,
        within: &Range<u64>,
        directory: &[u8],
        at: &mut usize,
        directory_start: u64,
        scratch: &mut Vec<u8>,
    ) -> Result<Self> {
        let short = || bad("its directory ends within an entry");
        let rest = &directory[*at..];
        if rest.len() < CENTRAL_SIZE || u32_at(rest, 0) != CENTRAL {
            return Err(short());
        }
        let (flags, method) = (u16_at(rest, 8), u16_at(rest, 10));
        let crc = u32_at(rest, 16);
        let (mut packed, mut size) = (u32_at(rest, 20) as u64, u32_at(rest, 24) as u64);
        let mut local = u32_at(rest, 42) as u64;
        let [name, extra, comment] = [28, 30, 32].map(|i| u16_at(rest, i) as usize);
        let tail =
            rest.get(CENTRAL_SIZE..CENTRAL_SIZE + name + extra + comment).ok_or_else(short)?;
        let name = std::str::from_utf8(&tail[..name]).map_err(|_| bad("a name is not UTF-8"))?;
        let mut wide: Vec<&mut u64> = [&mut size, &mut packed, &mut local]
            .into_iter()
            .filter(|n| **n == u32::MAX as u64)
            .collect();
        if !wide.is_empty() {
            let fields = zip64(&tail[name.len()..name.len() + extra])
                .ok_or_else(|| bad(format!("`{name}` lacks its 64-bit sizes")))?;
            for (i, field) in wide.iter_mut().enumerate() {
                let field_bytes = fields.get(8 * i..8 * i + 8);
                let bytes =
                    field_bytes.ok_or_else(|| bad(format!("`{name}` lacks a 64-bit size")))?;
                **field = u64_at(bytes, 0);
            }
        }
        let crc_place = directory_start + (*at + 16) as u64;
        *at += CENTRAL_SIZE + tail.len();
        if flags & 1 != 0 {
            return Err(Error::new(Kind::Unsupported, format!("`{name}` is encrypted")));
        }
        let packing = match method {
            0 => Packing::Stored,
            8 => Packing::Deflated(0..size),
            _ => Packing::Other,
        };
        if method == 0 && packed != size {
            return Err(bad(format!("`{name}` has {packed} bytes stored of {size}")));
        }
        if method == 8 && size / MOST_EACH > packed {
            return Err(bad(format!("`{name}` has {packed} bytes, which cannot become {size}")));
        }
        // The local header.
        let outside = || bad(format!("`{name}` lies outside the file"));
        let header = within.start.checked_add(local).ok_or_else(outside)?;
        let header_end = header.checked_add(LOCAL_SIZE).ok_or_else(outside)?;
        let named = header_end.checked_add(name.len() as u64).filter(|&end| end <= within.end);
        let named = named.ok_or_else(outside)?;
        let unlike = || bad(format!("`{name}` differs between the directory and its local header"));
        let own = source.glance(header..named, scratch)?;
        let (fixed, own_name) = own.split_at(LOCAL_SIZE as usize);
        if u32_at(fixed, 0) != LOCAL || u16_at(fixed, 8) != method {
            return Err(unlike());
        }
        let descriptor = u16_at(fixed, 6) & 8 != 0;
        if !descriptor && u32_at(fixed, 14) != crc {
            return Err(unlike());
        }
        let [name_length, extra_length] = [26, 28].map(|i| u16_at(fixed, i) as u64);
        if name_length != name.len() as u64 || own_name != name.as_bytes() {
            return Err(unlike());
        }
        let start = named + extra_length;
        let end = start.checked_add(packed).filter(|&end| end <= within.end).ok_or_else(outside)?;
        let mut beside = header + 14;
        if descriptor {
            beside = descriptor_crc(source, end, within.end, crc, scratch)?.ok_or_else(unlike)?;
        }
        let name = name.into();
        let crc_places = [crc_place, beside];
        Ok(Entry { name, header, data: start..end, crc, packing, crc_places })
    }
}

/// Offset of the CRC in the descriptor that follows some data, which may begin with a signature. None if the CRC
/// is not there.
fn descriptor_crc(
    source: &Source,
    at: u64,
    end: u64,
    crc: u32,
    scratch: &mut Vec<u8>,
) -> Result<Option<u64>> {
    let bytes = source.glance(at..end.min(at + 8), scratch)?;
    if bytes.len() == 8 && u32_at(bytes, 0) == DESCRIPTOR && u32_at(bytes, 4) == crc {
        return Ok(Some(at + 4));
    }
    Ok((bytes.len() >= 4 && u32_at(bytes, 0) == crc).then_some(at))
}

/// The extra field with the 64-bit sizes.
fn zip64(mut extra: &[u8]) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let (id, length) = (u16_at(extra, 0), u16_at(extra, 2) as usize);
        let field = extra.get(4..4 + length)?;
        if id == 1 {
            return Some(field);
        }
        extra = &extra[4 + length..];
    }
    None
}

impl End {
    fn find(source: &Source, within: &Range<u64>) -> Result<Self> {
        let truncated = || {
            Error::new(Kind::Truncated, "bad zip file: it has no directory at its end: truncated?")
                .remedy("save or copy the file again")
        };
        let size = within.end - within.start;
        if size < END_SIZE {
            return Err(truncated());
        }
        // A comment of at most 65,535 bytes may follow.
        let tail = within.end - size.min(END_SIZE + 0xffff)..within.end;
        let mut scratch = vec![];
        let bytes = source.load(tail.clone(), &mut scratch)?;
        let ends = |&i: &usize| {
            u32_at(bytes, i) == END && u16_at(bytes, i + 20) as usize == bytes.len() - i - 22
        };
        let mut found = (0..=bytes.len() - END_SIZE as usize).rev().filter(ends);
        let i = found.next().ok_or_else(truncated)?;
        if found.next().is_some() {
            return Err(bad("it has two ends"));
        }
        let (disk, entries) = (u16_at(bytes, i + 4), u16_at(bytes, i + 10) as u64);
        let (length, offset) = (u32_at(bytes, i + 12) as u64, u32_at(bytes, i + 16) as u64);
        let mut end = (entries, offset, length);
        let at = tail.start + i as u64;
        let mut directory_end = at;
        // The 64-bit end takes precedence.
        if at - within.start >= 20 {
            let mut scratch = vec![];
            let locator = source.read(at - 20..at, &mut scratch)?;
            if u32_at(locator, 0) == LOCATOR_64 {
                let place = within.start.checked_add(u64_at(locator, 8));
                let place = place.filter(|&p| p <= at - 20 && at - 20 - p >= 56);
                let place = place.ok_or_else(|| bad("its 64-bit end lies outside"))?;
                let mut scratch = vec![];
                let wide = source.read(place..place + 56, &mut scratch)?;
                if u32_at(wide, 0) != END_64 {
                    return Err(bad("its 64-bit end has no signature"));
                }
                let wide = (u64_at(wide, 32), u64_at(wide, 48), u64_at(wide, 40));
                let agrees = |narrow: u64, most: u64, wide: u64| narrow == most || narrow == wide;
                if !agrees(end.0, 0xffff, wide.0)
                    || !agrees(end.1, 0xffff_ffff, wide.1)
                    || !agrees(end.2, 0xffff_ffff, wide.2)
                {
                    return Err(bad("its two ends disagree"));
                }
                end = wide;
                directory_end = place;
            }
        }
        let (entries, offset, length) = end;
        if disk != 0 {
            return Err(bad("it is one volume of several"));
        }
        if length > MAX_DIRECTORY {
            let what = format!("its directory has {length} bytes, the limit is {MAX_DIRECTORY}");
            return Err(Error::limit(what));
        }
        let start = within.start.checked_add(offset);
        let start = start.filter(|s| s.checked_add(length) == Some(directory_end));
        let start = start.ok_or_else(|| bad("its directory is not where it says"))?;
        if entries > length / CENTRAL_SIZE as u64 {
            return Err(bad("its directory is too short for its entries"));
        }
        Ok(End { entries, directory: start..directory_end })
    }
}
