//! Which statistics swa-bn-update leaves as they are (networks without batchnorm, frozen layers), and with
//! which noise it computes the others.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use swa_testing::data_tools::*;
use swa_testing::golden::write_formula;
use swa_testing::*;

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

fn snapshot() -> PathBuf {
    fashion().join("ckpt_0240.safetensors")
}

/// swa-bn-update on 300 images.
fn update(model: &Path, out: &Path, extra: &[&str]) -> Command {
    let mut command = swa_bn_update();
    command.arg(model).arg("-o").arg(out).args(["--preset", "fashion-mnist", "--samples", "300"]);
    command.args(["--threads", "1", "--data"]).arg(fashion()).args(extra);
    command
}

fn updated(model: &Path, out: &Path, extra: &[&str]) -> BTreeMap<String, Vec<u8>> {
    update(model, out, extra).assert().success();
    load(out)
}

fn record(path: &Path) -> Value {
    serde_json::from_str(&metadata(path)["swa"]).unwrap()
}

/// The snapshot, its tensors changed.
fn changed(path: &Path, change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) {
    let file = fs::read(snapshot()).unwrap();
    let whole = SafeTensors::deserialize(&file).unwrap();
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = whole
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| {
            let bytes = change(&name, view.data().to_vec())?;
            Some((name, view.dtype(), view.shape().to_vec(), bytes))
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A VGG without batchnorm: two convolutions, for images of 28 × 28 in one channel.
fn vgg(path: &Path) {
    let tensors: [(&str, &[usize]); 5] = [
        ("features.0", &[4, 1, 3, 3]),
        ("features.3", &[8, 4, 3, 3]),
        ("classifier.1", &[16, 8 * 7 * 7]),
        ("classifier.4", &[16, 16]),
        ("classifier.6", &[10, 16]),
    ];
    let tensors = tensors.into_iter().flat_map(|(name, shape)| {
        [(format!("{name}.weight"), shape.to_vec()), (format!("{name}.bias"), vec![shape[0]])]
    });
    write_formula(path, tensors.collect());
}

/// A Shake-Shake-8 2x4d for images in one channel.
fn shake_shake(path: &Path) {
    let mut tensors: Vec<(String, Vec<usize>)> = vec![("conv.weight".into(), vec![16, 1, 3, 3])];
    let mut norms = vec![("bn".to_string(), 16)];
    let mut inputs = 16;
    for stage in 1..=3 {
        let (at, outputs) = (format!("stage{stage}.block1"), 2 << stage);
        for path in 1..=2 {
            for (i, from) in [(1, inputs), (2, outputs)] {
                let at = format!("{at}.residual_path{path}");
                tensors.push((format!("{at}.conv{i}.weight"), vec![outputs, from, 3, 3]));
                norms.push((format!("{at}.bn{i}"), outputs));
            }
        }
        for i in 1..=2 {
            let name = format!("{at}.shortcut.skip.conv{i}.weight");
            tensors.push((name, vec![outputs / 2, inputs, 1, 1]));
        }
        norms.push((format!("{at}.shortcut.skip.bn"), outputs));
        inputs = outputs;
    }
    for (name, n) in norms {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{name}.{part}"), vec![n]));
        }
    }
    tensors.extend([("fc.weight".into(), vec![10, inputs]), ("fc.bias".into(), vec![10])]);
    write_formula(path, tensors);
}

/// The first 200 test images and their labels, as IDX files.
fn few_images(dir: &Path) {
    fs::create_dir(dir).unwrap();
    for (name, header, size) in
        [("t10k-images-idx3-ubyte", 16, 28 * 28), ("t10k-labels-idx1-ubyte", 8, 1)]
    {
        let packed = fs::File::open(fashion().join(format!("{name}.gz"))).unwrap();
        let mut bytes = vec![0; header + 200 * size];
        flate2::read::GzDecoder::new(packed).read_exact(&mut bytes).unwrap();
        bytes[4..8].copy_from_slice(&200u32.to_be_bytes());
        fs::write(dir.join(name), bytes).unwrap();
    }
}

#[test]
fn a_network_without_batchnorm_goes_through_unchanged_and_no_data_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    vgg(&path("vgg.safetensors"));
    let before = load(&path("vgg.safetensors"));
    let run = |model: &str, out: &str, extra: &[&str]| {
        let mut command = swa_bn_update();
        command.arg(path(model)).arg("-o").arg(path(out)).arg("--data").arg(path("absent"));
        command.args(extra);
        command
    };
    let output = run("vgg.safetensors", "out.safetensors", &[]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("has no batchnorm layers: nothing to recompute"), "{text}");
    assert_eq!(load(&path("out.safetensors")), before);
    let settings = record(&path("out.safetensors"));
    assert_eq!(settings["bn_update"]["images"], 0);
    assert!(settings.get("transform").is_none());

    // In its own container, or that of the output's ending; with the pixels, where they are said.
    swa_avg().arg(path("vgg.safetensors")).arg("-o").arg(path("vgg.pth")).assert().success();
    let report = json(&mut run("vgg.pth", "out", &["--preset", "fashion-mnist"]));
    assert_eq!((&report["arch"], &report["images"]), (&"vgg-cifar-5".into(), &0.into()));
    assert!(fs::read(path("out")).unwrap().starts_with(b"PK"));
    run("vgg.pth", "back.safetensors", &["--preset", "fashion-mnist"]).assert().success();
    assert_eq!(load(&path("back.safetensors")), before);
    let settings = record(&path("back.safetensors"));
    assert_eq!(settings["transform"]["preset"], "fashion-mnist");
    swa_eval()
        .arg(path("back.safetensors"))
        .args(["--samples", "20", "--data"])
        .arg(fashion())
        .assert()
        .success();

    // What is wrong is still wrong.
    fails(&mut run("vgg.safetensors", "out.safetensors", &[]), 2, &["exists", "--force"]);
    fails(&mut run("vgg.safetensors", "o", &["--preset", "x"]), 2, &["unknown preset `x`"]);
    fails(&mut run("vgg.safetensors", "o", &["--arch", "resnet18"]), 3, &["does not fit resnet18"]);
    fails(&mut run("vgg.safetensors", "o", &["--freeze", "bn"]), 2, &["--freeze bn"]);
    assert!(!path("o").exists());
}

