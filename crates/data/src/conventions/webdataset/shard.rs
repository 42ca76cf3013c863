//! One tar file: where its samples lie. The crate `tar` reads the headers, GNU's long names and pax
//! records among them.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use tar::Archive;

use super::label::{InJson, WRITE, in_json};
use crate::decode;
use crate::listing::{EXTENSIONS, GIF};
use swa_base::text::printable;
use swa_base::{Error, Kind, Result};
use swa_tools::select::base_name;
use swa_tools::store::Source;

/// A block of a tar file; two of zeros end it.
const BLOCK: u64 = 512;

/// Longest header that is read: one with a name or records that need more is no sample's.
const MAX_HEADER: u64 = 1 << 20;

/// Largest label, in bytes: `cls` is a number, `json` may describe the image.
const MAX_LABEL: u64 = 1 << 20;

/// The first bytes of gzip, zstd, xz and LZ4. A tar file begins with a name.
const COMPRESSED: [&[u8]; 4] =
    [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"\x04\x22\x4d\x18"];

pub(super) struct Sample {
    /// Where its image lies in the shard.
    at: u64,
    size: u32,
    pub label: u32,
    /// Where its image's name ends in the shard's `names`.
    name_end: u32,
}

pub(super) struct Shard {
    pub source: Source,
    pub samples: Vec<Sample>,
    /// The images' names behind each other: one text, since there are millions.
    names: String,
}

impl Shard {
    /// Reads the headers and the labels.
    pub fn open(path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let mut index =
            Index { source: &source, samples: vec![], names: String::new(), seen: HashSet::new() };
        index.read().map_err(|error| error.at(path))?;
        let Index { samples, names, .. } = index;
        Ok(Shard { source, samples, names })
    }

    /// The shard and the name of a sample's image in it.
    pub fn member(&self, i: usize) -> String {
        let start = if i == 0 { 0 } else { self.samples[i - 1].name_end as usize };
        let name = &self.names[start..self.samples[i].name_end as usize];
        format!("{}/{name}", base_name(self.source.path()))
    }

    /// The file of a sample's image.
    pub fn image<'a>(&'a self, i: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let sample = &self.samples[i];
        self.source.load(sample.at..sample.at + u64::from(sample.size), scratch)
    }
}

/// A shard on its way to an index.
struct Index<'a> {
    source: &'a Source,
    samples: Vec<Sample>,
    names: String,
    seen: HashSet<String>,
}

/// The sample whose members are being read.
#[derive(Default)]
struct Open {
    key: String,
    kinds: Vec<String>,
    /// Name, place and size.
    image: Option<(String, u64, u64)>,
    cls: Option<u32>,
    json: Option<InJson>,
}

