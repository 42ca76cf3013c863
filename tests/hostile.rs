//! Hostile files end in one line and an exit code, within a limit on memory: never in a panic, a signal or
//! a wrong average. Each was written by hand or found by a fuzzer (fuzz/), and takes 64 KB at most.

#![allow(unsafe_code)]

#[path = "hostile/acting.rs"]
mod acting;
#[path = "hostile/build.rs"]
mod build;
#[path = "hostile/files.rs"]
mod files;
#[path = "hostile/folders.rs"]
mod folders;
#[path = "hostile/hdf5.rs"]
mod hdf5;
#[path = "hostile/programs.rs"]
mod programs;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};

use build::{File, dict, ints, pickle, text, view, zip};

/// What is left beside the program itself, its threads' stacks and arenas.
const ADDRESS_SPACE: u64 = 1 << 30;

/// Files, exit code, and a part of what is said.
type Case = (&'static str, Vec<File>, i32, &'static str);

fn cases() -> Vec<Case> {
    let files = [
        files::pickles(),
        files::tensors(),
        files::zips(),
        files::legacies(),
        files::digests(),
        files::flax(),
        acting::pickles(),
        acting::files(),
    ];
    let others = [folders::folders(), hdf5::files()];
    let programs = [programs::names(), programs::contents(), programs::multiplied()];
    files.into_iter().chain(others).chain(programs).flatten().collect()
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
        let run = |arguments: &[&OsStr]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_swa-avg"));
            command.arg(&path).args(arguments).arg("--quiet").env("RAYON_NUM_THREADS", "1");
            // SAFETY: one system call.
            unsafe { command.pre_exec(|| limit(ADDRESS_SPACE)) };
            let started = std::time::Instant::now();
            let done = command.output().unwrap();
            let text = [&done.stdout[..], &done.stderr[..]].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            if std::env::var_os("SWA_SHOW").is_some() {
                let start = text.chars().take(300).collect::<String>();
                println!("{label}: {:?} {:?} {start}", started.elapsed(), done.status.code());
            }
            (done.status, text)
        };
        let mut check =
            |what: &str, (status, text): (ExitStatus, String), code: i32, part: &str| {
                let first = text.lines().next().unwrap_or_default();
                let said = code == 0
                    || first.starts_with("error: ")
                        && !first.contains("internal")
                        && first.contains(part)
                        && first.len() < 2000;
                if status.code() != Some(code) || !said || text.lines().any(|l| l == files::FORGED)
                {
                    let start = text.chars().take(300).collect::<String>();
                    problems.push(format!("{label}{what}: {status:?} {start}"));
                }
            };
        if path.extension().is_some_and(|ending| ending == "pt2") {
            check(", listed", run(&["--list".as_ref()]), code, part);
            continue;
        }
        let output = dir.path().join("out.safetensors");
        check("", run(&["-o".as_ref(), output.as_ref()]), code, part);
        // Values may be wrong where the description is not.
        let (status, text) = run(&["--list".as_ref()]);
        let listed = if status.success() { 0 } else { code };
        check(", listed", (status, text), listed, part);
        assert_eq!(output.exists(), code == 0, "{label}");
        if code == 0 && path.extension().is_some_and(|e| e == "pt" || e == "pth") {
            let output = dir.path().join("out.pth");
            let like = ["-o".as_ref(), output.as_ref(), "--like".as_ref(), path.as_ref()];
            check(", as itself", run(&like), 0, "");
            assert_eq!(std::fs::read(&output).unwrap().len(), files[0].1.len(), "{label}");
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What a second file shares with the first is found by their layout and their pickles; where these differ,
/// its own count.
#[test]
fn files_of_one_layout_are_read_by_their_own_pickles() {
    let dir = tempfile::tempdir().unwrap();
    let pickled = |first: &str, second: &str| {
        let view = |key: &str| view(&text(key), &ints(&[4]), &ints(&[1]), b"}");
        pickle(&dict(&[&text(first), &view("0"), &text(second), &view("1")]))
    };
    let values = |x: f32| [x.to_le_bytes(); 4].concat();
    let file = |pickle: &[u8], order: &[u8], a: f32, b: f32| {
        zip(&[
            ("x/data.pkl", pickle),
            ("x/byteorder", order),
            ("x/data/0", &values(a)),
            ("x/data/1", &values(b)),
        ])
    };
    let (w, v) = (pickled("w", "v"), pickled("v", "w"));
    // The same length as the other order has.
    let (little, first) = (b"little", file(&w, b"little", 1.0, 2.0));
    let mut elsewhere = file(&w, little, 3.0, 4.0);
    let at = |n: usize| {
        let mut found = (0..first.len()).filter(|&i| first[i..].starts_with(b"PK\x03\x04"));
        found.nth(n).unwrap()
    };
    elsewhere[at(2) + 30] = b'y';
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("a.pt"), &first).unwrap();
    let average = |second: &[u8]| {
        std::fs::write(path("b.pt"), second).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_swa-avg"));
        let inputs = [path("a.pt"), path("b.pt")];
        let done = command
            .args(inputs)
            .args(["--force", "-qo"])
            .arg(path("out.safetensors"))
            .output()
            .unwrap();
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let bytes = std::fs::read(path("out.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let value = |name| {
            let bytes = tensors.tensor(name).unwrap().data().to_vec();
            f32::from_le_bytes(*bytes.first_chunk().unwrap())
        };
        Ok((value("w"), value("v")))
    };
    assert_eq!(average(&file(&w, little, 3.0, 4.0)), Ok((2.0, 3.0)));
    assert_eq!(average(&file(&v, little, 3.0, 4.0)), Ok((2.5, 2.5)));
    // The same values in the other byte order.
    let big = |x: f32| f32::from_le_bytes(x.to_be_bytes());
    assert_eq!(average(&file(&w, b"big", big(3.0), big(4.0))), Ok((2.0, 3.0)));
    // One directory, and a local header that lets the values begin 4 bytes later.
    let later = |extra: u8, x: f32| {
        let mut bytes = vec![0; 20];
        bytes[extra as usize..][..16].copy_from_slice(&values(x));
        let mut file = zip(&[("x/data.pkl", &w), ("x/data/0", &bytes), ("x/data/1", &values(0.0))]);
        let places = |signature: &[u8]| -> Vec<usize> {
            (0..file.len()).filter(|&i| file[i..].starts_with(signature)).collect()
        };
        let (local, central) = (places(b"PK\x03\x04")[1], places(b"PK\x01\x02")[1]);
        for size in [local + 18, local + 22, central + 20, central + 24] {
            file[size] = 16;
        }
        file[local + 28] = extra;
        file
    };
    std::fs::write(path("a.pt"), later(4, 1.0)).unwrap();
    assert_eq!(average(&later(4, 3.0)), Ok((2.0, 0.0)));
    assert_eq!(average(&later(0, 3.0)), Ok((2.0, 0.0)));
    std::fs::write(path("a.pt"), &first).unwrap();
    let error = average(&elsewhere).unwrap_err();
    assert!(error.contains("b.pt") && error.contains("its local header"), "{error}");
    let error = average(&file(&w, b"middle", 3.0, 4.0)).unwrap_err();
    assert!(error.contains("byte order `middle`"), "{error}");
}

fn limit(bytes: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the place is ours.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
