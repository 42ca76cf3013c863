//! Batchnorm statistics against what is known without a reference: networks whose layers see values of a
//! known mean and variance.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use swa_base::Choice;
use swa_data::{Batch, Preset};
use swa_testing::data_tools::*;
use swa_testing::*;
use swa_tools::checkpoint::Checkpoint;
use swa_torch::bn_update::{self, Method, Outcome, layerwise};
use swa_torch::nn::Model;
use swa_torch::nn::input::Input;
use swa_torch::nn::memory::Budget;
use tch::Device;

const EPS: f64 = 1e-5;

/// A PreResNet-8 of width 1 for grey images whose convolutions hand on their first channel: the first
/// batchnorm layer sees the pixels, the second what becomes of them, max((x − μ)/√(v + ε), 0).
fn model(dir: &Path) -> Model {
    let mut tensors: Vec<(String, Vec<usize>, f32)> = Vec::new();
    let conv = |name: &str, o: usize, i: usize, k: usize| {
        (format!("{name}.weight"), vec![o, i, k, k], 0.0)
    };
    let norm = |name: &str, n: usize| {
        [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
            .map(|(part, value)| (format!("{name}.{part}"), vec![n], value))
    };
    tensors.push(conv("conv1", 1, 1, 3));
    let mut inputs = 1;
    for (stage, width) in [1, 2, 4].into_iter().enumerate() {
        let at = format!("layer{}.0", stage + 1);
        tensors.extend(norm(&format!("{at}.bn1"), inputs));
        tensors.push(conv(&format!("{at}.conv1"), width, inputs, 3));
        tensors.extend(norm(&format!("{at}.bn2"), width));
        tensors.push(conv(&format!("{at}.conv2"), width, width, 3));
        if stage > 0 {
            tensors.push(conv(&format!("{at}.downsample.0"), width, inputs, 1));
        }
        inputs = width;
    }
    tensors.extend(norm("bn", 4));
    tensors.extend([("fc.weight".into(), vec![10, 4], 0.5), ("fc.bias".into(), vec![10], 0.0)]);
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape, value)| {
            let mut values = vec![*value; shape.iter().product()];
            if let [o, i, k, _] = shape[..] {
                // The centre of each filter's first channel.
                (0..o).for_each(|o| values[o * i * k * k + k * k / 2] = 1.0);
            }
            values.iter().flat_map(|x| x.to_le_bytes()).collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let path = dir.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    Model::load(&Checkpoint::open(&path).unwrap(), None, Device::Cpu).unwrap()
}

/// Pixels / 255.
fn input() -> Input {
    Input::new(&Preset::named("none").unwrap().transform(1).unwrap(), Device::Cpu).unwrap()
}

const SIDE: usize = 8;
const PIXELS: usize = SIDE * SIDE;

/// Splits images into batches of these sizes.
fn split(images: &[[u8; PIXELS]], sizes: &[usize]) -> Vec<Batch> {
    let mut rest = images;
    let batches = sizes.iter().map(|&n| {
        let (own, others) = rest.split_at(n);
        rest = others;
        let (height, width, channels) = (SIDE, SIDE, 1);
        let (indices, labels) = ((0..n).collect(), vec![0; n]);
        let pixels = own.concat();
        Batch { pixels, n, height, width, channels, indices, labels, ..Batch::default() }
    });
    batches.collect()
}

fn statistics(model: &Model, batches: Vec<Batch>, method: Method) -> Outcome {
    if method == Method::Layerwise {
        let budget = Budget::new(u64::MAX);
        return layerwise::of_batches(model, &input(), &batches, &budget, &|_| {}).unwrap().0;
    }
    bn_update::run(model, &input(), batches.into_iter().map(Ok), method, None).unwrap()
}

/// Mean and variance of the layer's first channel.
fn first(outcome: &Outcome, layer: usize) -> (f64, f64) {
    (outcome.layers[layer].mean[0], outcome.layers[layer].variance[0])
}

fn close(what: &str, found: (f64, f64), expected: (f64, f64)) {
    let scale = expected.1.sqrt();
    let off = ((found.0 - expected.0).abs() / scale, (found.1 / expected.1 - 1.0).abs());
    assert!(off.0 < 1e-6 && off.1 < 1e-6, "{what}: {found:?}, expected {expected:?}");
}

/// Images of black and white pixels; `white` of each image are white.
fn black_and_white(white: &[usize]) -> Vec<[u8; PIXELS]> {
    white.iter().map(|&n| std::array::from_fn(|i| if i < n { 255 } else { 0 })).collect()
}

/// Unbiased variance of n values of which the share q is a and the rest 0.
fn variance(q: f64, a: f64, n: usize) -> f64 {
    a * a * q * (1.0 - q) * n as f64 / (n as f64 - 1.0)
}

/// White pixels are 1, black ones 0. A share q of white has mean q and variance q(1 − q); normalised,
/// white is (1 − q)/√(q(1 − q) + ε), and black, below the mean, becomes 0.
#[test]
fn each_method_gives_what_can_be_worked_out_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let white = [8, 40, 16, 4, 60, 12, 30];
    let sizes = [4, 1, 2];
    let images = black_and_white(&white);
    // Of each batch: values and share of white.
    let batches: Vec<(usize, f64)> = split(&images, &sizes)
        .iter()
        .map(|batch| {
            let n = batch.pixels.len();
            (n, batch.pixels.iter().filter(|&&p| p == 255).count() as f64 / n as f64)
        })
        .collect();
    let all = images.len() * PIXELS;
    let q = white.iter().sum::<usize>() as f64 / all as f64;
    // What white becomes in the second layer, normalised by a share of white with this variance.
    let level = |q: f64, v: f64| (1.0 - q) / (v + EPS).sqrt();
    let mean = |weight: &dyn Fn(usize) -> f64, of: &dyn Fn(usize, f64) -> f64| {
        let total: f64 = batches.iter().map(|&(n, _)| weight(n)).sum();
        batches.iter().map(|&(n, q)| weight(n) * of(n, q)).sum::<f64>() / total
    };
    let own = |q: f64| level(q, q * (1.0 - q)); // by the batch itself, biased
    for (method, weight) in
        [(Method::Cma, (|_| 1.0) as fn(usize) -> f64), (Method::Weighted, |n| (n / PIXELS) as f64)]
    {
        let found = statistics(&model, split(&images, &sizes), method);
        let expected = (mean(&weight, &|_, q| q), mean(&weight, &|n, q| variance(q, 1.0, n)));
        close(method.name(), first(&found, 0), expected);
        let expected =
            (mean(&weight, &|_, q| q * own(q)), mean(&weight, &|n, q| variance(q, own(q), n)));
        close(method.name(), first(&found, 1), expected);
    }
    let pooled = statistics(&model, split(&images, &sizes), Method::Pooled);
    let layerwise = statistics(&model, split(&images, &sizes), Method::Layerwise);
    close("pooled", first(&pooled, 0), (q, variance(q, 1.0, all)));
    close("layerwise", first(&layerwise, 0), (q, variance(q, 1.0, all)));
    let values = |n: usize| n as f64;
    let m = mean(&values, &|_, q| q * own(q));
    let squares = mean(&values, &|_, q| q * own(q) * own(q));
    let unbiased = all as f64 / (all - 1) as f64;
    close("pooled", first(&pooled, 1), (m, (squares - m * m) * unbiased));
    // As in use: all images by the same statistics.
    let a = level(q, variance(q, 1.0, all));
    close("layerwise", first(&layerwise, 1), (q * a, variance(q, a, all)));
}

