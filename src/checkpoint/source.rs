//! A mapped input file. The mapping's `unsafe` lives here and nowhere else.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::sigbus::{self, Entry, Mapping};
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

/// A regular file, mapped for reading.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    stamp: Stamp,
    /// None for an empty file, which cannot be mapped.
    map: Option<Mmap>,
    /// For the SIGBUS handler.
    watched: Option<&'static Entry<Mapping>>,
}

impl Source {
    pub fn open(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::usage("no such file").at(path),
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
            let map = unsafe { Mmap::map(&file) };
            Some(map.map_err(|e| Error::io(path, "map", e))?)
        };
        let watched = map.as_deref().and_then(|bytes| sigbus::watch(path, bytes));
        Ok(Source { path: path.to_path_buf(), stamp, map, watched })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Fails if the path no longer names the file that was opened, in the state it had then.
    pub fn check_unchanged(&self) -> Result<()> {
        let meta = std::fs::metadata(&self.path).map_err(|e| Error::io(&self.path, "stat", e))?;
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

impl Drop for Source {
    fn drop(&mut self) {
        self.watched.inspect(|entry| entry.remove());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn bytes_are_the_file_and_a_rewrite_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"abc").unwrap();
        let source = Source::open(&path).unwrap();
        assert_eq!(source.bytes(), b"abc");
        source.check_unchanged().unwrap();
        std::fs::write(dir.path().join("y"), b"abc").unwrap();
        std::fs::rename(dir.path().join("y"), &path).unwrap();
        let error = source.check_unchanged().unwrap_err();
        assert_eq!(error.kind(), Kind::Changed);
        assert!(error.to_string().contains("was replaced"), "{error}");
    }

    #[test]
    fn an_empty_file_has_no_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"").unwrap();
        assert!(Source::open(&path).unwrap().bytes().is_empty());
    }
}
