//! Which checkpoints count, with which weights, and which tensors.

use swa_testing::*;

/// ckpt_10, ckpt_20, … ckpt_60, whose only value is their number.
fn six() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for n in (10..=60).step_by(10) {
        save(&dir.path().join(format!("ckpt_{n}.safetensors")), &[f32s("w", &[n as f32])]);
    }
    dir
}

fn average(args: &[&str]) -> f32 {
    let dir = six();
    swa_avg().current_dir(&dir).args(args).args(["-o", "out.result"]).assert().success();
    to_f32(&load(&dir.path().join("out.result"))["w"])[0]
}

#[test]
fn checkpoints_are_selected_by_number() {
    assert_eq!(average(&["."]), 35.0);
    assert_eq!(average(&["ckpt_*", "--start", "40"]), 50.0);
    assert_eq!(average(&[".", "--every", "20"]), 30.0); // 10, 30, 50
    assert_eq!(average(&[".", "--every", "20", "--start", "20"]), 40.0); // 20, 40, 60
    assert_eq!(average(&[".", "--range", "20..30"]), 25.0);
    assert_eq!(average(&[".", "--last", "2"]), 55.0);
    assert_eq!(average(&[".", "--every", "20", "--last", "1"]), 50.0);
    assert_eq!(average(&[".", "--by-position", "--range", "1..2"]), 15.0);
    assert_eq!(average(&[".", "--number", "_(\\d)", "--start", "6"]), 60.0);
}

#[test]
fn a_selection_of_nothing_says_what_there_was() {
    let dir = six();
    let mut command = swa_avg();
    command.current_dir(&dir).args([".", "-o", "out", "--start", "61"]);
    fails(&mut command, 2, &["no checkpoint is left of 6", "10 to 60"]);
}

#[test]
fn weights_are_divided_by_their_sum() {
    let both = ["ckpt_10.safetensors", "ckpt_20.safetensors"];
    let with = |weights: &str| average(&[both[0], both[1], "--weights", weights]);
    assert_eq!(with("1,3"), 17.5);
    assert_eq!(with("-1,2"), 30.0);
    let dir = six();
    let mut command = swa_avg();
    command.current_dir(&dir).args([".", "-o", "out", "--weights", "1,2"]);
    fails(&mut command, 2, &["2 weight(s) for 6 checkpoint(s)"]);
    let mut command = swa_avg();
    command.current_dir(&dir).args(both).args(["-o", "out", "--weights", "1,-1"]);
    fails(&mut command, 2, &["the weights add up to 0"]);
    let mut command = swa_avg();
    command.current_dir(&dir).args(both).args(["-o", "out", "--weights", "1e308,1e308"]);
    fails(&mut command, 2, &["more than a number can hold", "only their ratios count"]);
}

#[test]
fn weights_come_from_a_file_by_line_or_by_name() {
    let dir = six();
    let run = |text: &str| {
        std::fs::write(dir.path().join("w.txt"), text).unwrap();
        let args = ["ckpt_10.safetensors", "ckpt_20.safetensors", "-o", "out", "--force"];
        let mut command = swa_avg();
        command.current_dir(&dir).args(args).args(["--weights-file", "w.txt"]);
        command
    };
    let value = || to_f32(&load(&dir.path().join("out"))["w"])[0];
    run("# first\n1\n3 # second\n").assert().success();
    assert_eq!(value(), 17.5);
    run("ckpt_20.safetensors 1\nckpt_10.safetensors 3\n").assert().success();
    assert_eq!(value(), 12.5);
    fails(&mut run("ckpt_20.safetensors 1\n"), 3, &["no weight for `ckpt_10.safetensors`"]);
    fails(&mut run("1\nx\n"), 3, &["`x` is not a number"]);
    // All in one line, as they are given without a file.
    for line in ["1,3\n", "1 3", "1, 3"] {
        run(line).assert().success();
        assert_eq!(value(), 17.5, "{line:?}");
    }
    fails(&mut run(",\n"), 3, &["`,` is not a number"]);
    fails(&mut run("1 2 3\n"), 3, &["`1 2` is not one of the checkpoints"]);
}

