//! What `--program` refuses, and how messages lead to it.

mod program_fixtures;

use std::fs;

use program_fixtures::*;
use swa_testing::data_tools::*;
use swa_testing::*;

#[test]
fn a_checkpoint_that_lacks_tensors_is_told_which() {
    let folder = Folder::new();
    let (_, program) = folder.network("plain");
    let fewer: Layout =
        layout("plain").into_iter().filter(|(name, _)| !name.starts_with("last.")).collect();
    let model = folder.checkpoint("fewer.safetensors", fewer);
    let parts = [
        "fewer.safetensors",
        "does not have 5 of the program's 17 tensors: `last.",
        ", …",
        "plain.pt2",
    ];
    fails(&mut eval(&[&model], &[&program], &[]), 3, &parts);
    fails(&mut update(&model, &program, &folder.path("out"), &[]), 3, &parts);
    assert!(!folder.path("out").exists());
    // Counters are not needed.
    let uncounted = layout("plain").into_iter().filter(|(name, _)| !name.ends_with("tracked"));
    let model = folder.checkpoint("old.safetensors", uncounted.collect());
    update(&model, &program, &folder.path("old-out.safetensors"), &[]).assert().success();
}

#[test]
fn other_shapes_are_told_on_both_sides() {
    let folder = Folder::new();
    let (_, program) = folder.network("plain");
    let mut other = layout("plain");
    for (name, shape) in &mut other {
        if name == "head.fc.weight" {
            *shape = vec![9, 16];
        }
    }
    let model = folder.checkpoint("other.safetensors", other.clone());
    let parts = ["tensor `head.fc.weight`: [9, 16] in the checkpoint, [4, 16] in the program"];
    fails(&mut eval(&[&model], &[&program], &[]), 3, &parts);
    for (name, shape) in &mut other {
        if name == "head.fc.bias" {
            *shape = vec![9];
        }
    }
    let model = folder.checkpoint("both.safetensors", other);
    let parts = [
        "2 tensors have other shapes",
        "`head.fc.bias`: [9] in the checkpoint, [4] in the program",
    ];
    fails(&mut eval(&[&model], &[&program], &[]), 3, &parts);
}

#[test]
fn flags_that_do_not_go_together() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let parts = ["--arch resnet50 does not go with --program", "a program is the network itself"];
    fails(&mut eval(&[&model], &[&program], &["--arch", "resnet50"]), 2, &parts);
    let out = folder.path("out");
    fails(&mut update(&model, &program, &out, &["--arch", "resnet50"]), 2, &parts);
    let parts = ["--noise on does not go with --program"];
    fails(&mut update(&model, &program, &out, &["--noise", "on"]), 2, &parts);
    assert!(!out.exists());
}

#[test]
fn every_message_about_unknown_networks_names_the_way_out() {
    let folder = Folder::new();
    let (model, _) = folder.network("plain");
    let way = ["any other network: --program FILE.pt2", "docs/programs.md"];
    let mut command = swa_eval();
    command.arg(&model).arg("--data").arg(photos());
    fails(&mut command, 3, &["not recognised", way[0], way[1]]);
    for arch in ["resnet50", "efficientnet"] {
        let mut command = swa_eval();
        command.arg(&model).arg("--data").arg(photos()).args(["--arch", arch]);
        let message = command.output().unwrap();
        let message = String::from_utf8(message.stderr).unwrap();
        assert!(message.contains(way[0]) && message.contains(way[1]), "{message}");
    }
    for mut tool in [swa_eval(), swa_bn_update()] {
        let list = text(tool.arg("--list-archs"));
        let last = list.lines().last().unwrap();
        assert_eq!(last, "any other network: --program (docs/programs.md)");
    }
}

