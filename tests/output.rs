//! Where the output goes: aliases of inputs, links and what is no file, modes.

use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use swa_testing::*;

fn two() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, x) in [("a", 1.0), ("b", 3.0)] {
        save(&dir.path().join(name), &[f32s("w", &[x])]);
    }
    dir
}

fn average(dir: &Path, out: &str) -> assert_cmd::Command {
    let mut command = swa_avg();
    command.current_dir(dir).args(["a", "b", "--force", "-qo", out]);
    command
}

fn is_mean(path: &Path) {
    assert_eq!(to_f32(&load(path)["w"]), [2.0], "{}", path.display());
}

#[test]
fn an_input_under_another_name_is_refused_or_kept() {
    let dir = two();
    let at = |name: &str| dir.path().join(name);
    symlink("a", at("link")).unwrap();
    std::fs::create_dir(at("sub")).unwrap();
    symlink("..", at("sub/up")).unwrap();
    let before = std::fs::read(at("a")).unwrap();
    let absolute = at("a").display().to_string();
    for out in ["a", "link", "sub/up/a", "./sub/../a", &absolute] {
        fails(&mut average(dir.path(), out), 2, &["is an input as well"]);
        assert_eq!(std::fs::read(at("a")).unwrap(), before, "{out}");
    }
    // A hard link is a name of its own: it gets the new file, the input keeps the old one.
    std::fs::hard_link(at("a"), at("hard")).unwrap();
    average(dir.path(), "hard").assert().success();
    is_mean(&at("hard"));
    assert_eq!(std::fs::read(at("a")).unwrap(), before);
}

#[test]
fn links_are_followed_and_what_is_no_file_is_refused() {
    let dir = two();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("old"), "old").unwrap();
    symlink("old", at("link")).unwrap();
    symlink("link", at("twice")).unwrap();
    for out in ["link", "twice"] {
        std::fs::write(at("old"), "old").unwrap();
        average(dir.path(), out).assert().success();
        assert!(at("link").is_symlink() && at("twice").is_symlink());
        is_mean(&at("old"));
    }
    symlink("nowhere", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    std::fs::create_dir(at("folder")).unwrap();
    std::fs::write(at("folder/mine"), "mine").unwrap();
    let refused = [
        ("dangling", 2, "leads to no file; name another file"),
        ("loop", 4, "loop"),
        ("fifo", 2, "is not a regular file"),
        ("/dev/null", 2, "is not a regular file"),
        ("old/x", 2, "not a folder"),
        ("missing/x", 2, "does not exist"),
    ];
    for (out, code, part) in refused {
        fails(&mut average(dir.path(), out), code, &[out, part]);
    }
    let output = average(dir.path(), "folder").output().unwrap();
    assert!(!output.status.success());
    assert_eq!(std::fs::read(at("folder/mine")).unwrap(), b"mine");
    assert!(std::fs::metadata(at("fifo")).unwrap().file_type().is_fifo());
    assert!(!at("nowhere").exists() && !at("missing").exists());
}

#[test]
fn an_old_mode_is_kept_and_a_new_one_comes_from_the_umask() {
    let dir = two();
    let out = dir.path().join("out");
    let run = |umask: u32| {
        let line = format!("umask {umask:o}; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line, env!("CARGO_BIN_EXE_swa-avg"), "a", "b", "--force", "-qo", "out"]);
        assert!(shell.current_dir(&dir).status().unwrap().success());
        std::fs::metadata(&out).unwrap().permissions().mode() & 0o7777
    };
    for umask in [0o000, 0o022, 0o027, 0o077] {
        assert_eq!(run(umask), 0o666 & !umask, "umask {umask:o}");
        for mode in [0o600, 0o640, 0o664, 0o444] {
            std::fs::set_permissions(&out, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(run(umask), mode, "umask {umask:o}");
        }
        std::fs::remove_file(&out).unwrap();
    }
}
