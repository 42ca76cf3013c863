//! The same numbers as PyTorch: golden values and the script that wrote them are in fixtures/golden.

use std::path::Path;

use swa_data::{Batch, Preset};
use swa_testing::data_tools::*;
use swa_testing::golden::*;
use swa_testing::*;
use swa_tools::checkpoint::Checkpoint;
use swa_tools::output::{FileTarget, Format};
use swa_torch::bn_update::{self, Method, layerwise};
use swa_torch::nn::input::Input;
use swa_torch::nn::memory::Budget;
use swa_torch::nn::{Model, Pass, Precision, Setup};
use tch::Device;

/// Averages the snapshots into `dir` and recomputes the statistics as the golden script did.
fn updated(dir: &Path, method: &str) {
    let swa = dir.join("swa.safetensors");
    swa_avg()
        .arg(fixtures().join("fashion-mnist/ckpt_*.safetensors"))
        .arg("--force")
        .arg("-o")
        .arg(&swa)
        .assert()
        .success();
    swa_bn_update()
        .arg(&swa)
        .args(["--method", method, "--order", "dataset", "--preset", "fashion-mnist", "--data"])
        .arg(fixtures().join("fashion-mnist"))
        .arg("-o")
        .arg(dir.join(format!("swa_{method}.safetensors")))
        .assert()
        .success();
}

#[test]
fn fashion_statistics_are_update_bn_s_the_authors_and_the_pooled_ones() {
    let (mut golden, _) = golden("fashion");
    for (name, values) in self::golden("layerwise").0 {
        golden.insert(name.replace("fashion.", "layerwise."), values);
    }
    let dir = tempfile::tempdir().unwrap();
    for method in ["cma", "weighted", "pooled", "layerwise"] {
        updated(dir.path(), method);
        let path = dir.path().join(format!("swa_{method}.safetensors"));
        let found = load(&path);
        let layers = golden
            .keys()
            .filter_map(|k| k.strip_prefix(&format!("{method}."))?.strip_suffix(".running_mean"));
        let mut count = 0;
        for layer in layers {
            let part = |part| to_f32(&found[&format!("{layer}.{part}")]);
            let expected = |part| &golden[&format!("{method}.{layer}.{part}")][..];
            let (mean, var) = (part("running_mean"), part("running_var"));
            let expected = [expected("running_mean"), expected("running_var")];
            let worst = same_statistics(layer, [&mean, &var], expected);
            println!("{method} {layer}: off by {worst:.1e} of its scale");
            assert_eq!(found[&format!("{layer}.num_batches_tracked")], 79i64.to_le_bytes());
            count += 1;
        }
        assert_eq!(count, 7);
        // Everything else is as it was.
        let before = load(&dir.path().join("swa.safetensors"));
        for (name, bytes) in &before {
            let statistic = name.contains("running_") || name.contains("num_batches");
            assert_eq!(found[name] == *bytes, !statistic, "{name}");
        }
    }
}

#[test]
fn fashion_logits_and_correct_counts_are_pytorch_s() {
    let (golden, record) = golden("fashion");
    let dir = tempfile::tempdir().unwrap();
    updated(dir.path(), "cma");
    let models = record["models"].as_object().unwrap();
    let path = |name: &String| match name.as_str() {
        "swa" | "swa_cma" => dir.path().join(format!("{name}.safetensors")),
        _ => fixtures().join("fashion-mnist").join(name),
    };
    let logits = dir.path().join("logits.safetensors");
    let out = json(
        swa_eval()
            .args(models.keys().map(path))
            .args(["--preset", "fashion-mnist", "--data"])
            .arg(fixtures().join("fashion-mnist"))
            .arg("--logits")
            .arg(&logits),
    );
    let file = load(&logits);
    let labels: Vec<usize> = file["labels"]
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize)
        .collect();
    let all = to_f32(&file["logits"]);
    assert_eq!((labels.len(), all.len()), (10_000, models.len() * 100_000));
    for (i, (name, expected)) in models.iter().enumerate() {
        let logits = &all[i * 100_000..][..100_000];
        same_logits(name, &logits[..1000], &golden[&format!("logits.{name}")]);
        let near: Vec<usize> = expected["near_ties"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap() as usize)
            .collect();
        if !near.is_empty() {
            println!("{name}: images {near:?} are nearly ties and not compared");
        }
        let right = |n: &usize| {
            let row = &logits[n * 10..][..10];
            let best = (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
            best == Some(labels[*n])
        };
        let correct = (0..10_000).filter(|n| !near.contains(n)).filter(right).count();
        assert_eq!(correct as u64, expected["correct_but_near_ties"].as_u64().unwrap(), "{name}");
        // The file gives the same top-1 and loss as the table.
        let row = &out["models"][i];
        assert_eq!(row["correct"], (0..10_000).filter(right).count(), "{name}");
        let nll = (0..10_000).map(|n| {
            let row = &logits[n * 10..][..10];
            row.iter().map(|&z| (z as f64).exp()).sum::<f64>().ln() - row[labels[n]] as f64
        });
        assert!((nll.sum::<f64>() / 1e4 - row["nll"].as_f64().unwrap()).abs() < 1e-9, "{name}");
    }
}