#[test]
fn a_soup_of_networks_without_batchnorm_needs_no_data_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    vgg(&path("a.safetensors"));
    let mut other = fs::read(path("a.safetensors")).unwrap();
    let end = other.len() - 4;
    other[end..].copy_from_slice(&0.5f32.to_le_bytes());
    fs::write(path("b.safetensors"), other).unwrap();
    let mut soup = swa_eval();
    soup.args(["a.safetensors", "b.safetensors"].map(path)).arg("--data").arg(fashion());
    soup.args(["--preset", "fashion-mnist", "--samples", "200", "--soup"])
        .arg(path("soup.safetensors"));
    let report = json(&mut soup);
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 2);
    let members = trials.iter().filter(|trial| trial["accepted"] == true);
    let members = members.map(|trial| trial["candidate"].as_str().unwrap());
    swa_avg().args(members).arg("-o").arg(path("expected.safetensors")).assert().success();
    let [soup, expected] =
        ["soup", "expected"].map(|name| fs::read(path(&format!("{name}.safetensors"))));
    assert_eq!(soup.unwrap(), expected.unwrap());
}

/// A file of the parameters alone lacks the statistics that its network needs: it is no network without
/// batchnorm.
#[test]
fn missing_statistics_are_not_taken_for_no_batchnorm() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    changed(&model, |name, bytes| (!name.contains("running_")).then_some(bytes));
    let missing = "tensor `bn.running_mean` [64] is missing";
    fails(&mut update(&model, &dir.path().join("out"), &[]), 3, &["preresnet-8", missing]);
}

#[test]
fn frozen_layers_keep_their_statistics_and_normalise_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let before = load(&snapshot());
    let plain = updated(&snapshot(), &path("plain.safetensors"), &[]);
    let layers = |found: &BTreeMap<String, Vec<u8>>, than: &BTreeMap<String, Vec<u8>>| {
        let names = found.keys().filter_map(|name| name.strip_suffix(".running_mean"));
        let same = |name: &&str| {
            ["running_mean", "running_var", "num_batches_tracked"].iter().all(|part| {
                let key = format!("{name}.{part}");
                found.get(&key) == than.get(&key)
            })
        };
        names.filter(same).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(layers(&plain, &before), [""; 0]);

    // The last layer: all others are as without freezing.
    let found = updated(&snapshot(), &path("last.safetensors"), &["--freeze", "^bn$"]);
    assert_eq!(layers(&found, &before), ["bn"]);
    assert_eq!(layers(&found, &plain).len(), 6);
    let settings = &record(&path("last.safetensors"))["bn_update"];
    assert_eq!(settings["frozen"], serde_json::json!(["bn"]));
    assert_eq!(record(&path("plain.safetensors"))["bn_update"]["frozen"], serde_json::json!([]));

    // The first: what comes after it sees other values.
    let found = updated(&snapshot(), &path("first.safetensors"), &["--freeze", "^layer1"]);
    assert_eq!(layers(&found, &before), ["layer1.0.bn1", "layer1.0.bn2"]);
    assert_eq!(layers(&found, &plain), [""; 0]);

    // As torchvision's FrozenBatchNorm2d: without a counter where others have one.
    let model = path("model.safetensors");
    changed(&model, |name, bytes| (name != "bn.num_batches_tracked").then_some(bytes));
    let output = update(&model, &path("counter.safetensors"), &[]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("frozen: 1 batchnorm layer(s), such as `bn`"), "{text}");
    let found = load(&path("counter.safetensors"));
    assert_eq!(layers(&found, &load(&model)), ["bn"]);
    assert!(!found.contains_key("bn.num_batches_tracked"));

    // All of them: nothing is left to recompute.
    let report = json(&mut update(&snapshot(), &path("all.safetensors"), &["--freeze", "."]));
    assert_eq!((report["frozen"].as_array().unwrap().len(), &report["images"]), (7, &0.into()));
    assert_eq!(load(&path("all.safetensors")), before);

    let wrong = ["--freeze", "layer9"];
    let parts = ["no batchnorm layer has such a name", "`layer1.0.bn1`"];
    fails(&mut update(&snapshot(), &path("o"), &wrong), 2, &parts);
}

