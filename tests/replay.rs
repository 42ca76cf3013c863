//! What the fuzz targets (`fuzz/`) begin with, what was kept of their corpora and what they found, run once more: no
//! panic, memory in proportion. Fuzzing itself needs nightly Rust, and runs elsewhere.

#[path = "../fuzz/src/files.rs"]
mod files;
#[allow(dead_code)]
#[path = "../fuzz/src/measure.rs"]
mod measure;
#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};

/// All files below a folder, in the order of their names.
fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(all) = std::fs::read_dir(folder) else { return };
    let mut all: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    for path in all {
        match path.is_dir() {
            true => below(&path, found),
            false => found.push(path),
        }
    }
}

/// One test: memory is counted for the whole process.
#[test]
fn corpora_and_finds_end_nothing() {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let dir = tempfile::tempdir().unwrap();
    let mut counts = vec![];
    for (name, run) in targets::TARGETS {
        let mut inputs = vec![];
        below(&root.join("fuzz").join(name), &mut inputs);
        // Files that targets take as they are.
        let (ending, part): (&[&str], &str) = match name {
            "torch_zip" => (&["pt", "pth", "ckpt", "npz"], ""),
            "torch_legacy" => (&["pt", "pth"], "legacy"),
            "safetensors" => (&["safetensors"], ""),
            "flax" => (&["msgpack"], ""),
            "hdf5" => (&["h5", "keras"], ""),
            _ => (&[], ""),
        };
        let mut formats = vec![];
        below(&root.join("formats"), &mut formats);
        formats.retain(|path| {
            let own = path.extension().and_then(|own| own.to_str()).unwrap_or_default();
            let small = path.metadata().unwrap().len() <= 65_536;
            ending.contains(&own) && path.to_string_lossy().contains(part) && small
        });
        let kept = inputs.len();
        inputs.extend(formats);
        for input in &inputs {
            let bytes = std::fs::read(input).unwrap();
            // A panic says what it was.
            let done = std::panic::catch_unwind(|| run(&bytes, dir.path()));
            assert!(done.is_ok(), "{name}: {}", input.display());
        }
        counts.push(format!("{name} {} ({kept} of a corpus)", inputs.len()));
    }
    eprintln!("replayed: {}", counts.join(", "));
}

#[test]
fn every_target_has_a_corpus_or_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
    let script = std::fs::read_to_string(root.join("fuzz/run.sh")).unwrap();
    for (name, _) in targets::TARGETS {
        assert!(cargo.contains(&format!("name = \"{name}\"\n")), "{name} is no binary");
        assert!(script.contains(&format!(" {name}")), "fuzz/run.sh does not run {name}");
        assert!(root.join(format!("fuzz/fuzz_targets/{name}.rs")).is_file(), "{name}");
    }
    for name in std::fs::read_dir(root.join("fixtures/fuzz")).unwrap() {
        let name = name.unwrap().file_name().into_string().unwrap();
        let is_known =
            name.contains('.') || targets::TARGETS.iter().any(|(known, _)| *known == name);
        assert!(is_known, "fixtures/fuzz/{name} is of no target");
    }
}
