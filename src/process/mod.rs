//! What a process that averages does on signals: it leaves nothing half done behind.
//!
//! For binaries: a library does nothing of this unless [`watch`] is called.

mod list;
pub(crate) mod sigbus;
pub mod signals;
pub(crate) mod temporary;

use crate::{Error, Result};

/// Installs the handlers: SIGINT, SIGTERM and SIGHUP remove the temporary files before the process ends, and if a
/// mapped input shrinks while it is read, one line says so.
///
/// # Errors
/// [`Kind::Limit`](crate::Kind::Limit) if the system refuses a handler or a thread.
pub fn watch() -> Result<()> {
    signals::remove_temporary_files_on_signals()
        .and_then(|()| sigbus::install())
        .map_err(|e| Error::limit(format!("cannot watch for signals: {e}")))
}
