//! Which of a program's outputs counts, and what it is.

use std::fs;

use super::*;

/// The softmax of what a network gives has the logits' order, and their loss once it is known for what it is.
#[test]
fn a_program_that_gives_probabilities_is_evaluated_by_their_logarithms() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    // Two models, which are loaded again for the pass where they take turns.
    let copy = folder.path("copy.safetensors");
    fs::copy(&model, &copy).unwrap();
    let evaluated =
        |program: &Path, extra: &[&str]| json(&mut eval(&[&model, &copy], &[program], extra));
    let expected = evaluated(&program, &[]);
    for (name, note) in [
        ("probabilities", "ends in a softmax: the logarithms"),
        ("clamped", "are probabilities, as after a softmax: their logarithms"),
    ] {
        let served = folder.program(name);
        for extra in [&[] as &[&str], &["--models-at-once", "1", "--batch-size", "3"]] {
            let found = evaluated(&served, extra);
            for field in ["top1", "top5", "nll", "ece"] {
                let of = |value: &Value| value["models"][1][field].as_f64().unwrap();
                let (expected, found) = (of(&expected), of(&found));
                assert!((expected - found).abs() < 1e-5, "{name}, {field}: {expected}, {found}");
            }
        }
        let said = notes(&mut eval(&[&model], &[&served], &[]));
        assert!(said.matches("softmax").count() == 1 && said.contains(note), "{name}: {said}");
    }
    let said = notes(&mut eval(&[&model], &[&program], &[]));
    assert!(!said.contains("softmax"), "{said}");
    // Statistics do not depend on it, and nothing is said.
    let served = folder.program("clamped");
    let said = notes(&mut update(&model, &served, &folder.path("out.safetensors"), &[]));
    assert!(!said.contains("softmax"), "{said}");
}

/// All parts of a pass look at the same images to tell.
#[test]
fn parts_of_a_pass_take_probabilities_for_the_same() {
    let folder = Folder::new();
    let (model, program) = (folder.network("plain").0, folder.program("clamped"));
    let whole = json(&mut eval(&[&model], &[&program], &["--batch-size", "3"]));
    let part = |shard: &str, name: &str| {
        let path = folder.path(name);
        let extra = ["--batch-size", "3", "--shard", shard];
        let mut command = eval(&[&model], &[&program], &extra);
        command.arg("--save-outcomes").arg(&path).assert().success();
        path
    };
    let parts = [part("0/2", "p0"), part("1/2", "p1")];
    let merged = json(swa_eval().arg("--merge-outcomes").args(&parts));
    assert_eq!(merged["models"], whole["models"]);
}

#[test]
fn of_several_outputs_the_only_one_of_images_by_classes_is_taken() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let expected = logits(&model, &program, &folder.path("a.safetensors"), &[]);
    assert_eq!(expected.len(), 40);
    for name in ["dict", "tuple"] {
        let program = folder.program(name);
        assert_eq!(
            logits(&model, &program, &folder.path("b.safetensors"), &[]),
            expected,
            "{name}"
        );
    }
    let (model, program) = folder.network("two-heads");
    let parts = ["which outputs of", "`out` [2, 4]", "`aux` [2, 4]", "returns the logits alone"];
    fails(&mut eval(&[&model], &[&program], &[]), 3, &parts);
    // Statistics need no logits.
    update(&model, &program, &folder.path("heads.safetensors"), &[]).assert().success();
    let (model, program) = folder.network("segmentation");
    let parts = ["gives no logits of [images, classes]", "[2, 4, 32, 32]"];
    fails(&mut eval(&[&model], &[&program], &[]), 3, &parts);
    for method in ["pooled", "layerwise"] {
        let out = folder.path("map.safetensors");
        let found = updated(&model, &program, &out, &["--method", method, "--force"]);
        assert_ne!(found, statistics(&model));
    }
}

#[test]
fn a_program_s_features_need_not_be_the_data_s_classes_for_statistics() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let three = folder.path("three");
    fs::create_dir(&three).unwrap();
    for class in ["cat", "cup", "person"] {
        std::os::unix::fs::symlink(photos().join(class), three.join(class)).unwrap();
    }
    let with = |mut command: assert_cmd::Command| {
        command.arg("--program").arg(&program).args(PIXELS).arg("--data").arg(&three);
        command
    };
    let mut command = with(swa_bn_update());
    command.arg(&model).arg("-o").arg(folder.path("out.safetensors"));
    let stderr = notes(&mut command);
    assert!(
        stderr.contains("the data has 3 classes")
            && stderr.contains("has 4; statistics do not depend on classes"),
        "{stderr}"
    );
    let mut command = with(swa_eval());
    fails(command.arg(&model), 3, &["the data has 3 classes, the head of"]);
}
