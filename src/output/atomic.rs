//! A file that appears whole or not at all.
//!
//! The bytes go to `.NAME.swa-RANDOM.tmp` beside the target; [`AtomicFile::commit`] fsyncs it,
//! renames it to its name and fsyncs the folder. Whatever happens before the rename, the old file
//! stays as it was. The temporary file is removed on an error, on SIGINT, SIGTERM and SIGHUP (see
//! [`super::signals`]); after a SIGKILL the next run for the same target removes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Sink;
use super::temporary::{self, Pending, rename, rename_error, reserve, sync_folder};
use crate::process::signals::naming;
use crate::{Error, Result};

pub struct AtomicFile {
    /// What links lead to.
    target: PathBuf,
    folder: PathBuf,
    file: File,
    replace: bool,
    temporary: Pending,
}

/// Fails if `path` cannot become an output file: it exists and `force` is not given, it is not a regular
/// file, its folder is missing, or it is one of `inputs`. To be called before any work is done.
pub fn check_target(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<()> {
    let (target, _, exists) = resolve(path, force)?;
    refuse_inputs(path, &target, exists, inputs)
}

/// [`check_target`] of several outputs, each with the flag that names it; no two may be one file.
pub fn check_targets(targets: &[(&str, &Path)], force: bool, inputs: &[PathBuf]) -> Result<()> {
    let mut seen: Vec<(&str, PathBuf)> = vec![];
    for &(flag, path) in targets {
        let (target, folder, exists) = resolve(path, force)?;
        refuse_inputs(path, &target, exists, inputs)?;
        // A file that is not there yet has no canonical path, its folder has.
        let folder = folder.canonicalize().unwrap_or(folder);
        let place = folder.join(target.file_name().unwrap_or_default());
        if let Some((other, _)) = seen.iter().find(|(_, seen)| *seen == place) {
            return Err(Error::usage(format!("{other} and {flag} name the same file"))
                .at(path)
                .remedy("give each a file of its own"));
        }
        seen.push((flag, place));
    }
    Ok(())
}

pub(super) fn refuse_inputs(
    path: &Path,
    target: &Path,
    exists: bool,
    inputs: &[PathBuf],
) -> Result<()> {
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
    let (target, folder, exists) = behind_links(path)?;
    if exists {
        let meta = std::fs::metadata(&target).map_err(|e| Error::io(path, "stat", e))?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "is a folder" } else { "is not a regular file" };
            return Err(Error::usage(what).at(path).remedy("name a file to write"));
        }
        if !force {
            return Err(exists_already(path));
        }
    }
    Ok((target, folder, exists))
}

pub(super) fn exists_already(path: &Path) -> Error {
    Error::usage("exists already").at(path).remedy("--force overwrites it, or name another file")
}

/// What the links lead to, its folder, and whether it exists.
pub(super) fn behind_links(path: &Path) -> Result<(PathBuf, PathBuf, bool)> {
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
        let (temporary, file) = temporary::create(&folder, &target, false)?;
        if exists {
            std::fs::metadata(&target)
                .and_then(|meta| file.set_permissions(meta.permissions()))
                .map_err(|e| Error::io(path, "keep its mode", e))?;
        }
        reserve(&file, &folder, path, size)?;
        Ok(AtomicFile { target, folder, file, replace: force, temporary })
    }

    /// Writes at a position; any thread may.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset).map_err(|e| Error::io(&self.target, "write", e))
    }

    /// Writes some of the bytes and says how many.
    pub(super) fn write_some_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    /// Cuts the file to so many bytes.
    pub fn truncate(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(|e| Error::io(&self.target, "write", e))
    }

    /// Makes the file durable and gives it its name.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.target, "fsync", e))?;
        let naming = naming();
        rename(self.temporary.path(), &self.target, self.replace)
            .map_err(|e| rename_error(&self.target, e))?;
        self.temporary.keep();
        drop(naming);
        // The rename itself is durable only when the folder is.
        sync_folder(&self.folder, &self.target)
    }
}

impl Sink for AtomicFile {
    fn write_at(&self, _: usize, bytes: &[u8], offset: u64) -> Result<()> {
        self.write_at(bytes, offset)
    }

    fn read_at(&self, _: usize, bytes: &mut [u8], offset: u64) -> Result<()> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(|e| Error::io(&self.target, "read again", e))
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
    fn two_outputs_are_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("./sub/../a"));
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let other = dir.path().join("b");
        assert!(check_targets(&[("--x", &a), ("--y", &other)], false, &[]).is_ok());
        for exists in [false, true] {
            let error = check_targets(&[("--x", &a), ("--y", &b)], true, &[]).unwrap_err();
            assert!(error.to_string().contains("--x and --y name the same file"), "{error}");
            if !exists {
                std::fs::write(&a, "x").unwrap();
            }
        }
        assert!(check_targets(&[("--x", &other), ("--y", &a)], false, &[]).is_err());
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
