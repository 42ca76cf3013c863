//! Devices that fail, are full or too small: the error is named, and the old output stays.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use swa_testing::faults::{long, needs, needs_strace};
use swa_testing::{f32s, listing, load, save};

use crate::scene::*;

/// What gives an output its name.
const RENAMES: &str = "?rename,?renameat,?renameat2";

#[test]
fn a_device_error_is_named_and_the_old_output_stays() {
    if !needs_strace("a device error") {
        return;
    }
    for scene in [Scene::file(), Scene::folder()] {
        for call in ["pwrite64", "fsync", RENAMES] {
            scene.fails_at(call, "error=EIO:when=1");
            assert!(scene.is_old(), "{call}");
        }
    }
}

#[test]
fn an_fsync_that_failed_is_not_tried_again() {
    if needs_strace("a failed fsync") {
        let scene = Scene::file();
        let (message, count) = scene.fails_at("fsync", "error=EIO:when=1");
        assert!(message.contains("cannot fsync: ") && !message.contains(".swa-"), "{message}");
        assert_eq!(count, 1);
        assert!(scene.is_old());
    }
}

#[test]
fn a_folder_that_cannot_be_made_durable_is_an_error_though_the_output_is_whole() {
    if needs_strace("a failed fsync of the folder") {
        let scene = Scene::file();
        let (message, count) = scene.fails_at("fsync", "error=EIO:when=2");
        assert!(message.contains("cannot fsync its folder"), "{message}");
        assert_eq!(count, 2);
        assert!(scene.is_new("the folder's fsync failed"));
        // A folder: model, configuration, itself.
        let scene = Scene::folder();
        for n in 1..=3 {
            let (_, count) = scene.fails_at("fsync", &format!("error=EIO:when={n}"));
            assert_eq!((count, scene.is_new("an fsync failed")), (n, false));
        }
        // The folder that it is in, after the exchange: the next run removes the old one at last.
        let log = Path::new("/dev/null");
        let output = scene.traced(log, "fsync", "error=EIO:when=4").output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", text(&output));
        assert!(text(&output).contains("outdir`: cannot fsync its folder"), "{}", text(&output));
        assert!(scene.is_new("the parent's fsync failed"));
        scene.age_leftovers();
        assert!(scene.plain().status().unwrap().success());
        assert_eq!(scene.leftovers(), [""; 0]);
    }
}

#[test]
fn a_full_device_is_noticed_before_anything_is_written() {
    if !needs_strace("a full device") {
        return;
    }
    let scene = Scene::file();
    for error in ["ENOSPC", "EDQUOT"] {
        let (message, _) = scene.fails_at("fallocate", &format!("error={error}:when=1"));
        let size = scene.new[""].len();
        assert!(message.contains(&format!("needs {size} bytes")), "{message}");
        assert!(scene.is_old());
    }
    // Where nothing can be reserved, the file is written all the same.
    let unsupported = "error=EOPNOTSUPP:when=1";
    let output = scene.traced(Path::new("/dev/null"), "fallocate", unsupported).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(scene.is_new("fallocate is not supported"));
}

/// A mounted file system; it goes when the value does.
pub struct Mount(PathBuf);

