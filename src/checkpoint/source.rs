//! An input file: mapped, or read by position where the kernel refuses to map it. The mapping's
//! `unsafe` lives here and nowhere else.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::{Advice, Mmap, UncheckedAdvice};

use crate::process::sigbus::{self, Entry, Mapping};
use crate::{Error, Result};

/// What tells one state of a file from another: device, inode, size and modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Self {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// Descriptors that all files together keep.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// From here on a copy is quicker than a mapping: a page costs a fault and an entry in the page tables,
/// for every process that maps it, a copy a fraction of a call.
const WORTH_COPYING: u64 = 1 << 10;

/// A part of a file that takes longer than this to become readable came from a device, not from memory.
pub(crate) const COLD: Duration = Duration::from_millis(1);

/// How far to read ahead in a file that does.
const AHEAD: u64 = 16 << 20;

/// A regular file, open for reading. The first few hundred keep their descriptor, others have none, so
/// that thousands can be open.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: Option<File>,
    stamp: Stamp,
    /// None for an empty file, and where the kernel refused: too many mappings, too little address
    /// space, a file system that cannot.
    map: Option<Mmap>,
    /// For the SIGBUS handler.
    watched: Option<&'static Entry<Mapping>>,
}

impl Source {
    pub fn open(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::usage("no such file").at(path),
            _ => Error::io(path, "open", e),
        })?;
        if meta.is_dir() {
            return Err(Error::usage("is a folder, not a checkpoint file")
                .at(path)
                .remedy("name the files in it, for instance FOLDER/*.safetensors"));
        }
        if !meta.is_file() {
            return Err(Error::usage("is not a regular file, so it cannot be mapped").at(path));
        }
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        let meta = file.metadata().map_err(|e| Error::io(path, "stat", e))?;
        let stamp = Stamp::of(&meta);
        let map = if stamp.size == 0 {
            None
        } else {
            // SAFETY: the mapping is private to this value and read-only. Another process that
            // writes to the file can change values under us, which `check_unchanged` reports; one
            // that truncates it raises SIGBUS, see `sigbus`. No output has its name by then.
            unsafe { Mmap::map(&file) }.ok()
        };
        let watched = map.as_deref().and_then(|bytes| sigbus::watch(path, bytes));
        let file = keep().then_some(file);
        Ok(Source { path: path.to_path_buf(), file, stamp, map, watched })
    }

    /// Opens it once more, for what must own its source.
    pub fn again(&self) -> Result<Self> {
        let again = Self::open(&self.path)?;
        match again.stamp == self.stamp {
            true => Ok(again),
            false => Err(Error::changed("was replaced while it was read").at(&self.path)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    pub fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// The whole file; empty if it is not mapped.
    pub fn mapped(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// A part of the file: mapped, or read into `scratch`. Fails if the file has become shorter.
    pub fn read<'a>(&'a self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        assert!(range.end <= self.stamp.size, "{range:?} of {}", self.stamp.size);
        if let Some(map) = &self.map {
            return Ok(&map[range.start as usize..range.end as usize]);
        }
        self.copy(range, scratch)
    }

    /// As [`Source::read`], but prefers a copy in a buffer that stays in the cache to a mapping where
    /// that is quicker.
    pub fn load<'a>(&'a self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        match self.is_copied(&range) {
            true => self.copy(range, scratch),
            false => self.read(range, scratch),
        }
    }

    /// A few bytes that nothing else near them will be read with: a call is quicker than a fault.
    pub fn glance<'a>(&'a self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        match self.file.is_some() {
            true => self.copy(range, scratch),
            false => self.read(range, scratch),
        }
    }

    /// Whether [`Source::load`] copies a part even if it is mapped.
    pub fn is_copied(&self, range: &Range<u64>) -> bool {
        self.file.is_some() && range.end - range.start >= WORTH_COPYING
    }

    fn copy<'a>(&self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let length = (range.end - range.start) as usize;
        if scratch.len() < length {
            scratch.resize(length, 0);
        }
        let scratch = &mut scratch[..length];
        let opened;
        let file = match &self.file {
            Some(file) => file,
            None => {
                opened = File::open(&self.path).map_err(|e| Error::io(&self.path, "open", e))?;
                &opened
            }
        };
        match file.read_exact_at(scratch, range.start) {
            Ok(()) => Ok(scratch),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                self.check_unchanged()?;
                Err(Error::io(&self.path, "read", e))
            }
            Err(e) => Err(Error::io(&self.path, "read", e)),
        }
    }

    /// Tells the kernel that a part will be read at once: one call in place of a fault every 16 pages.
    /// From a cold file this waits for the device, and starts to read what follows.
    pub fn populate(&self, range: Range<u64>) {
        let (started, end) = (Instant::now(), range.end);
        self.advise(Advice::PopulateRead, range);
        if started.elapsed() > COLD {
            self.read_ahead(end);
        }
    }

    /// Starts to read what follows a place from the device, without waiting.
    pub fn read_ahead(&self, from: u64) {
        self.advise(Advice::WillNeed, from.min(self.stamp.size)..from + AHEAD);
    }

    /// Advice may be refused, by old kernels for instance: then the pages come as they are touched.
    fn advise(&self, advice: Advice, range: Range<u64>) {
        if let Some(map) = &self.map {
            let range = range.start as usize..range.end.min(self.stamp.size) as usize;
            let _ = map.advise_range(advice, range.start, range.len());
        }
    }

    /// Gives back the page tables of a part that has been read: they take a byte for every 512, which
    /// counts where hundreds of gigabytes pass by. The file stays in the page cache.
    pub fn release(&self, range: Range<u64>) {
        let Some(map) = &self.map else { return };
        let range = range.start as usize..range.end as usize;
        // SAFETY: the mapping is shared, read-only and of a file: what is dropped is read from the
        // file again when it is touched.
        let _ = unsafe {
            map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }

    /// Fails if the path no longer names the file that was opened, in the state it had then.
    pub fn check_unchanged(&self) -> Result<()> {
        let meta = std::fs::metadata(&self.path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::changed("was removed while it was read").at(&self.path),
            _ => Error::io(&self.path, "stat", e),
        })?;
        let now = Stamp::of(&meta);
        if now == self.stamp {
            return Ok(());
        }
        let (was, is) = (self.stamp.size, now.size);
        let what = if (now.device, now.inode) != (self.stamp.device, self.stamp.inode) {
            "was replaced while it was read".to_string()
        } else if is != was {
            let how = if is < was { "shrank" } else { "grew" };
            format!("{how} from {was} to {is} bytes while it was read")
        } else {
            "was written to while it was read".to_string()
        };
        Err(Error::changed(what).at(&self.path).remedy("run again when nothing writes to it"))
    }
}