#[test]
fn what_is_no_program_is_told_what_it_is() {
    let folder = Folder::new();
    let (model, _) = folder.network("plain");
    let out = folder.path("out");
    for (file, parts) in [
        ("refused/scripted.pt", &["TorchScript", "torch.export"][..]),
        ("refused/whole.pth", &["torch.export"]),
        ("refused/compiled.pt2", &["torch.export"]),
    ] {
        let file = programs().join(file);
        fails(&mut eval(&[&model], &[&file], &[]), 3, parts);
        fails(&mut update(&model, &file, &out, &[]), 3, parts);
    }
    fails(&mut eval(&[&model], &[&model], &[]), 3, &["plain.safetensors", "torch.export"]);
    fails(&mut eval(&[&model], &[&folder.path("none.pt2")], &[]), 2, &["none.pt2"]);
    for (name, start) in [
        ("m.onnx", &b"\x08\x08\x12\x07pytorch"[..]),
        ("m.pte", b"\x10\0\0\0ET12"),
        ("empty.pt2", b""),
    ] {
        let path = folder.path(name);
        fs::write(&path, start).unwrap();
        fails(&mut eval(&[&model], &[&path], &[]), 3, &[name]);
    }
    assert!(!out.exists());
}

#[test]
fn operators_and_branches_that_cannot_be_run_are_all_named() {
    let folder = Folder::new();
    let (model, _) = folder.network("plain");
    let custom = programs().join("refused/custom.pt2");
    let parts =
        ["2 operators", "mylib::swish", "torchvision::deform_conv2d", "PyTorch's own operators"];
    fails(&mut eval(&[&model], &[&custom], &[]), 3, &parts);
    let branch = folder.program("branch");
    fails(&mut eval(&[&model], &[&branch], &[]), 3, &["branch.pt2", "`cond`"]);
    let two = folder.program("two-images");
    fails(&mut eval(&[&model], &[&two], &[]), 3, &["two-images.pt2", "input"]);
}

#[test]
fn images_that_cannot_be_made_are_refused() {
    let folder = Folder::new();
    let model = folder.checkpoint("wide.safetensors", layout("plain"));
    let wide = folder.program("wide");
    let parts = ["the program takes images of 3 × 24 × 32", "--crop 0", "free height and width"];
    fails(&mut eval(&[&model], &[&wide], &["--crop", "32"]), 2, &parts);
    let six = folder.program("six-channels");
    let mut tensors = layout("plain");
    for (name, shape) in &mut tensors {
        if name == "stem.conv.weight" {
            shape[1] = 6;
        }
    }
    let model = folder.checkpoint("six.safetensors", tensors);
    fails(
        &mut eval(&[&model], &[&six], &[]),
        3,
        &["six-channels.pt2", "takes images of 6 channels"],
    );
    let rows = folder.program("rows");
    let names = [
        ("0.weight", vec![6, 8]),
        ("0.bias", vec![6]),
        ("3.weight", vec![4, 6]),
        ("3.bias", vec![4]),
    ];
    let norm = ["weight", "bias", "running_mean", "running_var"]
        .map(|part| (format!("1.{part}"), vec![6]));
    let tensors = names.map(|(name, shape)| (name.to_string(), shape)).into_iter().chain(norm);
    let model = folder.checkpoint("rows.safetensors", tensors.collect());
    fails(&mut eval(&[&model], &[&rows], &[]), 3, &["rows.pt2", "not images"]);
}

#[test]
fn a_batch_that_lost_an_image_is_no_batch_of_a_fixed_size() {
    let folder = Folder::new();
    let (model, program) = folder.network("static-four");
    let data = folder.path("data");
    let images = [
        "cat/chelsea.jpg",
        "cat/close.jpeg",
        "cup/coffee.jpg",
        "cup/print.jpg",
        "person/astronaut.jpg",
        "person/grey.jpg",
        "rocket/pad.jpg",
    ];
    for image in images {
        let copy = data.join(image);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(photos().join(image), copy).unwrap();
    }
    // Not among the first, on which the program is tried.
    fs::write(data.join("rocket/rocket.jpg"), "no image").unwrap();
    for method in ["pooled", "layerwise"] {
        let mut command = swa_bn_update();
        command.arg(&model).arg("--program").arg(&program).args(PIXELS).arg("--data").arg(&data);
        command.args(["--batch-size", "4", "--allow-bad", "1", "--method", method]);
        let parts = ["takes exactly 4 images at a time, a batch has 3"];
        fails(command.arg("-o").arg(folder.path("out")), 3, &parts);
    }
    assert!(!folder.path("out").exists());
}

#[test]
fn a_program_as_the_model_is_told_where_it_goes() {
    let folder = Folder::new();
    let program = folder.program("plain");
    let mut command = swa_eval();
    fails(command.arg(&program).arg("--data").arg(photos()), 3, &["plain.pt2", "--program"]);
}
