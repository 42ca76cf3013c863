//! A folder of torch.distributed.checkpoint: `.metadata` and what its files hold.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_tools_fuzz::{check, files, folder, write};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(folder);

fuzz_target!(|bytes: &[u8]| {
    let names = [".metadata", "__0_0.distcp", "__1_0.distcp"];
    let mut files = files(bytes).into_iter();
    for name in names {
        write(&FOLDER, name, files.next().unwrap_or_default());
    }
    check(&FOLDER, bytes.len());
});