/// Names and shapes of torchvision's ResNets, written independently of src/nn.
fn resnet_shapes(blocks: [usize; 4], bottleneck: bool) -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    let mut unit = |conv: String, bn: String, o: usize, i: usize, k: usize| {
        tensors.push((format!("{conv}.weight"), vec![o, i, k, k]));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{bn}.{part}"), vec![o]));
        }
    };
    unit("conv1".into(), "bn1".into(), 64, 3, 7);
    let mut inputs = 64;
    for (stage, &count) in blocks.iter().enumerate() {
        let width = 64 << stage;
        let convs = if bottleneck {
            vec![(width, 1), (width, 3), (4 * width, 1)]
        } else {
            vec![(width, 3), (width, 3)]
        };
        let outputs = convs.last().unwrap().0;
        for block in 0..count {
            let at = format!("layer{}.{block}", stage + 1);
            let mut i = inputs;
            for (number, &(o, k)) in convs.iter().enumerate() {
                unit(format!("{at}.conv{}", number + 1), format!("{at}.bn{}", number + 1), o, i, k);
                i = o;
            }
            if block == 0 && (stage > 0 || bottleneck) {
                unit(
                    format!("{at}.downsample.0"),
                    format!("{at}.downsample.1"),
                    outputs,
                    inputs,
                    1,
                );
            }
            inputs = outputs;
        }
    }
    tensors.push(("fc.weight".into(), vec![10, inputs]));
    tensors.push(("fc.bias".into(), vec![10]));
    tensors
}

fn batch(pixels: &[u8], size: usize) -> Batch {
    let n = pixels.len() / (size * size * 3);
    Batch {
        pixels: pixels.to_vec(),
        n,
        height: size,
        width: size,
        channels: 3,
        indices: (0..n).collect(),
        labels: vec![0; n],
        ..Batch::default()
    }
}

/// Names and shapes of the PreResNet of depth 20 with bottlenecks.
fn preresnet20_shapes() -> Vec<(String, Vec<usize>)> {
    fn norm(tensors: &mut Vec<(String, Vec<usize>)>, name: &str, n: usize) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{name}.{part}"), vec![n]));
        }
    }
    let mut tensors = vec![("conv1.weight".to_string(), vec![16, 3, 3, 3])];
    let mut inputs = 16;
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..2 {
            let at = format!("layer{}.{block}", stage + 1);
            let shapes = [(inputs, width, 1), (width, width, 3), (width, 4 * width, 1)];
            for (i, (a, b, k)) in (1..).zip(shapes) {
                norm(&mut tensors, &format!("{at}.bn{i}"), a);
                tensors.push((format!("{at}.conv{i}.weight"), vec![b, a, k, k]));
            }
            if block == 0 {
                tensors.push((format!("{at}.downsample.0.weight"), vec![4 * width, inputs, 1, 1]));
            }
            inputs = 4 * width;
        }
    }
    norm(&mut tensors, "bn", inputs);
    tensors.extend([("fc.weight".into(), vec![10, inputs]), ("fc.bias".into(), vec![10])]);
    tensors
}

fn imagenet() -> Input {
    Input::new(&Preset::named("imagenet").unwrap().transform(3).unwrap(), Device::Cpu).unwrap()
}

#[test]
fn one_value_a_channel_is_refused_by_the_layer_s_name() {
    // A 32 × 32 image is one pixel in the last stage.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_formula(&path, resnet_shapes([2, 2, 2, 2], false));
    let model = Model::load(&Checkpoint::open(&path).unwrap(), None, Device::Cpu).unwrap();
    let run = |images: usize| {
        let batches = std::iter::once(Ok(batch(&vec![7; images * 32 * 32 * 3], 32)));
        bn_update::run(&model, &imagenet(), batches, Method::Pooled, None)
    };
    let error = run(1).unwrap_err();
    assert!(error.to_string().contains("`layer4.0.bn1` sees one value a channel"), "{error}");
    assert_eq!(error.kind().exit_code(), 3);
    run(2).unwrap();
    let nothing = bn_update::run(&model, &imagenet(), std::iter::empty(), Method::Cma, None);
    assert!(nothing.unwrap_err().to_string().contains("no image"));
}

fn resnet(name: &str, blocks: [usize; 4], bottleneck: bool) {
    same_as_pytorch(name, resnet_shapes(blocks, bottleneck));
}

#[test]
fn a_preresnet_with_bottlenecks_is_the_authors() {
    same_as_pytorch("preresnet-20", preresnet20_shapes());
}

