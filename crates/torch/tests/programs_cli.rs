//! Exported programs in the two commands: which checkpoint runs which, what is recorded and said, and that all that the
//! commands can do works with them.

mod program_fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use program_fixtures::*;
use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::*;

fn record(path: &Path) -> Value {
    serde_json::from_str(&metadata(path)["swa"]).unwrap()
}

/// The statistics in a file, without what stands before `stem`, `body` and `last` in their names.
fn statistics(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let all = load(path).into_iter().filter(|(name, _)| name.contains(".running_"));
    let short = |name: &str| {
        let at = ["stem", "body", "last"].iter().find_map(|part| name.find(part)).unwrap_or(0);
        name[at..].to_string()
    };
    all.map(|(name, bytes)| (short(&name), bytes)).collect()
}

fn updated(model: &Path, program: &Path, out: &Path, extra: &[&str]) -> BTreeMap<String, Vec<u8>> {
    update(model, program, out, extra).assert().success();
    statistics(out)
}

/// The rows of the logits of one model on the ten photographs.
fn logits(model: &Path, program: &Path, out: &Path, extra: &[&str]) -> Vec<f32> {
    let file = out.to_str().unwrap();
    let extra = [extra, &["--logits", file, "--force"]].concat();
    eval(&[model], &[program], &extra).assert().success();
    to_f32(&load(out)["logits"])
}

#[test]
fn three_commands_and_what_they_record() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let swa = folder.path("swa.safetensors");
    swa_avg().arg(&model).arg("-o").arg(&swa).assert().success();
    let out = folder.path("bn.safetensors");
    let printed = json(&mut update(&swa, &program, &out, &[]));
    let arch = printed["arch"].as_str().unwrap();
    assert!(
        arch.starts_with("program plain.pt2 (") && arch.ends_with(" operators, torch 2.11.0)"),
        "{arch}"
    );
    let used = &printed["program"];
    assert_eq!(used["torch"], "2.11.0");
    assert_eq!(used["schema"], "8.17");
    assert_eq!(used["digest"].as_str().unwrap().len(), 32);
    for list in ["not_reached", "left", "shared", "by_batch", "surplus"] {
        assert_eq!(used[list], serde_json::json!([]), "{list}");
    }
    let recorded = &record(&out)["bn_update"]["program"];
    for field in ["torch", "schema", "digest"] {
        assert_eq!(recorded[field], used[field]);
    }
    assert_eq!(record(&out)["transform"]["crop"], 32);
    assert_eq!(printed["layers"].as_array().unwrap().len(), 3);
    let tensors = load(&out);
    assert_eq!(tensors["body.bn.num_batches_tracked"], 2i64.to_le_bytes());
    assert_ne!(tensors["stem.bn.running_mean"], load(&swa)["stem.bn.running_mean"]);
    for (name, bytes) in load(&swa) {
        if !name.contains("running_") && !name.contains("num_batches") {
            assert_eq!(tensors[&name], bytes, "{name}");
        }
    }
    // The transform is in the model.
    let mut command = swa_eval();
    command.arg(&out).arg("--program").arg(&program).arg("--data").arg(photos());
    let evaluated = json(&mut command);
    assert_eq!(evaluated["models"][0]["program"]["digest"], used["digest"]);
    assert_eq!(evaluated["transform"]["resize"], 32);
    // The output has the form of the input.
    let pth = folder.path("bn.pth");
    update(&swa, &program, &pth, &[]).assert().success();
    assert!(notes(swa_avg().arg("--list").arg(&pth)).is_empty());
}

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
fn prefixes_on_either_side_do_not_matter() {
    let folder = Folder::new();
    let (model, plain) = folder.network("plain");
    let wrapped = folder.program("wrapped");
    let expected = updated(&model, &plain, &folder.path("a.safetensors"), &[]);
    assert_eq!(expected.len(), 6);
    // The network's tensors below `model.` in the program, in the checkpoint, and in both below different names.
    let bytes = load(&model);
    let renamed = |prefix: &str| {
        let path = folder.path(&format!("{prefix}.safetensors"));
        let tensors: Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)> = layout("plain")
            .into_iter()
            .map(|(name, shape)| {
                let dtype = match shape.is_empty() {
                    true => safetensors::Dtype::I64,
                    false => safetensors::Dtype::F32,
                };
                let bytes = bytes[&name].clone();
                (format!("{prefix}{name}"), dtype, shape, bytes)
            })
            .collect();
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (
                name.as_str(),
                safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        });
        safetensors::serialize_to_file(views, None, &path).unwrap();
        path
    };
    for (prefix, program) in
        [("", &wrapped), ("model.", &wrapped), ("model.", &plain), ("net.backbone.", &wrapped)]
    {
        let out = folder.path("b.safetensors");
        let found = updated(&renamed(prefix), program, &out, &["--force"]);
        assert_eq!(found, expected, "{prefix}");
        assert!(load(&out).contains_key(&format!("{prefix}body.bn.running_var")));
    }
}

