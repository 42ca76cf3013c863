#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_tools_fuzz::{folder, targets};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // The fuzzer's hook ends the process also where a panic is caught.
    std::panic::set_hook(Box::new(|_| {}));
    folder()
});

fuzz_target!(|bytes: &[u8]| targets::hdf5(bytes, &FOLDER));
