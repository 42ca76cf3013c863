//! Programs of `fixtures/programs` as networks.

use std::fs;
use std::io::Read;
use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::nn::scope::channels_last;
use crate::nn::{Candidates, Collected, Freeze, Model, Pass, Precision, Recognised, Setup};
use swa_base::Error;
use swa_testing::golden::write_formula;
use swa_tools::checkpoint::Checkpoint;

/// A program with a checkpoint of formula weights, in a folder.
struct Scene {
    dir: tempfile::TempDir,
    candidates: Candidates,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = swa_testing::fixtures().join("programs");
        let packed = fs::File::open(folder.join(format!("{name}.pt2.gz"))).unwrap();
        let (mut bytes, dir) = (vec![], tempfile::tempdir().unwrap());
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        let path = dir.path().join("model.pt2");
        fs::write(&path, bytes).unwrap();
        let candidates = Candidates::open(None, &[path]).unwrap();
        let tensors = candidates.programs[0].program().tensors();
        let shapes = tensors.iter().map(|named| (named.name.clone(), named.shape.clone()));
        write_formula(&dir.path().join("model.safetensors"), shapes.collect());
        Scene { dir, candidates }
    }

    fn prepared(&self) -> &Rc<Prepared> {
        &self.candidates.programs[0]
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint::open(&self.dir.path().join("model.safetensors")).unwrap()
    }

    fn load(&self, precision: Precision, folded: bool) -> Model {
        let (checkpoint, freeze) = (self.checkpoint(), Freeze::default());
        let recognised = Recognised::of(&checkpoint, &self.candidates, &freeze).unwrap();
        recognised.load(Setup { device: Device::Cpu, precision, folded, trainable: false }).unwrap()
    }

    fn tensor(&self, name: &str) -> Tensor {
        let checkpoint = self.checkpoint();
        let position = checkpoint.position(name).unwrap();
        let shape: Vec<i64> =
            checkpoint.tensors()[position].shape.iter().map(|&n| n as i64).collect();
        Tensor::from_data_size(&checkpoint.bytes(position).unwrap(), &shape, Kind::Float)
    }
}

fn images(shape: [i64; 4]) -> Tensor {
    tch::manual_seed(3);
    channels_last(&Tensor::randn(shape, (Kind::Float, Device::Cpu))).unwrap()
}

fn forward(model: &Model, x: &Tensor) -> Tensor {
    tch::no_grad(|| model.forward(x, &mut Pass::Eval)).unwrap()
}

/// Of the largest value.
#[track_caller]
fn close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.size(), expected.size());
    let off = (found - expected).abs().max().double_value(&[]);
    let largest = expected.abs().max().double_value(&[]);
    assert!(off <= tolerance * largest, "off by {off:e} of {largest:e}");
}

/// `views` of `fixtures/programs/layouts.py` by hand, before its view.
fn views(scene: &Scene, x: &Tensor) -> Tensor {
    let part = |part: &str| scene.tensor(&format!("bn.{part}"));
    let y = x.conv2d(&scene.tensor("conv.weight"), None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1);
    let (weight, bias) = (Some(part("weight")), Some(part("bias")));
    let (mean, var) = (Some(part("running_mean")), Some(part("running_var")));
    y.batch_norm(weight, bias, mean, var, false, 0.0, 1e-5, true)
}

fn rows(x: &Tensor) -> Tensor {
    x.contiguous().view([x.size()[0], -1])
}

#[test]
fn a_view_that_another_layout_forbids_is_a_reshape() {
    let scene = Scene::new("views");
    assert!(!scene.prepared().by_layout);
    let model = scene.load(Precision::Fp32, false);
    let x = images([2, 3, 4, 5]);
    assert!(views(&scene, &x).f_view([2, -1]).is_err());
    for n in [2, 1, 2] {
        let x = x.narrow(0, 0, n);
        close(&forward(&model, &x), &rows(&views(&scene, &x)), 1e-6);
    }
}

#[test]
fn writing_reaches_neither_images_nor_buffers_but_all_views_of_them() {
    let scene = Scene::new("writes");
    assert!(scene.prepared().by_layout, "its image is changed through `flatten`");
    for folded in [false, true] {
        let model = scene.load(Precision::Fp32, folded);
        // Of any batch, and again.
        for n in [2, 3, 1, 3] {
            let x = images([n, 3, 4, 5]);
            let before = x.copy();
            let y = views(&scene, &(&before * 2.0)) + (scene.tensor("table") + 1.0).view([4, 1, 1]);
            close(&forward(&model, &x), &rows(&y), 1e-6);
            assert_eq!(x, before);
        }
    }
}