#[test]
fn surplus_tensors_stay_as_they_are_and_are_named() {
    let folder = Folder::new();
    let (_, program) = folder.network("plain");
    let mut tensors = layout("plain");
    tensors.push(("criterion.weight".into(), vec![4]));
    tensors.push(("teacher.stem.conv.weight".into(), vec![8, 3, 3, 3]));
    let model = folder.checkpoint("more.safetensors", tensors);
    let out = folder.path("out.safetensors");
    let stderr = notes(&mut update(&model, &program, &out, &[]));
    assert!(stderr.contains("2 tensor(s) of the checkpoint are not the program's"), "{stderr}");
    assert!(stderr.contains("`criterion.weight`"), "{stderr}");
    for name in ["criterion.weight", "teacher.stem.conv.weight"] {
        assert_eq!(load(&out)[name], load(&model)[name]);
    }
    let printed = json(&mut update(&model, &program, &out, &["--force"]));
    let surplus = ["criterion.weight", "teacher.stem.conv.weight"];
    assert_eq!(printed["program"]["surplus"], serde_json::json!(surplus));
}

#[test]
fn statistics_go_to_all_names_of_a_tied_layer_and_one_name_is_enough() {
    let folder = Folder::new();
    let (model, program) = folder.network("tied");
    let out = folder.path("out.safetensors");
    update(&model, &program, &out, &[]).assert().success();
    let found = load(&out);
    for part in ["running_mean", "running_var", "num_batches_tracked"] {
        assert_eq!(found[&format!("a.bn.{part}")], found[&format!("alias.{part}")], "{part}");
    }
    assert_ne!(found["alias.running_mean"], load(&model)["alias.running_mean"]);
    // As `save_model` writes tied tensors: each under one name alone.
    for (kept, gone) in [("a.bn.", "alias."), ("alias.", "a.bn.")] {
        let fewer = layout("tied").into_iter().filter(|(name, _)| !name.starts_with(gone));
        let fewer: Vec<_> = fewer.filter(|(name, _)| name != "b.conv.weight").collect();
        let model = folder.checkpoint("fewer.safetensors", fewer);
        let out = folder.path("fewer-out.safetensors");
        update(&model, &program, &out, &["--force"]).assert().success();
        let found = load(&out);
        assert_ne!(
            found[&format!("{kept}running_mean")],
            load(&model)[&format!("{kept}running_mean")]
        );
        assert!(!found.keys().any(|name| name.starts_with(gone)));
    }
}

#[test]
fn each_model_runs_its_own_program_or_a_built_in_network() {
    let folder = Folder::new();
    let (plain, plain_program) = folder.network("plain");
    let (tokens, tokens_program) = folder.network("tokens");
    let (resnet, resnet_program) = folder.network("resnet18");
    let all: [&Path; 3] = [&plain, &tokens, &resnet];
    let together = eval(
        &all,
        &[&plain_program, &tokens_program],
        &["--ensemble", "--crop", "32", "--resize", "32"],
    )
    .args(["--json"])
    .output()
    .unwrap();
    let stderr = String::from_utf8_lossy(&together.stderr).into_owned();
    assert!(together.status.success(), "{stderr}");
    assert!(stderr.contains("no program fits") && stderr.contains("which is resnet18"), "{stderr}");
    let printed: Value = serde_json::from_slice(&together.stdout).unwrap();
    assert!(printed["models"][2]["program"].is_null());
    for (i, (model, program)) in
        [(&plain, &plain_program), (&tokens, &tokens_program)].iter().enumerate()
    {
        let alone = json(&mut eval(&[model], &[program], &["--crop", "32", "--resize", "32"]));
        for field in ["top1", "nll", "program"] {
            assert_eq!(alone["models"][0][field], printed["models"][i][field], "{field}");
        }
    }
    // A program comes before the network that is built in.
    let own = json(&mut eval(&[&resnet], &[&resnet_program], &[]));
    assert!(!own["models"][0]["program"].is_null());
}

