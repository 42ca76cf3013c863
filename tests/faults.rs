//! Bad input: a clear line, the right exit code, nothing lost.

use std::path::Path;

use safetensors::Dtype;
use swa_testing::*;

/// Averages `bad` with a good checkpoint over an old output, which must survive.
fn refused(write_bad: impl Fn(&Path), code: i32, parts: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("good.safetensors"), &[f32s("a", &[1.0])]);
    write_bad(&dir.path().join("bad.safetensors"));
    std::fs::write(dir.path().join("out.safetensors"), "old").unwrap();
    let before = listing(dir.path());
    let args = ["bad.safetensors", "good.safetensors", "-o", "out.safetensors", "--force"];
    fails(swa_avg().current_dir(&dir).args(args), code, parts);
    assert_eq!(std::fs::read(dir.path().join("out.safetensors")).unwrap(), b"old");
    assert_eq!(listing(dir.path()), before);
}

fn bytes(content: &'static [u8]) -> impl Fn(&Path) {
    move |path| std::fs::write(path, content).unwrap()
}

#[test]
fn strangers_are_named() {
    let bad = "`bad.safetensors`: ";
    refused(bytes(b""), 3, &[bad, "empty"]);
    refused(bytes(b"version https://git-lfs.github.com/spec/v1\n"), 3, &[bad, "git lfs pull"]);
    refused(bytes(b"<!doctype html>\n<html>"), 3, &[bad, "an HTML page"]);
    refused(bytes(b"PK\x03\x04...."), 3, &[bad, "bad zip file", "truncated"]);
    refused(bytes(b"not a checkpoint at all"), 3, &[bad, "a text file, not weights"]);
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    save(&whole, &[f32s("a", &[1.0]), i64s("n", &[3])]);
    let whole = std::fs::read(whole).unwrap();
    for length in (0..whole.len()).step_by(7) {
        let cut = whole[..length].to_vec();
        refused(move |path| std::fs::write(path, &cut).unwrap(), 3, &["`bad.safetensors`: "]);
    }
}

#[test]
fn missing_files_and_empty_patterns_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let run = |input: &str| {
        let mut command = swa_avg();
        command.current_dir(&dir).args([input, "-o", "out.safetensors"]);
        command
    };
    fails(&mut run("ckpt_*.safetensors"), 2, &["no file matches `ckpt_*.safetensors`"]);
    fails(&mut run("absent.safetensors"), 2, &["`absent.safetensors`: no such file"]);
    fails(&mut run("."), 2, &["`.`: holds no checkpoints"]);
    assert!(listing(dir.path()).is_empty());
}

#[test]
fn values_that_are_not_finite_are_refused_by_name() {
    refused(
        |path| save(path, &[f32s("a", &[f32::NAN])]),
        3,
        &["`bad.safetensors`: tensor `a`: 1 of its values are not finite"],
    );
}

#[test]
fn types_that_cannot_be_averaged_are_named() {
    refused(|path| save(path, &[("a", Dtype::F8_E4M3, vec![1], vec![0])]), 3, &["F8_E4M3"]);
}

#[test]
fn names_cannot_drive_the_terminal() {
    let text = {
        let dir = tempfile::tempdir().unwrap();
        save(&dir.path().join("a.safetensors"), &[f32s("x\u{1b}[2Jy", &[f32::INFINITY, 1.0])]);
        fails(swa_avg().current_dir(&dir).args(["a.safetensors", "-o", "b"]), 3, &["x\\u{1b}[2Jy"])
    };
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_full_stdout_is_an_error_and_a_closed_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("a.safetensors"), &[f32s("a", &[1.0])]);
    let run = |out: &str, redirect: &str| {
        let line = format!("{} a.safetensors -o {out} {redirect}", env!("CARGO_BIN_EXE_swa-avg"));
        let mut shell = std::process::Command::new("bash");
        let output =
            shell.current_dir(&dir).args(["-o", "pipefail", "-c", &line]).output().unwrap();
        assert!(load(&dir.path().join(out)).contains_key("a"));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run("b", ">/dev/full");
    assert_eq!(code, Some(4), "{text}");
    assert_eq!(run("c", "| true"), (Some(0), String::new()));
}

/// Runs swa-avg on one good file by a line of shell, in which TOOL stands for it.
fn shell(line: &str) -> (Option<i32>, String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("a.safetensors"), &[f32s("w", &vec![1.0; 100_000])]);
    let line = line.replace("TOOL", env!("CARGO_BIN_EXE_swa-avg"));
    let mut shell = std::process::Command::new("bash");
    let output = shell.current_dir(&dir).args(["-o", "pipefail", "-c", &line]).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code(), text, listing(dir.path()))
}