/// Whether one more file may keep its descriptor: a quarter of those that the process may have.
fn keep() -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.unwrap_or(u64::MAX).min(4096) / 4;
    let more = |kept| (kept < limit).then_some(kept + 1);
    KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Source {
    fn forget_file(&mut self) {
        if self.file.take().is_some() {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.forget_file();
        self.watched.inspect(|entry| entry.remove());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn bytes_are_the_file_and_a_rewrite_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"abc").unwrap();
        let mut source = Source::open(&path).unwrap();
        assert!(source.is_mapped());
        for range in [0..3, 1..2, 3..3] {
            source.populate(range.clone());
            let expected = &b"abc"[range.start as usize..range.end as usize];
            assert_eq!(source.read(range.clone(), &mut vec![]).unwrap(), expected);
            source.release(range);
        }
        // Read by position where the kernel refuses to map.
        source.map = None;
        assert_eq!(source.read(1..3, &mut vec![]).unwrap(), b"bc");
        source.check_unchanged().unwrap();
        std::fs::write(dir.path().join("y"), b"abc").unwrap();
        std::fs::rename(dir.path().join("y"), &path).unwrap();
        let error = source.check_unchanged().unwrap_err();
        assert_eq!(error.kind(), Kind::Changed);
        assert!(error.to_string().contains("was replaced"), "{error}");
        // The descriptor still leads to the file that was opened.
        assert_eq!(source.read(1..3, &mut vec![]).unwrap(), b"bc");
        source.forget_file();
        std::fs::write(&path, b"a").unwrap();
        let error = source.read(1..3, &mut vec![]).unwrap_err();
        assert_eq!(error.kind(), Kind::Changed);
    }

    #[test]
    fn a_copy_is_what_is_mapped_and_a_file_that_shrinks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut source = Source::open(&path).unwrap();
        // Longer than what is asked for: of a part before.
        let mut scratch = vec![1; 70_000];
        for range in [3..60_003, 99_990..100_000, 0..100_000] {
            let expected = &bytes[range.start as usize..range.end as usize];
            assert_eq!(source.load(range, &mut scratch).unwrap(), expected);
        }
        assert!(source.is_copied(&(0..WORTH_COPYING)) && !source.is_copied(&(1..WORTH_COPYING)));
        std::fs::write(&path, &bytes[..50_000]).unwrap();
        let error = source.load(0..60_000, &mut scratch).unwrap_err();
        assert!(error.kind() == Kind::Changed && error.to_string().contains("shrank"), "{error}");
        source.forget_file();
        assert!(!source.is_copied(&(0..WORTH_COPYING)));
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"").unwrap();
        assert!(Source::open(&path).unwrap().read(0..0, &mut vec![]).unwrap().is_empty());
    }
}
