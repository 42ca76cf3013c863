//! The commands that need libtorch as one program, for wheels: what they share, which is nearly all, is in it once. Which
//! one it is, the name says that it was started by, or SWA_COMMAND: a command that starts itself knows its file alone.

// Each command brings the flags that it takes.
#![allow(clippy::duplicate_mod)]

#[path = "swa-bn-update.rs"]
mod swa_bn_update;
#[path = "swa-eval.rs"]
mod swa_eval;
#[path = "swa-landscape.rs"]
mod swa_landscape;
#[path = "swa-train.rs"]
mod swa_train;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let by_name =
        env::args_os().next().and_then(|path| PathBuf::from(path).file_name().map(OsString::from));
    let names = [by_name, env::var_os("SWA_COMMAND")];
    let command = names.iter().flatten().find_map(|name| match name.to_str()? {
        "swa-bn-update" => Some(swa_bn_update::main as fn() -> ExitCode),
        "swa-eval" => Some(swa_eval::main),
        "swa-landscape" => Some(swa_landscape::main),
        "swa-train" => Some(swa_train::main),
        _ => None,
    });
    match command {
        Some(main) => main(),
        None => {
            eprintln!(
                "error: SWA_COMMAND names no command; start swa-eval and the others themselves"
            );
            ExitCode::from(2)
        }
    }
}