#[test]
fn an_uneven_split_changes_pooled_statistics_through_normalisation_alone() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let images = black_and_white(&[8, 40, 16, 4, 60, 12, 30, 9]);
    let of = |method, sizes: &[usize]| statistics(&model, split(&images, sizes), method);
    let same = |a: f64, b: f64, tolerance: f64| (a / b - 1.0).abs() < tolerance;
    for sizes in [&[8][..], &[1, 7], &[2, 1, 5], &[1; 8]] {
        let (pooled, even) = (of(Method::Pooled, sizes), of(Method::Pooled, &[4, 4]));
        // What is not normalised before does not know of batches.
        let ((m, v), (m2, v2)) = (first(&pooled, 0), first(&even, 0));
        assert!(same(m, m2, 1e-12) && same(v, v2, 1e-12), "{sizes:?}: {m} {m2} {v} {v2}");
        let ((m, v), (m2, v2)) = (first(&pooled, 1), first(&even, 1));
        assert!(!same(m, m2, 1e-3) && !same(v, v2, 1e-3), "{sizes:?}: {m} {m2} {v} {v2}");
        // Layer by layer no split changes anything but rounding.
        let (one, other) = (of(Method::Layerwise, sizes), of(Method::Layerwise, &[4, 4]));
        for layer in 0..7 {
            let ((m, v), (m2, v2)) = (first(&one, layer), first(&other, layer));
            assert!(same(m, m2, 1e-6) && same(v, v2, 1e-6), "{sizes:?} {layer}: {m} {m2} {v} {v2}");
        }
    }
}

