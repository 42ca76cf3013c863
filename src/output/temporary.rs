//! What an output is before it has its name: `.NAME.swa-RANDOM.tmp` beside the target, locked while its
//! process lives, so that the next run can tell what dead ones left.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags};

use crate::process::temporary::{Registered, register};
use crate::{Error, Kind, Result, locks, look, setting};

/// A path that is removed when this value is dropped, and by signal handlers until then.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    registered: Option<Registered>,
}

impl Temporary {
    pub fn new(path: &Path) -> Self {
        Temporary { path: path.to_path_buf(), registered: register(path) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It is not temporary any more.
    pub fn keep(&mut self) {
        self.registered = None;
        self.path.clear();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        // Nothing is left to tell the user about: the error that led here is on its way.
        let _ = std::fs::remove_file(&self.path).or_else(|_| std::fs::remove_dir(&self.path));
        self.registered = None;
    }
}

/// Makes a temporary name for `target` in `folder` and creates it there, with mode 0666 or 0777 less the
/// umask, and locks it.
pub(super) fn create(folder: &Path, target: &Path, is_folder: bool) -> Result<(Temporary, File)> {
    remove_stale(folder, target);
    let prefix = temporary_prefix(target);
    let fail = |doing: &str, e| Err(Error::io(target, doing, e));
    loop {
        // RandomState is seeded by the system; the name need only be unlikely.
        let random = RandomState::new().hash_one(std::process::id());
        let path = folder.join(format!("{prefix}{random:016x}.tmp"));
        // Known to the signal handlers before it exists.
        let mut temporary = Temporary::new(&path);
        let created = match is_folder {
            true => std::fs::create_dir(&path).and_then(|()| File::open(&path)),
            false => OpenOptions::new().read(true).write(true).create_new(true).open(&path),
        };
        let file = match created {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                temporary.keep();
                continue;
            }
            Err(e) => return fail("create a temporary file beside it", e),
        };
        // Locked while this process lives, so that nobody takes it for a stale one. Some file systems
        // have no locks; there nothing is taken for stale either.
        match locks::lock_own(&file) {
            Err(e) => return fail("lock its temporary file", e),
            Ok(()) => return Ok((temporary, file)),
        }
    }
}

/// Whether a file's bytes are in memory alone.
#[cfg(target_os = "linux")]
fn is_in_memory(file: &File) -> bool {
    /// The type of tmpfs in statfs(2).
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type == TMPFS)
}

/// Elsewhere none is known.
#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &File) -> bool {
    false
}

/// Reserves space for a file.
pub(super) fn reserve(file: &File, folder: &Path, path: &Path, size: u64) -> Result<()> {
    if size == 0 {
        return Ok(());
    }
    let free = || {
        let stat = rustix::fs::statvfs(folder).ok();
        stat.map(|s| s.f_bavail.saturating_mul(s.f_frsize))
    };
    // A file system in memory reserves by clearing every page, which takes as long as writing it: there
    // it is only asked.
    let reserved = match is_in_memory(file) {
        true => match free() {
            Some(free) if free < size => Err(rustix::io::Errno::NOSPC),
            _ => Err(rustix::io::Errno::OPNOTSUPP),
        },
        false => rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size),
    };
    match reserved {
        Ok(()) => Ok(()),
        // Not every file system can reserve.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            file.set_len(size).map_err(|e| Error::io(path, "write", e))
        }
        Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => {
            let free = free().map(|free| format!(", {free} free")).unwrap_or_default();
            let full = format!("it needs {size} bytes{free}");
            let full = io::Error::new(io::ErrorKind::StorageFull, full);
            Err(Error::io(path, "reserve space", full).remedy("free some, or write elsewhere"))
        }
        Err(e) => Err(Error::io(path, "reserve space", e)),
    }
}

/// Gives the temporary file its name. Without `replace` an existing target is an error of the kind
/// `AlreadyExists`.
pub(super) fn rename(temporary: &Path, target: &Path, replace: bool) -> io::Result<()> {
    if !replace {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(CWD, temporary, CWD, target, flags) {
            // A file system without this flag: the check at the start has to do.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            done => return done.map_err(Into::into),
        }
    }
    std::fs::rename(temporary, target)
}

