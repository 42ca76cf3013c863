//! A whole file of Flax's MessagePack.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_tools_fuzz::{check, folder, write};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(folder);

fuzz_target!(|bytes: &[u8]| check(&write(&FOLDER, "whole.msgpack", bytes), bytes.len()));
