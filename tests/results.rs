//! Checkpoints chosen by a trainer's results: what the command says and writes.

use serde_json::{Value, json};
use swa_testing::{f32s, save, swa_avg, text};

/// ckpt_1 to ckpt_6, each with its number as its weight, and results.
fn run() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for n in 1..=6 {
        save(&dir.path().join(format!("ckpt_{n}.safetensors")), &[f32s("w", &[n as f32])]);
    }
    let results =
        "epoch,val_loss,val_acc\n1,3,0.1\n2,1,0.6\n3,2,0.7\n4,2,0.5\n5,2.5,0.9\n6,4,0.7\n";
    std::fs::write(dir.path().join("metrics.csv"), results).unwrap();
    dir
}

fn average(dir: &tempfile::TempDir, args: &[&str]) -> assert_cmd::Command {
    let mut command = swa_avg();
    command.current_dir(dir).args(["ckpt_*.safetensors", "-o", "out/swa.safetensors"]);
    std::fs::create_dir_all(dir.path().join("out")).unwrap();
    command.args(["--metrics", "metrics.csv", "--force"]).args(args);
    command
}

fn printed(mut command: assert_cmd::Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_best_are_averaged_and_explained() {
    let dir = run();
    let report = printed(average(&dir, &["--by", "val_acc:max", "--top", "2"]));
    assert_eq!(report["inputs"], json!(["ckpt_5.safetensors", "ckpt_6.safetensors"]));
    assert_eq!(report["left_out"], 4);
    let selection = &report["selection"];
    assert_eq!((&selection["rule"], &selection["direction"]), (&json!("top"), &json!("max")));
    let taken = json!([
        {"checkpoint": "ckpt_5.safetensors", "number": 5, "value": 0.9},
        {"checkpoint": "ckpt_6.safetensors", "number": 6, "value": 0.7},
    ]);
    assert_eq!(selection["taken"], taken);
    let said = text(&mut average(&dir, &["--by", "val_loss:min", "--top", "1", "--start", "3"]));
    assert!(
        said.contains("  chosen by val_loss: the 1 smallest of 4\n    ckpt_4.safetensors 2"),
        "{said}"
    );
    // Nothing was chosen by results.
    let mut plain = swa_avg();
    plain.current_dir(&dir).args(["ckpt_1.safetensors", "-o", "out/one.safetensors"]);
    assert_eq!(printed(plain)["selection"], Value::Null);
}

#[test]
fn the_valley_is_averaged_and_explained() {
    let dir = run();
    // 1 is the least of [1, 2, 2]; level 5/3, threshold 2.167: 5 and 6 are above it.
    let settings = ["--swad", "val_loss", "--swad-overfit", "2"];
    let report = printed(average(&dir, &settings));
    let inputs = ["ckpt_2.safetensors", "ckpt_3.safetensors", "ckpt_4.safetensors"];
    assert_eq!(report["inputs"], json!(inputs));
    let valley = &report["selection"]["valley"];
    assert_eq!(
        (&valley["start"], &valley["end"], &valley["left"]),
        (&json!("2"), &json!("4"), &json!(true))
    );
    let said = text(&mut average(&dir, &settings));
    let expected = "  chosen by SWAD on val_loss: 3 checkpoint(s)
  start 2: no larger than the 2 after it; their mean is 1.6667
  end 4: the 2 losses after it are all above 2.1667, (1 + 0.3) times that mean
    ckpt_2.safetensors 1
    ckpt_3.safetensors 2
    ckpt_4.safetensors 2";
    assert!(said.contains(expected), "{said}");
    let said = text(&mut average(&dir, &["--swad", "val_loss"]));
    assert!(said.contains("  end 6: the last one: never were 6 in a row above 2.1667"), "{said}");
    let mut listed = swa_avg();
    listed
        .current_dir(&dir)
        .args(["--list", "ckpt_*.safetensors", "--metrics", "metrics.csv"])
        .args(settings);
    assert!(!text(&mut listed).contains("ckpt_5"));
}

#[test]
fn a_direction_is_never_guessed() {
    let dir = run();
    for (args, what) in [
        (&["--by", "val_acc", "--top", "2"][..], "val_acc:max or val_acc:min"),
        (&["--by", "val_acc:best", "--top", "2"], "val_acc:max or val_acc:min"),
        (&["--by", "val_acc:max"], "--top <K>"),
        (&["--by", "val_acc:max", "--top", "0"], "at least 1"),
        (&["--top", "2"], "--by <NAME:max|min>"),
        (&["--by", "val_acc:max", "--top", "2", "--swad", "val_loss"], "cannot be used with"),
        (&["--swad", "val_loss", "--swad-tolerance", "-1"], "at least 0"),
        (&[], "--by or --swad"),
    ] {
        let output = average(&dir, args).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(what), "{args:?}: {error}");
    }
    assert!(!dir.path().join("out/swa.safetensors").exists());
}