impl Mount {
    pub fn new(args: &[&str], at: &Path) -> Option<Self> {
        let output = Command::new("mount").args(args).arg(at).output();
        output.is_ok_and(|output| output.status.success()).then(|| Mount(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A child of another test holds every descriptor for a moment, between fork and exec.
        let umount = |args: &[&str]| {
            let output = Command::new("umount").args(args).arg(&self.0).output();
            output.is_ok_and(|output| output.status.success())
        };
        for _ in 0..100 {
            if umount(&[]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // No mount is left behind, but neither is this one to be used again.
        umount(&["-l"]);
        eprintln!("`{}` stayed busy", self.0.display());
    }
}

#[test]
fn a_device_that_is_too_small_keeps_the_old_output() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("device");
    std::fs::create_dir(&at).unwrap();
    let values = vec![0.5f32; 9000];
    for name in ["a.safetensors", "b.safetensors"] {
        save(&dir.path().join(name), &[f32s("w", &values), f32s("v", &values[..77])]);
    }
    let has_strace = needs_strace("a small device without reservation");
    let (mut full, mut done) = (0, 0);
    let sizes = (1..=24).step_by(if long() { 1 } else { 3 }).map(|pages| format!("{}k", 4 * pages));
    for (size, reserves) in sizes.flat_map(|size| [(size.clone(), true), (size, false)]) {
        if !reserves && !has_strace {
            continue;
        }
        let options = format!("size={size}");
        let mounted = Mount::new(&["-t", "tmpfs", "-o", &options, "tmpfs"], &at);
        if !needs(mounted.is_some(), "a small device", "root, and leave to mount") {
            return;
        }
        std::fs::write(at.join("out.safetensors"), "old").unwrap();
        let mut command = match reserves {
            true => Command::new(TOOL),
            false => {
                let mut command = Command::new("strace");
                let inject = "inject=fallocate:error=EOPNOTSUPP";
                command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fallocate", "-e"]);
                command.args([inject, TOOL]);
                command
            }
        };
        command.args(["a.safetensors", "b.safetensors", "-qo", "device/out.safetensors"]);
        let output = command.arg("--force").current_dir(&dir).output().unwrap();
        match output.status.code() {
            Some(0) => {
                assert_eq!(load(&at.join("out.safetensors"))["w"].len(), 36_000);
                done += 1;
            }
            Some(4) => {
                let message = text(&output);
                assert!(message.contains("out.safetensors"), "{message}");
                assert!(!reserves || message.contains("needs "), "{message}");
                assert_eq!(std::fs::read(at.join("out.safetensors")).unwrap(), b"old");
                full += 1;
            }
            other => panic!("{size}: {other:?} {}", text(&output)),
        }
        assert_eq!(listing(&at), ["out.safetensors"], "{size}");
        let kib: usize = size.trim_end_matches('k').parse().unwrap();
        assert!(kib >= 36 || !output.status.success(), "{size}");
        assert!(kib < 48 || output.status.success(), "{size}: {}", text(&output));
    }
    eprintln!("small devices: {full} runs found them full, {done} had room");
    assert!(full > 0 && done > 0);
}

#[test]
fn a_folder_that_cannot_be_closed_or_read_is_no_panic() {
    if !needs_strace("a folder that cannot be closed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for i in 1..=3 {
        let folder = dir.path().join(format!("run/checkpoint-{i}"));
        std::fs::create_dir_all(&folder).unwrap();
        save(&folder.join("model.safetensors"), &model(i as f32));
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        save(&dir.path().join(format!("c_{i}.safetensors")), &model(i as f32));
    }
    let mut met = 0;
    let line = "--follow run --until 3 --poll 0.01 -qo followed --force";
    for arguments in
        ["run -qo out --force", "run/* -qo out --force", "c_*.safetensors -qo x --force", line]
    {
        let all = [
            ("close", "error=EIO"),
            ("getdents64", "error=EIO"),
            ("close", "error=EINTR"),
            ("getdents64", "error=ENOMEM"),
        ];
        for (call, inject) in &all[..if long() { 4 } else { 2 }] {
            // What the loader closes comes first.
            let mut n = if *call == "close" && !long() { 5 } else { 1 };
            loop {
                let log = dir.path().join("log");
                let mut command = Command::new("strace");
                command.current_dir(&dir).args(["-f", "-qq", "-o"]).arg(&log).args(["-e"]);
                command.args([&format!("trace={call}"), "-e"]);
                command.args([&format!("inject={call}:{inject}:when={n}"), TOOL]);
                // A follower goes on when what failed passes.
                let output = command.args(arguments.split(' ')).output().unwrap();
                let (after, message) = (format!("{arguments}: {call} {inject} {n}"), text(&output));
                // Before the tool begins the loader has folders of its own.
                if message.contains("error while loading shared libraries") {
                    n += 1;
                    continue;
                }
                let is_one_line = message.trim_end().lines().count() <= 1;
                assert!(matches!(output.status.code(), Some(0 | 3 | 4)), "{after}: {message}");
                assert!(!message.contains("panicked") && is_one_line, "{after}: {message}");
                assert!(output.status.success() || message.contains("error: "), "{after}");
                if !std::fs::read_to_string(log).unwrap().contains("(INJECTED)") {
                    break;
                }
                (met, n) = (met + 1, n + if long() { 1 } else { 2 });
            }
        }
    }
    eprintln!("folders that cannot be closed or read: {met} faults");
    assert!(met > 20);
}
