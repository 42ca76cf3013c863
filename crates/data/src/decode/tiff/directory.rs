//! The first directory of a TIFF: its numbers by tag.

use std::collections::BTreeMap;

use super::{bad, unsupported};
use swa_base::Result;

/// The tags that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum Tag {
    Width = 256,
    Height = 257,
    BitsPerSample = 258,
    Compression = 259,
    Photometric = 262,
    FillOrder = 266,
    StripOffsets = 273,
    Orientation = 274,
    SamplesPerPixel = 277,
    RowsPerStrip = 278,
    StripLengths = 279,
    Planar = 284,
    Predictor = 317,
    ColorMap = 320,
    TileWidth = 322,
    TileHeight = 323,
    TileOffsets = 324,
    TileLengths = 325,
    ExtraSamples = 338,
    SampleFormat = 339,
}

/// Entries by the tag's number, and where their values lie.
pub(super) struct Directory<'a> {
    bytes: &'a [u8],
    pub big_endian: bool,
    entries: BTreeMap<u16, Entry>,
}

struct Entry {
    kind: u16,
    count: usize,
    at: usize,
}

impl<'a> Directory<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self> {
        let big_endian = bytes.starts_with(b"MM");
        let mut directory = Directory { bytes, big_endian, entries: BTreeMap::new() };
        let start = directory.u32(4)? as usize;
        let n = directory.u16(start)?;
        // All of it, with the place of the next one.
        directory.u32(start + 2 + 12 * usize::from(n))?;
        for i in 0..usize::from(n) {
            let at = start + 2 + 12 * i;
            let (tag, kind) = (directory.u16(at)?, directory.u16(at + 2)?);
            let count = directory.u32(at + 4)? as usize;
            let size = count.saturating_mul(if kind == 3 { 2 } else { 4 });
            let at = if size <= 4 { at + 8 } else { directory.u32(at + 8)? as usize };
            if directory.entries.insert(tag, Entry { kind, count, at }).is_some() {
                return Err(bad(format!("corrupt: the TIFF has the tag {tag} twice")));
            }
        }
        Ok(directory)
    }

    fn u16(&self, at: usize) -> Result<u16> {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        let &bytes =
            bytes.ok_or_else(|| bad("cut off: a TIFF image that ends inside its directory"))?;
        Ok(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let bytes = self.bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        let &bytes =
            bytes.ok_or_else(|| bad("cut off: a TIFF image that ends inside its directory"))?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub fn has(&self, tag: Tag) -> bool {
        self.entries.contains_key(&(tag as u16))
    }

    /// The values of a tag; None where it is not there.
    pub fn many(&self, tag: Tag) -> Result<Option<Vec<usize>>> {
        let Some(&Entry { kind, count, at }) = self.entries.get(&(tag as u16)) else {
            return Ok(None);
        };
        let width = match kind {
            3 => 2,
            4 => 4,
            _ => {
                return Err(unsupported(format!(
                    "a TIFF whose tag {tag:?} has values of type {kind}"
                )));
            }
        };
        if count == 0 || count.saturating_mul(width) > self.bytes.len() {
            return Err(bad(format!("corrupt: the TIFF's tag {tag:?} has {count} values")));
        }
        let value = |i: usize| match width {
            2 => self.u16(at + 2 * i).map(usize::from),
            _ => self.u32(at + 4 * i).map(|value| value as usize),
        };
        (0..count).map(value).collect::<Result<_>>().map(Some)
    }

    /// The value of a tag that has one.
    pub fn one(&self, tag: Tag, default: Option<usize>) -> Result<usize> {
        match (self.many(tag)?.as_deref(), default) {
            (Some([one]), _) => Ok(*one),
            (Some(many), _) => {
                Err(bad(format!("corrupt: the TIFF's tag {tag:?} has {} values", many.len())))
            }
            (None, Some(default)) => Ok(default),
            (None, None) => Err(bad(format!("corrupt: the TIFF does not say its {tag:?}"))),
        }
    }
}
