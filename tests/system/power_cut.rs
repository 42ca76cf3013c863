//! A power cut: in the middle of a run it leaves the old output or the new one, after it the new one.

#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use swa_testing::faults::{long, needs};
use swa_testing::{f32s, load, save};

use crate::devices::Mount;
use crate::scene::*;

/// Cuts the file system off from its device, as a power cut does: what is not there yet is lost.
fn cut(folder: &Path) -> bool {
    const EXT4_IOC_SHUTDOWN: u32 = 0x8004_587d;
    const NO_LOG_FLUSH: u32 = 2;
    use std::os::fd::AsRawFd;
    let (folder, flags) = (File::open(folder).unwrap(), NO_LOG_FLUSH);
    // SAFETY: the call reads 4 bytes through its pointer, which are those of `flags`.
    unsafe { libc::ioctl(folder.as_raw_fd(), EXT4_IOC_SHUTDOWN as _, &raw const flags) == 0 }
}

#[test]
fn what_was_reported_written_survives_a_power_cut() {
    if !long() {
        return eprintln!("left out: a power cut runs with SWA_TESTS_LONG");
    }
    let dir = tempfile::tempdir().unwrap();
    let (image, at) = (dir.path().join("image"), dir.path().join("device"));
    std::fs::create_dir(&at).unwrap();
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
    let mount = || Mount::new(&["-o", "loop", image.to_str().unwrap()], &at);
    let ready = made.is_ok_and(|output| output.status.success()) && mount().is_some();
    if !needs(ready, "a power cut", "root, mkfs.ext4 and leave to mount") {
        return;
    }
    let (mut sizes, mut midway, mut time) = (vec![], [0, 0], Duration::from_millis(5));
    for round in 0..20u64 {
        let n = 100 + (round * round * round * 400) as usize;
        for (i, name) in ["a.safetensors", "b.safetensors"].iter().enumerate() {
            let values: Vec<f32> = (0..n).map(|x| x as f32 + i as f32 + round as f32).collect();
            save(&dir.path().join(name), &[f32s("w", &values), f32s("v", &[1.0, 2.0])]);
        }
        let run = |out: &str| {
            let mut command = Command::new(TOOL);
            let args = ["a.safetensors", "b.safetensors", "-q", "--force", "-o", out];
            command.current_dir(&dir).args(args);
            command
        };
        assert!(run("expected.safetensors").status().unwrap().success());
        let expected = std::fs::read(dir.path().join("expected.safetensors")).unwrap();
        let out = at.join("out.safetensors");

        // In the middle of a run: old or new.
        let mounted = mount().unwrap();
        let old = std::fs::read(&out).unwrap_or_default();
        let mut child = run("device/out.safetensors").stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time.mul_f64((round % 10) as f64 / 6.0));
        assert!(cut(&at), "the file system could not be cut off");
        child.wait().unwrap();
        drop(mounted);
        let mounted = mount().unwrap();
        let found = std::fs::read(&out).unwrap_or_default();
        assert!(found == old || found == expected, "round {round}: neither old nor new");
        midway[(found == expected) as usize] += 1;

        // After it: new.
        let started = Instant::now();
        let output = run("device/out.safetensors").output().unwrap();
        time = started.elapsed();
        assert!(output.status.success(), "{}", text(&output));
        assert!(cut(&at));
        drop(mounted);
        let mounted = mount().unwrap();
        assert!(std::fs::read(&out).unwrap() == expected, "round {round}");
        assert_eq!(load(&out)["w"].len(), 4 * n);
        let verify = Command::new(TOOL).arg("--verify").arg(&out).output().unwrap();
        assert!(verify.status.success(), "{}", text(&verify));
        drop(mounted);
        sizes.push(expected.len());
    }
    let [old, new] = midway;
    eprintln!(
        "20 power cuts after a run, 20 within ({old} old, {new} new), outputs of {sizes:?} B"
    );
}
