//! Golden values by PyTorch (`fixtures/golden`) and how near to them counts as the same.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;

use super::*;

/// Of a layer's scale.
const STATISTICS: f64 = 1e-5;
/// Of the largest logit.
const LOGITS: f32 = 1e-4;

pub fn golden(name: &str) -> (BTreeMap<String, Vec<f32>>, Value) {
    let folder = fixtures().join("golden");
    let tensors = load(&folder.join(format!("{name}.safetensors")));
    let record = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
    let tensors = tensors.into_iter().map(|(k, v)| (k, to_f32(&v))).collect();
    (tensors, serde_json::from_slice(&record).unwrap())
}

/// Checks one layer's statistics: means against the larger of |mean| and standard deviation,
/// variances against the variance, each the layer's largest. Returns the worst error found.
pub fn same_statistics(layer: &str, found: [&[f32]; 2], expected: [&[f32]; 2]) -> f64 {
    let largest = |values: &[f32], of: fn(f64) -> f64| {
        values.iter().map(|&x| of(x as f64)).fold(0.0, f64::max)
    };
    let scales = [
        largest(expected[0], f64::abs).max(largest(expected[1], f64::sqrt)),
        largest(expected[1], f64::abs),
    ];
    let mut worst: f64 = 0.0;
    for ((found, expected), scale) in found.iter().zip(expected).zip(scales) {
        assert_eq!(found.len(), expected.len(), "{layer}");
        for (a, b) in found.iter().zip(expected) {
            worst = worst.max((*a as f64 - *b as f64).abs() / scale);
        }
    }
    assert!(worst <= STATISTICS, "{layer}: off by {worst:e} of its scale");
    worst
}

pub fn same_logits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(error <= LOGITS * largest, "{what}: logits off by {error} of {largest}");
    println!("{what}: logits off by {:.1e} of the largest", error / largest);
}

/// splitmix64 from the FNV-1a hash of a name, as in fixtures/golden/make.py.
pub fn splitmix(name: &str) -> impl FnMut() -> u64 {
    let mut state = name
        .bytes()
        .fold(0xcbf29ce484222325u64, |h, byte| (h ^ byte as u64).wrapping_mul(0x100000001b3));
    move || {
        state = state.wrapping_add(0x9e3779b97f4a7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }
}

/// In names: the batchnorm layers that end a residual branch, of ResNets, MobileNetV2 and LeViT.
const BRANCH_ENDS: [&str; 5] = [".bn2.", ".bn3.", ".conv.3.", ".proj.ln.bn.", ".ln2.bn."];

/// In names: MobileNetV2's convolutions that may be from one channel.
const ONE_CHANNEL: [&str; 3] = [".conv.", "conv_dw.", "conv_stem."];

/// The weights of that script's `formula`; running statistics as a new PyTorch model has them.
pub fn formula(name: &str, shape: &[usize]) -> Vec<u8> {
    let n: usize = shape.iter().product();
    let part = name.rsplit('.').next().unwrap();
    let value: Box<dyn Fn(f64) -> f64> = if shape.len() > 1 {
        let k = (0..).find(|&k| 4usize.pow(k) * 8 >= n / shape[0]).unwrap();
        let scale = 0.5f64.powi(k as i32);
        match shape[1] == 1 && ONE_CHANNEL.iter().any(|part| name.contains(part)) {
            true => Box::new(move |u| u * scale),
            false => Box::new(move |u| (2.0 * u - 1.0) * scale),
        }
    } else if part == "weight" {
        let branch = BRANCH_ENDS.iter().any(|end| name.contains(end));
        let scale = if branch { 0.125 } else { 1.0 };
        Box::new(move |u| (0.5 + u) * scale)
    } else {
        Box::new(|u| (2.0 * u - 1.0) / 4.0)
    };
    let mut next = splitmix(name);
    let values = (0..n).map(|_| match part {
        "running_mean" => 0.0,
        "running_var" => 1.0,
        _ => value((next() >> 40) as f64 / (1 << 24) as f64) as f32,
    });
    let mut bytes = Vec::with_capacity(4 * n);
    values.for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
    bytes
}

/// A checkpoint of formula weights; batchnorm's counters are zero.
pub fn write_formula(path: &Path, shapes: Vec<(String, Vec<usize>)>) {
    let tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| match name.ends_with("num_batches_tracked") {
            true => (name, Dtype::I64, shape, vec![0; 8]),
            false => {
                let bytes = formula(&name, &shape);
                (name, Dtype::F32, shape, bytes)
            }
        })
        .collect();
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}
