//! Where bytes come from. Everything above this room reads inputs and looks at folders through [`Store`] and
//! [`Source`]; the file system is asked nowhere else.
//!
//! A store is somewhere inputs lie, a [`Blob`] an open input in it. Today there is one store, the file system
//! (`local`); another one is two implementations and a line in [`of`].
//!
//! # Bytes that others may write
//! A mapped file is shared memory: if another process writes to it while it is read, the slices that a [`Source`]
//! hands out change under the reader, which Rust's rules for `&[u8]` do not foresee. No interface of the operating
//! system prevents that. What this means here: values that were read meanwhile are of no use, no more. Sizes and
//! offsets are checked on the copy that they are computed from, no slice is used as text without being checked, and
//! [`Source::check_unchanged`] reports the change before an output gets its name. A program that cannot rule out
//! writers, and must not read torn values even for a moment, copies the file first. A file that shrinks raises
//! SIGBUS, see [`process::watch`](crate::process::watch).

pub(crate) mod local;
pub(crate) mod names;

pub(crate) use local::unmapped;

use std::fmt::Debug;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Result;

/// A part of an input that takes longer than this to become readable came from a device, not from memory.
pub(crate) const COLD: Duration = Duration::from_millis(1);

/// Somewhere inputs lie, under paths, in folders.
pub trait Store: Debug + Sync {
    /// Opens an input for reading.
    ///
    /// # Errors
    /// `NoMatch` where there is none, `Usage` where it is a folder, `Io` where it cannot be read.
    fn open(&self, path: &Path) -> Result<Source>;

    /// What is at a path; None where nothing is.
    ///
    /// # Errors
    /// `Io` where that cannot be told.
    fn look(&self, path: &Path) -> Result<Option<Entry>>;

    /// The paths of what a folder directly holds, in no particular order.
    ///
    /// # Errors
    /// `Io` where the folder cannot be read to its end.
    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>>;

    /// The paths that match a shell pattern (`*`, `?`, `[a-z]`, `**`), sorted.
    ///
    /// # Errors
    /// `Usage` for a pattern that is none, `Io` where a folder cannot be read.
    fn matches(&self, pattern: &str) -> Result<Vec<PathBuf>>;

    /// What two paths have in common exactly if they lead to the same object; None where nothing is.
    fn identity(&self, path: &Path) -> Option<Identity>;
}

/// An open input as its store reads it; callers use [`Source`].
pub trait Blob: Debug + Send + Sync {
    /// All bytes, where they can be had without reading: a mapping.
    fn in_memory(&self) -> Option<&[u8]>;

    /// Fills `into` with the bytes from `from` on, all of which the input had when it was opened.
    ///
    /// # Errors
    /// `Changed` where it has become shorter, `Io` where reading fails.
    fn read_at(&self, from: u64, into: &mut [u8]) -> Result<()>;

    /// Whether reading so many bytes once is quicker by [`Blob::read_at`] than in memory.
    fn prefers_copy(&self, length: u64) -> bool {
        let _ = length;
        self.in_memory().is_none()
    }

    /// The same for a few bytes, next to which nothing else will be read.
    fn prefers_copy_alone(&self) -> bool {
        self.in_memory().is_none()
    }

    /// See [`Source::populate`]. A hint: by default nothing happens.
    fn populate(&self, range: Range<u64>) {
        let _ = range;
    }

    /// See [`Source::read_ahead`]. A hint: by default nothing happens.
    fn read_ahead(&self, from: u64) {
        let _ = from;
    }

    /// See [`Source::release`]. A hint: by default nothing happens.
    fn release(&self, range: Range<u64>) {
        let _ = range;
    }

    /// See [`Source::modified`]. By default it is not known.
    fn modified(&self) -> (i64, i64) {
        (0, 0)
    }

    /// See [`Source::check_unchanged`].
    ///
    /// # Errors
    /// `Changed` if it is not what was opened, `Io` where that cannot be told.
    fn check_unchanged(&self) -> Result<()>;
}

/// An input, open for reading.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    size: u64,
    reach: u64,
    blob: Box<dyn Blob>,
}

impl Source {
    /// Opens the input at a path.
    ///
    /// # Errors
    /// Those of [`Store::open`].
    pub fn open(path: &Path) -> Result<Self> {
        of(path).open(path)
    }

    /// What a store makes of a blob of `size` bytes.
    pub fn new(path: &Path, size: u64, blob: Box<dyn Blob>) -> Self {
        Source { path: path.to_path_buf(), size, reach: size, blob }
    }

    /// The same of a blob that has further bytes behind an input's, which it makes of them: up to `reach`.
    pub(crate) fn with_more(path: &Path, size: u64, reach: u64, blob: Box<dyn Blob>) -> Self {
        Source { path: path.to_path_buf(), size, reach: reach.max(size), blob }
    }

    /// How far parts can reach: to its size, or further where bytes that are made of it follow.
    pub(crate) fn reach(&self) -> u64 {
        self.reach
    }

    /// When it was last written to, as of its opening: seconds since 1970, and nanoseconds.
    pub fn modified(&self) -> (i64, i64) {
        self.blob.modified()
    }

