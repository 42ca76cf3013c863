//! A running average counts a snapshot once, whatever its file: with a state, beside a training, in a window.

use std::path::{Path, PathBuf};

use swa_testing::*;

fn write(path: &Path, value: f32, counter: i64) {
    let w: Vec<f32> = (0..3000).map(|i| value + i as f32).collect();
    save(path, &[f32s("bn.weight", &[value]), f32s("w", &w), i64s("n", &[counter])]);
}

struct Run(tempfile::TempDir);

impl Run {
    /// epoch 0 to 4 in `d`, each with its number as value, and the last one once more: with another counter, as
    /// trainers save it after the epoch has ended.
    fn new() -> Self {
        let run = Run(tempfile::tempdir().unwrap());
        std::fs::create_dir(run.path("d")).unwrap();
        for n in 0..5 {
            write(&run.path(&format!("d/epoch={n}-step={}.safetensors", 40 * n)), n as f32, n);
        }
        write(&run.path("d/last.safetensors"), 4.0, 5);
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn avg(&self, line: &str) -> assert_cmd::Command {
        let mut command = swa_avg();
        command.current_dir(self.0.path()).args(line.split(' '));
        command
    }

    /// What was noted by a run that succeeds, and its output.
    fn done(&self, line: &str) -> (String, Vec<u8>) {
        let done = self.avg(line).args(["-o", "out.safetensors"]).output().unwrap();
        let notes = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{line}: {notes}");
        (notes, std::fs::read(self.path("out.safetensors")).unwrap())
    }

    /// The mean of these epochs.
    fn mean(&self, epochs: &[usize]) -> Vec<u8> {
        let names = epochs.iter().map(|n| format!("d/epoch={n}-step={}.safetensors", 40 * n));
        let line = names.collect::<Vec<_>>().join(" ");
        self.avg(&line).args(["-qo", "mean.safetensors", "--force"]).assert().success();
        std::fs::read(self.path("mean.safetensors")).unwrap()
    }
}

#[test]
fn a_state_counts_the_same_weights_once() {
    let run = Run::new();
    let (notes, output) = run.done("d --state s");
    let said = "note: `d/last.safetensors` has the weights of `d/epoch=4-step=160.safetensors`, which was counted";
    assert!(notes.contains(said) && !notes.contains("--allow-duplicates"), "{notes}");
    assert!(output == run.mean(&[0, 1, 2, 3, 4]));
    // Later, under another name, with other counters, in another container.
    write(&run.path("best.safetensors"), 4.0, 17);
    run.avg("best.safetensors -qo best.pth").assert().success();
    for name in ["best.safetensors", "best.pth", "d"] {
        let (notes, again) = run.done(&format!("{name} --state s"));
        assert!(notes.contains("not counted again") && again == output, "{notes}");
    }
    let list = text(&mut run.avg("--list s"));
    assert!(list.contains("running average of 5 checkpoint(s)"), "{list}");
    // Another one.
    write(&run.path("best.safetensors"), 5.0, 17);
    let (notes, _) = run.done("best.safetensors --state s");
    assert!(!notes.contains("not counted again"), "{notes}");
}

#[test]
fn a_state_takes_what_the_criteria_choose_of_snapshots() {
    let run = Run::new();
    // `last` has no number: it is a copy of one that has, so that nothing needs a decision.
    for (line, epochs) in [
        ("d --number epoch=([0-9]+) --start 2 --state s", &[2, 3, 4][..]),
        ("d --last 2 --state t", &[3, 4]),
        ("d --number epoch=([0-9]+) --range 1..2 --state u", &[1, 2]),
    ] {
        let (_, output) = run.done(&format!("{line} --force"));
        assert!(output == run.mean(epochs), "{line}");
    }
    // Twice is not what a state can count.
    let parts = ["counts each checkpoint once", "--allow-duplicates", "leave it out"];
    fails(&mut run.avg("d --state v --allow-duplicates -o x.safetensors"), 2, &parts);
    let line = "--follow d --until 1 --allow-duplicates -o x.safetensors";
    fails(&mut run.avg(line), 2, &parts);
}

#[test]
fn a_follower_counts_the_same_weights_once() {
    let run = Run::new();
    for state in ["", "--state s "] {
        let line = format!("--follow d {state}--idle 0.5 --poll 0.02 --force");
        let (notes, output) = run.done(&line);
        assert!(notes.contains("`d/last.safetensors` has the weights of"), "{notes}");
        assert!(output == run.mean(&[0, 1, 2, 3, 4]), "{line}");
    }
    // Where numbers decide, what has none is passed over.
    let line = "--follow d --number epoch=([0-9]+) --start 3 --idle 0.5 --poll 0.02 --force";
    let (notes, output) = run.done(line);
    assert!(output == run.mean(&[3, 4]), "{notes}");
}

#[test]
fn a_window_is_of_snapshots_not_of_files() {
    let run = Run::new();
    // The last epoch under a second number.
    write(&run.path("d/epoch=5-step=160.safetensors"), 4.0, 6);
    let line = "--follow d --number epoch=([0-9]+) --last 3 --idle 0.5 --poll 0.02 --force";
    let (notes, output) = run.done(line);
    assert!(notes.contains("has the same weights as"), "{notes}");
    assert!(output == run.mean(&[2, 3, 4]), "{notes}");
    let (_, output) = run.done(&format!("{line} --allow-duplicates"));
    assert!(output != run.mean(&[2, 3, 4]));
}

#[test]
fn every_way_of_averaging_counts_snapshots() {
    let run = Run::new();
    let tensors = |line: &str, n: usize| {
        let files = (0..n).map(|i| format!("d/epoch={i}-step={}.safetensors", 40 * i));
        let once = files.collect::<Vec<_>>().join(" ");
        let (notes, with_copy) = run.done(&format!("d {line} --force"));
        assert!(notes.contains("`d/last.safetensors` has the same weights as"), "{line}: {notes}");
        let (_, without) = run.done(&format!("{once} {line} --force"));
        assert!(with_copy == without, "{line}");
    };
    for line in
        ["--scheme ema:0.5", "--scheme wsm:cosine", "--scheme swag:2", "--scheme wsm:linear"]
    {
        let is_known = run.avg(&format!("d {line} -o y.safetensors --force")).output().unwrap();
        let message = String::from_utf8_lossy(&is_known.stderr).into_owned();
        assert!(is_known.status.success(), "{line}: {message}");
        tensors(line, 5);
    }
}

/// With a state as without: what is left out of the average makes no other snapshot.
#[test]
fn weights_that_are_left_out_do_not_tell_snapshots_apart() {
    let run = Run::new();
    let tensors = |value: f32, loss: f32| [f32s("loss", &[loss]), f32s("w", &[value, 2.0 * value])];
    for n in 0..3 {
        save(&run.path(&format!("e_{n}.safetensors")), &tensors(n as f32, n as f32));
    }
    save(&run.path("last.safetensors"), &tensors(2.0, 5.0));
    let value = |flags: &str| {
        let files = "e_0.safetensors e_1.safetensors e_2.safetensors last.safetensors";
        let (notes, _) = run.done(&format!("{files} --force{flags}"));
        (to_f32(&load(&run.path("out.safetensors"))["w"])[0], notes)
    };
    assert_eq!(value("").0, 1.25);
    for line in [" --exclude loss", " --include w", " --exclude loss --state state"] {
        let (mean, notes) = value(line);
        assert_eq!(mean, 1.0, "{line}: {notes}");
        assert!(notes.contains("last.safetensors` has the"), "{notes}");
    }
    assert_eq!(value(" --exclude loss --allow-duplicates").0, 1.25);
}
