//! Checkpoints that hold more than a known network: losses, metrics, copies, other heads. Statistics are those of the
//! network alone, the rest is kept; for evaluation a head that is not understood is named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use swa_testing::data_tools::*;
use swa_testing::*;

/// Name, shape, values.
type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn fashion() -> PathBuf {
    fixtures().join("fashion-mnist")
}

/// A PreResNet-8 with a head of ten classes; its counters are left out, which need none.
fn network() -> Tensors {
    let file = fs::read(fashion().join("ckpt_0240.safetensors")).unwrap();
    let whole = SafeTensors::deserialize(&file).unwrap();
    let floats = whole.tensors().into_iter().filter(|(_, view)| view.dtype() == Dtype::F32);
    floats.map(|(name, view)| (name, view.shape().to_vec(), to_f32(view.data()))).collect()
}

fn below(prefix: &str, tensors: Tensors) -> Tensors {
    tensors
        .into_iter()
        .map(|(name, shape, values)| (format!("{prefix}{name}"), shape, values))
        .collect()
}

/// A tensor of small numbers.
fn tensor(name: &str, shape: &[usize]) -> (String, Vec<usize>, Vec<f32>) {
    let count: usize = shape.iter().product();
    (name.to_string(), shape.to_vec(), (0..count).map(|i| 0.01 * (i % 7) as f32 + 0.1).collect())
}

/// The network without its head.
fn trunk() -> Tensors {
    network().into_iter().filter(|(name, ..)| !name.starts_with("fc.")).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(.., v)| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn update(model: &Path, out: &Path, extra: &[&str]) -> Command {
    let mut command = swa_bn_update();
    command.arg(model).arg("-o").arg(out).args(["--preset", "fashion-mnist", "--samples", "64"]);
    command.args(["--threads", "1", "--data"]).arg(fashion()).args(extra);
    command
}

fn eval(model: &Path, extra: &[&str]) -> Command {
    let mut command = swa_eval();
    command.arg(model).args(["--preset", "fashion-mnist", "--samples", "64", "--data"]);
    command.arg(fashion()).args(extra);
    command
}

fn statistics(path: &Path, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let all = load(path).into_iter();
    all.filter_map(|(name, bytes)| Some((name.strip_prefix(prefix)?.to_string(), bytes)))
        .filter(|(name, _)| name.contains("running_"))
        .collect()
}

#[test]
fn statistics_are_the_network_s_whatever_is_beside_it_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("model.safetensors"), dir.path().join("out.safetensors"));
    write(&model, &network());
    update(&model, &out, &[]).assert().success();
    let expected = statistics(&out, "");
    assert_eq!(expected.len(), 14);
    let head = |names: &[&str]| names.iter().map(|name| tensor(name, &[3, 64])).collect();
    let cases: Vec<(&str, &str, Tensors, Tensors)> = vec![
        ("a loss", "model.", network(), vec![tensor("criterion.weight", &[10])]),
        ("a loss at the same level", "", network(), vec![tensor("criterion.weight", &[10])]),
        (
            "metrics",
            "net.",
            network(),
            vec![tensor("val_acc.total", &[]), tensor("train_metrics.f1.tp", &[10])],
        ),
        ("a moving average", "model.", network(), below("ema_model.module.", network())),
        ("a teacher at the same level", "", network(), below("teacher.", network())),
        (
            "a teacher of another kind",
            "student.",
            network(),
            vec![tensor("teacher.stem.weight", &[8, 1, 5, 5])],
        ),
        (
            "thop's counts",
            "",
            network(),
            vec![tensor("layer1.0.total_ops", &[1]), tensor("total_params", &[1])],
        ),
        ("another head", "", trunk(), head(&["fc.1.weight"])),
        ("no head", "encoder.", trunk(), vec![]),
        (
            "a head elsewhere",
            "backbone.",
            trunk(),
            head(&["classifier.weight", "projector.0.weight"]),
        ),
        ("a head beside its own", "backbone.", network(), head(&["head.weight"])),
        (
            "a queue",
            "encoder_q.",
            trunk(),
            [vec![tensor("queue", &[16, 32])], below("encoder_k.", trunk())].concat(),
        ),
    ];
    for (name, prefix, own, beside) in cases {
        let all = [below(prefix, own), beside.clone()].concat();
        write(&model, &all);
        let output = update(&model, &out, &["--force"]).assert().success().get_output().clone();
        // Not those of a copy at the same level.
        let found = statistics(&out, prefix);
        assert!(expected.iter().all(|(layer, bytes)| found.get(layer) == Some(bytes)), "{name}");
        let (before, after) = (load(&model), load(&out));
        assert_eq!(before.len(), after.len(), "{name}");
        for (tensor, ..) in &beside {
            assert_eq!(before[tensor], after[tensor], "{name}: {tensor}");
        }
        let said = String::from_utf8(output.stderr).unwrap();
        let modules: Vec<&str> = beside.iter().filter_map(|(t, ..)| t.split('.').next()).collect();
        if modules.iter().any(|module| *module != "fc") {
            let part = "are not the network's (preresnet-8) and stay as they are";
            assert!(said.contains(part), "{name}: {said}");
            assert!(modules.iter().any(|m| said.contains(&format!("`{m}"))), "{name}: {said}");
        }
        let headless = all.iter().all(|(tensor, ..)| !tensor.ends_with("fc.weight"));
        assert_eq!(said.contains("note: the head of"), headless, "{name}: {said}");
    }
}

