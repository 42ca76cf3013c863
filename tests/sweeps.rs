//! Sweeps over everything that swa-avg writes: killed at random times, each system call failing in each way, inputs that
//! shrink while they are mapped, power cuts on ext4 and XFS. After each an output is the old one or the new one as a
//! whole, nothing acknowledged is lost, no message is more than a line, and there is no panic.
//!
//! How many of each, SWA_SWEEP_KILLS, SWA_SWEEP_FAULTS, SWA_SWEEP_CUTS and SWA_SWEEP_TRUNCATIONS say; by default few,
//! with SWA_TESTS_LONG some hundreds. SWA_SWEEP_SEED chooses others.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use swa_testing::faults::{needs, needs_strace};
use swa_testing::sweep::{Content, Numbers, Scene, Way, calls_that_fail, count, kills, put, text};
use swa_testing::*;

const fn way(
    name: &'static str,
    before: &'static str,
    line: &'static str,
    outputs: &'static [&'static str],
) -> Way {
    Way::new("swa-avg", name, before, line, outputs)
}

const WAYS: [Way; 8] = [
    way("a file", "a -o out", "a b c -o out", &["out"]),
    way("a PyTorch file", "a -o out.pth", "a b c -o out.pth", &["out.pth"]),
    way("a folder", "d-1 -o dir", "d-1 d-2 -o dir", &["dir"]),
    way(
        "a folder of shards",
        "d-1 -o dir --max-shard-size 2kB",
        "d-1 d-2 -o dir --max-shard-size 2kB",
        &["dir"],
    ),
    way(
        "several files",
        "a -o mean=x -o ema:0.5=y.pth",
        "a b c -o mean=x -o ema:0.5=y.pth",
        &["x", "y.pth"],
    ),
    // The state first: the output is never ahead of it.
    way("a state and its output", "a --state s -o out", "b c --state s -o out", &["s", "out"]),
    Way {
        before: None,
        grows: true,
        ..way(
            "the files of a part",
            "",
            "d-1 d-2 -o dir --max-shard-size 2kB --shard 0/1",
            &["dir.partial"],
        )
    },
    Way {
        ready: &[
            "d-1 d-2 -o dir --max-shard-size 2kB --shard 0/2",
            "d-1 d-2 -o dir --max-shard-size 2kB --shard 1/2",
        ],
        ..way("a folder of parts", "d-1 -o dir", "--finish dir", &["dir"])
    },
];

/// Tensors of so many values, and some small ones.
fn model(n: usize, shift: f32) -> Vec<Tensor> {
    let values = |n: usize| (0..n).map(|i| (i % 9973) as f32 * 0.25 + shift).collect::<Vec<_>>();
    vec![f32s("a", &values(n)), f32s("b", &values(3)), f32s("c", &values(50)), i64s("n", &[7])]
}

/// In a folder, with inputs of so many values beside it.
fn scene(way: Way, dir: &Path, n: usize) -> Scene {
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        save(&dir.join(name), &model(n, (i * i) as f32));
    }
    for i in 1..=2 {
        let folder = dir.join(format!("d-{i}"));
        std::fs::create_dir_all(&folder).unwrap();
        save(&folder.join("model.safetensors"), &model(n, i as f32));
        std::fs::write(folder.join("config.json"), format!("{{\"layers\": {i}}}")).unwrap();
    }
    Scene::new(way, dir)
}

fn scene_of(n: usize) -> impl Fn(Way) -> (tempfile::TempDir, Scene) {
    move |way| {
        let dir = tempfile::tempdir().unwrap();
        let scene = scene(way, dir.path(), n);
        (dir, scene)
    }
}

#[test]
fn kills_at_any_time_leave_each_output_whole() {
    kills(&WAYS, count("KILLS", 80, 600), &scene_of(60_000));
}

#[test]
fn any_call_that_fails_in_any_way_leaves_each_output_whole() {
    if needs_strace("any call that fails") {
        // Before its first look at stdin the process is the loader's.
        calls_that_fail(&WAYS, count("FAULTS", 160, 100_000), "poll(", &scene_of(600));
    }
}

#[test]
fn inputs_that_shrink_while_they_are_mapped_are_named() {
    let all = count("TRUNCATIONS", 40, 400);
    let (mut numbers, mut lines) = (Numbers::new(3), vec![]);
    // Finishing reads no checkpoint.
    let ways = WAYS.iter().filter(|way| way.ready.is_empty());
    for &way in ways {
        let dir = tempfile::tempdir().unwrap();
        let scene = scene(way, dir.path(), 400_000);
        let inputs: &[&str] = match way.line.starts_with("d-1") {
            true => &["d-1/model.safetensors", "d-2/model.safetensors"],
            false => &["b", "c"],
        };
        let wholes: Vec<Vec<u8>> =
            inputs.iter().map(|name| std::fs::read(dir.path().join(name)).unwrap()).collect();
        let times: Vec<SystemTime> = (inputs.iter())
            .map(|name| dir.path().join(name).metadata().unwrap().modified().unwrap())
            .collect();
        let time = scene.time();
        let mut codes = BTreeMap::<i32, usize>::new();
        let (rounds, mut round) = (all.div_ceil(WAYS.len()), 0);
        // Until one has met it at work, too: on a busy machine few do.
        while round < rounds || !codes.contains_key(&5) {
            round += 1;
            assert!(round < 20 * rounds.max(10), "{}: never at work: {codes:?}", scene.name);
            let number = numbers.below(inputs.len() as u64) as usize;
            let path = dir.path().join(inputs[number]);
            let file = File::options().write(true).open(&path).unwrap();
            let length = numbers.below(wholes[number].len() as u64);
            let child = scene.command(way.line).spawn().unwrap();
            std::thread::sleep(time.mul_f64(numbers.part()));
            file.set_len(length).unwrap();
            let output = child.wait_with_output().unwrap();
            let (after, message) = (format!("round {round}, to {length}"), text(&output));
            let is_new = scene.is_new(&after);
            let code = output.status.code().unwrap_or(-1);
            *codes.entry(code).or_default() += 1;
            assert!(
                matches!(code, 0 | 3 | 5),
                "{}, {after}: {} {message}",
                scene.name,
                output.status
            );
            assert!(message.trim_end().lines().count() <= 1, "{}, {after}: {message}", scene.name);
            let all_new = !is_new.contains(&false);
            assert!((code == 0) == all_new, "{}, {after}: {code} {is_new:?}", scene.name);
            if code != 0 {
                assert!(message.contains(inputs[number]), "{}, {after}: {message}", scene.name);
                // At work it says from which size to which; before it, what a file that is cut lacks.
                let says = if code == 5 { format!(" to {length}") } else { "error: ".into() };
                assert!(message.contains(&says), "{}, {after}: {message}", scene.name);
                assert_eq!(scene.age_leftovers(), 0, "{}, {after}", scene.name);
            }
            // A state knows its inputs by their times, too.
            std::fs::write(&path, &wholes[number]).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(times[number]).unwrap();
            scene.reset();
        }
        lines.push(format!("{}: {codes:?}", scene.name));
    }
    eprintln!("inputs that shrink, exit codes: {}", lines.join("; "));
}

