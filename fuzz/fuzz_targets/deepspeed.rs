//! A folder of DeepSpeed's ZeRO states, by the pickles in them.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_tools_fuzz::{around, check, files, folder, write};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(folder);

fuzz_target!(|bytes: &[u8]| {
    let names = [
        "zero_pp_rank_0_mp_rank_00_model_states.pt",
        "zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "zero_pp_rank_1_mp_rank_00_optim_states.pt",
        "zero_pp_rank_1_mp_rank_00_model_states.pt",
    ];
    let mut files = files(bytes).into_iter();
    for name in names {
        match files.next() {
            Some(pickle) => drop(write(&FOLDER, name, &around(pickle))),
            None => drop(std::fs::remove_file(FOLDER.join(name))),
        }
    }
    check(&FOLDER, bytes.len());
});
