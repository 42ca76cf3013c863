//! Which checkpoints are snapshots, and which of them count once: copies, whatever their files are called.

use swa_testing::*;

use crate::pickle::{dict, tensor, tensors, torch_file};
use crate::run::{Run, epochs, write};

#[test]
fn the_same_weights_count_once_whatever_their_file() {
    let run = epochs();
    // Saved again apart; with other metadata and another order.
    write(&run.path("d/last.safetensors"), 4.0, 4);
    let (mean, notes) = run.mean(&["d"]);
    assert_eq!(mean, 2.0);
    let said = "`d/last.safetensors` has the same weights as `d/epoch=4-step=160.safetensors`: counted once";
    assert!(notes.contains(said) && notes.contains("--allow-duplicates"), "{notes}");
    assert_eq!(run.mean(&["d", "--allow-duplicates"]).0, 14.0 / 6.0);
    // Whatever narrows them down; the places of copies are taken by others.
    assert_eq!(run.mean(&["d", "--last", "3"]).0, 3.0);
    assert_eq!(run.mean(&["d/*.safetensors", "--last", "2"]).0, 3.5);
    let by_epoch = ["d", "--number", "epoch=([0-9]+)", "--start", "3"];
    assert_eq!(run.mean(&by_epoch).0, 3.5);
    // Under a second number, too.
    std::fs::rename(run.path("d/last.safetensors"), run.path("d/epoch=5-step=160.safetensors"))
        .unwrap();
    assert_eq!(run.mean(&["d", "--last", "3"]).0, 3.0);
    // In another container, with wrappers in its names, and as part of something else.
    std::fs::remove_file(run.path("d/epoch=5-step=160.safetensors")).unwrap();
    let copy = |from: &str, to: &str| run.avg(&[from, "-o", to]).assert().success();
    copy("d/epoch=4-step=160.safetensors", "best.pth");
    let (mean, notes) = run.mean(&["d/*", "best.pth"]);
    assert_eq!(mean, 2.0, "{notes}");
    assert!(notes.contains("`best.pth` has the same weights as"), "{notes}");
}

#[test]
fn copies_are_found_whatever_model_comes_first() {
    let run = epochs();
    write(&run.path("d/last.safetensors"), 4.0, 4);
    // A file of another model among them, which is not averaged.
    save(&run.path("d/epoch=0-step=0.safetensors"), &[f32s("head.weight", &[1.0])]);
    let number = ["d", "--number", "epoch=([0-9]+)", "--start", "3"];
    let (mean, notes) = run.mean(&number);
    assert_eq!(mean, 3.5, "{notes}");
    assert!(notes.contains("`d/last.safetensors` has the same weights"), "{notes}");
}

#[test]
fn torchtunes_numbered_parts_are_no_snapshots() {
    let run = Run::new();
    let save = |name: &str, tensor, value| {
        std::fs::create_dir_all(run.path("d")).unwrap();
        save(&run.path("source.safetensors"), &[f32s(tensor, &[value])]);
        run.avg(&["source.safetensors", "-qo", &format!("d/{name}"), "--force"]).assert().success();
        std::fs::remove_file(run.path("source.safetensors")).unwrap();
    };
    // One part: a file an epoch.
    save("hf_model_0001_0.pt", "bn.weight", 1.0);
    save("hf_model_0001_1.pt", "bn.weight", 3.0);
    assert_eq!(run.mean(&["d"]).0, 2.0);
    save("hf_model_0002_0.pt", "other", 1.0);
    save("hf_model_0002_1.pt", "other", 3.0);
    for arguments in [&["d"][..], &["d/hf_model_0001_0.pt", "d/hf_model_0001_1.pt"]] {
        let mut refused = run.avg(&[arguments, &["-o", "out.safetensors"]].concat());
        fails(&mut refused, 2, &["is one of 2 parts of a model", "join the parts of each epoch"]);
    }
}

#[test]
fn what_only_looks_alike_counts() {
    let run = Run::new();
    // Alike but for one value, wherever it is; frozen but for a small layer.
    for (n, (w, at)) in [(0.0, 0), (1.0, 0), (1.0, 2999), (1.0, 1777)].iter().enumerate() {
        let mut values: Vec<f32> = (0..3000).map(|i| i as f32).collect();
        values[*at] += w;
        let small = f32s("bn.weight", &[n as f32 * 0.0]);
        save(&run.path(&format!("e_{n}.safetensors")), &[f32s("w", &values), small]);
    }
    let (_, notes) = run.mean(&["."]);
    assert!(!notes.contains("same weights"), "{notes}");
    let text = text(&mut run.avg(&[".", "-o", "x.safetensors", "--dry-run", "--json"]));
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(plan["inputs"].as_array().unwrap().len(), 4, "{plan}");
    // Integers are no weights: of copies that differ in a counter the first counts.
    write(&run.path("d/e_1.safetensors"), 1.0, 1);
    write(&run.path("d/e_2.safetensors"), 1.0, 2);
    let (_, notes) = run.mean(&["d"]);
    assert!(notes.contains("e_2.safetensors` has the same weights as `d/e_1"), "{notes}");
}