#[test]
fn a_run_that_is_begun_again_collects_its_moments_once() {
    let scene = Scene::new("writes");
    let model = scene.load(Precision::Fp32, false);
    let x = images([4, 3, 4, 5]);
    for _ in 0..2 {
        let mut pass = Pass::Collect(Collected::default());
        let _logits = tch::no_grad(|| model.forward(&x, &mut pass)).unwrap();
        let Pass::Collect(Collected { moments, .. }) = pass else { unreachable!() };
        assert_eq!(moments.iter().map(|m| (m.layer, m.values)).collect::<Vec<_>>(), [(0, 80)]);
    }
}

#[test]
fn layouts_matter_only_where_something_is_written_to_a_view_and_seen_elsewhere() {
    for (name, expected) in
        [("plain", false), ("resnet18", false), ("shufflenet", false), ("in-place", true)]
    {
        assert_eq!(Scene::new(name).prepared().by_layout, expected, "{name}");
    }
}

#[test]
fn only_convolutions_whose_result_goes_to_batchnorm_alone_are_folded() {
    // One of six: the others are transposed, used twice, or after another operator.
    for (name, folds, shape) in [("folding", 1, [3, 3, 32, 32]), ("resnet18", 20, [2, 3, 64, 64])] {
        let scene = Scene::new(name);
        assert_eq!(scene.prepared().folds().len(), folds, "{name}");
        let (plain, folded) =
            (scene.load(Precision::Fp32, false), scene.load(Precision::Fp32, true));
        let x = images(shape);
        close(&forward(&folded, &x), &forward(&plain, &x), 1e-5);
        let error = folded.forward(&x, &mut Pass::Collect(Collected::default())).unwrap_err();
        assert!(Error::from(error).to_string().contains("loaded for evaluation"));
    }
}

#[test]
fn narrow_precision_is_autocast_s_and_leaves_batchnorm_wide() {
    let scene = Scene::new("plain");
    let x = images([3, 3, 32, 32]);
    let wide = forward(&scene.load(Precision::Fp32, false), &x);
    for (precision, kind, tolerance) in
        [(Precision::Bf16, Kind::BFloat16, 2e-2), (Precision::Fp16, Kind::Half, 3e-3)]
    {
        for folded in [false, true] {
            let model = scene.load(precision, folded);
            assert_eq!(model.input(&x).unwrap().kind(), Kind::Float);
            let narrow = forward(&model, &x);
            close(&narrow, &wide, tolerance);
            assert_ne!(narrow, wide);
        }
        let checkpoint = scene.checkpoint();
        let shapes = crate::nn::shapes::Shapes::views(&checkpoint).remove(0);
        let (freeze, setup) = (
            Freeze::default(),
            Setup { device: Device::Cpu, precision, folded: false, trainable: false },
        );
        let mut weights =
            crate::nn::scope::Weights::new(&shapes, &freeze, Some((&checkpoint, setup)));
        let bound = scene.prepared().bind(&mut weights.scope(), setup).unwrap();
        for named in scene.prepared().program().tensors() {
            let Some(tensor) = named.slot.and_then(|slot| bound.tensors[slot].as_ref()) else {
                continue;
            };
            let is_wide = named.shape.len() == 1 && named.name != "head.fc.bias";
            assert_eq!(tensor.kind(), if is_wide { Kind::Float } else { kind }, "{}", named.name);
        }
    }
}

#[test]
fn an_operator_that_fails_is_named_with_its_node_and_module() {
    let scene = Scene::new("plain");
    let model = scene.load(Precision::Fp32, false);
    let error = model.network.forward(&images([2, 5, 32, 32]), &mut Pass::Eval).unwrap_err();
    let error = Error::from(error);
    let text = error.to_string();
    assert_eq!(error.kind().exit_code(), 3, "{text}");
    for part in ["model.pt2, node `conv2d` (aten.conv2d.default, in ", "Given groups=1"] {
        assert!(text.contains(part) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn any_number_of_images_gives_the_same_rows() {
    for name in ["plain", "resnet10t", "tokens", "shufflenet"] {
        let scene = Scene::new(name);
        let model = scene.load(Precision::Fp32, true);
        let shape = &scene.prepared().program().image().shape;
        let side = shape[2].unwrap() as i64;
        let x = images([5, 3, side, side]);
        let all = forward(&model, &x);
        for n in [1, 2, 3] {
            close(&forward(&model, &x.narrow(0, 0, n)), &all.narrow(0, 0, n), 1e-4);
        }
    }
}

#[test]
fn what_cannot_be_prepared_says_why() {
    let folder = swa_testing::fixtures().join("programs");
    let packed = fs::File::open(folder.join("drop-path.pt2.gz")).unwrap();
    let (mut bytes, dir) = (vec![], tempfile::tempdir().unwrap());
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    let path = dir.path().join("model.pt2");
    fs::write(&path, bytes).unwrap();
    let error = Candidates::open(None, &[path]).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("draws random numbers (aten.bernoulli_.float"), "{text}");
    assert!(text.contains("model.eval()") && error.kind().exit_code() == 3, "{text}");
}
