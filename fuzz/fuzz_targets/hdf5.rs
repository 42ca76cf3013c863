//! A whole HDF5 file. Panics of the crate that reads its structure are caught by the library.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_tools_fuzz::{check, folder, write};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // The fuzzer's hook ends the process also where a panic is caught.
    std::panic::set_hook(Box::new(|_| {}));
    folder()
});

fuzz_target!(|bytes: &[u8]| check(&write(&FOLDER, "whole.h5", bytes), bytes.len()));
