//! Which of a program's outputs counts, and what it is.

use std::fs;

use super::*;

/// The softmax of what a network gives has the logits' order, and their loss once it is known for what it is.
#[test]
fn a_program_that_ends_in_a_softmax_is_evaluated_as_one() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let served = folder.program("probabilities");
    let evaluated = |program: &Path| json(&mut eval(&[&model], &[program], &[]));
    let (expected, found) = (evaluated(&program), evaluated(&served));
    for field in ["top1", "top5", "nll", "ece"] {
        let of = |value: &Value| value["models"][0][field].as_f64().unwrap();
        let (expected, found) = (of(&expected), of(&found));
        assert!((expected - found).abs() < 1e-5, "{field}: {expected}, {found}");
    }
    let said = notes(&mut eval(&[&model], &[&served], &[]));
    assert!(said.contains("ends in a softmax"), "{said}");
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