/// Half of the variance lies between images: within a batch of N images only (N − 1)/N of that half is
/// seen, and `cma` and `weighted` average what is seen.
#[test]
fn cma_misses_the_variance_between_images() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let mut state = 3u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    };
    // Both parts uniform and 120 wide: nothing is cut off.
    let images: Vec<[u8; PIXELS]> = (0..1024)
        .map(|_| {
            let offset = 127.5 + 120.0 * uniform();
            std::array::from_fn(|_| (offset + 120.0 * uniform()).round() as u8)
        })
        .collect();
    let truth = 2.0 * 120.0 * 120.0 / 12.0 / (255.0 * 255.0);
    let of = |method, n: usize| {
        let sizes = vec![n; images.len() / n];
        first(&statistics(&model, split(&images, &sizes), method), 0).1 / truth
    };
    let layerwise = of(Method::Layerwise, 128);
    assert!((layerwise - 1.0).abs() < 0.05, "{layerwise}");
    for (n, expected) in [(2, 0.758), (8, 0.936), (32, 0.983), (128, 1.0)] {
        let (cma, pooled) = (of(Method::Cma, n), of(Method::Pooled, n));
        println!("{n} images a batch: cma {cma:.3}, pooled {pooled:.3} of the variance");
        assert!((cma / layerwise - expected).abs() < 0.01, "{n}: {cma}");
        assert!((pooled / layerwise - 1.0).abs() < 1e-9, "{n}: {pooled}");
    }
}

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

fn update(out: &Path, extra: &[&str]) -> assert_cmd::Command {
    let mut command = swa_bn_update();
    command.arg(fashion().join("ckpt_0240.safetensors")).args(["--preset", "fashion-mnist"]);
    command.arg("--data").arg(fashion()).args(extra).arg("-o").arg(out);
    command
}

#[test]
fn layerwise_is_the_same_file_with_less_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
    let args = ["--method", "layerwise", "--samples", "1000", "--threads", "1", "--memory"];
    // The pixels are 784,000 bytes; a batch's activations some 10 MB.
    let run = |out: &Path, memory: &str| {
        let output = update(out, &[&args[..], &[memory]].concat()).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let (roomy, tight) = (run(&a, "20GB"), run(&b, "1MB"));
    assert!(!roomy.contains("each image passed"), "{roomy}");
    assert!(tight.contains("each image passed"), "{tight}");
    assert_eq!(load(&a), load(&b));
    let record: Value = serde_json::from_str(&metadata(&a)["swa"]).unwrap();
    let update = &record["bn_update"];
    assert_eq!((&update["method"], &update["images"]), (&"layerwise".into(), &1000.into()));
}

