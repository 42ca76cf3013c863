//! The tools augment the images of training, and record how.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use swa_testing::data_tools::*;
use swa_testing::*;

/// Ten classes with two images each, all of one size.
fn write_images(dir: &Path) {
    let names = [
        "rgb",
        "rgba",
        "palette",
        "palette-alpha",
        "palette-1bit",
        "palette-2bit",
        "palette-4bit",
        "rgb-16bit",
        "interlaced",
        "grey",
    ];
    for (i, class) in names.iter().enumerate() {
        fs::create_dir_all(dir.join(class)).unwrap();
        for name in [class, names[(i + 1) % 10]] {
            let name = format!("{name}.png");
            let from = fixtures().join("pixels/png").join(&name);
            fs::copy(from, dir.join(class).join(&name)).unwrap();
        }
    }
}

fn model_and_images(dir: &Path) -> [PathBuf; 2] {
    let [model, data] = ["model.safetensors", "data"].map(|name| dir.join(name));
    colour_model(&model);
    write_images(&data);
    [model, data]
}

#[test]
fn the_tools_augment_and_record_it() {
    let dir = tempfile::tempdir().unwrap();
    let [model, data] = model_and_images(dir.path());
    let run = |name: &str, more: &[&str]| {
        let out = dir.path().join(name);
        let mut command = swa_bn_update();
        command.arg(&model).args(["--preset", "cifar10", "--data"]).arg(&data);
        let report = json(command.args(more).arg("-o").arg(&out));
        let record: Value = serde_json::from_str(&metadata(&out)["swa"]).unwrap();
        assert_eq!(record["bn_update"]["augmentation"], report["augmentation"]);
        // What swa-eval goes by is the evaluation's transform.
        assert_eq!(record["transform"]["preset"], "cifar10");
        assert!(record["transform"].get("augmentation").is_none());
        (to_f32(&load(&out)["bn.running_mean"]), report["augmentation"].clone())
    };
    let train = ["--transform", "train"];
    let (mean, augmentation) = run("a.safetensors", &[&train[..], &["--threads", "1"]].concat());
    let crop = json!({ "size": null, "padding": 4 });
    assert_eq!(augmentation, json!({ "random_crop": crop, "flip": 0.5, "seed": 0 }));
    // libtorch may sum in another order with more threads.
    let (other, _) = run("b.safetensors", &[&train[..], &["--threads", "2"]].concat());
    assert!(mean.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5), "{mean:?} {other:?}");
    let differ = |other: &[f32]| mean.iter().zip(other).any(|(a, b)| (a - b).abs() > 1e-3);
    let (other, augmentation) = run("c.safetensors", &[&train[..], &["--seed", "7"]].concat());
    assert!(differ(&other) && augmentation["seed"] == 7);
    let (other, augmentation) = run("d.safetensors", &["--transform", "eval"]);
    assert!(differ(&other) && augmentation.is_null());
    // swa-eval takes what was recorded, and augments only when asked.
    let eval = |more: &[&str]| {
        let a = dir.path().join("a.safetensors");
        json(swa_eval().arg(a).arg("--data").arg(&data).args(more))
    };
    let (plain, augmented) = (eval(&[]), eval(&train));
    assert!(plain["augmentation"].is_null());
    assert_eq!(augmented["augmentation"]["random_crop"], crop);
    assert_ne!(plain["models"][0]["nll"], augmented["models"][0]["nll"]);
}

/// As torchvision's second recipe: trained at one size, evaluated at another.
#[test]
fn the_size_of_a_random_crop_is_not_that_of_evaluation() {
    let dir = tempfile::tempdir().unwrap();
    let [model, data] = model_and_images(dir.path());
    let out = dir.path().join("out.safetensors");
    let mut update = swa_bn_update();
    update.arg(&model).arg("--data").arg(&data).arg("-o").arg(&out);
    update.args(["--preset", "imagenet-v2", "--transform", "train", "--crop", "48"]);
    assert_eq!(json(&mut update)["augmentation"]["random_resized_crop"]["size"], 48);
    let record: Value = serde_json::from_str(&metadata(&out)["swa"]).unwrap();
    assert_eq!(
        (&record["transform"]["preset"], &record["transform"]["crop"]),
        (&json!("imagenet-v2"), &json!(224))
    );
    let report = json(swa_eval().arg(&out).arg("--data").arg(&data));
    assert_eq!(report["transform"], record["transform"]);
}

#[test]
fn an_augmentation_that_is_not_known_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let [model, data] = model_and_images(dir.path());
    let run = |preset: &[&str]| {
        let mut command = swa_bn_update();
        command.arg(&model).arg("--data").arg(&data).args(["--transform", "train"]);
        command.args(preset).arg("-o").arg(dir.path().join("out.safetensors"));
        command
    };
    fails(&mut run(&["--preset", "none"]), 2, &["no augmentation is known", "--transform"]);
    let no_size = ["--preset", "imagenet", "--crop", "0"];
    fails(&mut run(&no_size), 2, &["the size of the", "--crop"]);
    fails(
        &mut run(&["--preset", "cifar10", "--crop", "80"]),
        3,
        &[".png`", "smaller than the crop"],
    );
    assert!(!dir.path().join("out.safetensors").exists());
}
