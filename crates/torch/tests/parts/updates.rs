//! Updates that are shared: their parts, merged, are one process's output; parts of different passes are refused.

use std::fs;
use std::path::Path;

use swa_testing::data_tools::*;
use swa_testing::*;

use crate::scene::*;

#[test]
fn a_shared_update_has_the_bytes_of_one_process() {
    let scene = Scene::new();
    for method in ["cma", "weighted", "pooled"] {
        scene.update(&[("--method", method), ("-o", "plain.safetensors")]).assert().success();
        for (shard, name) in [("0/3", "part_0"), ("1/3", "part_1"), ("2/3", "part_2")] {
            scene.part(shard, name, &[("--method", method)]);
        }
        for parts in [["part_2", "part_0", "part_1"], ["part_0", "part_1", "part_2"]] {
            let mut merge = scene.merge(&snapshot(), &parts, "merged.safetensors");
            merge.arg("--force").assert().success();
            assert!(
                scene.read("merged.safetensors") == scene.read("plain.safetensors"),
                "{method}"
            );
        }
    }
    // The report, too.
    let parts = ["part_0", "part_1", "part_2"];
    let merged = json(&mut scene.merge(&snapshot(), &parts, "other.safetensors"));
    let plain = json(&mut scene.update(&[("-o", "other.safetensors")]));
    for key in ["arch", "method", "images", "batches", "skipped", "all", "layers"] {
        assert_eq!(merged[key], plain[key], "{key}");
    }
}

#[test]
fn more_processes_than_batches_are_no_harm() {
    let scene = Scene::new();
    let few = [("--samples", "100")];
    scene.update(&[few[0], ("-o", "plain.safetensors")]).assert().success();
    let names = ["part_0", "part_1", "part_2", "part_3"];
    for (i, name) in names.iter().enumerate() {
        scene.part(&format!("{i}/4"), name, &few);
    }
    scene.merge(&snapshot(), &names, "merged.safetensors").assert().success();
    assert!(scene.read("merged.safetensors") == scene.read("plain.safetensors"));
}

#[test]
fn parts_that_are_not_those_of_a_pass_are_refused_by_name() {
    let scene = Scene::new();
    let refused = |model: &Path, parts: &[&str], words: &[&str]| {
        fails(&mut scene.merge(model, parts, "out.safetensors"), 3, words);
        assert!(!scene.path("out.safetensors").exists());
    };
    scene.part("0/2", "a", &[]);
    scene.part("1/2", "b", &[]);
    refused(&snapshot(), &["b"], &["part 0/2 is missing"]);
    fs::copy(scene.path("b"), scene.path("c")).unwrap();
    refused(&snapshot(), &["a", "b", "c"], &["`c`: is part 1/2, as `b` is"]);

    let other = |changes: &[(&str, &str)], words: &[&str]| {
        scene.part("1/2", "other", changes);
        refused(&snapshot(), &["a", "other"], &[&["`other`: ", "`a`"], words].concat());
    };
    other(&[("--seed", "1")], &["`seed` is 1, not 0"]);
    other(&[("--batch-size", "32")], &["`batch_size` is 32, not 64", "`batches` is 10, not 5"]);
    other(&[("--method", "cma")], &["`method` is \"cma\", not \"pooled\""]);
    other(&[("--samples", "200")], &["`images` is 200, not 300"]);
    other(&[("--order", "dataset")], &["`order` is \"dataset\", not \"shuffled\""]);
    other(&[("--mean", "0.25")], &["`transform.mean` is [0.25], not [0.286"]);
    other(&[("--split", "test")], &["it is of IDX", "t10k", "not of IDX"]);
    scene.part("1/3", "other", &[]);
    refused(&snapshot(), &["a", "other"], &["`other`", "it is part 1/3, not one of 2"]);

    let stranger = fashion().join("ckpt_0232.safetensors");
    let mut tool = swa_bn_update();
    tool.current_dir(scene.0.path()).arg(&stranger).arg("--data").arg(fashion());
    tool.args(with(&[("--shard", "1/2"), ("--save-stats", "other")])).arg("--force");
    tool.assert().success();
    let models = ["ckpt_0232.safetensors", "ckpt_0240.safetensors"];
    refused(&snapshot(), &["a", "other"], &["it is of ckpt_0232.safetensors, not of ckpt_0240"]);
    refused(&stranger, &["a", "b"], &["`a`", models[1], models[0]]);
    // Other weights under the same name.
    let path = scene.path("ckpt_0240.safetensors");
    fs::copy(&stranger, &path).unwrap();
    refused(&path, &["a", "b"], &["`a`: ckpt_0240.safetensors had other weights"]);

    // What is no part, or damaged.
    fs::copy(snapshot(), scene.path("model")).unwrap();
    refused(&snapshot(), &["a", "model"], &["`model`: is neither a part nor the state"]);
    let whole = scene.read("b");
    for length in (0..whole.len()).step_by(whole.len() / 9) {
        fs::write(scene.path("cut"), &whole[..length]).unwrap();
        refused(&snapshot(), &["a", "cut"], &["`cut`: "]);
    }
    for at in [whole.len() - 1, whole.len() / 2] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(scene.path("flipped"), flipped).unwrap();
        refused(&snapshot(), &["a", "flipped"], &["`flipped`: ", "damaged"]);
    }
    // In metadata, the digest tells.
    let at = whole.windows(8).position(|w| w == b"shuffled").unwrap();
    let mut flipped = whole.clone();
    flipped[at] ^= 1;
    fs::write(scene.path("flipped"), flipped).unwrap();
    refused(&snapshot(), &["a", "flipped"], &["`flipped`: its metadata do not match"]);
}