/// A mounted file system; it goes when the value does.
struct Mount(PathBuf);

impl Mount {
    fn new(image: &Path, at: &Path) -> Option<Self> {
        let output = Command::new("mount").args(["-o", "loop"]).arg(image).arg(at).output();
        output.is_ok_and(|output| output.status.success()).then(|| Mount(at.to_path_buf()))
    }

    /// Cuts the file system off from its device, as a power cut does: what is not there yet is lost. One call for both
    /// (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN).
    fn cut(self) -> bool {
        const SHUTDOWN: u32 = 0x8004_587d;
        const NO_LOG_FLUSH: u32 = 2;
        use std::os::fd::AsRawFd;
        let (folder, flags) = (File::open(&self.0).unwrap(), NO_LOG_FLUSH);
        // SAFETY: the call reads 4 bytes through its pointer, which are those of `flags`.
        unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN as _, &raw const flags) == 0 }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let umount = |args: &[&str]| {
            let output = Command::new("umount").args(args).arg(&self.0).output();
            output.is_ok_and(|output| output.status.success())
        };
        // A child of another test holds every descriptor for a moment, between fork and exec.
        for _ in 0..100 {
            if umount(&[]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        umount(&["-l"]);
    }
}

#[test]
fn what_is_acknowledged_survives_a_power_cut() {
    let all = count("CUTS", 0, 240);
    if all == 0 {
        return eprintln!("left out: power cuts run with SWA_TESTS_LONG or SWA_SWEEP_CUTS");
    }
    let (mut numbers, mut lines) = (Numbers::new(4), vec![]);
    for (system, megabytes) in [("ext4", 64), ("xfs", 320)] {
        let dir = tempfile::tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("device"));
        std::fs::create_dir(&at).unwrap();
        File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let made = Command::new(format!("mkfs.{system}")).arg("-q").arg(&image).output();
        let ready =
            made.is_ok_and(|output| output.status.success()) && Mount::new(&image, &at).is_some();
        // Not every machine that can cut the power of one has the other.
        if system == "xfs" && !ready {
            lines.push("no xfs here".into());
            continue;
        }
        if !needs(ready, "power cuts", "root, mkfs.ext4 and leave to mount") {
            return;
        }
        for way in WAYS {
            let mount = || Mount::new(&image, &at).expect("mounted before");
            let mounted = mount();
            for other in WAYS.iter().flat_map(|way| way.outputs) {
                put(&at.join(other), &Content::new());
            }
            let scene = scene(way, &at, 20_000);
            let time = scene.time();
            let sync = || assert!(Command::new("sync").status().unwrap().success());
            sync();
            drop(mounted);
            let (mut within, mut new, mut after_end) = (0, 0, 0);
            for round in 0..all.div_ceil(2 * WAYS.len()) {
                let mounted = mount();
                let mut child = scene.command(way.line).spawn().unwrap();
                let ends = round % 3 == 0;
                match ends {
                    true => drop(child.wait().unwrap()),
                    false => std::thread::sleep(time.mul_f64(1.2 * numbers.part())),
                }
                // Whether it has said that all is written by the time of the cut.
                let acknowledged = child.try_wait().unwrap().is_some_and(|status| status.success());
                assert!(mounted.cut(), "the file system could not be cut off");
                let _ = child.wait();
                let mounted = mount();
                let after = format!("{system}, cut {round}");
                let is_new = scene.is_new(&after);
                if acknowledged {
                    assert!(!is_new.contains(&false), "{}, {after}: acknowledged", scene.name);
                    after_end += 1;
                } else {
                    within += 1;
                    new += is_new.contains(&true) as usize;
                }
                if round % 4 == 0 {
                    scene.goes_on(&after);
                }
                scene.age_leftovers();
                scene.reset();
                for left in listing(&at).iter().filter(|name| name.contains(".swa-")) {
                    let path = at.join(left);
                    match path.is_dir() {
                        true => std::fs::remove_dir_all(path).unwrap(),
                        false => std::fs::remove_file(path).unwrap(),
                    }
                }
                sync();
                drop(mounted);
            }
            lines.push(format!(
                "{system}, {}: {within} within ({new} new), {after_end} after",
                scene.name
            ));
        }
    }
    eprintln!("power cuts: {}", lines.join("; "));
}