#[test]
fn keys_that_differ_are_left_out_or_filled_on_request() {
    let dir = tempfile::tempdir().unwrap();
    save(&dir.path().join("1"), &[f32s("a", &[1.0]), f32s("b", &[1.0])]);
    save(&dir.path().join("2"), &[f32s("c", &[5.0]), f32s("a", &[2.0])]);
    save(&dir.path().join("3"), &[f32s("a", &[6.0]), f32s("c", &[7.0])]);
    let run = |args: &[&str]| {
        let mut command = swa_avg();
        command.current_dir(&dir).args(["1", "2", "3", "-o", "out", "--force"]).args(args);
        command
    };
    fails(&mut run(&[]), 3, &["tensor `b`: missing", "tensor `c`: not in the first", "--keys"]);
    // Shards without an index are no checkpoints with other keys.
    for (file, shard) in
        [("1", "m-00001-of-00002.safetensors"), ("2", "m-00002-of-00002.safetensors")]
    {
        std::fs::copy(dir.path().join(file), dir.path().join(shard)).unwrap();
    }
    let mut shards = swa_avg();
    shards.current_dir(&dir).args(["m-*", "-o", "out"]);
    let text = fails(&mut shards, 3, &["if they are shards of one model, write their index"]);
    assert!(!text.contains("--keys"), "{text}");
    let both = run(&["--keys", "intersection"]).output().unwrap();
    let text = String::from_utf8(both.stderr).unwrap();
    assert!(text.contains("2 tensor(s) left out") && text.contains("\n  b\n  c"), "{text}");
    let out = load(&dir.path().join("out"));
    assert_eq!((out.len(), to_f32(&out["a"])), (1, vec![3.0]));
    let all = run(&["--keys", "union"]).output().unwrap();
    assert!(String::from_utf8(all.stderr).unwrap().contains("2 tensor(s) averaged over"));
    let out = load(&dir.path().join("out"));
    assert_eq!([&out["a"], &out["b"], &out["c"]].map(|x| to_f32(x)[0]), [3.0, 1.0, 6.0]);
    run(&["--exclude", "^[bc]$"]).assert().success();
    assert_eq!(load(&dir.path().join("out")).len(), 1);
    // A shape that differs is an error in every mode.
    save(&dir.path().join("3"), &[f32s("a", &[6.0, 1.0]), f32s("c", &[7.0])]);
    fails(&mut run(&["--keys", "union"]), 3, &["tensor `a`: expected shape [1], found [2]"]);
}

#[test]
fn the_same_tensors_in_another_order_are_the_same_model() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, order: [&str; 2], values: [f32; 2]| {
        let entry = |i: usize| {
            format!(
                r#""{}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#,
                order[i],
                4 * i,
                4 * i + 4
            )
        };
        let header = format!("{{{},{}}}", entry(0), entry(1));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        values.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
        std::fs::write(dir.path().join(name), bytes).unwrap();
    };
    file("1", ["a", "b"], [1.0, 10.0]);
    file("2", ["b", "a"], [20.0, 2.0]);
    file("3", ["b", "a"], [60.0, 6.0]);
    swa_avg().current_dir(&dir).args(["1", "2", "3", "-o", "out"]).assert().success();
    let out = load(&dir.path().join("out"));
    assert_eq!([&out["a"], &out["b"]].map(|x| to_f32(x)[0]), [3.0, 30.0]);
}

#[test]
fn the_plan_shows_what_would_be_done() {
    let dir = six();
    let args = [".", "--last", "2", "--weights", "1,3", "-o", "out", "--dry-run"];
    let output = swa_avg().current_dir(&dir).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "would write out: weighted mean of 2",
        "0.250000 ./ckpt_50",
        "0.750000 ./ckpt_60",
        "4 other",
        "8 B to read",
        "memory",
    ] {
        assert!(text.contains(part), "{part} not in {text}");
    }
}
