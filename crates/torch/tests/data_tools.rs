//! swa-bn-update and swa-eval as their users see them, and what they do with bad input.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::*;

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

fn snapshot() -> PathBuf {
    fashion().join("ckpt_0240.safetensors")
}

/// The arguments of a quick run on the fixtures.
fn quick(model: &Path) -> Vec<String> {
    let args =
        [&model.display().to_string(), "--preset", "fashion-mnist", "--samples", "300", "--data"];
    let mut args: Vec<String> = args.iter().map(|s| s.to_string()).collect();
    args.push(fashion().display().to_string());
    args
}

fn update(dir: &Path, name: &str, extra: &[&str]) -> PathBuf {
    let out = dir.join(name);
    swa_bn_update().args(quick(&snapshot())).arg("-o").arg(&out).args(extra).assert().success();
    out
}

/// A folder of `classes` class folders with one image each; `bad` of them cut short.
fn folder(dir: &Path, classes: usize, bad: usize) {
    let photo = fs::read(photos().pop().unwrap()).unwrap();
    for class in 0..classes {
        let class_dir = dir.join(format!("class{class}"));
        fs::create_dir_all(&class_dir).unwrap();
        let length = if class < bad { photo.len() / 2 } else { photo.len() };
        fs::write(class_dir.join("photo.jpg"), &photo[..length]).unwrap();
    }
}

/// The JPEG photographs among the fixtures.
fn photos() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for class in fs::read_dir(fixtures().join("pixels/photos")).unwrap() {
        for file in fs::read_dir(class.unwrap().path()).unwrap() {
            found.push(file.unwrap().path());
        }
    }
    found.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
    found.sort();
    found
}

#[test]
fn the_seed_fixes_the_statistics_whatever_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let read = |path: PathBuf| fs::read(path).unwrap();
    let a = read(update(dir.path(), "a.safetensors", &["--threads", "1"]));
    assert_eq!(a, read(update(dir.path(), "b.safetensors", &["--threads", "1"])));
    // Other batches, other statistics; other settings are in the metadata as well.
    let c = update(dir.path(), "c.safetensors", &["--seed", "1", "--threads", "1"]);
    let mean = |path: &Path| load(path)["bn.running_mean"].clone();
    assert_ne!(mean(&c), mean(&dir.path().join("a.safetensors")));
    // libtorch may sum in another order with more threads.
    let d = update(dir.path(), "d.safetensors", &["--threads", "2"]);
    let (one, two) = (to_f32(&mean(&dir.path().join("a.safetensors"))), to_f32(&mean(&d)));
    assert!(one.iter().zip(&two).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?} {two:?}");
}

#[test]
fn the_settings_are_recorded_and_serve_swa_eval() {
    let dir = tempfile::tempdir().unwrap();
    let swa = dir.path().join("swa.safetensors");
    // As PyTorch's own writer has it: with metadata, which stay.
    let own = dir.path().join("ckpt_0240.safetensors");
    let bytes = fs::read(snapshot()).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    header["__metadata__"] = serde_json::json!({"format": "pt"});
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&own, [&length[..], header.as_bytes(), data].concat()).unwrap();
    swa_avg().arg(&own).arg("-o").arg(&swa).assert().success();
    let out = dir.path().join("swa_bn.safetensors");
    swa_bn_update()
        .args(quick(&swa))
        .arg("-o")
        .arg(&out)
        .args(["--method", "weighted"])
        .assert()
        .success();
    let record: Value = serde_json::from_str(&metadata(&out)["swa"]).unwrap();
    assert_eq!(record["inputs"][0], "ckpt_0240.safetensors");
    let update = &record["bn_update"];
    assert_eq!((&update["method"], &update["images"]), (&"weighted".into(), &300.into()));
    assert_eq!(record["transform"]["preset"], "fashion-mnist");
    assert_eq!(metadata(&out)["format"], "pt");
    let eval = json(swa_eval().arg(&out).args(["--samples", "100", "--data"]).arg(fashion()));
    assert_eq!(eval["transform"], record["transform"]);
    // It survives another averaging.
    let again = dir.path().join("again.safetensors");
    swa_avg().arg(&out).arg("-o").arg(&again).assert().success();
    let again: Value = serde_json::from_str(&metadata(&again)["swa"]).unwrap();
    assert_eq!(again["transform"], record["transform"]);
    assert_eq!(eval["models"][0]["n"], 100);
}