#[test]
fn of_two_programs_that_fit_the_user_must_choose() {
    let folder = Folder::new();
    let (model, plain) = folder.network("plain");
    let other = folder.program("no-grad");
    let parts = ["has the tensors of two programs", "plain.pt2", "no-grad.pt2", "--program"];
    fails(&mut eval(&[&model], &[&plain, &other], &[]), 3, &parts);
    // The same one twice is one.
    let copy = folder.path("copy.pt2");
    fs::copy(&plain, &copy).unwrap();
    eval(&[&model], &[&plain, &copy], &[]).assert().success();
}

#[test]
fn a_second_copy_of_the_network_in_a_checkpoint_is_not_guessed_at() {
    let folder = Folder::new();
    let (_, program) = folder.network("plain");
    let below = |prefix: &str| {
        layout("plain")
            .into_iter()
            .map(move |(name, shape)| (format!("{prefix}{name}"), shape))
            .collect::<Vec<_>>()
    };
    let model = folder.checkpoint("two.safetensors", [below("ema."), below("online.")].concat());
    let parts =
        ["has the program's tensors more than once", "`ema.`", "`online.`", "export a module"];
    fails(&mut update(&model, &program, &folder.path("out"), &[]), 3, &parts);
    // A program that says which is meant; the other copy is surplus.
    let wrapped = folder.program("wrapped");
    let model = folder.checkpoint("named.safetensors", [below("ema."), below("model.")].concat());
    let out = folder.path("out.safetensors");
    update(&model, &wrapped, &out, &[]).assert().success();
    assert_eq!(load(&out)["ema.body.bn.running_mean"], load(&model)["ema.body.bn.running_mean"]);
    assert_ne!(
        load(&out)["model.body.bn.running_mean"],
        load(&model)["model.body.bn.running_mean"]
    );
}

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

#[test]
fn what_a_program_leaves_alone_is_named() {
    let folder = Folder::new();
    let used = |name: &str| -> (Value, String) {
        let (model, program) = folder.network(name);
        let out = folder.path("out.safetensors");
        let stderr = notes(&mut update(&model, &program, &out, &["--force"]));
        let printed = json(&mut update(&model, &program, &out, &["--force"]));
        for list in ["left", "not_reached"] {
            for layer in printed["program"][list].as_array().unwrap() {
                let mean = format!("{}.running_mean", layer.as_str().unwrap());
                assert_eq!(load(&out)[&mean], load(&model)[&mean], "{mean}");
            }
        }
        (printed["program"].clone(), stderr)
    };
    let (program, stderr) = used("frozen");
    assert_eq!(program["left"], serde_json::json!(["body.bn"]));
    assert!(
        stderr.contains("plain arithmetic in the program") && stderr.contains("`body.bn`"),
        "{stderr}"
    );
    let (program, stderr) = used("instance");
    assert_eq!(program["not_reached"], serde_json::json!(["spare"]));
    assert_eq!(program["left"], serde_json::json!(["instance"]));
    assert!(stderr.contains("not reached by the program"), "{stderr}");
    let (program, stderr) = used("shared");
    assert_eq!(program["shared"], serde_json::json!(["twice.bn"]));
    assert!(stderr.contains("at several places"), "{stderr}");
    let (program, stderr) = used("no-statistics");
    assert_eq!(program["by_batch"].as_array().unwrap().len(), 1);
    assert!(stderr.contains("results depend on which images share a batch"), "{stderr}");
}

