//! How things are said: a path is never a line of its own, and one thing is one.

use swa_testing::*;

use crate::run::{Run, epochs};

#[test]
fn a_path_is_never_a_line_of_its_own() {
    let run = epochs();
    let name = "a\nerror: forged\n.safetensors";
    let done = run.avg(&["d", "-o", name]).output().unwrap();
    assert!(done.status.success());
    let all = [done.stdout, done.stderr].concat();
    let all = String::from_utf8(all).unwrap();
    assert!(!all.lines().any(|line| line.starts_with("error: forged")), "{all}");
    let (state, folder) = ("s\nerror: forged\n", "d\nerror: forged\n");
    std::fs::rename(run.path("d"), run.path(folder)).unwrap();
    let runs: [&[&str]; 8] = [
        &["--list", name],
        &["--verify", name],
        &[folder, name, name, "-o", "x", "--dry-run"],
        &[folder, "--state", state, "-o", "out\nerror: forged\n.pth", "--exclude", "^n$"],
        &["--list", state],
        &[folder, "--state", state, "-o", "x", "--allow-nonfinite"],
        &["--follow", folder, "--idle", "0.1", "--poll", "0.02", "-o", "f\nerror: forged\n"],
        &["missing\nerror: forged\n", "-o", "x"],
    ];
    for arguments in runs {
        let done = run.avg(arguments).output().unwrap();
        let all = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(!all.lines().any(|line| line.starts_with("error: forged")), "{all}");
    }
}

#[test]
fn one_thing_is_one() {
    let run = Run::new();
    for n in 0..2 {
        let tensors = [f32s("bn.running_mean", &[f32::NAN]), f32s("bn.running_var", &[n as f32])];
        save(&run.path(&format!("a_{n}.safetensors")), &tensors);
        save(&run.path(&format!("b_{n}.safetensors")), &tensors[1..]);
    }
    let mut said = String::new();
    for line in [
        "a_0.safetensors a_1.safetensors --allow-nonfinite -o x.safetensors",
        "a_0.safetensors a_1.safetensors --allow-nonfinite --state s -o y.safetensors",
        "b_0.safetensors b_1.safetensors -o z.safetensors",
        "--list b_0.safetensors",
        "--list s",
        "--verify z.safetensors",
    ] {
        let done = run.avg(&line.split(' ').collect::<Vec<_>>()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        said += &String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    }
    for part in [
        "the statistics of 1 layer no longer",
        ": 1 mean is not finite",
        "1 tensor averaged",
        "1 tensor, 1 value,",
        "1 tensor is as it was written",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let wrong = regex::Regex::new(r"\b1 (layer|tensor|value|mean|output|checkpoint)s\b").unwrap();
    assert!(!wrong.is_match(&said), "{said}");
}
