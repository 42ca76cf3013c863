//! Hostile files end in one line and an exit code, within a limit on memory: never in a panic, a signal or
//! a wrong average. Each was written by hand or found by a fuzzer (fuzz/), and takes 64 KB at most.

#[path = "hostile/build.rs"]
mod build;
#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/folders.rs"]
mod folders;
#[path = "hostile/hdf5.rs"]
mod hdf5;

use std::os::unix::process::CommandExt;
use std::process::Command;

use build::File;

/// What is left beside the program itself, its threads' stacks and arenas.
const ADDRESS_SPACE: u64 = 1 << 30;

/// Files, exit code, and a part of what is said.
type Case = (&'static str, Vec<File>, i32, &'static str);

fn cases() -> Vec<Case> {
    let files =
        [files::pickles(), files::tensors(), files::zips(), files::legacies(), files::flax()];
    files.into_iter().chain([folders::folders(), hdf5::files()]).flatten().collect()
}

#[test]
fn hostile_files_end_in_one_line_and_an_exit_code() {
    let mut problems = vec![];
    for (label, files, code, part) in cases() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("in");
        std::fs::create_dir(&input).unwrap();
        for (name, bytes) in &files {
            if bytes.len() > 66_000 {
                problems.push(format!("{label}: {} bytes", bytes.len()));
            }
            std::fs::write(input.join(name), bytes).unwrap();
        }
        let path = if files.len() == 1 && !files[0].0.ends_with(".json") {
            input.join(files[0].0)
        } else {
            input
        };
        let output = dir.path().join("out.safetensors");
        let mut command = Command::new(env!("CARGO_BIN_EXE_swa-avg"));
        command.arg(&path).arg("-o").arg(&output).arg("--quiet").env("RAYON_NUM_THREADS", "1");
        // SAFETY: one system call.
        unsafe { command.pre_exec(|| limit(ADDRESS_SPACE)) };
        let started = std::time::Instant::now();
        let done = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&done.stderr);
        if std::env::var_os("SWA_SHOW").is_some() {
            println!(
                "{label}: {:?} {:?} {}",
                started.elapsed(),
                done.status.code(),
                stderr.chars().take(300).collect::<String>()
            );
        }
        let first = stderr.lines().next().unwrap_or_default();
        let said = code == 0
            || first.starts_with("error: ")
                && !first.contains("internal")
                && first.contains(part)
                && first.len() < 2000;
        if done.status.code() != Some(code) || !said || output.exists() != (code == 0) {
            problems.push(format!(
                "{label}: {:?} {}",
                done.status,
                stderr.chars().take(300).collect::<String>()
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn limit(bytes: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the place is ours.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