#[test]
fn a_layer_at_several_places_is_not_recomputed_layer_by_layer() {
    let folder = Folder::new();
    let (model, program) = folder.network("shared");
    let out = folder.path("out.safetensors");
    let parts = ["batchnorm layer `twice.bn` stands at 2 places", "--method pooled"];
    fails(&mut update(&model, &program, &out, &["--method", "layerwise"]), 2, &parts);
    update(&model, &program, &out, &[]).assert().success();
    // PyTorch's counter counts both.
    assert_eq!(load(&out)["twice.bn.num_batches_tracked"], 4i64.to_le_bytes());
    assert_eq!(load(&out)["stem.bn.num_batches_tracked"], 2i64.to_le_bytes());
    let bn_data = photos();
    let mut command =
        eval(&[&model], &[&program], &["--compare-stats", "--batch-size", "5", "--bn-data"]);
    let printed = json(command.arg(bn_data));
    let rows = printed["statistics"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["statistics"].as_str().unwrap()).collect();
    assert_eq!(names, ["averaged", "cma", "weighted", "pooled"]);
}

#[test]
fn a_program_in_training_mode_gives_the_statistics_of_one_in_evaluation() {
    let folder = Folder::new();
    let (model, plain) = folder.network("plain");
    let expected = updated(&model, &plain, &folder.path("a.safetensors"), &[]);
    let (model, train) = folder.network("train");
    let found = updated(&model, &train, &folder.path("b.safetensors"), &[]);
    // The network has dropout besides, which is off.
    assert_eq!(found, expected);
    let parts = ["was exported in training mode", "model.eval()"];
    fails(&mut eval(&[&model], &[&train], &[]), 3, &parts);
    let (model, random) = folder.network("drop-path");
    let parts = ["the program draws random numbers (aten.bernoulli_.float", "model.eval()"];
    fails(&mut update(&model, &random, &folder.path("c"), &[]), 3, &parts);
    fails(&mut eval(&[&model], &[&random], &[]), 3, &["model.eval()"]);
}

#[test]
fn parts_interruptions_and_one_pass_end_in_the_same_bytes() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let whole = folder.path("whole.safetensors");
    update(&model, &program, &whole, &["--batch-size", "3"]).assert().success();
    let part = |shard: &str, program: &Path, name: &str| {
        let path = folder.path(name);
        let mut command = swa_bn_update();
        command.arg(&model).arg("--program").arg(program).args(PIXELS).args([
            "--threads",
            "1",
            "--batch-size",
            "3",
        ]);
        command.arg("--data").arg(photos()).args(["--shard", shard, "--save-stats"]).arg(&path);
        command.assert().success();
        path
    };
    let parts = [part("0/2", &program, "p0"), part("1/2", &program, "p1")];
    let merge = |parts: &[&Path], program: Option<&Path>, out: &Path| {
        let mut command = swa_bn_update();
        command.arg(&model).arg("-o").arg(out);
        if let Some(program) = program {
            command.arg("--program").arg(program);
        }
        command.arg("--merge-stats").args(parts);
        command
    };
    let merged = folder.path("merged.safetensors");
    let both: [&Path; 2] = [&parts[0], &parts[1]];
    merge(&both, Some(&program), &merged).assert().success();
    assert_eq!(fs::read(&merged).unwrap(), fs::read(&whole).unwrap());
    // With another program, or none.
    let other = folder.program("no-grad");
    let out = folder.path("other.safetensors");
    fails(
        &mut merge(&both, Some(&other), &out),
        3,
        &["was made with another program", "--program"],
    );
    fails(&mut merge(&both, None, &out), 3, &["not recognised", "--program"]);
    let mixed = part("1/2", &other, "q1");
    fails(
        &mut merge(&[&parts[0], &mixed], Some(&program), &out),
        3,
        &["is of another pass", "another program"],
    );
    // An equal program elsewhere is the same.
    let copy = folder.path("elsewhere.pt2");
    fs::copy(&program, &copy).unwrap();
    merge(&both, Some(&copy), &out).assert().success();
    assert_eq!(fs::read(&out).unwrap(), fs::read(&whole).unwrap());
    // A state of another program is not gone on with; of the same it is, and goes when all is done.
    let state = folder.path("state");
    fs::copy(part("0/1", &program, "all"), &state).unwrap();
    let resume = ["--batch-size", "3", "--force", "--resume", state.to_str().unwrap()];
    fails(
        &mut update(&model, &other, &out, &resume),
        3,
        &["is the state of another pass", "it ran another program"],
    );
    update(&model, &program, &out, &resume).assert().success();
    assert_eq!(fs::read(&out).unwrap(), fs::read(&whole).unwrap());
    assert!(!state.exists());
}

