//! Inputs that change while they are read, or that cannot be mapped into memory.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use swa_testing::faults::needs_strace;
use swa_testing::{listing, load};

use crate::scene::*;

#[test]
fn inputs_that_cannot_be_mapped_are_read_by_position() {
    let dir = tempfile::tempdir().unwrap();
    // 600 MB of hole and 6 MB to average: more than the limit, which is more than the tool takes.
    let (hole, count) = (600_000_000u64, 1_500_000usize);
    let size = hole + 4 * count as u64;
    let header = format!(
        "{{\"hole\":{{\"dtype\":\"U8\",\"shape\":[{hole}],\"data_offsets\":[0,{hole}]}},\
         \"w\":{{\"dtype\":\"F32\",\"shape\":[{count}],\"data_offsets\":[{hole},{size}]}}}}"
    );
    for (i, name) in ["a.safetensors", "b.safetensors"].iter().enumerate() {
        let values = (0..count).flat_map(|n| (n as f32 / 3.0 + i as f32).to_le_bytes());
        with_hole(&dir.path().join(name), &header, size, &values.collect::<Vec<_>>());
    }
    let out = dir.path().join("out.safetensors");
    let line = "a.safetensors b.safetensors -o out.safetensors --force --quiet --threads 2";
    let args: Vec<&str> = line.split(' ').chain(["--include", "^w$"]).collect();
    let run = |kib: u64| {
        std::fs::write(&out, "old").unwrap();
        let output = limited(kib, dir.path(), &args);
        assert!(output.status.success(), "{kib}: {}", text(&output));
        std::fs::read(&out).unwrap()
    };
    let mapped = run(64_000_000);
    // Two of the inputs, one of them and none fit.
    for kib in [1_700_000, 1_000_000, 560_000] {
        assert!(run(kib) == mapped, "{kib}");
    }
    assert_eq!(load(&out)["w"].len(), 4 * count);
    assert_eq!(listing(dir.path()), ["a.safetensors", "b.safetensors", "out.safetensors"]);
}

/// Changes an input while a run is about to write, which must then end with 5.
fn changed(change: impl Fn(&Path), part: &str) {
    let scene = Scene::file();
    let mut command = scene.traced(Path::new("/dev/null"), "pwrite64", "delay_enter=500000:when=1");
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Reaped(Some(child));
    // The temporary file appears when the inputs are open.
    while scene.leftovers().is_empty() && child.0.as_mut().unwrap().try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    change(&scene.dir.path().join("b.safetensors"));
    let output = child.0.take().unwrap().wait_with_output().unwrap();
    let message = text(&output);
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains(&format!("`b.safetensors`: {part}")), "{message}");
    assert!(scene.is_old());
    assert_eq!(scene.leftovers(), [""; 0]);
}

#[test]
fn an_input_that_is_rewritten_at_the_same_size_is_noticed() {
    if needs_strace("an input rewritten in place") {
        let rewrite = |path: &Path| {
            let whole = std::fs::read(path).unwrap();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&whole, 0).unwrap();
        };
        changed(rewrite, "was written to while it was read");
    }
}

#[test]
fn an_input_that_is_replaced_is_noticed() {
    if needs_strace("an input replaced") {
        let replace = |path: &Path| {
            let other = path.with_file_name("other");
            std::fs::copy(path, &other).unwrap();
            std::fs::rename(other, path).unwrap();
        };
        changed(replace, "was replaced while it was read");
        changed(|path| std::fs::remove_file(path).unwrap(), "was removed while it was read");
    }
}
