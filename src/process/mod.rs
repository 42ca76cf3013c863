//! What a process that averages does on signals: it leaves nothing half done behind.
//!
//! For binaries: a library does nothing of this unless [`watch`] is called.

pub mod sigbus;
pub mod signals;

use crate::{Error, Result};

/// Installs the handlers: on SIGINT, SIGTERM and SIGHUP temporary files are removed; where a mapped input shrinks
/// while it is read, one line says so.
pub fn watch() -> Result<()> {
    signals::remove_temporary_files_on_signals()
        .and_then(|()| sigbus::install())
        .map_err(|e| Error::limit(format!("cannot watch for signals: {e}")))
}
