//! A pickle, alone and as what a torch zip describes its tensors by.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_tools::checkpoint::pickle::Pickle;
use swa_tools_fuzz::{around, check, folder, write};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(folder);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(pickle) = Pickle::parse(bytes) {
        pickle.describe(pickle.root());
        assert!(pickle.length <= bytes.len());
    }
    check(&write(&FOLDER, "pickle.pt", &around(bytes)), bytes.len());
});
