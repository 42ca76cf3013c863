//! A file that appears whole or not at all.
//!
//! The bytes go to `.NAME.swa-RANDOM.tmp` beside the target; [`AtomicFile::commit`] fsyncs it,
//! renames it to its name and fsyncs the folder. Whatever happens before the rename, the old file
//! stays as it was. The temporary file is removed on an error, on SIGINT, SIGTERM and SIGHUP (see
//! [`super::signals`]); after a SIGKILL the next run for the same target removes it.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags};

use super::signals::naming;
use crate::checkpoint::sigbus::{Entry, TEMPORARY, c_path};
use crate::{Error, Result};

pub struct AtomicFile {
    /// What links lead to.
    target: PathBuf,
    temporary: PathBuf,
    folder: PathBuf,
    file: File,
    replace: bool,
    /// While the temporary file exists, for signal handlers.
    pending: Option<&'static Entry<CString>>,
}

/// Fails if `path` cannot become an output: it exists and `force` is not given, it is not a regular
/// file, its folder is missing, or it is one of `inputs`. To be called before any work is done.
pub fn check_target(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<()> {
    let (target, _, exists) = resolve(path, force)?;
    let same = |input: &&PathBuf| std::fs::canonicalize(input).is_ok_and(|input| input == target);
    match inputs.iter().find(same) {
        Some(_) if exists => Err(Error::usage("is an input as well as the output")
            .at(path)
            .remedy("leave it out, or write to another name")),
        _ => Ok(()),
    }
}

/// The file behind the links, its folder, and whether it exists.
fn resolve(path: &Path, force: bool) -> Result<(PathBuf, PathBuf, bool)> {
    let (target, exists) = match std::fs::canonicalize(path) {
        Ok(target) => (target, true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if path.is_symlink() {
                return Err(Error::usage("is a link that leads nowhere")
                    .at(path)
                    .remedy("remove it"));
            }
            (path.to_path_buf(), false)
        }
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::usage("its folder is not a folder").at(path));
        }
        Err(e) => return Err(Error::io(path, "open", e)),
    };
    if exists {
        let meta = std::fs::metadata(&target).map_err(|e| Error::io(path, "stat", e))?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "is a folder" } else { "is not a regular file" };
            return Err(Error::usage(what).at(path).remedy("name a file to write"));
        }
        if !force {
            return Err(Error::usage("exists already")
                .at(path)
                .remedy("--force overwrites it, -o names another"));
        }
    }
    if target.file_name().is_none() {
        return Err(Error::usage("names no file").at(path).remedy("name a file to write"));
    }
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    if !folder.is_dir() {
        return Err(Error::usage("its folder does not exist").at(path).remedy("create it first"));
    }
    Ok((target, folder, exists))
}

impl AtomicFile {
    /// Opens a temporary file of `size` bytes beside `path`, its space reserved.
    pub fn create(path: &Path, size: u64, force: bool) -> Result<Self> {
        let (target, folder, exists) = resolve(path, force)?;
        remove_stale(&folder, &target);
        let prefix = temporary_prefix(&target);
        let (temporary, file, pending) = loop {
            // RandomState is seeded by the system; the name need only be unlikely.
            let random = RandomState::new().hash_one(std::process::id());
            let temporary = folder.join(format!("{prefix}{random:016x}.tmp"));
            // Known to the signal handlers before it exists.
            let pending = c_path(&temporary).map(|path| TEMPORARY.push(path));
            // O_EXCL; mode 0666 less the umask.
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => break (temporary, file, pending),
                Err(e) => {
                    pending.inspect(|entry| entry.remove());
                    if e.kind() != io::ErrorKind::AlreadyExists {
                        return Err(Error::io(path, "create a temporary file beside it", e));
                    }
                }
            }
        };
        let output = AtomicFile { target, temporary, folder, file, replace: force, pending };
        // Locked while this process lives, so that nobody takes it for a stale one.
        // Some file systems have no locks; there nothing is taken for stale either.
        match output.file.lock() {
            Err(e) if !lacks_locks(&e) => {
                return Err(Error::io(path, "lock its temporary file", e));
            }
            _ => {}
        }
        if exists {
            std::fs::metadata(&output.target)
                .and_then(|meta| output.file.set_permissions(meta.permissions()))
                .map_err(|e| Error::io(path, "keep its mode", e))?;
        }
        output.reserve(path, size)?;
        Ok(output)
    }

    fn reserve(&self, path: &Path, size: u64) -> Result<()> {
        if size == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            // Not every file system can reserve.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                self.file.set_len(size).map_err(|e| Error::io(path, "write", e))
            }
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
                let free = rustix::fs::statvfs(&self.folder)
                    .map(|s| s.f_bavail.saturating_mul(s.f_frsize))
                    .map(|free| format!(", {free} free"))
                    .unwrap_or_default();
                let full = io::Error::other(format!("it needs {size} bytes{free}"));
                Err(Error::io(path, "reserve space", full).remedy("free some, or write elsewhere"))
            }
            Err(e) => Err(Error::io(path, "reserve space", e)),
        }
    }

    /// Writes at a position; any thread may.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| Error::io(&self.target, "write", e))
    }

    /// Makes the file durable and gives it its name.
    pub fn commit(self) -> Result<()> {
        let fail = |doing: &str, e: io::Error| Err(Error::io(&self.target, doing, e));
        if let Err(e) = self.file.sync_all() {
            return fail("fsync", e);
        }
        let naming = naming();
        if let Err(e) = self.rename() {
            if e.kind() == io::ErrorKind::AlreadyExists {
                return Err(Error::usage("appeared while this ran")
                    .at(&self.target)
                    .remedy("--force overwrites it"));
            }
            return fail("rename to its name", e);
        }
        self.pending.inspect(|entry| entry.remove());
        drop(naming);
        // The rename itself is durable only when the folder is.
        if let Err(e) = File::open(&self.folder).and_then(|folder| folder.sync_all()) {
            return fail("fsync its folder", e);
        }
        Ok(())
    }

    fn rename(&self) -> io::Result<()> {
        if !self.replace {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(CWD, &self.temporary, CWD, &self.target, flags) {
                // A file system without this flag: the check at the start has to do.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
                done => return done.map_err(Into::into),
            }
        }
        std::fs::rename(&self.temporary, &self.target)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.pending.is_none_or(|entry| entry.is_alive()) {
            // Nothing is left to tell the user about: the error that led here is on its way.
            let _ = std::fs::remove_file(&self.temporary);
            self.pending.inspect(|entry| entry.remove());
        }
    }
}

/// `.NAME.swa-`, short enough for any file system.
fn temporary_prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let mut end = name.len().min(200);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}.swa-", &name[..end])
}

fn lacks_locks(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::Unsupported
        || e.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
}

/// Removes temporary files for `target` that dead runs left: those whose lock can be taken.
fn remove_stale(folder: &Path, target: &Path) {
    let prefix = temporary_prefix(target);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let ours = found.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".tmp"));
        let hex =
            |random: &str| random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
        if !ours.is_some_and(hex) || !entry.file_type().is_ok_and(|t| t.is_file()) {
            continue;
        }
        // A run between creating and locking its file is younger than this.
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if age.is_none_or(|age| age.as_secs() < 2) {
            continue;
        }
        if let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            && file.try_lock().is_ok()
        {
            // Failure leaves a stale file, which harms nobody.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert!(live.temporary.exists());
        live.commit().unwrap();
        assert_eq!(listing(dir.path()), ["out"]);
    }
}