#[test]
fn what_may_belong_to_the_network_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("model.safetensors"), dir.path().join("out.safetensors"));
    let cases: Vec<(&str, Tensors, &[&str])> = vec![
        (
            "within it",
            [network(), vec![tensor("layer1.0.se.weight", &[4, 4])]].concat(),
            &["`layer1.0.se.weight` is not part of it"],
        ),
        (
            "convolutions beside it",
            [below("backbone.", network()), vec![tensor("aspp.0.weight", &[8, 64, 3, 3])]].concat(),
            &[
                "`aspp.0.weight` [8, 64, 3, 3] is beside the network, and what it does is not known",
                "--program",
            ],
        ),
        (
            "means of colours",
            [below("model.", network()), vec![tensor("normalize.mean", &[1])]].concat(),
            &["`normalize.mean` [1]: the network may normalise its images itself"],
        ),
        (
            "a norm of colours",
            [below("model.", network()), vec![tensor("input_norm.weight", &[3])]].concat(),
            &["`input_norm.weight` [3]: it may change the images before the network"],
        ),
        (
            "a shift of colours",
            [below("model.", network()), vec![tensor("input_shift", &[1, 3])]].concat(),
            &["`input_shift` [1, 3]: it may change the images"],
        ),
        (
            "a mixture of colours",
            [
                below("model.", network()),
                vec![tensor("color.weight", &[3, 3]), tensor("color.bias", &[3])],
            ]
            .concat(),
            &["`color.weight` [3, 3]: it may change the images"],
        ),
        (
            "batchnorm in the head",
            [trunk(), vec![tensor("fc.0.weight", &[8, 64]), tensor("fc.1.running_mean", &[8])]]
                .concat(),
            &["it is preresnet-8 but for its head", "`fc.1.running_mean`"],
        ),
        (
            "two networks",
            [below("a.", network()), below("b.", network())].concat(),
            &["holds several networks, below `a.` and `b.`", "--network NAME"],
        ),
    ];
    for (name, tensors, parts) in &cases {
        write(&model, tensors);
        fails(&mut update(&model, &out, &[]), 3, parts);
        assert!(!out.exists(), "{name}");
    }
    // A head for three classes has their number, too; who names the network knows the rest.
    let mut head = vec![tensor("head.weight", &[3, 64]), tensor("head.bias", &[3])];
    head.extend(["awl.params", "task_weights", "log_sigma"].map(|name| tensor(name, &[3])));
    write(&model, &[below("model.", network()), head].concat());
    update(&model, &out, &[]).assert().success();
    write(&model, &[below("model.", network()), vec![tensor("input_shift", &[3])]].concat());
    update(&model, &out, &["--force", "--network", "model"]).assert().success();
    fs::remove_file(&out).unwrap();
    let (_, two, _) = cases.iter().find(|(name, ..)| *name == "two networks").unwrap();
    write(&model, two);
    // The user may say which.
    update(&model, &out, &["--network", "b"]).assert().success();
    assert_eq!(statistics(&out, "a."), statistics(&model, "a."));
    assert_ne!(statistics(&out, "b."), statistics(&model, "b."));
    fails(
        &mut update(&model, &out, &["--force", "--network", "c"]),
        3,
        &["no tensor's name begins with `c.`"],
    );
}

#[test]
fn an_evaluation_needs_a_head_that_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    write(&model, &network());
    let plain = json(&mut eval(&model, &[]))["models"][0]["nll"].clone();
    for beside in [
        vec![tensor("criterion.weight", &[10])],
        vec![tensor("ema_decay_loss.weight", &[1]), tensor("test_acc.correct", &[])],
        below("teacher.", network()),
        vec![tensor("_dummy", &[0])],
    ] {
        write(&model, &[below("model.", network()), beside].concat());
        assert_eq!(json(&mut eval(&model, &[]))["models"][0]["nll"], plain);
    }
    for (tensors, parts) in [
        (
            [trunk(), vec![tensor("fc.1.weight", &[10, 64])]].concat(),
            [
                "it is preresnet-8 but for its head, which is not understood",
                "`fc.1.weight` is not part of it",
            ],
        ),
        (trunk(), ["but for its head", "`fc.weight` [10, 64] is missing"]),
        (
            [below("backbone.", network()), vec![tensor("classifier.weight", &[10, 10])]].concat(),
            ["but for its head", "`classifier.weight` [10, 10] is beside the network"],
        ),
    ] {
        write(&model, &tensors);
        let parts = [&parts[..], &["--program", "recomputing statistics needs no head"]].concat();
        fails(&mut eval(&model, &[]), 3, &parts);
    }
    // Statistics of a head's own batchnorm layers need one, too.
    let head = [tensor("fc.0.weight", &[8, 64]), tensor("fc.1.running_mean", &[8])];
    write(&model, &[trunk(), head.to_vec()].concat());
    let said = fails(&mut eval(&model, &[]), 3, &["but for its head", "--program"]);
    assert!(!said.contains("recomputing statistics"), "{said}");
}