#[test]
fn the_report_names_the_layers_that_moved_most() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    let report = json(swa_bn_update().args(quick(&snapshot())).arg("-o").arg(&out));
    let layers = report["layers"].as_array().unwrap();
    assert_eq!((layers.len(), &report["batches"]), (7, &3.into()));
    let moved: Vec<f64> = layers.iter().map(|l| l["moved"].as_f64().unwrap()).collect();
    assert!(moved.is_sorted_by(|a, b| a >= b) && moved[0] > 0.0, "{moved:?}");
    assert_eq!(report["all"]["channels"], 240);
}

#[test]
fn several_models_share_a_pass_and_are_compared() {
    let models = [snapshot(), fashion().join("sgd.safetensors")];
    let run = |models: &[PathBuf], extra: &[&str]| {
        let args = ["--preset", "fashion-mnist", "--samples", "500", "--data"];
        json(swa_eval().args(models).args(args).arg(fashion()).args(extra))
    };
    let both = run(&models, &["--ensemble"]);
    for (i, model) in models.iter().enumerate() {
        let alone = run(std::slice::from_ref(model), &[]);
        assert_eq!(alone["models"][0]["correct"], both["models"][i]["correct"]);
    }
    assert!(both["models"][0].get("mcnemar_p").is_none());
    let p = both["models"][1]["mcnemar_p"].as_f64().unwrap();
    assert!(p > 0.0 && p <= 1.0);
    assert_eq!(both["ensemble"]["n"], 500);
    // An ensemble of one is that model.
    let one = run(&models, &["--ensemble=sgd*"]);
    assert_eq!(one["ensemble"]["correct"], both["models"][1]["correct"]);
    let (a, b) =
        (one["ensemble"]["nll"].as_f64().unwrap(), both["models"][1]["nll"].as_f64().unwrap());
    assert!((a - b).abs() < 1e-9);
}

#[test]
fn the_batch_size_does_not_change_an_evaluation() {
    let run = |size: &str| json(swa_eval().args(quick(&snapshot())).args(["--batch-size", size]));
    let (a, b) = (run("7"), run("300"));
    assert_eq!(a["models"][0]["correct"], b["models"][0]["correct"]);
    let nll = |run: &Value| run["models"][0]["nll"].as_f64().unwrap();
    assert!((nll(&a) - nll(&b)).abs() < 1e-6);
}

#[test]
fn unreadable_images_stop_the_run_unless_they_are_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    folder(&data, 10, 2);
    let run = |extra: &[&str]| {
        let mut command = swa_eval();
        command
            .arg(snapshot())
            .args(["--preset", "none", "--resize", "32", "--crop", "32", "--data"]);
        command.arg(&data).args(extra);
        command
    };
    fails(&mut run(&[]), 3, &["class0/photo.jpg", "--allow-bad"]);
    fails(&mut run(&["--allow-bad", "1"]), 3, &["class1/photo.jpg"]);
    let report = json(&mut run(&["--allow-bad", "2"]));
    assert_eq!(
        (&report["models"][0]["n"], report["skipped"].as_array().unwrap().len()),
        (&8.into(), 2)
    );
}

#[test]
fn the_data_must_fit_the_head() {
    let dir = tempfile::tempdir().unwrap();
    folder(&dir.path().join("data"), 3, 0);
    let mut command = swa_eval();
    command.arg(snapshot()).args(["--preset", "none", "--data"]).arg(dir.path().join("data"));
    fails(&mut command, 3, &["the data has 3 classes", "has 10"]);
}

#[test]
fn data_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = |data: &Path| {
        let mut command = swa_eval();
        command.arg(snapshot()).args(["--preset", "fashion-mnist", "--data"]).arg(data);
        command
    };
    fails(&mut run(&dir.path().join("absent")), 2, &["absent`: no such directory"]);
    fails(&mut run(dir.path()), 3, &["empty"]);
    fs::create_dir(dir.path().join("class")).unwrap();
    fails(&mut run(dir.path()), 3, &["no images"]);
}