#[test]
fn pixels_beyond_the_memory_allowed_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    let mut command = update(&out, &["--method", "layerwise", "--memory", "5MB"]);
    fails(&mut command, 6, &["the pixels of 10000 images take 7.8 MB", "--samples", "--memory"]);
    assert!(listing(dir.path()).is_empty());
}

#[test]
fn until_stable_stops_where_the_seed_says_and_says_how_certain_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str, extra: &[&str]| {
        let out = dir.path().join(name);
        let report =
            json(update(&out, &[&["--batch-size", "32"], extra].concat()).args(["--force"]));
        let record: Value = serde_json::from_str(&metadata(&out)["swa"]).unwrap();
        (report, record["bn_update"].clone())
    };
    let error = |report: &Value| report["standard_error"]["largest"].as_f64().unwrap();
    let (stable, record) = run("a", &["--until-stable", "0.02"]);
    assert!(error(&stable) <= 0.02, "{stable}");
    assert_eq!(record["until_stable"], 0.02);
    assert_eq!(record["standard_error"], stable["standard_error"]);
    let images = stable["images"].as_u64().unwrap();
    assert!(images > 320 && images < 5_000 && images % 32 == 0, "{images}");
    // The same seed, the same batch; one batch before, not yet stable.
    assert_eq!(run("b", &["--until-stable", "0.02"]).1, record);
    let before = (images - 32).to_string();
    assert!(error(&run("c", &["--samples", &before]).0) >= 0.02);
    // Ten batches at least.
    assert_eq!(run("e", &["--until-stable", "1"]).0["images"], 320);
    // What is asked for cannot be had from 640 images: written all the same, and said.
    let out = dir.path().join("d");
    let output = update(&out, &["--samples", "640", "--until-stable", "0.001"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("not stable: standard error"), "{text}");
    // Too few batches to say.
    for (samples, why) in [("200", "standard error"), ("20", "one batch says nothing")] {
        let few = ["--samples", samples, "--until-stable", "0.5", "--batch-size", "32", "--force"];
        let output = update(&out, &few).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("not stable: {why}")), "{text}");
    }
    for wrong in ["0", "x", "inf"] {
        fails(&mut update(&out, &["--until-stable", wrong]), 2, &["--until-stable"]);
    }
}

#[test]
fn what_layerwise_cannot_do_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.safetensors");
    let state = dir.path().join("state").display().to_string();
    for (flags, named) in [
        (&["--until-stable", "0.1"][..], "--until-stable"),
        (&["--resume", &state], "--resume"),
        (&["--noise", "on"], "--noise on"),
        (&["--shard", "0/2"], "--shard"),
    ] {
        let flags = [&["--method", "layerwise"], flags].concat();
        fails(&mut update(&out, &flags), 2, &[named, "layerwise"]);
    }
    assert!(listing(dir.path()).is_empty());
}

