//! The temporary files and folders of this process, for the handlers of signals to remove.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::list::{List, Listed};

/// Their paths. Files are to be removed before folders, which are empty by then.
pub(super) static TEMPORARY: List<CString> = List::new();

/// Keeps a path in the list until it is dropped.
pub(crate) type Registered = Listed<CString>;

/// Has a file or an empty folder removed if a signal ends the process. None for a path with a zero byte, which
/// nothing can have.
pub(crate) fn register(path: &Path) -> Option<Registered> {
    c_path(path).map(|path| TEMPORARY.push(path))
}

/// A path for system calls; None if it holds a zero byte, which no open path does.
pub(super) fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}