    /// Opens it once more, for a caller that must own its source.
    ///
    /// # Errors
    /// Those of [`Source::open`], and `Changed` if it is another one by now.
    pub fn again(&self) -> Result<Self> {
        let again = Self::open(&self.path)?;
        // In this order: were it replaced before, this one is no longer at the path.
        self.check_unchanged()?;
        Ok(again)
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes, when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A part, where it can be had without a copy: see [`Blob::in_memory`].
    ///
    /// # Panics
    /// If the range reaches beyond the input.
    pub fn in_memory(&self, range: Range<u64>) -> Option<&[u8]> {
        self.blob.in_memory().map(|bytes| &bytes[range.start as usize..range.end as usize])
    }

    /// A part: in memory, or read into `scratch`.
    ///
    /// # Errors
    /// `Changed` if the input has become shorter, `Io` where reading fails.
    ///
    /// # Panics
    /// If the range reaches beyond the input.
    pub fn read<'a>(&'a self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        assert!(range.end <= self.reach, "{range:?} of {}", self.reach);
        match self.in_memory(range.clone()) {
            Some(bytes) => Ok(bytes),
            None => self.copy(range, scratch),
        }
    }

    /// As [`Source::read`], for bytes that are read once: prefers a copy in a buffer that stays in the
    /// processor's cache where that is quicker.
    ///
    /// # Errors
    /// Those of [`Source::read`].
    pub fn load<'a>(&'a self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        match self.is_copied(&range) {
            true => self.copy(range, scratch),
            false => self.read(range, scratch),
        }
    }

    /// As [`Source::read`], for a few bytes next to which nothing else will be read.
    ///
    /// # Errors
    /// Those of [`Source::read`].
    pub fn glance<'a>(&'a self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        match self.blob.prefers_copy_alone() {
            true => self.copy(range, scratch),
            false => self.read(range, scratch),
        }
    }

    /// Whether [`Source::load`] copies a part even if it is in memory.
    pub fn is_copied(&self, range: &Range<u64>) -> bool {
        self.blob.prefers_copy(range.end - range.start)
    }

    fn copy<'a>(&self, range: Range<u64>, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let length = (range.end - range.start) as usize;
        if length == 0 {
            return Ok(&[]);
        }
        if scratch.len() < length {
            scratch.resize(length, 0);
        }
        let scratch = &mut scratch[..length];
        self.blob.read_at(range.start, scratch)?;
        Ok(scratch)
    }

    /// Says that a part will be read in memory at once, and waits until it is there. From a cold input this
    /// starts to read what follows, too.
    pub fn populate(&self, range: Range<u64>) {
        self.blob.populate(range);
    }

    /// Starts to fetch what follows a place, without waiting.
    pub fn read_ahead(&self, from: u64) {
        self.blob.read_ahead(from);
    }

    /// Says that a part has been read and will not be read in memory again soon.
    pub fn release(&self, range: Range<u64>) {
        self.blob.release(range);
    }

    /// Fails if the path no longer leads to the input that was opened, in the state it had then.
    ///
    /// # Errors
    /// `Changed` if it does not, `Io` where that cannot be told.
    pub fn check_unchanged(&self) -> Result<()> {
        self.blob.check_unchanged()
    }
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// It leads to another path.
    pub is_link: bool,
    /// What it is, or where the link leads; None for a link that leads nowhere.
    pub kind: Option<EntryKind>,
}

/// What can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An input.
    File,
    /// A folder.
    Folder,
    /// Something else, such as a pipe.
    Other,
}

/// Equal exactly for paths that lead to the same object: see [`Store::identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(pub(crate) u64, pub(crate) u64);

/// The store that a path is in.
pub fn of(path: &Path) -> &'static dyn Store {
    let _ = path;
    &local::Local
}

/// The paths of what a folder directly holds, in no particular order.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    of(folder).list(folder)
}

fn kind(path: &Path) -> Result<Option<EntryKind>> {
    Ok(of(path).look(path)?.and_then(|entry| entry.kind))
}

/// Whether something that is no dangling link is at a path. What cannot be told is no "no".
pub(crate) fn exists(path: &Path) -> Result<bool> {
    Ok(kind(path)?.is_some())
}

/// Whether a path leads to a file.
pub(crate) fn is_file(path: &Path) -> Result<bool> {
    Ok(kind(path)? == Some(EntryKind::File))
}

/// Whether a path leads to a folder.
pub(crate) fn is_folder(path: &Path) -> Result<bool> {
    Ok(kind(path)? == Some(EntryKind::Folder))
}

/// Whether a path is a link, wherever it leads, as far as can be told.
pub(crate) fn is_link(path: &Path) -> bool {
    of(path).look(path).ok().flatten().is_some_and(|entry| entry.is_link)
}

/// Whether a folder has an entry of this name that a file could be: a file, or a link that leads nowhere, as in a
/// cache half filled. It is to be reported when it is opened, not passed over.
pub(crate) fn may_be_file(path: &Path) -> Result<bool> {
    let entry = of(path).look(path)?;
    Ok(entry.is_some_and(|entry| entry.is_link || entry.kind != Some(EntryKind::Folder)))
}
