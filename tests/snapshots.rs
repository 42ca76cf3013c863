//! What swa-avg prints for people and machines: its help, its JSON, its errors. A change of these is seen in review:
//! `INSTA_UPDATE=always cargo test --release --test snapshots` accepts it.

use insta::assert_snapshot;
use serde_json::{Value, json};
use swa_testing::{f32s, i64s, save, snapshot_json, swa_avg, text};

/// Two checkpoints in a fresh folder.
fn two() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in ["ckpt_9", "ckpt_10"].iter().enumerate() {
        let x = i as f32;
        let tensors = [
            f32s("fc.weight", &[1.0 + x, 0.5, -2.0 * x]),
            f32s("bn.running_mean", &[x]),
            f32s("bn.running_var", &[2.0 * x]),
            i64s("bn.num_batches_tracked", &[100 + i as i64]),
        ];
        save(&dir.path().join(format!("{name}.safetensors")), &tensors);
    }
    dir
}

#[test]
fn help() {
    assert_snapshot!("swa-avg-help", text(swa_avg().arg("--help")));
    let own = concat!("swa-avg ", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(swa_avg().arg("-V")).trim(), own);
    let version = text(swa_avg().arg("--version"));
    let lines: Vec<&str> = version.lines().collect();
    assert_eq!(lines[0], own);
    let built = format!("built for {} on {}", std::env::consts::OS, std::env::consts::ARCH);
    assert!(lines[1].starts_with(&built) && lines[2].starts_with("adds up with "), "{version}");
    assert_eq!(lines.len(), 3, "{version}");
}

#[test]
fn an_average() {
    let dir = two();
    let run = |args: &[&str]| {
        let mut command = swa_avg();
        command.current_dir(&dir).args(["ckpt_*.safetensors", "-o", "swa.safetensors"]).args(args);
        command
    };
    assert_snapshot!("average-planned", snapshot_json(run(&["--dry-run", "--json"])));
    assert_snapshot!("average", snapshot_json(run(&["--json"])));
    let mut verify = swa_avg();
    verify.current_dir(&dir).args(["--verify", "swa.safetensors", "--json"]);
    assert_snapshot!("verify", snapshot_json(verify));
    let mut list = swa_avg();
    list.current_dir(&dir).args(["--list", "swa.safetensors", "--json"]);
    assert_snapshot!("list", snapshot_json(list));
}

/// With --json an error is an object on stdout; the line on stderr stays.
#[test]
fn an_error() {
    let dir = two();
    save(&dir.path().join("other_1.safetensors"), &[f32s("fc.weight", &[1.0])]);
    let errors = [
        ("error-mismatch", vec!["ckpt_9.safetensors", "other_1.safetensors", "-o", "x"], 3),
        ("error-no-match", vec!["nothing_*.pth", "-o", "x"], 2),
        ("error-usage", vec!["ckpt_9.safetensors", "--wrong"], 2),
        ("error-output-exists", vec!["ckpt_9.safetensors", "-o", "ckpt_10.safetensors"], 2),
    ];
    for (name, args, code) in errors {
        let output = swa_avg().current_dir(&dir).args(args).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed["error"]["exit_code"], json!(code));
        let line = String::from_utf8(output.stderr).unwrap();
        let message = printed["error"]["message"].as_str().unwrap();
        assert!(line.starts_with(&format!("error: {message}")), "{line} {message}");
        assert_snapshot!(name, serde_json::to_string_pretty(&printed).unwrap());
    }
}

/// Lines of JSON on stderr: never more than are done, the last one says all.
#[test]
fn progress() {
    let dir = two();
    let mut command = swa_avg();
    command.current_dir(&dir).args(["ckpt_*.safetensors", "-qo", "x", "--progress", "json"]);
    let output = command.output().unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> =
        stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(lines.iter().all(|line| keys(line) == ["done", "total", "unit", "stage"]));
    assert_eq!(lines[0]["done"], 0);
    let last = lines.last().unwrap();
    assert_eq!((&last["unit"], &last["stage"]), (&json!("bytes"), &json!("averaging")));
    assert!(lines.len() >= 2 && last["done"] == last["total"], "{stderr}");
}
