//! An exported program: a graph, what the file says of its weights and constants, and a whole file.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_tools_fuzz::{check_program, files, folder, write, zip};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(folder);

/// What each constant's storage holds.
const VALUES: [u8; 512] = [1; 512];

fuzz_target!(|bytes: &[u8]| {
    let whole = bytes.starts_with(b"PK");
    let file = match (&files(bytes)[..], whole) {
        (_, true) => bytes.to_vec(),
        ([graph, weights, constants], _) => zip(&[
            ("m/archive_format", b"pt2"),
            ("m/models/model.json", graph),
            ("m/data/weights/model_weights_config.json", weights),
            ("m/data/constants/model_constants_config.json", constants),
            ("m/data/constants/tensor_0", &VALUES),
            ("m/data/constants/tensor_1", &VALUES),
        ]),
        (_, _) => zip(&[("serialized_exported_program.json", bytes)]),
    };
    check_program(&write(&FOLDER, "model.pt2", &file), bytes.len());
});