#[test]
fn unknown_networks_are_compared_with_the_closest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    save(&path, &[f32s("weight", &[1.0])]);
    fails(
        swa_eval().args(quick(&path)),
        3,
        &["architecture not recognised", "resnet50", "preresnet-"],
    );
    // One tensor short, one too many.
    let tensors = load(&snapshot());
    let file = fs::read(snapshot()).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&file).unwrap();
    let mut views: Vec<_> =
        tensors.keys().map(|k| (k.as_str(), whole.tensor(k).unwrap())).collect();
    views.retain(|(name, _)| *name != "layer2.0.conv1.weight");
    views.push(("extra.weight", whole.tensor("fc.bias").unwrap()));
    safetensors::serialize_to_file(views, None, &path).unwrap();
    fails(
        swa_eval().args(quick(&path)),
        3,
        &[
            "the closest, preresnet-8, differs in 2 place(s)",
            "tensor `layer2.0.conv1.weight` [32, 16, 3, 3] is missing",
            "tensor `extra.weight` is not part of it",
        ],
    );
    fails(
        swa_eval().args(quick(&path)).args(["--arch", "resnet18"]),
        3,
        &["does not fit resnet18"],
    );
    fails(
        swa_eval().args(quick(&path)).args(["--arch", "resnet17"]),
        2,
        &["resnet17 is not known"],
    );
}

#[test]
fn a_common_prefix_is_seen_through() {
    let dir = tempfile::tempdir().unwrap();
    let plain = load(&update(dir.path(), "plain.safetensors", &[]));
    let file = fs::read(snapshot()).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&file).unwrap();
    let count = 10i64.to_le_bytes();
    // Lightning, a module in a module, and PyTorch's AveragedModel.
    for (prefix, extra) in [("model.", false), ("model.net.", false), ("module.", true)] {
        let path = dir.path().join("wrapped.safetensors");
        let mut views: Vec<_> = whole
            .tensors()
            .into_iter()
            .map(|(name, view)| (format!("{prefix}{name}"), view))
            .collect();
        if extra {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![], &count);
            views.push(("n_averaged".into(), view.unwrap()));
        }
        safetensors::serialize_to_file(views, None, &path).unwrap();
        let out = dir.path().join("out.safetensors");
        swa_bn_update().args(quick(&path)).args(["--force", "-o"]).arg(&out).assert().success();
        let found = load(&out);
        let a = to_f32(&found[&format!("{prefix}bn.running_var")]);
        let b = to_f32(&plain["bn.running_var"]);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs()), "{prefix}");
        assert_eq!(found.contains_key("n_averaged"), extra);
    }
}

#[test]
fn absurd_sizes_are_bad_input_not_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let empty = |name, shape: &[usize]| (name, safetensors::Dtype::F32, shape.to_vec(), vec![]);
    save(
        &path,
        &[
            empty("conv1.weight", &[1 << 62, 0, 3, 3]),
            empty("layer1.0.conv1.weight", &[0]),
            empty("layer1.0.conv3.weight", &[0]),
        ],
    );
    fails(swa_eval().args(quick(&path)), 3, &["not recognised", "`conv1.weight`"]);
    let deep = ["--arch", "preresnet-6000000000002"];
    fails(swa_eval().args(quick(&path)).args(deep), 2, &["is not known"]);
}

#[test]
fn a_recorded_transform_must_fit_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let file = fs::read(snapshot()).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&file).unwrap();
    let record = r#"{"transform":{"preset":"x","resize":null,"crop":null,"interpolation":"bilinear","mean":[0,0,0],"std":[1,1,1],"channels":3}}"#;
    let metadata = Some([("swa".to_string(), record.to_string())].into());
    safetensors::serialize_to_file(whole.tensors(), metadata, &path).unwrap();
    let mut command = swa_eval();
    command.arg(&path).args(["--samples", "10", "--data"]).arg(fashion());
    fails(&mut command, 3, &["recorded", "3 channel(s)", "takes 1", "--preset"]);
    command.args(["--preset", "fashion-mnist"]).assert().success();
}

#[test]
fn a_model_is_not_overwritten_by_its_logits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    fs::copy(snapshot(), &path).unwrap();
    let mut command = swa_eval();
    command.args(quick(&path)).arg("--force").arg("--logits").arg(&path);
    fails(&mut command, 2, &["is an input as well"]);
    // Nor are labels and classes, by any command.
    let labels = dir.path().join("labels.csv");
    fs::write(&labels, "mine").unwrap();
    for (mut command, output) in [(swa_eval(), "--per-class"), (swa_bn_update(), "-o")] {
        command.args(quick(&path)).arg("--labels").arg(&labels).arg("--force");
        command.arg(output).arg(&labels);
        fails(&mut command, 2, &["labels.csv", "is an input as well"]);
    }
    assert_eq!(fs::read_to_string(&labels).unwrap(), "mine");
}