impl Index<'_> {
    fn read(&mut self) -> Result<()> {
        let size = self.source.size();
        if size == 0 {
            return Err(Error::new(Kind::Truncated, "the file is empty"));
        }
        let mut scratch = Vec::new();
        let start = self.source.read(0..size.min(6), &mut scratch)?;
        if COMPRESSED.iter().any(|magic| start.starts_with(magic)) {
            return Err(compressed());
        }
        let mut archive = Archive::new(Cursor { source: self.source, at: 0, read: 0 });
        let mut open: Option<Open> = None;
        let mut end = 0;
        for entry in archive.entries_with_seek().map_err(refusal)? {
            let entry = entry.map_err(refusal)?;
            let (at, length) = (entry.raw_file_position(), entry.size());
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            // The bytes of a sparse file are not the member's.
            if entry.header().entry_type().is_gnu_sparse() {
                let what = format!("`{name}` is stored sparse");
                return Err(Error::new(Kind::Unsupported, what));
            }
            end = at
                .checked_add(length)
                .filter(|&end| end <= size)
                .ok_or_else(|| truncated(&format!("it ends inside `{name}`")))?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let Some((key, kind)) = key_and_kind(&name) else { continue };
            if open.as_ref().is_none_or(|open| open.key != key) {
                self.finish(open.take())?;
                if !self.seen.insert(key.to_string()) {
                    let what = format!("two samples have the key `{key}`");
                    return Err(
                        Error::new(Kind::Damaged, what).remedy("give each sample a key of its own")
                    );
                }
            }
            let open = open.get_or_insert_with(|| Open { key: key.into(), ..Open::default() });
            self.take(open, &name, kind, at, length)?;
        }
        self.finish(open)?;
        self.check_end(end)
    }

    /// Records a member of a sample.
    fn take(&self, open: &mut Open, name: &str, kind: String, at: u64, size: u64) -> Result<()> {
        if open.kinds.contains(&kind) {
            return Err(Error::new(Kind::Damaged, format!("it holds `{name}` twice")));
        }
        match kind.as_str() {
            "cls" => {
                let text = self.text(name, at, size)?;
                let label = text.trim().parse().map_err(|_| {
                    let start = printable(&text.chars().take(20).collect::<String>());
                    let what = format!("`{name}`: expected a class's number, found `{start}`");
                    Error::input(what).remedy(WRITE)
                })?;
                open.cls = Some(label);
            }
            // A description need not hold a label; nothing else of it is used.
            "json" => match self.text(name, at, size) {
                Ok(text) => open.json = in_json(&text),
                Err(error) if error.kind() == Kind::Limit => {}
                Err(error) => return Err(error),
            },
            kind if EXTENSIONS.contains(&kind) || kind == GIF => {
                if let Some((other, ..)) = &open.image {
                    let what = format!("a sample has two images, `{other}` and `{name}`");
                    return Err(Error::new(Kind::Damaged, what));
                }
                open.image = Some((name.to_string(), at, size));
            }
            _ => {}
        }
        open.kinds.push(kind);
        Ok(())
    }

    /// What a member with a label holds.
    fn text(&self, name: &str, at: u64, size: u64) -> Result<String> {
        if size > MAX_LABEL {
            return Err(Error::limit(format!("`{name}` has {size} bytes, above {MAX_LABEL}")));
        }
        let mut scratch = Vec::new();
        let text = self.source.read(at..at + size, &mut scratch)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// Records a complete sample.
    fn finish(&mut self, open: Option<Open>) -> Result<()> {
        let Some(open) = open else { return Ok(()) };
        let key = open.key;
        let Some((name, at, size)) = open.image else {
            let what = format!("the sample `{key}` has no image, only {}", open.kinds.join(", "));
            return Err(
                Error::input(what).remedy(format!("images end with .{}", EXTENSIONS.join(", .")))
            );
        };
        let label = match (open.cls, open.json) {
            (Some(label), _) | (None, Some(InJson::Number(label))) => Some(label),
            (None, Some(InJson::Text(text))) => {
                let what = format!(
                    "the label in the JSON of the sample `{key}` is the string `{text}`, not a number"
                );
                return Err(Error::input(what).remedy(WRITE));
            }
            (None, Some(InJson::Other(value))) => {
                let what = format!(
                    "the label in the JSON of the sample `{key}` is {value}, not a class's number"
                );
                return Err(Error::input(what).remedy(WRITE));
            }
            (None, Some(InJson::Broken(why))) => {
                let what = format!("the JSON of the sample `{key}`, which has no `cls`: {why}");
                return Err(Error::input(what).remedy("write it again"));
            }
            (None, None) => None,
        };
        let Some(label) = label else {
            let what = format!("the sample `{key}` has no label, only {}", open.kinds.join(", "));
            return Err(Error::input(what)
                .remedy("a label is `KEY.cls` with a number, or `label` in `KEY.json`"));
        };
        if size > decode::MAX_FILE {
            let most = decode::MAX_FILE;
            return Err(Error::limit(format!("`{name}` has {size} bytes, above {most}")));
        }
        self.names.push_str(&name);
        let name_end = u32::try_from(self.names.len())
            .map_err(|_| Error::limit("names of more than 4 GiB in one shard"))?;
        self.samples.push(Sample { at, size: size as u32, label, name_end });
        Ok(())
    }

    /// After the last member two blocks of zeros must follow, then nothing but zeros: else a part is
    /// missing, or another archive follows that readers do not see.
    fn check_end(&self, end: u64) -> Result<()> {
        let (start, size) = (end.next_multiple_of(BLOCK), self.source.size());
        if start + 2 * BLOCK > size {
            return Err(truncated("the end of the archive is missing"));
        }
        // Writers fill up to 10 KiB.
        let mut scratch = Vec::new();
        let rest = self.source.read(start..size.min(start + (1 << 16)), &mut scratch)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(Error::new(Kind::Damaged, "more follows after the end of the archive")
                .remedy("join tar files with `tar -A`, not with cat"));
        }
        Ok(())
    }
}

