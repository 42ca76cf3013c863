//! Members of a zip file that are compressed (deflated), read as if they were stored: they lie behind the file's end, in
//! the order of its directory, and are decompressed where they are read.
//!
//! A stream can only be read from its beginning on, so a few readers stay where they are: what is read in order is
//! decompressed once. Memory is that of these readers, whatever the sizes.
//!
//! Format: RFC 1951.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::zip::Archive;
use crate::store::{Blob, Source};
use crate::sync::lock;
use crate::{Error, Kind, Result};

/// How far back a stream refers to itself.
const WINDOW: usize = 1 << 15;

/// Compressed bytes that are read at once.
const PART: u64 = 1 << 15;

/// Readers that a file keeps, each of some 45 kB.
const READERS: usize = 16;

/// How often over everything may be decompressed, as a file may ask for it in any order.
const TIMES: u64 = 64;

/// The file as one in which nothing is compressed.
pub(super) fn over(file: Source, archive: &Archive) -> Source {
    let members: Vec<Member> =
        archive.packed().map(|(packed, bytes)| Member { packed, bytes }).collect();
    let end = members.last().map_or(0, |member| member.bytes.end);
    let path = file.path().to_path_buf();
    let (size, all) = (file.size(), end.saturating_sub(file.size()));
    let left = AtomicU64::new(all.saturating_mul(TIMES).saturating_add(1 << 28));
    let blob = Unpacked { file, members, readers: Mutex::default(), left };
    Source::with_more(&path, size, end, Box::new(blob))
}

#[derive(Debug)]
struct Member {
    /// Where it lies in the file.
    packed: Range<u64>,
    /// Where its bytes are read.
    bytes: Range<u64>,
}

#[derive(Debug)]
struct Unpacked {
    file: Source,
    /// In the order of their bytes.
    members: Vec<Member>,
    /// The one that was used last is the last one.
    readers: Mutex<Vec<Reader>>,
    /// Bytes that may still be decompressed.
    left: AtomicU64,
}

impl Blob for Unpacked {
    fn in_memory(&self) -> Option<&[u8]> {
        None
    }

    fn read_at(&self, from: u64, into: &mut [u8]) -> Result<()> {
        if from < self.file.size() {
            let mut scratch = vec![];
            let bytes = self.file.load(from..from + into.len() as u64, &mut scratch)?;
            into.copy_from_slice(bytes);
            return Ok(());
        }
        let number = self.members.partition_point(|member| member.bytes.end <= from);
        let member = &self.members[number];
        let start = from - member.bytes.start;
        let mut reader = self.reader(number, start);
        let read = reader.read(self, member, start, into);
        read.map_err(|e| e.at(self.file.path()))?;
        // What was read to its end is done with.
        if from + into.len() as u64 != member.bytes.end {
            let mut readers = lock(&self.readers);
            if readers.len() == READERS {
                readers.remove(0);
            }
            readers.push(reader);
        }
        Ok(())
    }

    fn modified(&self) -> (i64, i64) {
        self.file.modified()
    }

    fn check_unchanged(&self) -> Result<()> {
        self.file.check_unchanged()
    }
}

impl Unpacked {
    /// The one that is nearest before a place. If it is not there yet, it stays for others.
    fn reader(&self, member: usize, start: u64) -> Reader {
        let mut readers = lock(&self.readers);
        // One whose window has what is wanted, or the nearest before it.
        let reaches = |(_, reader): &(usize, &Reader)| {
            reader.member == member && reader.at - reader.at.min(WINDOW as u64) <= start
        };
        let nearest = readers.iter().enumerate().filter(reaches).max_by_key(|(_, r)| r.at);
        match nearest.map(|(i, reader)| (i, reader.at)) {
            Some((i, at)) if at >= start => readers.remove(i),
            Some((i, _)) => readers[i].clone(),
            None => Reader::new(member),
        }
    }

    fn spend(&self, bytes: u64) -> Result<()> {
        let spend = |left: u64| left.checked_sub(bytes);
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        spent.map(drop).map_err(|_| {
            Error::limit("its compressed values are asked for again and again")
                .remedy("save it again without compression")
        })
    }
}

/// Somewhere in a member.
#[derive(Clone)]
struct Reader {
    member: usize,
    stream: Box<DecompressorOxide>,
    /// Compressed bytes that were used.
    used: u64,
    /// Bytes that were made: the last of them are in the window.
    at: u64,
    window: Vec<u8>,
    is_done: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({}, {})", self.member, self.at)
    }
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Damaged, format!("its compressed bytes {what}"))
        .remedy("the file is damaged: copy it again")
}

impl Reader {
    fn new(member: usize) -> Self {
        let (stream, window) = (Box::default(), vec![0; WINDOW]);
        Reader { member, stream, used: 0, at: 0, window, is_done: false }
    }

    /// Fills `into` with what begins at a place, which the window reaches back to.
    fn read(
        &mut self,
        all: &Unpacked,
        member: &Member,
        start: u64,
        mut into: &mut [u8],
    ) -> Result<()> {
        let size = member.bytes.end - member.bytes.start;
        let mut from = start;
        let mut scratch = vec![];
        while !into.is_empty() {
            if from < self.at {
                let place = from as usize % WINDOW;
                let n = (WINDOW - place).min((self.at - from) as usize).min(into.len());
                let (now, later) = into.split_at_mut(n);
                now.copy_from_slice(&self.window[place..place + n]);
                (from, into) = (from + n as u64, later);
                continue;
            }
            self.more(all, member, size, &mut scratch)?;
        }
        // A stream that goes on is not what the directory says.
        while self.at == size && !self.is_done {
            self.more(all, member, size, &mut scratch)?;
        }
        Ok(())
    }