#[test]
fn flags_that_make_no_sense_are_usage_errors() {
    let scene = Scene::new();
    let usage = |changes: &[(&str, &str)], words: &[&str]| {
        fails(&mut scene.update(changes), 2, words);
    };
    usage(&[("--shard", "2/2"), ("--save-stats", "a")], &["counted from 0 to 1"]);
    usage(&[("--shard", "x"), ("--save-stats", "a")], &["I/N"]);
    usage(&[("--shard", "0/2"), ("-o", "a")], &["--save-stats"]);
    usage(&[("--save-stats", "a"), ("-o", "b")], &["cannot be used with"]);
    usage(&[("-o", "a"), ("--resume", "a")], &["is the state as well as the output"]);
    let mut merge = scene.merge(&snapshot(), &["a"], "out");
    fails(merge.args(["--method", "cma"]), 2, &["--method does not go with --merge-stats"]);
    let mut merge = scene.merge(&snapshot(), &["a"], "out");
    fails(merge.args(["--batch-size", "3"]), 2, &["--batch-size does not go with --merge-stats"]);
    assert!(listing(scene.0.path()).is_empty());
}

/// Images that were left out count over all parts.
#[test]
fn bad_images_are_added_up() {
    let scene = Scene::new();
    let photo = photo();
    for class in 0..10 {
        let folder = scene.path("data").join(format!("class{class}"));
        fs::create_dir_all(&folder).unwrap();
        for image in 0..2 {
            let length = if class < 2 && image == 0 { photo.len() / 2 } else { photo.len() };
            fs::write(folder.join(format!("{image}.jpg")), &photo[..length]).unwrap();
        }
    }
    let run = |changes: &[&str]| {
        let mut tool = swa_bn_update();
        tool.current_dir(scene.0.path()).arg(snapshot());
        tool.args(["--data", "data", "--preset", "none", "--resize", "32", "--crop", "32"]);
        tool.args(["--batch-size", "4", "--threads", "1", "--force"]).args(changes);
        tool
    };
    let plain = json(&mut run(&["--allow-bad", "2", "-o", "plain.safetensors"]));
    assert_eq!(plain["skipped"].as_array().unwrap().len(), 2);
    for (shard, name) in [("0/2", "part_0"), ("1/2", "part_1")] {
        for allowed in ["1", "2"] {
            let name = format!("{name}_{allowed}");
            let mut part = run(&["--shard", shard, "--save-stats", &name, "--allow-bad", allowed]);
            // Each part has one of them.
            part.assert().success();
        }
    }
    let merged = json(&mut scene.merge(&snapshot(), &["part_1_2", "part_0_2"], "m.safetensors"));
    assert_eq!(merged["skipped"], plain["skipped"]);
    assert!(scene.read("m.safetensors") == scene.read("plain.safetensors"));
    let mut merge = scene.merge(&snapshot(), &["part_1_1", "part_0_1"], "n.safetensors");
    fails(&mut merge, 3, &["2 bad images, --allow-bad is 1"]);
    merge.args(["--allow-bad", "2"]).assert().success();
}

/// An image that was mended may go on; one that was exchanged between two parts is other data.
#[test]
fn parts_of_other_images_do_not_belong_together() {
    let scene = Scene::new();
    let data = scene.path("data");
    for class in 0..10 {
        let folder = data.join(format!("class{class}"));
        fs::create_dir_all(&folder).unwrap();
        (0..2).for_each(|i| fs::write(folder.join(format!("{i}.jpg")), photo()).unwrap());
    }
    let part = |shard: &str, name: &str| {
        let mut tool = swa_bn_update();
        tool.current_dir(scene.0.path()).arg(snapshot());
        tool.args(["--data", "data", "--preset", "none", "--resize", "32", "--crop", "32"]);
        tool.args(["--batch-size", "4", "--threads", "1", "--seed", "0", "--shard", shard]);
        tool.args(["--save-stats", name, "--force"]).assert().success();
    };
    part("0/2", "part_0");
    // It decodes to the same pixels, which nobody can know beforehand.
    fs::write(data.join("class3/1.jpg"), [photo(), vec![0]].concat()).unwrap();
    part("1/2", "part_1");
    let mut merge = scene.merge(&snapshot(), &["part_0", "part_1"], "new.safetensors");
    fails(&mut merge, 3, &["had other names, labels or images"]);
    part("0/2", "part_0");
    scene.merge(&snapshot(), &["part_0", "part_1"], "new.safetensors").assert().success();
}
