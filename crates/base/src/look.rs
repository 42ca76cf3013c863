//! What is at a path. `Path::exists` and its like say no where they cannot tell, and a tool that takes a failing disk for an
//! empty one overwrites what is there. Here that is an error.

use std::ffi::OsString;
use std::fs::{File, Metadata, metadata, symlink_metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Error, Result, panics};

/// What is at a path, behind all links; None where nothing is.
///
/// # Errors
/// `Io` where that cannot be told.
pub fn look(path: &Path) -> Result<Option<Metadata>> {
    found(path, metadata(path))
}

/// The same; of a link the link itself.
///
/// # Errors
/// `Io` where that cannot be told.
pub fn look_at_link(path: &Path) -> Result<Option<Metadata>> {
    found(path, symlink_metadata(path))
}

/// Whether anything is at a path.
///
/// # Errors
/// `Io` where that cannot be told.
pub fn exists(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some())
}

/// Whether a file is at a path.
///
/// # Errors
/// `Io` where that cannot be told.
pub fn is_file(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some_and(|meta| meta.is_file()))
}

/// Whether a folder is at a path.
///
/// # Errors
/// `Io` where that cannot be told.
pub fn is_folder(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some_and(|meta| meta.is_dir()))
}

/// Whether an open file or folder is what is at a path.
///
/// # Errors
/// `Io` where that cannot be told.
pub fn is_at(open: &File, path: &Path) -> Result<bool> {
    let own = open.metadata().map_err(|e| Error::io(path, "look at", e))?;
    let identity = |meta: &Metadata| (meta.dev(), meta.ino());
    Ok(look(path)?.is_some_and(|meta| identity(&meta) == identity(&own)))
}

/// Whether a failed look at a link says that it leads nowhere, to itself, or where nobody may look, and not that the file
/// system fails.
pub fn leads_nowhere(failed: &io::Error) -> bool {
    // ELOOP, which has no stable kind.
    const LOOP: i32 = if cfg!(target_os = "macos") { 62 } else { 40 };
    let is_loop = failed.raw_os_error() == Some(LOOP);
    let kinds =
        [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::PermissionDenied];
    is_loop || kinds.contains(&failed.kind())
}

/// The names in a folder, without `.` and `..`, in no order.
///
/// # Errors
/// Those of the file system.
pub fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let list = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect();
    // The standard library panics where the folder cannot be closed.
    panics::catch(list).unwrap_or_else(|| Err(io::Error::other("it cannot be closed")))
}

fn found(path: &Path, looked: io::Result<Metadata>) -> Result<Option<Metadata>> {
    match looked {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(Error::io(path, "look at", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_is_no_no() {
        let own = std::env::current_exe().unwrap();
        assert!(is_file(&own).unwrap() && !is_folder(&own).unwrap());
        assert!(is_folder(own.parent().unwrap()).unwrap());
        // Below a file, and beside it, there is nothing.
        assert!(!exists(&own.join("below")).unwrap() && !exists(&own.with_extension("x")).unwrap());
        assert!(look_at_link(&own).unwrap().is_some());
        let names = names(own.parent().unwrap()).unwrap();
        assert!(names.contains(&own.file_name().unwrap().into()) && !names.contains(&"..".into()));
        let open = File::open(&own).unwrap();
        assert!(is_at(&open, &own).unwrap() && !is_at(&open, own.parent().unwrap()).unwrap());
        assert!(!is_at(&open, &own.with_extension("x")).unwrap());
        // Links that lead nowhere.
        let folder = std::env::temp_dir().join(format!("swa-look-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        for to in ["nothing", "link"] {
            let link = folder.join("link");
            std::os::unix::fs::symlink(to, &link).unwrap();
            assert!(leads_nowhere(&metadata(&link).unwrap_err()), "{to}");
            std::fs::remove_file(link).unwrap();
        }
        std::fs::remove_dir(folder).unwrap();
        assert!(!leads_nowhere(&io::Error::other("the disk fails")));
        // A name that is longer than any file system takes.
        let long = Path::new("/").join("x".repeat(5000));
        assert!(exists(&long).is_err() && is_at(&open, &long).is_err() && !long.exists());
    }
}