#[test]
fn a_device_that_is_not_there_is_a_usage_error() {
    let mut command = swa_eval();
    command.args(quick(&snapshot())).args(["--device", "cuda:99"]);
    fails(&mut command, 2, &["--device cuda:99"]);
    fails(swa_eval().args(quick(&snapshot())).args(["--device", "tpu"]), 2, &["cuda:N"]);
}

#[test]
fn a_model_without_a_record_needs_a_preset() {
    let mut command = swa_eval();
    command.arg(snapshot()).arg("--data").arg(fashion());
    fails(&mut command, 2, &["--preset", "fashion-mnist", "imagenet"]);
    fails(command.args(["--preset", "cifar11"]), 2, &["cifar11", "cifar10"]);
}

#[test]
fn no_samples_are_refused_and_the_old_output_stays() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    fs::write(&out, "old").unwrap();
    let mut command = swa_bn_update();
    command.args(quick(&snapshot())).args(["--samples", "0", "--force", "-o"]).arg(&out);
    fails(&mut command, 2, &["--samples"]);
    assert_eq!(fs::read(&out).unwrap(), b"old");
}

#[test]
fn architectures_are_listed() {
    for mut command in [swa_bn_update(), swa_eval()] {
        let output = command.arg("--list-archs").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.lines().any(|line| line == "resnet152"), "{text}");
    }
}

/// What the tools make of a safetensors file they make of a PyTorch file too, flat or as its trainer left it.
#[test]
fn pytorch_files_go_through_all_three_tools() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let flat = path("flat.pth");
    swa_avg().arg(snapshot()).arg("-o").arg(&flat).assert().success();
    let run = |model: &Path, out: &Path, more: &[&str]| {
        swa_bn_update().args(quick(model)).arg("-o").arg(out).args(more).assert().success();
    };
    let (reference, updated) = (update(dir.path(), "a.safetensors", &[]), path("updated.pth"));
    run(&flat, &updated, &[]);
    // Back to safetensors: the same tensors.
    let back = path("back.safetensors");
    swa_avg().arg(&updated).arg("-o").arg(&back).assert().success();
    assert_eq!(load(&back), load(&reference));
    // By the ending of the output, whatever the input is.
    run(&flat, &path("b.safetensors"), &[]);
    assert_eq!(load(&path("b.safetensors")), load(&reference));
    // In a copy of another file.
    let like = flat.display().to_string();
    run(&snapshot(), &path("like.pth"), &["--like", &like]);
    swa_avg().args(["--force", "-o"]).arg(&back).arg(path("like.pth")).assert().success();
    assert_eq!(load(&back), load(&reference));
    swa_avg().arg("--verify").arg(path("like.pth")).assert().success();

    let eval = |model: &Path| {
        let mut result = json(swa_eval().args(quick(model)));
        result["models"].take()
    };
    let (mut a, mut b) = (eval(&reference), eval(&updated));
    for rows in [&mut a, &mut b] {
        for key in ["model", "path", "seconds"] {
            rows[0].as_object_mut().unwrap().remove(key);
        }
    }
    assert_eq!(a, b);
}

#[test]
fn the_version_names_the_command_and_the_libtorch_that_it_found() {
    let own = env!("CARGO_PKG_VERSION");
    for (command, mut run) in [("swa-eval", swa_eval()), ("swa-bn-update", swa_bn_update())] {
        let output = run.arg("--version").assert().success().get_output().clone();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{command} {own}"), "{text}");
        let (version, folder) =
            lines[1].strip_prefix("libtorch ").and_then(|line| line.split_once(" in ")).unwrap();
        assert!(version.starts_with("2.11."), "{text}");
        assert!(Path::new(folder).join("libtorch_cpu.so").exists(), "{text}");
        assert!(lines[2].starts_with("built for "), "{text}");
        assert_eq!((lines.len(), output.stderr.len()), (3, 0), "{text}");
    }
    swa_eval().arg("-V").assert().success().stdout(format!("swa-eval {own}\n"));
}