#[test]
fn a_stderr_that_cannot_be_written_changes_nothing() {
    assert_eq!(shell("TOOL a.safetensors a.safetensors -o out 2>/dev/full").0, Some(0));
    assert_eq!(shell("TOOL absent -o out 2>/dev/full").0, Some(2));
    assert_eq!(shell("TOOL absent -o out 2>&1 >/dev/null | true").0, Some(2));
}

#[test]
fn names_that_are_not_unicode_work_and_names_are_escaped_on_stdout() {
    let line =
        "cp a.safetensors $'b\\xff1.safetensors'; TOOL a.safetensors $'b\\xff1.safetensors' -o out";
    let (code, text, names) = shell(&format!("{line}; TOOL $'b\\xff1.safetensors' --json -o out2"));
    assert_eq!((code, names.contains(&"out".into())), (Some(0), true), "{text}");
    let (_, text, _) = shell("mv a.safetensors $'e\\e[31m'; TOOL $'e\\e[31m' -o out --dry-run");
    assert!(text.contains("e\\u{1b}[31m") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_file_size_limit_is_an_error_and_leaves_nothing() {
    let (code, text, names) = shell("ulimit -f 100; TOOL a.safetensors -o out");
    assert_eq!((code, names), (Some(4), vec!["a.safetensors".to_string()]), "{text}");
    assert!(text.contains("`out`: cannot"), "{text}");
}

#[test]
fn a_hang_up_that_the_parent_ignores_stays_ignored() {
    // As nohup does it. Sent over and over, until the tool is done.
    let line = "trap '' HUP; for i in {1..60}; do cp a.safetensors c$i.safetensors; done; \
                for i in {1..8}; do TOOL c*.safetensors -qo out$i & pid=$!; \
                while kill -HUP $pid 2>/dev/null; do :; done; wait $pid || exit 1; done";
    let (code, text, _) = shell(line);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_signal_removes_the_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let values = vec![1.0f32; 8 << 20];
    for i in 0..4 {
        save(&dir.path().join(format!("{i}.safetensors")), &[f32s("w", &values)]);
    }
    let before = listing(dir.path());
    let mut killed = 0;
    for delay in 0..40 {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_swa-avg"))
            .current_dir(&dir)
            .args([
                "0.safetensors",
                "1.safetensors",
                "2.safetensors",
                "3.safetensors",
                "-qo",
                "out",
            ])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5 + 2 * delay));
        let kill = format!("kill -{} {}", ["INT", "TERM", "HUP"][delay as usize % 3], child.id());
        std::process::Command::new("sh").args(["-c", &kill]).output().unwrap();
        killed += !child.wait().unwrap().success() as usize;
        // Old or new: a signal after the rename finds a whole file under the name.
        let out = dir.path().join("out");
        if out.exists() {
            assert!(load(&out).contains_key("w"));
            std::fs::remove_file(out).unwrap();
        }
        assert_eq!(listing(dir.path()), before, "after {delay}");
    }
    assert!(killed > 0, "every run was over before its signal");
}

#[test]
fn an_input_that_shrinks_is_named_and_nothing_is_written() {
    // One that is read into buffers, and small ones that are mapped, where the kernel sends SIGBUS.
    shrinking(&[f32s("w", &vec![1.0; 4 << 20])]);
    let small = vec![1.0; 200];
    let name = |i: i32| -> &'static str { Box::leak(i.to_string().into_boxed_str()) };
    shrinking(&(0..12 << 10).map(|i| f32s(name(i), &small)).collect::<Vec<_>>());
}

fn shrinking(tensors: &[Tensor]) {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..6).map(|i| format!("{i}.safetensors")).collect();
    let mut caught = 0;
    for delay in 0..30 {
        for name in &names {
            save(&dir.path().join(name), tensors);
        }
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_swa-avg"))
            .current_dir(&dir)
            .args(&names)
            .args(["-q", "--force", "--allow-duplicates", "-o", "out"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // The temporary file appears when the inputs are open.
        while listing(dir.path()).len() == names.len() && !dir.path().join("out").exists() {
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_micros(500 * delay));
        let victim = std::fs::OpenOptions::new().write(true).open(dir.path().join("5.safetensors"));
        victim.unwrap().set_len(1 << 20).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => {
                load(&dir.path().join("out"));
                std::fs::remove_file(dir.path().join("out")).unwrap();
            }
            Some(5) => {
                assert!(text.contains("`5.safetensors`: shrank from "), "{text}");
                assert!(text.contains(" to 1048576 bytes while it was read"), "{text}");
                caught += 1;
            }
            other => panic!("{other:?} {text}"),
        }
        assert_eq!(listing(dir.path()), names, "after {delay}");
    }
    assert!(caught > 0, "no run was caught in the act");
}
