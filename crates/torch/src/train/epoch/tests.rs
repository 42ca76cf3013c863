//! Steps of training against PyTorch's autograd and SGD: `fixtures/golden/training.py` wrote the golden values.

use std::collections::BTreeMap;

use serde_json::Value;
use swa_testing::golden::{golden, splitmix, write_formula};
use swa_tools::checkpoint::Checkpoint;
use tch::Device;

use super::*;
use crate::nn::Precision;

/// Of a loss, and of a tensor's largest value: what 20 steps in f32 may add up to.
const SAME: f64 = 1e-5;

/// A case of the golden values: the network with its first weights, and the pixels.
struct Case {
    network: Trainable,
    record: Value,
    case: Value,
    golden: BTreeMap<String, Vec<f32>>,
    /// [images, channels, height, width].
    x: Tensor,
}

fn number(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or_else(|| panic!("{key} is no number"))
}

fn first(path: &std::path::Path) -> Trainable {
    let checkpoint = Checkpoint::open(path).unwrap();
    Trainable::load(&checkpoint, None, Device::Cpu, Precision::Fp32).unwrap()
}

impl Case {
    fn new(key: &str) -> Self {
        let (golden, record) = golden("training");
        let case = record["cases"][key].clone();
        let tensors = case["tensors"].as_object().unwrap().iter();
        let shapes = tensors
            .map(|(name, shape)| (name.clone(), serde_json::from_value(shape.clone()).unwrap()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("first.safetensors");
        write_formula(&path, shapes.collect());
        let network = first(&path);
        let (images, side) = (number(&record, "images") as i64, number(&case, "side") as i64);
        let mut next = splitmix(key);
        let pixels: Vec<u8> = (0..images * side * side * 3).map(|_| (next() >> 56) as u8).collect();
        let x = Tensor::from_slice(&pixels).view([images, side, side, 3]).permute([0, 3, 1, 2]);
        let x = x.to_kind(Kind::Float) / 255.0 - 0.5;
        let prefix = format!("{key}:");
        let own = golden
            .into_iter()
            .filter_map(|(name, values)| Some((name.strip_prefix(&prefix)?.to_string(), values)));
        Case { network, record, case, golden: own.collect(), x }
    }

    /// The images of a step, with their labels, and what it draws.
    fn step(&self, number_of_step: usize) -> (Vec<usize>, Vec<i64>, Step) {
        let [batch, images] = ["batch", "images"].map(|key| number(&self.record, key) as usize);
        let classes = number(&self.case, "classes") as usize;
        let chosen: Vec<usize> =
            (0..batch).map(|i| (number_of_step * batch + i) % images).collect();
        let labels = chosen.iter().map(|image| (image * 5 % classes) as i64).collect();
        let seed = number(&self.record, "seed") as u64 + number_of_step as u64;
        let noise = Noise::new(seed, &chosen);
        (chosen, labels, Step { momentum: self.network.momentum(), noise })
    }

    fn pixels(&self, chosen: &[usize]) -> Tensor {
        let chosen: Vec<i64> = chosen.iter().map(|&image| image as i64).collect();
        self.x.index_select(0, &Tensor::from_slice(&chosen))
    }
}

fn same_as_pytorch(key: &str) {
    let case = Case::new(key);
    let [momentum, decay] = ["momentum", "weight_decay"].map(|name| number(&case.record, name));
    let mut sgd = Sgd::new(case.network.parameters(), momentum, decay).unwrap();
    let rate = number(&case.case, "rate");
    // Where steps in f32 take PyTorch itself further from its f64, three times as far.
    let own = &case.case["own_error"];
    let own_losses: Vec<f64> = serde_json::from_value(own["losses"].clone()).unwrap();
    let of_weights = number(own, "weights");
    let losses: Vec<f64> = serde_json::from_value(case.case["losses"].clone()).unwrap();
    assert_eq!(losses.len(), 20);
    for (i, expected) in losses.iter().enumerate() {
        let (chosen, labels, mut step) = case.step(i);
        let x = case.pixels(&chosen);
        let (loss, _) = descend(&case.network, &mut sgd, &x, &labels, &mut step, rate).unwrap();
        let error = (loss - expected).abs();
        assert!(
            error <= SAME.max(3.0 * own_losses[i]),
            "{key}, step {i}: {loss}, expected {expected}"
        );
    }
    let mut worst = 0f64;
    let found: BTreeMap<String, Vec<u8>> = case
        .network
        .snapshot(20)
        .unwrap()
        .into_iter()
        .map(|(info, bytes)| (info.name, bytes))
        .collect();
    assert!(case.golden.len() >= 8, "{key}: {}", case.golden.len());
    for (name, expected) in &case.golden {
        let found = swa_testing::to_f32(&found[name]);
        assert_eq!(found.len(), expected.len(), "{key}: {name}");
        let largest = expected.iter().fold(1e-3f64, |most, &x| most.max(f64::from(x).abs()));
        for (a, b) in found.iter().zip(expected) {
            worst = worst.max(f64::from(a - b).abs() / largest);
        }
        assert!(worst <= SAME.max(3.0 * of_weights), "{key}: {name} is off by {worst:e}");
    }
}

#[test]
fn vgg_trains_as_in_pytorch() {
    same_as_pytorch("vgg");
}

#[test]
fn preresnet_trains_as_in_pytorch() {
    same_as_pytorch("preresnet");
}

#[test]
fn wide_resnet_trains_as_in_pytorch() {
    same_as_pytorch("wideresnet");
}

#[test]
fn shake_shake_trains_as_in_pytorch() {
    same_as_pytorch("shakeshake");
}

#[test]
fn resnet_trains_as_in_pytorch() {
    same_as_pytorch("resnet18");
}

#[test]
fn densenet_trains_as_in_pytorch() {
    same_as_pytorch("densenet121");
}

/// Batchnorm takes away what a convolution before it adds to every value: a gradient that knows of the batch's
/// statistics is zero for such a bias, one that takes them for constants is not.
#[test]
fn gradients_flow_through_the_batch_s_statistics() {
    let case = Case::new("vgg");
    let (chosen, labels, mut step) = case.step(0);
    let logits =
        case.network.model.forward(&case.pixels(&chosen), &mut Pass::Train(&mut step)).unwrap();
    let loss = logits.cross_entropy_for_logits(&Tensor::from_slice(&labels));
    let gradient = case.network.gradient(&loss).unwrap();
    let snapshot = case.network.snapshot(0).unwrap();
    let parts = snapshot
        .iter()
        .filter(|(info, _)| info.name.ends_with("weight") || info.name.ends_with("bias"));
    let (mut start, mut biases) = (0, 0);
    for (info, _) in parts {
        let length = info.shape.iter().product::<usize>() as i64;
        let part = gradient.narrow(0, start, length).abs().max().double_value(&[]);
        start += length;
        if ["features.0.bias", "features.3.bias", "features.7.bias"].contains(&info.name.as_str()) {
            assert!(part < 1e-5, "{}: {part}", info.name);
            biases += 1;
        } else {
            assert!(part > 1e-4, "{}: {part}", info.name);
        }
    }
    assert_eq!((biases, start), (3, gradient.numel() as i64));
}
