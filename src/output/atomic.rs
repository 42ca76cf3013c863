//! A file that appears whole or not at all.
//!
//! The bytes go to `.NAME.swa-RANDOM.tmp` beside the target; [`AtomicFile::commit`] fsyncs it,
//! renames it to its name and fsyncs the folder. Whatever happens before the rename, the old file
//! stays as it was. The temporary file is removed on an error, on SIGINT, SIGTERM and SIGHUP (see
//! [`crate::process`]); after a SIGKILL the next run for the same target removes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::commit::{AtomicOutput, commit_all};
use super::layout::Sink;
use super::places::resolve_file;
use super::temporary::{self, Temporary, exchange, rename, rename_error, reserve, sync_folder};
use crate::{Error, Result, look};

/// A file that has its name only when it is complete; dropped before that it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    /// What links lead to.
    target: PathBuf,
    folder: PathBuf,
    file: File,
    replace: bool,
    temporary: Temporary,
    named: Named,
}

/// How the file got its name.
#[derive(Debug, Clone, Copy)]
enum Named {
    /// It has none yet.
    No,
    /// Nothing had it before.
    Newly,
    /// What had it before is gone.
    InPlaceOfAnother,
    /// What had it before has the temporary name.
    InExchange,
}

impl AtomicFile {
    /// Opens a temporary file of `size` bytes beside `path`, its space reserved. A file that is replaced
    /// hands on its mode.
    ///
    /// # Errors
    /// As of [`check_target`](super::check_target); `NoSpace`, `Io`.
    pub fn create(path: &Path, size: u64, force: bool) -> Result<Self> {
        let (target, folder, exists) = resolve_file(path, force)?;
        let (temporary, file) = temporary::create(&folder, &target, false)?;
        if exists {
            std::fs::metadata(&target)
                .and_then(|meta| file.set_permissions(meta.permissions()))
                .map_err(|e| Error::io(path, "keep its mode", e))?;
        }
        reserve(&file, &folder, path, size)?;
        let (replace, named) = (force, Named::No);
        Ok(AtomicFile { target, folder, file, replace, temporary, named })
    }

    /// Writes at a position; any thread may.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| Error::io(&self.target, "write", e))
    }

    /// Writes some of the bytes and returns how many.
    pub(super) fn write_some_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    /// Cuts the file to so many bytes.
    ///
    /// # Errors
    /// `Io`.
    pub fn truncate(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(|e| Error::io(&self.target, "write", e))
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// `Io`.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(|e| Error::io(&self.target, "read again", e))
    }

    /// The open file once more. Its lock lasts while this does.
    pub(crate) fn handle(&self) -> Result<File> {
        self.file.try_clone().map_err(|e| Error::io(&self.target, "keep open", e))
    }

    /// Whether the file that has the name is this one, byte for byte.
    pub(crate) fn equals_target(&self) -> Result<bool> {
        let fail = |e| Error::io(&self.target, "compare", e);
        let Ok(other) = File::open(&self.target) else { return Ok(false) };
        let size = self.file.metadata().map_err(fail)?.len();
        if other.metadata().map_err(fail)?.len() != size {
            return Ok(false);
        }
        let (mut own, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        for start in (0..size).step_by(1 << 20) {
            let n = (size - start).min(1 << 20) as usize;
            self.file.read_exact_at(&mut own[..n], start).map_err(fail)?;
            other.read_exact_at(&mut theirs[..n], start).map_err(fail)?;
            if own[..n] != theirs[..n] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// `OutputExists` if the name was taken meanwhile and may not be replaced; `Io`.
    pub fn commit(self) -> Result<()> {
        commit_all(vec![Box::new(self)])
    }
}

impl Sink for AtomicFile {
    fn write_at(&self, _: usize, bytes: &[u8], offset: u64) -> Result<()> {
        self.write_at(bytes, offset)
    }

    fn read_at(&self, _: usize, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.read_at(bytes, offset)
    }
}

impl AtomicOutput for AtomicFile {
    fn make_durable(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.target, "fsync", e))
    }

    fn take_name(&mut self, keep: bool) -> Result<()> {
        let exists = look::look_at_link(&self.target)?.is_some();
        if keep && exists && self.replace {
            match exchange(self.temporary.path(), &self.target) {
                // The temporary name is the old file's now.
                Ok(true) => {
                    self.named = Named::InExchange;
                    return Ok(());
                }
                Ok(false) => {}
                Err(e) => return Err(Error::io(&self.target, "replace", e)),
            }
        }
        rename(self.temporary.path(), &self.target, self.replace)
            .map_err(|e| rename_error(&self.target, e))?;
        self.temporary.keep();
        self.named = if exists { Named::InPlaceOfAnother } else { Named::Newly };
        Ok(())
    }

    fn withdraw(&mut self) {
        // Nothing is left to tell the user about: the error that led here is on its way.
        match self.named {
            Named::Newly if look::is_at(&self.file, &self.target).unwrap_or(false) => {
                drop(std::fs::remove_file(&self.target))
            }
            Named::InExchange => drop(exchange(self.temporary.path(), &self.target)),
            _ => {}
        }
    }

    fn complete(self: Box<Self>) -> Result<()> {
        // The rename itself is durable only when the folder is.
        sync_folder(&self.folder, &self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_target;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_name_appears_only_at_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let output = AtomicFile::create(&path, 3, false).unwrap();
        output.write_at(b"abc", 0).unwrap();
        assert!(!path.exists());
        output.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        assert_eq!(listing(dir.path()), ["out"]);
    }

    #[test]
    fn a_dropped_output_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        std::fs::write(&path, "old").unwrap();
        drop(AtomicFile::create(&path, 100, true).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(listing(dir.path()), ["out"]);
    }

    #[test]
    fn an_existing_file_needs_force_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = AtomicFile::create(&path, 1, false).err().unwrap();
        assert_eq!(error.kind().exit_code(), 2);
        AtomicFile::create(&path, 0, true).unwrap().commit().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_file_that_appeared_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let output = AtomicFile::create(&path, 1, false).unwrap();
        std::fs::write(&path, "new").unwrap();
        assert!(output.commit().unwrap_err().to_string().contains("appeared"));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(listing(dir.path()), ["out"]);
    }

    #[test]
    fn links_are_followed_and_folders_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let output = AtomicFile::create(&link, 3, true).unwrap();
        output.write_at(b"new", 0).unwrap();
        output.commit().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(check_target(dir.path(), true, &[]).is_err());
        assert!(check_target(&dir.path().join("no/file"), false, &[]).is_err());
        assert!(check_target(&file.join("x"), false, &[]).is_err());
        assert!(check_target(&link, true, &[]).is_ok());
        let error = check_target(&link, true, &[file]).unwrap_err().to_string();
        assert!(error.contains("is an input"), "{error}");
    }

    #[test]
    fn the_longest_name_a_folder_takes_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ä".repeat(127));
        AtomicFile::create(&path, 1, false).unwrap().commit().unwrap();
        assert_eq!(listing(dir.path()).len(), 1);
    }

    #[test]
    fn stale_files_go_and_live_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let stale = dir.path().join(".out.swa-0123456789abcdef.tmp");
        let file = File::create(&stale).unwrap();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        file.set_modified(old).unwrap();
        let live = AtomicFile::create(&path, 1, true).unwrap();
        live.file.set_modified(old).unwrap();
        assert!(!stale.exists());
        AtomicFile::create(&path, 1, true).unwrap().commit().unwrap();
        assert!(live.temporary.path().exists());
        live.commit().unwrap();
        assert_eq!(listing(dir.path()), ["out"]);
    }
}
