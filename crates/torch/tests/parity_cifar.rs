//! The SWA paper's CIFAR networks give the same numbers as PyTorch: `fixtures/golden/cifar.py` wrote the
//! golden values.

use std::path::Path;

use serde_json::Value;
use swa_data::{Batch, Preset};
use swa_testing::golden::*;
use swa_tools::checkpoint::Checkpoint;
use swa_tools::output::{FileTarget, Format};
use swa_torch::bn_update::{self, Method};
use swa_torch::nn::input::Input;
use swa_torch::nn::{Model, Pass};
use tch::Device;

fn numbers(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Names and shapes of a case's state dict.
fn layout(case: &Value) -> Vec<(String, Vec<usize>)> {
    let tensors = case["tensors"].as_object().unwrap().iter();
    tensors.map(|(name, shape)| (name.clone(), numbers(shape))).collect()
}

/// The golden script's images, in batches.
fn batches(key: &str, record: &Value) -> Vec<Batch> {
    let case = &record["cases"][key];
    let [side, channels] = ["side", "channels"].map(|what| case[what].as_u64().unwrap() as usize);
    let size = record["batch"].as_u64().unwrap() as usize;
    let mut next = splitmix(key);
    let images = numbers(&record["numbers"]);
    images
        .chunks(size)
        .map(|images| {
            // Three bytes a pixel are drawn.
            let bytes = (0..images.len() * side * side).flat_map(|_| {
                let pixel: Vec<u8> = (0..3).map(|_| (next() >> 56) as u8).collect();
                pixel[..channels].to_vec()
            });
            Batch {
                pixels: bytes.collect(),
                n: images.len(),
                height: side,
                width: side,
                channels,
                indices: images.to_vec(),
                labels: vec![0; images.len()],
                ..Batch::default()
            }
        })
        .collect()
}

fn input(channels: &Value) -> Input {
    let transform = if channels == 3 {
        Preset::named("imagenet").unwrap().transform(3).unwrap()
    } else {
        let mut transform = Preset::named("none").unwrap().transform(1).unwrap();
        (transform.mean, transform.std) = (vec![0.5], vec![0.25]);
        transform
    };
    Input::new(&transform, Device::Cpu).unwrap()
}

fn open(path: &Path) -> (Checkpoint, Model) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let model = Model::load(&checkpoint, None, Device::Cpu).unwrap();
    (checkpoint, model)
}

fn same_as_pytorch(key: &str) {
    let (golden, record) = golden("cifar");
    let case = &record["cases"][key];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_formula(&path, layout(case));
    let (checkpoint, mut model) = open(&path);
    assert_eq!(model.arch, case["arch"].as_str().unwrap());
    assert_eq!(
        (case["classes"] == model.classes.unwrap(), case["channels"] == model.channels),
        (true, true)
    );
    let named = Model::load(&checkpoint, Some(&model.arch), Device::Cpu).unwrap();
    assert_eq!(named.arch, model.arch);
    let input = input(&case["channels"]);
    let batches = batches(key, &record);

    let expected = |layer: &str, part: &str| golden.get(&format!("{key}:{layer}.{part}"));
    if model.batchnorms.is_empty() {
        assert!(!golden.keys().any(|name| name.starts_with(&format!("{key}:features"))));
    } else {
        let noise = case["noise"].as_u64();
        let images = batches.iter().cloned().map(Ok);
        let outcome = bn_update::run(&model, &input, images, Method::Cma, noise).unwrap();
        let (mut compared, mut worst) = (0, 0f64);
        for (layer, found) in model.batchnorms.iter().zip(&outcome.layers) {
            let Some(mean) = expected(&layer.name, "running_mean") else { continue };
            let variance = expected(&layer.name, "running_var").unwrap();
            let round = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
            let found = [&round(&found.mean)[..], &round(&found.variance)[..]];
            worst = worst.max(same_statistics(&layer.name, found, [mean, variance]));
            compared += 1;
        }
        let all = golden.keys().filter(|name| name.starts_with(&format!("{key}:"))).count();
        assert_eq!(2 * compared + 1, all);
        println!("{key}: {compared} layers, statistics off by {worst:.1e} of their scale");
        let updated = dir.path().join("updated.safetensors");
        let (format, like, force) = (Format::Safetensors, None, false);
        let target = FileTarget { path: &updated, format, like, force };
        bn_update::write(&checkpoint, &model.batchnorms, &outcome, Default::default(), &target)
            .unwrap();
        model = open(&updated).1;
    }
    let _guard = tch::no_grad_guard();
    let mut logits = Vec::new();
    for batch in &batches {
        let x = input.tensor(batch).unwrap();
        let rows = model.forward(&x, &mut Pass::Eval).unwrap();
        logits.extend(Vec::<f32>::try_from(rows.flatten(0, 1)).unwrap());
    }
    same_logits(key, &logits, &golden[&format!("{key}:logits")]);
}

