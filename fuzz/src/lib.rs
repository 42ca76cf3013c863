//! What the targets do with their bytes: these become files, which are opened and read to the end, averaged, written
//! again. Time and memory are held to what the house promises for hostile files.
//!
//! `tests/replay.rs` runs the same on what is kept of the corpora and on all that was found.

pub mod files;
pub mod measure;
pub mod targets;

use std::path::{Path, PathBuf};

/// A folder in memory for this process's files.
pub fn folder() -> PathBuf {
    // All work in this thread: waking others takes longer than most inputs.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
    measure::time();
    let within = std::env::var_os("SWA_FUZZ_DIR").unwrap_or_else(|| "/dev/shm".into());
    let path = Path::new(&within).join(format!("swa-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}