#[test]
fn statistics_of_every_origin_are_compared_in_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let swa = dir.path().join("swa.safetensors");
    swa_avg().arg(fashion().join("ckpt_01*")).arg("-o").arg(&swa).assert().success();
    let compare = |extra: &[&str]| {
        let mut command = swa_eval();
        command.arg(&swa).args(["--preset", "fashion-mnist", "--samples", "1000"]);
        command.args(["--compare-stats", "--bn-samples", "1000", "--data"]).arg(fashion());
        command.arg("--bn-data").arg(fashion()).args(extra);
        command
    };
    let last = fashion().join("ckpt_0232.safetensors").display().to_string();
    let report = json(&mut compare(&["--last", &last]));
    let rows = report["statistics"].as_array().unwrap();
    let origins: Vec<&str> = rows.iter().map(|r| r["statistics"].as_str().unwrap()).collect();
    assert_eq!(origins, ["averaged", "kept", "cma", "weighted", "pooled", "layerwise"]);
    // The same figures as from files written with these statistics.
    for (row, method) in rows.iter().zip(&origins).skip(2) {
        let out = dir.path().join(format!("{method}.safetensors"));
        let mut command = swa_bn_update();
        command.arg(&swa).args(["--preset", "fashion-mnist", "--samples", "1000"]);
        command.args(["--method", method, "--data"]).arg(fashion()).arg("-o").arg(&out);
        command.assert().success();
        let one = json(swa_eval().arg(&out).args(["--samples", "1000", "--data"]).arg(fashion()));
        let (a, b) = (&one["models"][0], row);
        let nll = |row: &Value| row["nll"].as_f64().unwrap();
        assert!((nll(a) - nll(b)).abs() < 1e-5 * nll(a), "{method}: {a} {b}");
    }
    assert!(rows[0].get("moved").is_none() && rows[5]["moved"].as_f64().unwrap() > 0.0);
    // Without --last: the same but for its row, and the advice that follows from the table.
    let nll = |i: &usize| rows[*i]["nll"].as_f64().unwrap();
    for row in &rows[1..6] {
        let [value, difference, error] = ["nll", "nll_difference", "nll_difference_error"]
            .map(|figure| row[figure].as_f64().unwrap());
        assert!((difference - (value - nll(&0))).abs() < 1e-9 && error > 0.0, "{row}");
    }
    let best = [2, 3, 4, 5].into_iter().min_by(|a, b| nll(a).total_cmp(&nll(b))).unwrap();
    let output = compare(&[]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr));
    let (difference, error) = (&rows[best]["nll_difference"], &rows[best]["nll_difference_error"]);
    assert!(difference.as_f64().unwrap() < -2.0 * error.as_f64().unwrap());
    assert!(out.contains("recomputing helps: nll -"), "{out}");
    let method = origins[best];
    let advice = format!("({method})\nnext: swa-bn-update {}", swa.display());
    assert!(out.contains(&advice), "{advice}: {out}");
    assert!(out.contains(&format!("--method {method} --samples 1000")), "{out}");
    assert!(!out.contains("kept") && err.unwrap().contains("kept statistics are left out"));
    // A snapshot's own statistics fit it: 1,000 images tell no difference.
    let mut own = swa_eval();
    own.arg(fashion().join("ckpt_0200.safetensors")).args(["--preset", "fashion-mnist"]);
    own.args(["--samples", "1000", "--compare-stats", "--bn-samples", "1000", "--data"]);
    let output = own.arg(fashion()).arg("--bn-data").arg(fashion()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("recomputing makes no certain difference: nll "), "{out}");
}

#[test]
fn a_comparison_that_makes_no_sense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = fashion().join("ckpt_0240.safetensors");
    let run = |extra: &[&str]| {
        let mut command = swa_eval();
        command.arg(&model).args(["--preset", "fashion-mnist", "--samples", "10", "--data"]);
        command.arg(fashion()).arg("--compare-stats").args(extra);
        command
    };
    fails(&mut run(&[]), 2, &["--bn-data"]);
    let data = fashion().display().to_string();
    let two = model.display().to_string();
    fails(&mut run(&["--bn-data", &data, &two]), 2, &["one model"]);
    let logits = dir.path().join("logits").display().to_string();
    fails(&mut run(&["--bn-data", &data, "--logits", &logits]), 2, &["--logits"]);
    // The last checkpoint of another network.
    let _narrow = self::model(dir.path());
    let other = dir.path().join("model.safetensors").display().to_string();
    let mut last = run(&["--bn-data", &data, "--bn-samples", "10", "--last", &other]);
    fails(&mut last, 3, &["is of another network"]);
}
