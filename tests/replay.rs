//! What the fuzz targets (`fuzz/`) begin with, what was kept of their corpora and what they found, run once more: no
//! panic, memory in proportion. Fuzzing itself needs nightly Rust, and runs elsewhere.
//!
//! Each input is changed in a few ways, too, always the same ones. SWA_REPLAY_CHANGES says in how many, and
//! SWA_REPLAY_SEED chooses others, SWA_REPLAY_TARGET one target: a fuzzer without a look at the code, for a machine that has none.

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

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// An input with something changed: bits, bytes, a part that is repeated, left out, or from another one.
fn changed(bytes: &[u8], other: &[u8], number: u64) -> Vec<u8> {
    // Numbers that look random (splitmix64).
    let mut state = number;
    let mut below = |n: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + below(4) {
        let (a, b) = (below(bytes.len() + 1), below(bytes.len() + 1));
        let (start, end) = (a.min(b), a.max(b).min(a.min(b) + 1 + below(200)));
        match below(8) {
            0 if start < bytes.len() => bytes[start] ^= 1 << below(8),
            1 if start < bytes.len() => bytes[start] = [0, 1, 0x7f, 0x80, 0xff][below(5)],
            2 if start + 4 <= bytes.len() => {
                let value = [0, 1, 0xffff_ffff, 0x7fff_ffff, 0x1_0000][below(5)];
                bytes[start..start + 4].copy_from_slice(&u32::to_le_bytes(value));
            }
            3 => drop(bytes.drain(start..end)),
            4 => {
                let part = bytes[start..end].to_vec();
                (0..1 + below(50)).for_each(|_| drop(bytes.splice(start..start, part.clone())));
            }
            5 => {
                let (a, b) = (below(other.len() + 1), below(other.len() + 1));
                let part = other[a.min(b)..a.max(b)].to_vec();
                drop(bytes.splice(start..end, part));
            }
            6 => {
                // Another number in a text.
                let Some(at) = bytes[start..].iter().position(u8::is_ascii_digit) else { continue };
                let value = ["0", "-1", "1e999", "9223372036854775808", "null"][below(5)];
                drop(bytes.splice(start + at..start + at + 1, value.bytes()));
            }
            _ => bytes.truncate(start),
        }
    }
    bytes.truncate(65_536);
    bytes
}

/// One test: memory is counted for the whole process.
#[test]
fn corpora_and_finds_end_nothing() {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let dir = tempfile::tempdir().unwrap();
    let (changes, seed) = (setting("SWA_REPLAY_CHANGES", 3), setting("SWA_REPLAY_SEED", 0));
    let only = std::env::var("SWA_REPLAY_TARGET").ok();
    let mut counts = vec![];
    let all = targets::TARGETS.into_iter();
    for (name, run) in all.filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
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
            for n in 0..changes {
                let number = (seed << 32) ^ (n << 16) ^ bytes.len() as u64;
                let other = std::fs::read(&inputs[n as usize % inputs.len()]).unwrap();
                let bytes = changed(&bytes, &other, number);
                let done = std::panic::catch_unwind(|| run(&bytes, dir.path()));
                if done.is_err() {
                    let found = std::env::temp_dir().join(format!("found-{name}-{number:x}"));
                    std::fs::write(&found, &bytes).unwrap();
                    panic!("{name}: {} changed, which is `{}`", input.display(), found.display());
                }
            }
        }
        counts.push(format!("{name} {} ({kept} of a corpus)", inputs.len()));
    }
    eprintln!("replayed, each as it is and {changes} times changed: {}", counts.join(", "));
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