/// The key and the kind in a member's path, by webdataset's rule; None where it belongs to no sample.
fn key_and_kind(name: &str) -> Option<(&str, String)> {
    // What is called `__x__`, or lies in such a folder at the top, describes the shard.
    let first = name.split('/').next().unwrap_or_default();
    if first.len() > 3 && first.starts_with("__") && first.ends_with("__") {
        return None;
    }
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name[base..].find('.').filter(|&dot| dot > 0)?;
    Some((&name[..base + dot], name[base + dot + 1..].to_lowercase()))
}

/// The error for a shard that would have to be unpacked as a whole to find an image.
pub(super) fn compressed() -> Error {
    Error::new(Kind::Unsupported, "a compressed shard, which cannot be read from the middle")
        .remedy("unpack the compression (gunzip), not the tar file")
}

fn again(error: Error) -> Error {
    error.remedy("copy or download the shard again")
}

fn truncated(what: &str) -> Error {
    again(Error::new(Kind::Truncated, format!("cut off: {what}")))
}

/// Errors of the tar crate are the file's fault, unless a read failed.
fn refusal(source: io::Error) -> Error {
    let text = source.to_string();
    match source.into_inner().and_then(|inner| inner.downcast::<Error>().ok()) {
        Some(error) => *error,
        None => {
            again(Error::new(Kind::Damaged, format!("not a sound tar file: {}", printable(&text))))
        }
    }
}

/// Reads a file for the tar crate.
struct Cursor<'a> {
    source: &'a Source,
    at: u64,
    /// Bytes since the last seek: those of one header.
    read: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.source.size().saturating_sub(self.at);
        let n = left.min(into.len() as u64);
        if n == 0 {
            return Ok(0);
        }
        self.read += n;
        if self.read > MAX_HEADER {
            return Err(io::Error::other(Error::limit(format!(
                "a header of more than {MAX_HEADER} bytes"
            ))));
        }
        let mut scratch = Vec::new();
        let bytes =
            self.source.read(self.at..self.at + n, &mut scratch).map_err(io::Error::other)?;
        into[..n as usize].copy_from_slice(bytes);
        self.at += n;
        Ok(n as usize)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.read = 0;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_webdataset() {
        // webdataset.tariterators.base_plus_ext of each, with the kind in lower case.
        let cases = [
            ("a.jpg", Some(("a", "jpg"))),
            ("train/a.b.JPG", Some(("train/a", "b.jpg"))),
            ("x.y/a.cls", Some(("x.y/a", "cls"))),
            ("a", None),
            (".hidden.jpg", None),
            ("__header__", None),
            ("__meta__/info.json", None),
            ("a/__x__/1.jpg", Some(("a/__x__/1", "jpg"))),
            ("__a.jpg", Some(("__a", "jpg"))),
        ];
        for (name, expected) in cases {
            let found = key_and_kind(name);
            assert_eq!(found.as_ref().map(|(k, e)| (*k, e.as_str())), expected, "{name}");
        }
    }
}