fn same_as_pytorch(name: &str, shapes: Vec<(String, Vec<usize>)>) {
    let (golden, record) = golden("resnet");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write_formula(&path, shapes);
    let size = record["pixels"][1].as_u64().unwrap() as usize;
    let mut next = splitmix(name);
    let pixels: Vec<u8> = (0..6 * size * size * 3).map(|_| (next() >> 56) as u8).collect();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let model = Model::load(&checkpoint, None, Device::Cpu).unwrap();
    assert_eq!((model.arch.as_str(), model.classes, model.channels), (name, Some(10), 3));
    let input = imagenet();
    let batches = pixels.chunks(4 * size * size * 3).map(|pixels| Ok(batch(pixels, size)));
    let outcome = bn_update::run(&model, &input, batches, Method::Cma, None).unwrap();
    let (mut compared, mut worst) = (0, 0f64);
    for (layer, found) in model.batchnorms.iter().zip(&outcome.layers) {
        let key = |part| format!("{name}.{}.{part}", layer.name);
        let Some(mean) = golden.get(&key("running_mean")) else { continue };
        let round = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let found = [&round(&found.mean)[..], &round(&found.variance)[..]];
        worst =
            worst.max(same_statistics(&layer.name, found, [mean, &golden[&key("running_var")]]));
        compared += 1;
    }
    assert!(compared >= 10, "{compared}");
    println!("{name}: {compared} layers, statistics off by {worst:.1e} of their scale");
    let batches = pixels.chunks(4 * size * size * 3).map(|pixels| batch(pixels, size));
    layerwise_is_pytorch_s(name, &model, &batches.collect::<Vec<_>>());

    let updated = dir.path().join("updated.safetensors");
    let (format, like, force) = (Format::Safetensors, None, false);
    let target = FileTarget { path: &updated, format, like, force };
    bn_update::write(&checkpoint, &model.batchnorms, &outcome, Default::default(), &target)
        .unwrap();
    let updated = Checkpoint::open(&updated).unwrap();
    let _guard = tch::no_grad_guard();
    let x = input.tensor(&batch(&pixels, size)).unwrap();
    for folded in [false, true] {
        let setup =
            Setup { device: Device::Cpu, precision: Precision::Fp32, folded, trainable: false };
        let model = Model::load(&updated, None, setup).unwrap();
        let logits = model.forward(&x, &mut Pass::Eval).unwrap();
        let logits = Vec::<f32>::try_from(logits.flatten(0, 1)).unwrap();
        let what = format!("{name}, folded: {folded}");
        same_logits(&what, &logits, &golden[&format!("{name}.logits")]);
        let batches = std::iter::once(Ok(batch(&pixels, size)));
        let statistics = bn_update::run(&model, &input, batches, Method::Cma, None);
        assert_eq!(statistics.is_err(), folded, "a folded model has no statistics to collect");
    }
}

/// Where there are golden values for it: with all activations in memory and with none.
fn layerwise_is_pytorch_s(name: &str, model: &Model, batches: &[Batch]) {
    let (golden, _) = golden("layerwise");
    if !golden.keys().any(|key| key.starts_with(&format!("{name}."))) {
        return;
    }
    let run = |bytes| {
        let budget = Budget::new(bytes);
        layerwise::of_batches(model, &imagenet(), batches, &budget, &|_| {}).unwrap()
    };
    let (cached, passes) = run(u64::MAX);
    assert_eq!(passes, batches.len());
    let (again, passes) = run(0);
    assert_eq!(passes, batches.len() * model.batchnorms.len());
    let mut worst = 0f64;
    for (i, layer) in model.batchnorms.iter().enumerate() {
        assert_eq!(cached.layers[i], again.layers[i], "{}", layer.name);
        let expected = |part| &golden[&format!("{name}.{}.{part}", layer.name)][..];
        let round = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let found = [&cached.layers[i].mean, &cached.layers[i].variance].map(|x| round(x));
        let expected = [expected("running_mean"), expected("running_var")];
        worst = worst.max(same_statistics(&layer.name, [&found[0], &found[1]], expected));
    }
    println!("{name}: layerwise statistics off by {worst:.1e} of their scale");
}

#[test]
fn resnet18_is_torchvision_s() {
    resnet("resnet18", [2, 2, 2, 2], false);
}

#[test]
fn resnet34_is_torchvision_s() {
    resnet("resnet34", [3, 4, 6, 3], false);
}

#[test]
fn resnet50_is_torchvision_s() {
    resnet("resnet50", [3, 4, 6, 3], true);
}

#[test]
fn resnet101_is_torchvision_s() {
    resnet("resnet101", [3, 4, 23, 3], true);
}

#[test]
fn resnet152_is_torchvision_s() {
    resnet("resnet152", [3, 8, 36, 3], true);
}