#[test]
fn weights_that_are_given_insist() {
    let run = Run::new();
    write(&run.path("a_1.safetensors"), 1.0, 1);
    write(&run.path("b_1.safetensors"), 1.0, 1);
    write(&run.path("c_1.safetensors"), 4.0, 1);
    let files = ["a_1.safetensors", "b_1.safetensors", "c_1.safetensors"];
    let (mean, notes) = run.mean(&[&files[..], &["--weights", "1,1,1"]].concat());
    assert_eq!(mean, 2.0);
    assert!(notes.contains("both count, with the weights given"), "{notes}");
    assert_eq!(run.mean(&files).0, 2.5);
    // Outputs of other schemes would count one, and each is what a run for it alone writes.
    let both = ["--weights", "1,1,1", "-o", "w.safetensors", "-o", "mean=m.safetensors"];
    fails(
        &mut run.avg(&[&files[..], &both].concat()),
        2,
        &["both count with weights", "in a run of their own"],
    );
    run.avg(&[&files[..], &both, &["--allow-duplicates"]].concat()).assert().success();
    // The same file named twice.
    assert_eq!(run.mean(&["a_1.safetensors", "a_1.safetensors", "c_1.safetensors"]).0, 2.5);
    let twice = ["a_1.safetensors", "a_1.safetensors", "c_1.safetensors", "--allow-duplicates"];
    assert_eq!(run.mean(&twice).0, 2.0);
}

/// Lightning's callback of SWA: a checkpoint more at the end has the average in place of the weights, and the first ones hold
/// no average yet.
#[test]
fn what_lightnings_callback_keeps_is_no_snapshot() {
    let run = Run::new();
    let names = ["net.weight", "bn.running_mean"];
    let write = |name: &str, weights: u8, average: u8, count: u8| {
        let kept = dict(&[
            ("n_averaged", vec![b'K', count]),
            ("average_model_state", tensors(average, &names)),
        ]);
        let items = [
            ("state_dict", tensors(weights, &names)),
            ("callbacks", dict(&[("StochasticWeightAveraging", kept)])),
        ];
        torch_file(&run.path(name), 1.0, &dict(&items));
    };
    write("epoch=0.ckpt", 0, 20, 0);
    write("epoch=1.ckpt", 2, 10, 1);
    write("epoch=2.ckpt", 4, 16, 2);
    // Its statistics are those of a last pass.
    let items = [
        (
            "state_dict",
            dict(&[("net.weight", tensor(64, 16)), ("bn.running_mean", tensor(64, 30))]),
        ),
        (
            "callbacks",
            dict(&[(
                "StochasticWeightAveraging",
                dict(&[
                    ("n_averaged", b"K\x02".to_vec()),
                    ("average_model_state", tensors(16, &names)),
                ]),
            )]),
        ),
    ];
    torch_file(&run.path("epoch=3.ckpt"), 1.0, &dict(&items));
    let mean = |more: &[&str]| {
        let notes = run.notes(&[&["-o", "out.safetensors"], more].concat());
        (to_f32(&load(&run.path("out.safetensors"))["net.weight"])[0], notes)
    };
    let (value, notes) = mean(&["*.ckpt"]);
    assert_eq!(value, 3.0, "{notes}");
    let part =
        "epoch=3.ckpt` has the average of Lightning's callback in place of its weights: left out";
    assert!(notes.contains(part), "{notes}");
    // What has moved up counts, and whoever insists has all.
    let (value, _) = mean(&["*.ckpt", "--last", "2"]);
    assert_eq!(value, 4.0);
    let (value, _) = mean(&["*.ckpt", "--allow-duplicates"]);
    assert_eq!(value, 6.5);
    let (value, notes) = mean(&["*.ckpt", "--ema"]);
    assert_eq!(value, 14.0, "{notes}");
    assert!(notes.contains("epoch=0.ckpt` has no average yet"), "{notes}");
    // Alone it is what is meant.
    let (value, _) = mean(&["epoch=3.ckpt"]);
    assert_eq!(value, 17.0);
    // One after the other it is said as well.
    let notes = run.notes(&["*.ckpt", "--state", "state", "-o", "state.safetensors"]);
    assert!(notes.contains(part), "{notes}");
    assert_eq!(to_f32(&load(&run.path("state.safetensors"))["net.weight"])[0], 3.0);
}