    /// Makes some more bytes, at most as many as are left of the window's round.
    fn more(
        &mut self,
        all: &Unpacked,
        member: &Member,
        size: u64,
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        if self.is_done {
            return Err(damaged("end before the size that is named"));
        }
        let start = member.packed.start + self.used;
        let part = start..member.packed.end.min(start + PART);
        let is_last = part.end == member.packed.end;
        let bytes = all.file.read(part, scratch)?;
        let flags = if is_last { 0 } else { TINFL_FLAG_HAS_MORE_INPUT };
        let place = self.at as usize % WINDOW;
        let (status, used, made) =
            decompress(&mut self.stream, bytes, &mut self.window, place, flags);
        self.used += used as u64;
        self.at += made as u64;
        all.spend(made as u64)?;
        self.is_done = match status {
            TINFLStatus::Done => true,
            TINFLStatus::HasMoreOutput => false,
            TINFLStatus::NeedsMoreInput if used > 0 || made > 0 => false,
            TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
                return Err(damaged("end too early"));
            }
            _ => return Err(damaged("are damaged")),
        };
        match self.at > size {
            true => Err(damaged("hold more than the size that is named")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(vec![], Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Some that repeat themselves far back, and some that do not.
    fn values(n: usize) -> Vec<u8> {
        (0..n as u64).map(|i| ((i * i / 977) ^ (i % 30_011)) as u8).collect()
    }

    fn of(parts: &[&[u8]], sizes: &[u64]) -> (tempfile::NamedTempFile, Unpacked) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), parts.concat()).unwrap();
        let source = Source::open(file.path()).unwrap();
        let (mut at, mut bytes, mut members) = (0, source.size(), vec![]);
        for (part, &size) in parts.iter().zip(sizes) {
            let end = at + part.len() as u64;
            members.push(Member { packed: at..end, bytes: bytes..bytes + size });
            (at, bytes) = (end, bytes + size);
        }
        let left = AtomicU64::new(1 << 30);
        (file, Unpacked { file: source, members, readers: Mutex::default(), left })
    }

    #[test]
    fn any_part_is_what_was_packed() {
        let (a, b) = (values(1_000_000), values(77));
        let (pa, pb) = (packed(&a), packed(&b));
        assert!(pa.len() < a.len());
        let (_file, all) = of(&[&pa, &pb], &[1_000_000, 77]);
        let first = all.file.size();
        let mut seen = vec![0; 1_000_000];
        // In order, backwards, overlapping, by several at once.
        let mut starts: Vec<usize> = (0..1_000_000).step_by(65_536).collect();
        starts.extend([999_000, 5, 40_000, 7_000, 0, 500_000, 499_000, 530_000]);
        for start in starts {
            let end = a.len().min(start + 65_536);
            all.read_at(first + start as u64, &mut seen[..end - start]).unwrap();
            assert!(seen[..end - start] == a[start..end], "{start}");
        }
        std::thread::scope(|scope| {
            for thread in 0..4usize {
                let (all, a) = (&all, &a);
                scope.spawn(move || {
                    let mut seen = vec![0; 10_000];
                    for i in (0..100).map(|i| (i * 4 + thread) % 100) {
                        all.read_at(first + i as u64 * 10_000, &mut seen).unwrap();
                        assert!(seen == a[i * 10_000..][..10_000]);
                    }
                });
            }
        });
        all.read_at(first + 1_000_000, &mut seen[..77]).unwrap();
        assert_eq!(seen[..77], b);
        // What is stored is read as it is.
        all.read_at(0, &mut seen[..10]).unwrap();
        assert_eq!(seen[..10], pa[..10]);
        assert!(lock(&all.readers).len() <= READERS);
    }

    #[test]
    fn what_is_read_in_order_is_unpacked_once() {
        let a = values(300_000);
        let p = packed(&a);
        let (_file, all) = of(&[&p], &[300_000]);
        let before = all.left.load(Ordering::Relaxed);
        let mut seen = vec![0; 1000];
        for i in 0..300 {
            all.read_at(all.file.size() + i * 1000, &mut seen).unwrap();
        }
        assert_eq!(before - all.left.load(Ordering::Relaxed), 300_000);
    }

    #[test]
    fn what_lies_is_refused() {
        let a = values(100_000);
        let p = packed(&a);
        for (bytes, size, what) in [
            (&p[..], 99_999, "hold more than the size"),
            (&p, 100_001, "end before the size"),
            (&p[..p.len() / 2], 100_000, "end too early"),
            (&[7; 50], 100, "are damaged"),
            (&[], 1, "end too early"),
        ] {
            let (_file, all) = of(&[bytes], &[size]);
            let mut seen = vec![0; size as usize];
            let error = all.read_at(all.file.size(), &mut seen).unwrap_err();
            assert!(error.kind() == Kind::Damaged && error.to_string().contains(what), "{error}");
        }
        let (_file, all) = of(&[&p], &[100_000]);
        all.left.store(150_000, Ordering::Relaxed);
        let mut seen = vec![0; 100_000];
        all.read_at(all.file.size(), &mut seen).unwrap();
        let error = all.read_at(all.file.size(), &mut seen).unwrap_err();
        assert!(error.kind() == Kind::Limit, "{error}");
    }
}
