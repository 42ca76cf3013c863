//! Names: the numbers in them, the order that these give, and weights by name.

use swa_testing::*;

use crate::run::{Run, epochs, write};

#[test]
fn a_name_without_a_number_needs_a_decision() {
    let run = epochs();
    // Not one of the others.
    write(&run.path("d/last.safetensors"), 9.0, 9);
    let refused = "`d/last.safetensors`: has no number in its name; leave it out, as 'd/epoch=*-step=*[0-9].safetensors' does, or count with";
    for narrow in [&["--last", "3"][..], &["--number", "epoch=([0-9]+)", "--start", "2"]] {
        let output = ["-o", "x.safetensors"];
        let part = if narrow[0] == "--last" { refused } else { "matches nothing in its path" };
        fails(&mut run.avg(&[&["d"], narrow, &output].concat()), 2, &[part]);
    }
    let text = run.mean(&["d", "--last", "2", "--by-position"]);
    assert_eq!(text.0, 6.5);
    // Without a choice among them all count.
    assert_eq!(run.mean(&["d"]).0, 19.0 / 6.0);
}

#[test]
fn numbers_under_different_words_are_said() {
    let run = Run::new();
    for name in ["epoch-9", "epoch-10", "checkpoint-4000"] {
        write(&run.path(&format!("d/{name}.safetensors")), name.len() as f32, 0);
    }
    let said = "`d/checkpoint-4000.safetensors` and `d/epoch-9.safetensors` have different words before their numbers";
    for flags in [["d", "--start", "9"], ["d", "--last", "2"]] {
        let (_, notes) = run.mean(&flags);
        assert!(notes.contains(said), "{notes}");
    }
    assert!(!run.mean(&["d/epoch-*", "--start", "9"]).1.contains("different words"));
    assert!(!run.mean(&["d"]).1.contains("different words"));
}

/// Names that are sorted by something else than what counts: the number that is named decides what comes after what.
#[test]
fn the_order_is_that_of_the_number_that_counts() {
    let run = Run::new();
    for (epoch, accuracy) in [0.5, 0.7, 0.6, 0.9, 0.8].iter().enumerate() {
        write(
            &run.path(&format!("d/acc={accuracy}-epoch={epoch}.safetensors")),
            epoch as f32,
            epoch as i64,
        );
    }
    let value = |arguments: &[&str]| run.mean(arguments).0;
    let number = ["--number", "epoch=([0-9]+)"];
    let with = |arguments: &[&'static str]| value(&[arguments, &number].concat());
    // (0 + 1)/16 + 2/8 + 3/4 + 4/2, as for sorted names.
    assert_eq!(with(&["d", "--scheme", "ema:0.5"]), 3.0625);
    assert_eq!(with(&["d", "--scheme", "window:2"]), 3.5);
    assert_eq!(with(&["d", "--weights", "1,1,1,1,12"]), 3.375);
    assert_eq!(with(&["d", "--last", "2"]), 3.5);
    // What is not averaged is that of the last epoch.
    run.avg(&["d", "-o", "x.safetensors"]).args(number).assert().success();
    assert_eq!(load(&run.path("x.safetensors"))["n"], 4i64.to_le_bytes());
    let state =
        run.avg(&["d", "--state", "s", "-o", "y.safetensors"]).args(number).output().unwrap();
    let said = String::from_utf8(state.stderr).unwrap();
    assert!(
        said.contains("epoch=3.safetensors`, the last by its path, not of `d/acc=0.8-epoch=4"),
        "{said}"
    );
    // Without it they are not taken as they are sorted.
    for arguments in [&["d", "--scheme", "ema:0.5"][..], &["d", "--last", "2"]] {
        let parts =
            ["as names are sorted, and its number 1 is smaller", "such as --number 'epoch=(\\d+)'"];
        fails(run.avg(arguments).args(["-o", "z.safetensors"]), 2, &parts);
    }
    assert_eq!(value(&["d"]), 2.0);
}

/// Of copies the one counts whose name tells when it was; names without a number have no place in an order.
#[test]
fn copies_of_the_best_and_names_without_a_number_have_no_place_of_their_own() {
    let run = Run::new();
    for epoch in 1..=3 {
        write(&run.path(&format!("d/epoch_{epoch}.safetensors")), epoch as f32, epoch);
    }
    write(&run.path("d/best_coco_mAP_epoch_3.safetensors"), 3.0, 3);
    let (value, said) = run.mean(&["d", "--scheme", "ema:0.5"]);
    assert_eq!(value, 2.25);
    assert!(said.contains("best_coco_mAP_epoch_3.safetensors` has the same weights as"), "{said}");
    write(&run.path("d/other.safetensors"), 0.0, 0);
    for more in [&["--scheme", "ema:0.5"][..], &["--weights", "1,2,3,4"]] {
        let mut command = run.avg(&[&["d", "-o", "x"], more].concat());
        fails(&mut command, 2, &["other.safetensors`: has no number in its name"]);
    }
    assert_eq!(run.mean(&["d"]).0, 1.5);
}

/// Weights by names, of checkpoints that are called the same in folders of their own.
#[test]
fn weights_are_of_a_name_with_its_folder() {
    let run = Run::new();
    for i in 1..=2 {
        write(&run.path(&format!("f/ep{i}/model.safetensors")), i as f32, i);
    }
    let weights = |text: &str| {
        std::fs::write(run.path("weights"), text).unwrap();
        ["f/ep1/model.safetensors", "f/ep2/model.safetensors", "--weights-file", "weights"]
    };
    for text in [
        "ep1/model.safetensors 1\nep2/model.safetensors 3\n",
        "ep2 3\nep1 1\n",
        "\"f/ep1/model.safetensors\" 1\n./f/ep2/model.safetensors 3\n",
    ] {
        assert_eq!(run.mean(&weights(text)).0, 1.75, "{text}");
    }
    let mut command = run.avg(&weights("model.safetensors 1\nep2 3\n"));
    fails(command.args(["-o", "x"]), 3, &["may be `f/ep1/model.safetensors` or `", "its folder"]);
    let mut command = run.avg(&weights("ep1 1\n0.5\n"));
    fails(command.args(["-o", "x"]), 3, &["`0.5` has no name"]);
    let mut command = run.avg(&weights("ep2 3\n"));
    fails(command.args(["-o", "x"]), 3, &["has no weight for `ep1/model.safetensors`"]);
}
