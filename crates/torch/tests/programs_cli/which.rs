//! Which checkpoint runs which program, and under which names its tensors are found.

use std::fs;

use super::*;

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
fn a_file_that_names_another_network_is_not_run_as_its_look_alike_in_silence() {
    let folder = Folder::new();
    let hub = folder.path("hub");
    fs::create_dir(&hub).unwrap();
    folder.checkpoint("hub/model.safetensors", layout("resnet18"));
    let says = |name: &str| {
        let config = serde_json::json!({ "architecture": name, "num_classes": 4 });
        fs::write(hub.join("config.json"), config.to_string()).unwrap();
    };
    let pixels = ["--crop", "32", "--resize", "32"];
    says("resnetblur18.in1k");
    let parts = ["says that it is resnetblur18.in1k", "the tensors of resnet18", "--program"];
    fails(&mut eval(&[&hub], &[], &pixels), 3, &parts);
    let out = folder.path("out.safetensors");
    let mut command = swa_bn_update();
    command.arg(&hub).args(PIXELS).args(pixels).arg("--data").arg(photos()).arg("-o").arg(&out);
    fails(&mut command, 3, &parts);
    assert!(!out.exists());
    // The file itself, as well; who names the network is believed.
    fails(&mut eval(&[&hub.join("model.safetensors")], &[], &pixels), 3, &parts);
    let named = [&pixels[..], &["--arch", "resnet18"]].concat();
    assert!(!notes(&mut eval(&[&hub], &[], &named)).contains("says that it is"));
    says("tv_resnet18.a1_in1k");
    assert!(!notes(&mut eval(&[&hub], &[], &pixels)).contains("says that it is"));
    says("own_net");
    let note = "says that it is own_net; it is run as resnet18";
    assert!(notes(&mut eval(&[&hub], &[], &pixels)).contains(note));
}
