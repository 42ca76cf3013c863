//! torchvision's and timm's model families give the same numbers as PyTorch, on real photographs and
//! through the two tools: `fixtures/golden/families.py` wrote the golden values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use swa_testing::data_tools::*;
use swa_testing::golden::*;
use swa_testing::*;

fn layouts() -> Map<String, Value> {
    let file = std::fs::File::open(fixtures().join("golden/layouts.json.gz")).unwrap();
    serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap()
}

fn layout(layouts: &Map<String, Value>, key: &str) -> Vec<(String, Vec<usize>)> {
    let tensors = layouts[key]["tensors"].as_object().unwrap().iter();
    let shape = |shape: &Value| serde_json::from_value(shape.clone()).unwrap();
    tensors.map(|(name, x)| (name.clone(), shape(x))).collect()
}

/// Tests every golden model whose name contains `family`; there are `count`.
fn family(family: &str, count: usize) {
    let (golden, record) = golden("families");
    let layouts = layouts();
    let cases = record["cases"].as_object().unwrap().iter();
    let cases: Vec<_> = cases.filter(|(key, _)| key.contains(family)).collect();
    assert_eq!(cases.len(), count, "{family}");
    for (key, case) in cases {
        // `key:name` → `name`.
        let golden = golden.iter().filter_map(|(name, values)| {
            Some((name.strip_prefix(key.as_str())?.strip_prefix(':')?, &values[..]))
        });
        same_as_pytorch(key, case, layout(&layouts, key), golden.collect());
    }
}

fn same_as_pytorch(
    key: &str,
    case: &Value,
    layout: Vec<(String, Vec<usize>)>,
    mut golden: BTreeMap<&str, &[f32]>,
) {
    let dir = tempfile::tempdir().unwrap();
    let mut model = dir.path().join("model.safetensors");
    write_formula(&model, layout.clone());
    let [resize, crop] = ["resize", "crop"].map(|side| case[side].to_string());
    let mut pixels = vec!["--resize", &resize, "--crop", &crop];
    if case["channels"] == 1 {
        pixels.extend(["--preset", "none", "--mean", "0.5", "--std", "0.25"]);
    }
    let photos = fixtures().join("pixels/photos");

    let expected_logits = golden.remove("logits").unwrap();
    if layout.iter().any(|(name, _)| name.ends_with("running_mean")) {
        let updated = dir.path().join("updated.safetensors");
        let out = json(
            swa_bn_update()
                .arg(&model)
                .args(["--method", "cma", "--order", "dataset", "--batch-size", "4"])
                .args(&pixels)
                .arg("--data")
                .arg(&photos)
                .arg("-o")
                .arg(&updated),
        );
        assert_eq!(out["arch"], case["arch"], "{key}");
        model = updated;
        let found = load(&model);
        let names: Vec<&String> = layout.iter().map(|(name, _)| name).collect();
        assert_eq!(found.len(), names.len(), "{key}");
        assert!(names.iter().all(|name| found.contains_key(*name)), "{key}: other names");
        let (mut compared, mut worst) = (0, 0f64);
        for (name, mean) in &golden {
            let Some(layer) = name.strip_suffix(".running_mean") else { continue };
            let var = format!("{layer}.running_var");
            let values = [to_f32(&found[*name]), to_f32(&found[&var])];
            let expected = [mean, golden[var.as_str()]];
            worst = worst.max(same_statistics(layer, [&values[0], &values[1]], expected));
            compared += 1;
        }
        assert!(compared >= 6, "{key}: {compared}");
        println!("{key}: {compared} layers, statistics off by {worst:.1e} of their scale");
    } else {
        assert!(golden.is_empty());
    }

    // What swa-bn-update has recorded says which pixels.
    let pixels = if golden.is_empty() { &pixels[..] } else { &[] };
    let file = dir.path().join("logits.safetensors");
    let mut command = swa_eval();
    command.arg(&model).args(pixels).arg("--data").arg(&photos).arg("--logits").arg(&file);
    let out = json(&mut command);
    let logits = to_f32(&load(&file)["logits"]);
    same_logits(key, &logits, expected_logits);
    assert_eq!(case["near_ties"].as_array().unwrap().len(), 0, "{key}: choose another size");
    assert_eq!(out["models"][0]["correct"], case["correct"], "{key}");
    let best = |logits: &[f32]| -> Vec<usize> {
        let rows = logits.chunks_exact(4);
        rows.map(|row| (0..4).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()).collect()
    };
    assert_eq!(best(&logits), best(expected_logits), "{key}");
}

#[test]
fn resnet() {
    family("/resnet", 2);
}

#[test]
fn resnext() {
    family("/resnext", 3);
}

#[test]
fn wide_resnet() {
    family("/wide_resnet", 2);
}

#[test]
fn densenet() {
    family("/densenet", 4);
}

#[test]
fn vgg() {
    family("/vgg", 5);
}

#[test]
fn mobilenet() {
    family("/mobilenet", 4);
}

#[test]
fn an_image_that_is_too_small_for_the_network_is_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    write_formula(&model, layout(&layouts(), "torchvision/densenet121"));
    let mut command = swa_eval();
    command.arg(&model).args(["--resize", "20", "--crop", "16", "--data"]);
    command.arg(fixtures().join("pixels/photos"));
    fails(&mut command, 3, &["too small for the network", "--resize"]);
}
