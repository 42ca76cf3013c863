//! Locks on files, which tell a process that lives from one that died.

use std::fs::{File, TryLockError};
use std::io;

/// ENOLCK, which a file system without locks may answer.
#[cfg(target_os = "macos")]
const NO_LOCKS: i32 = 77;
#[cfg(not(target_os = "macos"))]
const NO_LOCKS: i32 = 37;

/// Locks a file until it is closed, without waiting. False if another process has it; true, too, where the file system has
/// no locks: nothing is known there.
///
/// # Errors
/// Those of the file system.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if is_lacking(&e) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Locks a file that nobody else knows until it is closed, where the file system has locks.
///
/// # Errors
/// Those of the file system.
pub fn lock_own(file: &File) -> io::Result<()> {
    file.lock().or_else(|e| if is_lacking(&e) { Ok(()) } else { Err(e) })
}

/// Whether another process that lives has a file locked. False where that cannot be told.
pub fn is_locked_elsewhere(file: &File) -> bool {
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

fn is_lacking(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::Unsupported || e.raw_os_error() == Some(NO_LOCKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_until_it_is_closed() {
        let path = std::env::temp_dir().join(format!("swa-base-locks-{}", std::process::id()));
        let [first, second] = [(); 2].map(|()| File::create(&path).unwrap());
        assert!(try_lock(&first).unwrap() && !try_lock(&second).unwrap());
        assert!(is_locked_elsewhere(&second));
        drop(first);
        assert!(try_lock(&second).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_system_without_locks_is_told_by_its_error() {
        assert!(is_lacking(&io::Error::from_raw_os_error(NO_LOCKS)));
        assert!(is_lacking(&io::ErrorKind::Unsupported.into()));
        assert!(!is_lacking(&io::ErrorKind::PermissionDenied.into()));
    }
}
