//! Sizes of images and batches.

use super::*;

#[test]
fn the_program_s_size_is_the_default_and_contradictions_are_named() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let takes = "the program takes images of 3 × 32 × 32";
    fails(
        &mut eval(&[&model], &[&program], &["--crop", "24"]),
        2,
        &[takes, "--crop 24 gives 3 × 24 × 24", "--crop 32"],
    );
    fails(
        &mut eval(&[&model], &[&program], &["--preset", "imagenet"]),
        2,
        &[takes, "--preset imagenet gives 3 × 224 × 224"],
    );
    let given = ["--preset", "imagenet", "--crop", "32", "--resize", "36"];
    let printed = json(&mut eval(&[&model], &[&program], &given));
    assert_eq!(
        (&printed["transform"]["crop"], &printed["transform"]["resize"]),
        (&32.into(), &36.into())
    );
    // Images of other sizes than the program's.
    let native = ["--crop", "0", "--resize", "24"];
    let stderr = fails(&mut eval(&[&model], &[&program], &native), 3, &[]);
    assert!(stderr.contains("pixels") || stderr.contains("images of"), "{stderr}");
    // Nothing says which pixels a small image has.
    let mut command = swa_eval();
    command.arg(&model).arg("--program").arg(&program).arg("--data").arg(photos());
    fails(&mut command, 2, &["which pixels does the model take?", "--preset"]);
    // Free sizes: what is usual for networks of ImageNet.
    let (model, program) = folder.network("any-size");
    let mut command = swa_eval();
    command.arg(&model).arg("--program").arg(&program).arg("--data").arg(photos());
    assert_eq!(json(&mut command)["transform"]["preset"], "imagenet");
    eval(&[&model], &[&program], &["--crop", "48", "--resize", "50"]).assert().success();
    // Large ones: ImageNet's in proportion.
    let (model, program) = folder.network("lcnet");
    let mut command = swa_eval();
    command.arg(&model).arg("--program").arg(&program).arg("--data").arg(photos());
    let printed = json(&mut command);
    assert_eq!(
        (&printed["transform"]["crop"], &printed["transform"]["resize"]),
        (&96.into(), &110.into())
    );
    // Grey.
    let (model, program) = folder.network("grey");
    let grey = ["--mean", "0.5", "--std", "0.25"];
    assert_eq!(json(&mut eval(&[&model], &[&program], &grey))["transform"]["channels"], 1);
    let wrong = ["--preset", "imagenet"];
    fails(
        &mut eval(&[&model], &[&program], &wrong),
        2,
        &["preset `imagenet` has 3 channels, the network takes 1"],
    );
}

#[test]
fn two_models_of_different_sizes_are_not_evaluated_together() {
    let folder = Folder::new();
    let (small, small_program) = folder.network("plain");
    let (large, large_program) = folder.network("lcnet");
    let parts = ["takes images of 3 × 96 × 96", "of 3 × 32 × 32", "one by one"];
    fails(&mut eval(&[&small, &large], &[&small_program, &large_program], &[]), 3, &parts);
}

#[test]
fn a_fixed_batch_is_kept_only_where_the_graph_depends_on_it() {
    let folder = Folder::new();
    let (model, plain) = folder.network("plain");
    let expected = updated(&model, &plain, &folder.path("dynamic.safetensors"), &[]);
    let rows = logits(&model, &plain, &folder.path("logits.safetensors"), &[]);
    for name in ["static-free", "static-one-free"] {
        let program = folder.program(name);
        let (model, _) = folder.network(name);
        let out = folder.path("free.safetensors");
        let free = updated(&model, &program, &out, &["--force"]);
        assert_eq!(free.len(), 6);
        if layout(name) == layout("plain") {
            assert_eq!(free, expected, "{name}");
            assert_eq!(logits(&model, &program, &out, &[]), rows, "{name}");
        }
    }
    // Four at a time, and no other number.
    let (model, program) = folder.network("static-four");
    let out = folder.path("four.safetensors");
    let exactly = ["takes exactly 4 images at a time"];
    fails(
        &mut update(&model, &program, &out, &[]),
        2,
        &[exactly[0], "--batch-size 4", "dynamic_shapes"],
    );
    let parts = [exactly[0], "10 are no whole number of such batches", "--samples 8"];
    fails(&mut update(&model, &program, &out, &["--batch-size", "4"]), 2, &parts);
    for method in ["cma", "layerwise"] {
        let extra = ["--batch-size", "4", "--samples", "8", "--force", "--method", method];
        assert_eq!(json(&mut update(&model, &program, &out, &extra))["images"], 8);
    }
    // An evaluation fills the last batch up: rows do not depend on who shares their batch.
    let all = logits(&model, &program, &out, &[]);
    assert_eq!(all.len(), 40);
    let five = logits(&model, &program, &out, &["--batch-size", "5"]);
    assert_eq!(all.len(), five.len());
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&all, &five), "{all:?} {five:?}");
    // One at a time.
    let (model, program) = folder.network("static-one");
    assert_eq!(logits(&model, &program, &out, &[]).len(), 40);
    let parts = [
        "was exported for batches of one image",
        "dynamic_shapes=({0: torch.export.Dim(\"batch\")},)",
    ];
    fails(&mut update(&model, &program, &folder.path("one"), &[]), 3, &parts);
}

#[test]
fn the_largest_batch_that_was_stated_is_respected() {
    let folder = Folder::new();
    let (model, program) = folder.network("upper");
    let out = folder.path("out.safetensors");
    let printed = json(&mut eval(&[&model], &[&program], &[]));
    let most = printed["batch_size"].as_u64().unwrap();
    assert!(most < 128, "{most}");
    let more = (most + 1).to_string();
    let parts =
        [&format!("takes at most {most} images at a time")[..], &format!("--batch-size {most}")];
    fails(&mut update(&model, &program, &out, &["--batch-size", &more]), 2, &parts);
    fails(&mut eval(&[&model], &[&program], &["--batch-size", &more]), 2, &parts);
}