#[test]
fn vgg_with_and_without_batchnorm_is_the_authors() {
    ["vgg16", "vgg16-bn", "vgg19"].into_iter().for_each(same_as_pytorch);
}

#[test]
fn vgg_has_the_depth_and_widths_of_its_weights() {
    same_as_pytorch("vgg-small");
}

#[test]
fn preresnet_110_and_164_are_the_authors() {
    ["preresnet-110", "preresnet-164"].into_iter().for_each(same_as_pytorch);
}

#[test]
fn wide_resnet_is_the_authors() {
    ["wrn-28-10", "wrn-small"].into_iter().for_each(same_as_pytorch);
}

#[test]
fn shake_shake_mixes_by_halves() {
    ["shake-26-2x64d", "shake-2018", "shake-owruby"].into_iter().for_each(same_as_pytorch);
}

#[test]
fn shake_shake_s_noise_is_drawn_for_each_image() {
    same_as_pytorch("shake-noise");
}

/// What does not fit is shown against the family it is of, not against one of torchvision's.
#[test]
fn a_tensor_missing_or_too_many_is_named() {
    let (_, record) = golden("cifar");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    for key in ["vgg-small", "wrn-small", "shake-2018", "shake-owruby"] {
        let case = &record["cases"][key];
        let arch = case["arch"].as_str().unwrap();
        let mut tensors = layout(case);
        let (missing, _) = tensors.iter().rfind(|(_, shape)| shape.len() == 4).unwrap().clone();
        tensors.retain(|(name, _)| *name != missing);
        tensors.push(("extra.weight".into(), vec![3]));
        write_formula(&path, tensors);
        let load = |arch| Model::load(&Checkpoint::open(&path).unwrap(), arch, Device::Cpu);
        let error = load(None).err().unwrap().to_string();
        for part in [
            &format!("the closest, {arch}, differs in 2 place(s)")[..],
            &format!("tensor `{missing}` ["),
            "tensor `extra.weight` is not part of it",
        ] {
            assert!(error.contains(part), "{part:?} not in {error}");
        }
        let error = load(Some("preresnet-110")).err().unwrap().to_string();
        assert!(error.contains("does not fit preresnet-110"), "{error}");
    }
}

#[test]
fn vgg_takes_images_of_one_size() {
    let (_, record) = golden("cifar");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_formula(&path, layout(&record["cases"]["vgg-small"]));
    let (_, model) = open(&path);
    let forward = |side: i64| {
        let x = tch::Tensor::zeros([2, 1, side, side], (tch::Kind::Float, Device::Cpu));
        model.forward(&x, &mut Pass::Eval)
    };
    assert_eq!(forward(15).unwrap().size(), [2, 7]);
    for side in [11, 16, 3] {
        let error = forward(side).unwrap_err();
        let error = swa_tools::Error::from(error);
        assert_eq!(error.kind(), swa_tools::Kind::Mismatch);
        let text = error.to_string();
        assert!(
            text.contains(&format!("{side} × {side} pixels")) && text.contains("`crop`"),
            "{text}"
        );
    }
}