#[test]
fn counters_that_leave_doubt_are_pointed_out() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("model.safetensors"), dir.path().join("out.safetensors"));
    let said = |model: &Path| {
        let output = update(model, &out, &["--force"]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!said(&snapshot()).contains("--freeze"));
    // In evaluation mode while the others trained.
    changed(&model, |name, bytes| match name {
        "layer1.0.bn1.num_batches_tracked" => Some(vec![0; 8]),
        _ => Some(bytes),
    });
    let text = said(&model);
    let part = "1 of 7 batchnorm layers, such as `layer1.0.bn1`, saw fewer batches";
    assert!(text.contains(part) && text.contains("(0 and ") && text.contains("--freeze"), "{text}");
    // From before counters, or all frozen: recomputed.
    changed(&model, |name, bytes| (!name.contains("num_batches")).then_some(bytes));
    let text = said(&model);
    assert!(text.contains("no batchnorm layer has `num_batches_tracked`"), "{text}");
    assert_ne!(load(&out)["bn.running_mean"], load(&model)["bn.running_mean"]);
}

#[test]
fn noise_is_off_unless_asked_for_and_follows_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let model = path("model.safetensors");
    shake_shake(&model);
    let run = |out: &str, extra: &[&str]| updated(&model, &path(out), extra);
    let plain = run("plain", &[]);
    assert_eq!(plain, run("off", &["--noise", "off"]));
    let on = run("on", &["--noise", "on"]);
    assert_eq!(on, run("again", &["--noise", "on"]));
    assert_ne!(on, plain);
    // Before the first mixing nothing is drawn.
    let layer = |found: &BTreeMap<String, Vec<u8>>, name: &str| found[name].clone();
    let first = "stage1.block1.residual_path2.bn2.running_var";
    assert_eq!(layer(&on, first), layer(&plain, first));
    let second = "stage2.block1.residual_path1.bn1.running_var";
    assert_ne!(layer(&on, second), layer(&plain, second));
    let noise = |name: &str| record(&path(name))["bn_update"]["noise"].clone();
    assert_eq!((noise("on"), noise("plain")), ("on".into(), "off".into()));

    // The same images in the same order, other noise.
    few_images(&path("data"));
    let whole = |out: &str, seed: &str| {
        let mut command = swa_bn_update();
        command.arg(&model).arg("-o").arg(path(out)).args(["--noise", "on", "--seed", seed]);
        command.args(["--preset", "fashion-mnist", "--order", "dataset", "--threads", "1"]);
        command.args(["--split", "test", "--data"]).arg(path("data")).assert().success();
        load(&path(out))
    };
    let (a, b) = (whole("seed0", "0"), whole("seed1", "1"));
    assert_eq!(layer(&a, first), layer(&b, first));
    assert_ne!(layer(&a, second), layer(&b, second));

    // Parts draw what one process does, and leave the same layers alone.
    let frozen = ["--noise", "on", "--freeze", "stage3"];
    let whole = run("whole", &frozen);
    for shard in ["0/2", "1/2"] {
        let part = path(&shard.replace('/', "of"));
        let mut command = swa_bn_update();
        command.arg(&model).args(["--shard", shard, "--save-stats"]).arg(&part).args(frozen);
        command.args(["--preset", "fashion-mnist", "--samples", "300", "--threads", "1"]);
        command.arg("--data").arg(fashion()).assert().success();
    }
    let mut merge = swa_bn_update();
    merge.arg(&model).arg("-o").arg(path("merged")).arg("--merge-stats");
    merge.arg(path("1of2")).arg(path("0of2")).assert().success();
    assert_eq!(load(&path("merged")), whole);
    assert_eq!(record(&path("merged"))["bn_update"], record(&path("whole"))["bn_update"]);
    let third = "stage3.block1.residual_path1.bn1.running_var";
    assert_eq!(layer(&whole, third), layer(&load(&model), third));

    // A network that draws nothing is told so, and comes out the same.
    let output = update(&snapshot(), &path("p"), &["--noise", "on"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.contains("--noise on: this network draws"), "{text}");
    assert_eq!(load(&path("p")), updated(&snapshot(), &path("q"), &[]));
}
