//! Recognition, on the names and shapes of torchvision's and timm's own models.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::nn::models;
use swa_tools::checkpoint::{Dtype, TensorInfo};

/// A model's state dict by PyTorch (`fixtures/golden/families.py`).
struct Layout {
    /// `torchvision/resnet50`.
    key: String,
    /// What it is to be recognised as.
    arch: String,
    channels: usize,
    tensors: Vec<TensorInfo>,
}

/// Of every layout's head.
const CLASSES: usize = 4;

fn layouts() -> Vec<Layout> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/layouts.json.gz");
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    let all: serde_json::Map<String, Value> = serde_json::from_reader(file).unwrap();
    let layout = |(key, layout): (String, Value)| {
        let tensors = layout["tensors"].as_object().unwrap().iter().map(|(name, shape)| {
            let shape = serde_json::from_value(shape.clone()).unwrap();
            TensorInfo { name: name.clone(), dtype: Dtype::F32, shape }
        });
        Layout {
            key,
            arch: layout["arch"].as_str().unwrap().to_string(),
            channels: layout["channels"].as_u64().unwrap() as usize,
            tensors: tensors.collect(),
        }
    };
    all.into_iter().map(layout).collect()
}

fn found(arch: &Arch, shapes: &Shapes) -> Found {
    build(&arch.build, shapes, &Freeze::default(), None, false).unwrap().1
}

fn problems(arch: &Arch, shapes: &Shapes) -> Vec<String> {
    found(arch, shapes).problems
}

#[test]
fn every_model_of_torchvision_and_timm_is_recognised_as_what_it_is_and_nothing_else() {
    let layouts = layouts();
    assert!(layouts.len() >= 50, "{}", layouts.len());
    for layout in &layouts {
        let shapes = Shapes::of(&layout.tensors);
        let mut fitting = models::likely(&shapes);
        fitting.retain(|arch| problems(arch, &shapes).is_empty());
        let names: Vec<&str> = fitting.iter().map(|arch| arch.name.as_str()).collect();
        assert_eq!(names, [layout.arch.as_str()], "{}", layout.key);
        assert_eq!((fitting[0].classes, fitting[0].channels), (CLASSES, layout.channels));
        assert!(models::list().contains(&layout.arch.as_str()), "{}", layout.arch);
        let named = models::named(&layout.arch, &shapes).unwrap();
        assert_eq!(problems(&named, &shapes), [""; 0], "{}", layout.key);

        let mut found: Vec<(String, usize)> = self::found(&named, &shapes)
            .batchnorms
            .into_iter()
            .map(|layer| (layer.name, layer.channels))
            .collect();
        let mut expected: Vec<(String, usize)> = layout
            .tensors
            .iter()
            .filter_map(|t| Some((t.name.strip_suffix(".running_mean")?.into(), t.shape[0])))
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{}", layout.key);
    }
}

#[test]
fn every_name_of_torchvision_s_that_is_listed_has_a_layout() {
    let layouts = layouts();
    let nothing = Shapes::of(&[]);
    for name in models::list() {
        let arch = models::named(name, &nothing);
        if arch.is_some_and(|arch| arch.preset == Some("imagenet")) {
            assert!(layouts.iter().any(|layout| layout.arch == name), "{name}");
        }
    }
}

/// The SWA paper's CIFAR networks, by `fixtures/golden/cifar.py`.
#[test]
fn every_cifar_network_is_recognised_as_what_it_is_and_nothing_else() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/cifar.json");
    let record: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = record["cases"].as_object().unwrap();
    assert!(cases.len() >= 12, "{}", cases.len());
    for (key, case) in cases {
        let tensors = case["tensors"].as_object().unwrap().iter().map(|(name, shape)| {
            let shape = serde_json::from_value(shape.clone()).unwrap();
            TensorInfo { name: name.clone(), dtype: Dtype::F32, shape }
        });
        let tensors: Vec<TensorInfo> = tensors.collect();
        let shapes = Shapes::of(&tensors);
        let mut fitting = models::likely(&shapes);
        fitting.retain(|arch| problems(arch, &shapes).is_empty());
        let names: Vec<&str> = fitting.iter().map(|arch| arch.name.as_str()).collect();
        assert_eq!(names, [case["arch"].as_str().unwrap()], "{key}");
    }
}

/// One tensor missing, misshapen or too many: the architecture is still the closest and the tensor
/// is named.
#[test]
fn what_does_not_fit_is_named() {
    for layout in layouts().iter().step_by(9) {
        let n = layout.tensors.len();
        for at in (0..n).step_by(n / 5) {
            let name = layout.tensors[at].name.clone();
            if name.ends_with("num_batches_tracked") {
                continue; // old files lack them
            }
            let mut missing = layout.tensors.clone();
            missing.remove(at);
            let mut misshapen = layout.tensors.clone();
            misshapen[at].shape[0] += 8;
            let mut extra = layout.tensors.clone();
            extra.push(TensorInfo { name: format!("{name}_orig"), ..layout.tensors[at].clone() });
            for (what, tensors) in [
                (format!("`{name}` {:?} is missing", layout.tensors[at].shape), missing),
                (format!("`{name}`: expected shape {:?}", layout.tensors[at].shape), misshapen),
                (format!("`{name}_orig` is not part of it"), extra),
            ] {
                let shapes = Shapes::of(&tensors);
                let all = models::likely(&shapes).into_iter();
                let (closest, problems) = all
                    .map(|arch| (arch.name.clone(), problems(&arch, &shapes)))
                    .min_by_key(|(_, problems)| problems.len())
                    .unwrap();
                assert_eq!(closest, layout.arch, "{}: {what}", layout.key);
                // A tensor that sizes are read from takes another with it.
                let read = ["conv1.weight", "classifier", "fc.weight", "features.0."];
                if !read.iter().any(|part| name.contains(part)) {
                    assert_eq!(problems.len(), 1, "{}: {what}: {problems:?}", layout.key);
                    assert!(problems[0].contains(&what), "{}: {what}: {problems:?}", layout.key);
                }
                assert!(problems.len() <= 2, "{}: {what}: {problems:?}", layout.key);
            }
        }
    }
}