#[test]
fn an_evaluation_in_parts_is_that_of_one_process() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let (other, other_program) = folder.network("tokens");
    let (models, programs): ([&Path; 2], [&Path; 2]) =
        ([&model, &other], [&program, &other_program]);
    let whole = json(&mut eval(&models, &programs, &["--ensemble", "--batch-size", "3"]));
    let part = |shard: &str, programs: &[&Path], name: &str| {
        let path = folder.path(name);
        let mut command =
            eval(&models, programs, &["--ensemble", "--batch-size", "3", "--shard", shard]);
        command.arg("--save-outcomes").arg(&path).assert().success();
        path
    };
    let parts = [part("0/2", &programs, "p0"), part("1/2", &programs, "p1")];
    let mut command = swa_eval();
    let merged = json(command.arg("--merge-outcomes").args(&parts));
    for (a, b) in [("models", "models"), ("ensemble", "ensemble")] {
        assert_eq!(merged[a], whole[b]);
    }
    assert_eq!(merged["models"][1]["program"]["torch"], "2.11.0");
    // In turns.
    let turns = json(&mut eval(
        &models,
        &programs,
        &["--ensemble", "--batch-size", "3", "--models-at-once", "1"],
    ));
    assert_eq!((&turns["models"], &turns["ensemble"]), (&whole["models"], &whole["ensemble"]));
}

#[test]
fn all_methods_freezing_and_stopping_work() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let out = folder.path("out.safetensors");
    let mut seen = vec![];
    for method in ["cma", "weighted", "pooled", "layerwise"] {
        let extra = ["--method", method, "--batch-size", "4", "--force"];
        seen.push(updated(&model, &program, &out, &extra));
        assert_eq!(record(&out)["bn_update"]["method"], method);
    }
    for i in 0..seen.len() {
        assert!(!seen[..i].contains(&seen[i]), "two methods agree");
    }
    let printed = json(&mut update(&model, &program, &out, &["--freeze", "^stem", "--force"]));
    assert_eq!(printed["frozen"], serde_json::json!(["stem.bn"]));
    assert_eq!(load(&out)["stem.bn.running_mean"], load(&model)["stem.bn.running_mean"]);
    assert_ne!(load(&out)["body.bn.running_mean"], load(&model)["body.bn.running_mean"]);
    let extra = ["--batch-size", "1", "--until-stable", "9", "--force"];
    let printed = json(&mut update(&model, &program, &out, &extra));
    assert_eq!(printed["stable"], true);
    let mut command =
        eval(&[&model], &[&program], &["--compare-stats", "--batch-size", "5", "--bn-data"]);
    let printed = json(command.arg(photos()).arg("--last").arg(&out));
    assert_eq!(printed["statistics"].as_array().unwrap().len(), 6);
    assert_eq!(printed["program"]["torch"], "2.11.0");
}

#[test]
fn a_program_without_batchnorm_is_written_as_it_is() {
    let folder = Folder::new();
    let (model, program) = folder.network("attention");
    let out = folder.path("out.safetensors");
    let printed = json(&mut update(&model, &program, &out, &[]));
    assert!(printed["method"].is_null());
    assert_eq!(load(&out), load(&model));
    assert_eq!(record(&out)["bn_update"]["program"]["torch"], "2.11.0");
    eval(&[&out], &[&program], &[]).assert().success();
}

#[test]
fn statistics_of_another_program_are_noted() {
    let folder = Folder::new();
    let (model, program) = folder.network("plain");
    let other = folder.program("no-grad");
    let out = folder.path("out.safetensors");
    update(&model, &program, &out, &[]).assert().success();
    let remark = "were collected with another program than it runs here";
    let stderr = notes(&mut eval(&[&out], &[&other], &[]));
    assert!(stderr.contains(remark), "{stderr}");
    assert!(stderr.contains("program no-grad.pt2 ("), "{stderr}");
    assert!(!notes(&mut eval(&[&out], &[&program], &[])).contains(remark));
    assert!(!notes(&mut eval(&[&model], &[&program], &[])).contains(remark));
}