/// Exchanges two files or folders; false where the file system cannot.
pub(super) fn exchange(a: &Path, b: &Path) -> io::Result<bool> {
    match rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Gives a complete folder its name. True if an old one changed places with it in one step: that has the other name now.
/// Where the file system cannot do so, the old one is removed first.
pub(super) fn place_folder(new: &Path, target: &Path, exists: bool) -> Result<bool> {
    let fail = |e| Error::io(target, "replace", e);
    if exists && exchange(new, target).map_err(fail)? {
        return Ok(true);
    }
    if exists {
        remove_flat_folder(target).map_err(fail)?;
    }
    rename(new, target, false).map_err(|e| rename_error(target, e))?;
    Ok(false)
}

/// An error of [`rename`] for users.
pub(super) fn rename_error(target: &Path, e: io::Error) -> Error {
    if e.kind() == io::ErrorKind::AlreadyExists {
        return Error::new(Kind::OutputExists, "appeared while this ran")
            .at(target)
            .remedy(concat!(setting!("force"), " overwrites it"));
    }
    Error::io(target, "rename to its name", e)
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path, target: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io(target, "fsync its folder", e))
}

/// `.NAME.swa-`, short enough for any file system.
fn temporary_prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let mut end = name.len().min(200);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!(".{}{MARK}", &name[..end])
}

/// Between the name of an output and what tells its temporary files from each other.
const MARK: &str = ".swa-";

/// Removes what dead runs for a file left, without writing it.
pub(crate) fn remove_stale_of(path: &Path) {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    remove_stale(folder.unwrap_or(Path::new(".")), &target);
}

/// Whether a run that lives writes a file, as far as locks tell.
pub(super) fn is_live(target: &Path) -> bool {
    let folder = target.parent().unwrap_or(Path::new("."));
    let is_locked = |path: &PathBuf| {
        let file = OpenOptions::new().read(true).open(path);
        file.is_ok_and(|file| locks::is_locked_elsewhere(&file))
    };
    temporaries(folder, target).iter().any(is_locked)
}

/// The temporary files of a target.
fn temporaries(folder: &Path, target: &Path) -> Vec<PathBuf> {
    let prefix = temporary_prefix(target);
    temporaries_in(folder, |before| before == prefix)
}

/// The temporary files in a folder whose names have such a part before the random one.
fn temporaries_in(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| {
        let found = path.file_name().unwrap_or_default().to_string_lossy();
        let split = found
            .strip_suffix(".tmp")
            .and_then(|rest| rest.split_at_checked(rest.len().checked_sub(16)?));
        split.is_some_and(|(before, random)| {
            random.bytes().all(|b| b.is_ascii_hexdigit()) && is_wanted(before)
        })
    };
    let names = look::names(folder).unwrap_or_default();
    names.into_iter().map(|name| folder.join(name)).filter(is_one).collect()
}

/// Removes what dead runs left in a folder, of whatever file.
pub fn remove_stale_in(folder: &Path) {
    remove_dead(temporaries_in(folder, |before| before.starts_with('.') && before.ends_with(MARK)));
}

/// Removes what dead runs for `target` left.
fn remove_stale(folder: &Path, target: &Path) {
    remove_dead(temporaries(folder, target));
}

/// Removes those of these temporary files and folders whose lock can be taken.
fn remove_dead(temporaries: Vec<PathBuf>) {
    for path in temporaries {
        let Ok(meta) = path.symlink_metadata() else { continue };
        let kind = meta.file_type();
        if !(kind.is_file() || kind.is_dir()) {
            continue;
        }
        // A run between creating and locking its file is younger than this.
        let age = meta.modified().ok().and_then(|t| t.elapsed().ok());
        if age.is_none_or(|age| age.as_secs() < 2) {
            continue;
        }
        if let Ok(file) = OpenOptions::new().read(true).open(&path)
            && file.try_lock().is_ok()
        {
            // Failure leaves a stale file, which harms nobody.
            let _ = match kind.is_dir() {
                true => remove_flat_folder(&path),
                false => std::fs::remove_file(&path),
            };
        }
    }
}

/// Removes a folder and the files directly in it; fails if it holds folders. Another run may be at the
/// same: what is gone already is no error.
pub(super) fn remove_flat_folder(folder: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let names = match look::names(folder) {
        Ok(names) => names,
        Err(e) => return gone(Err(e)),
    };
    names.iter().try_for_each(|name| gone(std::fs::remove_file(folder.join(name))))?;
    gone(std::fs::remove_dir(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_larger_than_what_is_free_is_a_lack_of_space() {
        // In memory and on a disk, which are asked in different ways.
        for dir in [tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()].into_iter().flatten() {
            let path = dir.path().join("x");
            let file = File::create(&path).unwrap();
            let error = reserve(&file, dir.path(), &path, 1 << 60).unwrap_err();
            assert_eq!(error.kind(), Kind::NoSpace, "{error}");
            reserve(&file, dir.path(), &path, 1 << 10).unwrap();
        }
    }
}
