//! The file system: files are mapped, or read by position where the kernel refuses to map them. The mapping's
//! `unsafe` lives here and nowhere else.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::fs::File;
use std::io::{Error as IoError, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memmap2::{Advice, Mmap, UncheckedAdvice};

use super::{Blob, COLD, Entry, EntryKind, Identity, Source, Store};
use crate::process::sigbus::{self, Watched};
use crate::{Error, Kind, Result, look};

#[derive(Debug)]
pub(super) struct Local;

impl Store for Local {
    fn open(&self, path: &Path) -> Result<Source> {
        let file = LocalFile::open(path)?;
        Ok(Source::new(path, file.stamp.size, Box::new(file)))
    }

    fn look(&self, path: &Path) -> Result<Option<Entry>> {
        let own = match path.symlink_metadata() {
            Ok(meta) => meta.file_type(),
            // Where a folder of the path is none, nothing is at the path.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(Error::io(path, "look at", e)),
        };
        let is_link = own.is_symlink();
        let target = match is_link {
            true => match path.metadata() {
                Ok(meta) => Some(meta.file_type()),
                Err(e) if look::leads_nowhere(&e) => None,
                Err(e) => return Err(Error::io(path, "look at", e)),
            },
            false => Some(own),
        };
        let kind = target.map(|target| match () {
            () if target.is_dir() => EntryKind::Folder,
            () if target.is_file() => EntryKind::File,
            () => EntryKind::Other,
        });
        Ok(Some(Entry { is_link, kind }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let fail = |e| Error::io(folder, "read", e);
        look::names(folder)
            .map(|all| all.iter().map(|name| folder.join(name)).collect())
            .map_err(fail)
    }

    fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>> {
        let found = glob::glob(pattern)
            .map_err(|e| Error::usage(format!("bad pattern `{pattern}`: {}", e.msg)))?;
        // The standard library panics where a folder cannot be closed.
        let lost = || Error::io(Path::new(pattern), "read", IoError::from(ErrorKind::Other));
        let fail = |e: glob::GlobError| {
            let path = e.path().to_path_buf();
            Error::io(&path, "read", IoError::from(e))
        };
        let is_shown = |path: &PathBuf| !is_hidden(pattern, path);
        let all = || {
            found
                .map(|path| path.map_err(fail))
                .filter(|path| path.as_ref().map_or(true, is_shown))
                .collect()
        };
        swa_base::panics::catch(all).unwrap_or_else(|| Err(lost()))
    }

    fn identity(&self, path: &Path) -> Option<Identity> {
        path.metadata().map(|meta| Identity(meta.dev(), meta.ino())).ok()
    }
}

/// Whether a path has a hidden part where the pattern does not name it, as in a shell: a trainer's temporary file, a
/// notebook's or macOS'.
fn is_hidden(pattern: &str, path: &Path) -> bool {
    fn parts(path: &Path) -> Vec<Cow<'_, str>> {
        let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
        parts.map(|part| part.as_os_str().to_string_lossy()).collect()
    }
    let (wanted, found) = (parts(Path::new(pattern)), parts(path));
    let dotted = |part: &Cow<str>| part.starts_with('.');
    let differ = |(wanted, found): (&Cow<str>, &Cow<str>)| dotted(found) && !dotted(wanted);
    // `**` stands for any number of parts.
    let deep = |part: &Cow<str>| part == "**";
    let before = wanted.iter().take_while(|part| !deep(part)).count().min(found.len());
    let after =
        wanted.iter().rev().take_while(|part| !deep(part)).count().min(found.len() - before);
    let between = &found[before..found.len() - after];
    wanted.iter().zip(&found).take(before).any(differ)
        || between.iter().any(dotted)
        || wanted.iter().rev().zip(found.iter().rev()).take(after).any(differ)
}

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

/// How many want no file to be mapped.
static UNMAPPED: AtomicU64 = AtomicU64::new(0);

/// While it lives, files that are opened are not mapped.
#[derive(Debug)]
pub(crate) struct Unmapped(());

/// Has files be read by position alone: one that shrinks under the reader is an error then, not a signal.
pub(crate) fn unmapped() -> Unmapped {
    UNMAPPED.fetch_add(1, Ordering::Relaxed);
    Unmapped(())
}

impl Drop for Unmapped {
    fn drop(&mut self) {
        UNMAPPED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// From here on a copy is quicker than a mapping: a page costs a fault and an entry in the page tables,
/// for every process that maps it, a copy a fraction of a call.
const WORTH_COPYING: u64 = 1 << 10;

/// What makes the pages of a mapping readable at once.
#[cfg(target_os = "linux")]
const POPULATE: Advice = Advice::PopulateRead;
#[cfg(not(target_os = "linux"))]
const POPULATE: Advice = Advice::WillNeed;

/// How far to read ahead in a file that comes from a device.
const AHEAD: u64 = 16 << 20;

/// A regular file, open for reading. The first few hundred keep their descriptor, others have none, so
/// that thousands can be open.
#[derive(Debug)]
struct LocalFile {
    path: PathBuf,
    file: Option<File>,
    stamp: Stamp,
    /// For the SIGBUS handler. Dropped before the mapping is.
    _watched: Option<Watched>,
    /// None for an empty file, and where the kernel refused: too many mappings, too little address
    /// space, a file system that cannot.
    map: Option<Mmap>,
}

impl LocalFile {
    fn open(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::new(Kind::NoMatch, "no such file").at(path),
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
        let map = if stamp.size == 0 || UNMAPPED.load(Ordering::Relaxed) > 0 {
            None
        } else {
            // SAFETY: the mapping is private to this value and read-only. Another process that
            // writes to the file can change values under us, see the room's documentation; one
            // that truncates it raises SIGBUS, see `sigbus`. No output has its name by then.
            unsafe { Mmap::map(&file) }.ok()
        };
        let watched = map.as_deref().and_then(|bytes| sigbus::watch(path, bytes));
        let file = keep().then_some(file);
        Ok(LocalFile { path: path.to_path_buf(), file, stamp, _watched: watched, map })
    }

    /// Advice may be refused, by old kernels for instance: then the pages come as they are touched.
    fn advise(&self, advice: Advice, range: Range<u64>) {
        if let Some(map) = &self.map {
            let range = range.start as usize..range.end.min(self.stamp.size) as usize;
            let _ = map.advise_range(advice, range.start, range.len());
        }
    }

    fn forget_file(&mut self) {
        if self.file.take().is_some() {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Blob for LocalFile {
    fn in_memory(&self) -> Option<&[u8]> {
        self.map.as_deref()
    }

    fn read_at(&self, from: u64, into: &mut [u8]) -> Result<()> {
        let opened;
        let file = match &self.file {
            Some(file) => file,
            None => {
                opened = File::open(&self.path).map_err(|e| Error::io(&self.path, "open", e))?;
                &opened
            }
        };
        match file.read_exact_at(into, from) {
            Ok(()) => Ok(()),
            Err(e) => {
                if e.kind() == ErrorKind::UnexpectedEof {
                    self.check_unchanged()?;
                }
                Err(Error::io(&self.path, "read", e))
            }
        }
    }

    fn prefers_copy(&self, length: u64) -> bool {
        self.file.is_some() && length >= WORTH_COPYING
    }

    /// A call is quicker than a fault.
    fn prefers_copy_alone(&self) -> bool {
        self.file.is_some()
    }

    /// One call in place of a fault every 16 pages.
    fn populate(&self, range: Range<u64>) {
        let (started, end) = (Instant::now(), range.end);
        self.advise(POPULATE, range);
        if started.elapsed() > COLD {
            self.read_ahead(end);
        }
    }

    fn read_ahead(&self, from: u64) {
        self.advise(Advice::WillNeed, from.min(self.stamp.size)..from + AHEAD);
    }

    /// Gives back the page tables: they take a byte for every 512, which counts where hundreds of gigabytes
    /// pass by. The file stays in the page cache.
    fn release(&self, range: Range<u64>) {
        let Some(map) = &self.map else { return };
        let range = range.start as usize..range.end as usize;
        // SAFETY: the mapping is shared, read-only and of a file: what is dropped is read from the
        // file again when it is touched.
        let _ = unsafe {
            map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }

    fn modified(&self) -> (i64, i64) {
        self.stamp.modified
    }

    fn check_unchanged(&self) -> Result<()> {
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

impl Drop for LocalFile {
    fn drop(&mut self) {
        self.forget_file();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: LocalFile) -> Source {
        Source::new(&file.path.clone(), file.stamp.size, Box::new(file))
    }

    #[test]
    fn bytes_are_the_file_and_a_rewrite_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"abc").unwrap();
        let mapped = Source::open(&path).unwrap();
        for range in [0..3, 1..2, 3..3] {
            mapped.populate(range.clone());
            let expected = &b"abc"[range.start as usize..range.end as usize];
            assert_eq!(mapped.read(range.clone(), &mut vec![]).unwrap(), expected);
            assert_eq!(mapped.in_memory(range.clone()), Some(expected));
            mapped.release(range);
        }
        // Read by position where the kernel refuses to map.
        let mut file = LocalFile::open(&path).unwrap();
        (file._watched, file.map) = (None, None);
        let unmapped = source(file);
        assert_eq!(unmapped.read(1..3, &mut vec![]).unwrap(), b"bc");
        assert!(unmapped.in_memory(0..3).is_none());
        unmapped.check_unchanged().unwrap();
        let mut closed = LocalFile::open(&path).unwrap();
        (closed._watched, closed.map) = (None, None);
        closed.forget_file();
        std::fs::write(dir.path().join("y"), b"abc").unwrap();
        std::fs::rename(dir.path().join("y"), &path).unwrap();
        for source in [&mapped, &unmapped] {
            let error = source.check_unchanged().unwrap_err();
            assert_eq!(error.kind(), Kind::Changed);
            assert!(error.to_string().contains("was replaced"), "{error}");
            assert_eq!(source.again().unwrap_err().kind(), Kind::Changed);
        }
        // The descriptor still leads to the file that was opened.
        assert_eq!(unmapped.read(1..3, &mut vec![]).unwrap(), b"bc");
        std::fs::write(&path, b"a").unwrap();
        let error = source(closed).read(1..3, &mut vec![]).unwrap_err();
        assert_eq!(error.kind(), Kind::Changed);
    }

    #[test]
    fn a_copy_is_what_is_mapped_and_a_file_that_shrinks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i / 7) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let opened = Source::open(&path).unwrap();
        // Longer than what is asked for: of a part before.
        let mut scratch = vec![1; 70_000];
        for range in [3..60_003, 99_990..100_000, 0..100_000] {
            let expected = &bytes[range.start as usize..range.end as usize];
            assert_eq!(opened.load(range, &mut scratch).unwrap(), expected);
        }
        assert!(opened.is_copied(&(0..WORTH_COPYING)) && !opened.is_copied(&(1..WORTH_COPYING)));
        let mut closed = LocalFile::open(&path).unwrap();
        closed.forget_file();
        assert!(!source(closed).is_copied(&(0..WORTH_COPYING)));
        std::fs::write(&path, &bytes[..50_000]).unwrap();
        let error = opened.load(0..60_000, &mut scratch).unwrap_err();
        assert!(error.kind() == Kind::Changed && error.to_string().contains("shrank"), "{error}");
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"").unwrap();
        assert!(Source::open(&path).unwrap().read(0..0, &mut vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_path_is_a_file_a_folder_a_link_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), b"x").unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        for (link, target) in [("to-file", "file"), ("to-folder", "folder"), ("to-none", "none")] {
            std::os::unix::fs::symlink(target, path(link)).unwrap();
        }
        let (file, folder) = (Some(EntryKind::File), Some(EntryKind::Folder));
        for (name, is_link, kind) in [
            ("file", false, file),
            ("folder", false, folder),
            ("to-file", true, file),
            ("to-folder", true, folder),
            ("to-none", true, None),
        ] {
            assert_eq!(Local.look(&path(name)).unwrap(), Some(Entry { is_link, kind }), "{name}");
        }
        assert_eq!(Local.look(&path("none")).unwrap(), None);
        assert_eq!(Local.look(&path("file/below")).unwrap(), None);
        assert_eq!(Local.identity(&path("to-file")), Local.identity(&path("file")));
        assert_eq!(Local.identity(&path("to-none")), None);
        assert_eq!(Local.list(dir.path()).unwrap().len(), 5);
    }
}
