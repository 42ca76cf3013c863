use std::cell::Cell;
use std::path::PathBuf;

use tch::Device;

use super::*;
use crate::nn::Layer;
use crate::nn::{Precision, Takes};
use swa_base::Kind as ErrorKind;
use swa_data::Preset;

const EPS: f64 = 1e-5;

/// Normalise → max(x, 0) → times 3, as often as there are layers.
struct Chain {
    layers: usize,
    /// Forward passes under way, and how many the device has memory for.
    alive: Rc<Cell<usize>>,
    most: usize,
}

struct Guard(Rc<Cell<usize>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Network for Chain {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> nn::Result<Tensor> {
        let Pass::Given(given) = pass else { unreachable!() };
        if self.alive.get() == self.most {
            return Err(Error::new(Kind::OutOfMemory, "libtorch ran out of memory").into());
        }
        self.alive.set(self.alive.get() + 1);
        let _guard = Guard(Rc::clone(&self.alive));
        let mut x = x.shallow_clone();
        for layer in 0..self.layers {
            let [mean, variance] = given(layer, &x)?;
            let shape = [1, -1, 1, 1];
            x = (x - mean.view(shape)) / (variance.view(shape) + EPS).sqrt();
            x = x.relu() * 3.0;
        }
        Ok(x)
    }
}

fn model(layers: usize, described: usize, most: usize) -> (Model, Rc<Cell<usize>>) {
    let alive = Rc::new(Cell::new(0));
    let layer = |i| Layer::named(&format!("bn{i}"), 1);
    let model = Model {
        path: PathBuf::new(),
        network: Rc::new(Chain { layers, alive: Rc::clone(&alive), most }),
        arch: "chain".into(),
        classes: Some(1),
        program: None,
        takes: Takes::default(),
        gives_probabilities: false,
        channels: 1,
        preset: None,
        precision: Precision::Fp32,
        batchnorms: (0..described).map(layer).collect(),
    };
    (model, alive)
}

/// Images of 2 × 3 pixels, in batches of uneven size.
fn batches(sizes: &[usize]) -> Vec<Batch> {
    let mut state = 9u32;
    let mut pixel = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 24) as u8
    };
    let mut batch = |&n: &usize| Batch {
        pixels: (0..6 * n).map(|_| pixel()).collect(),
        n,
        height: 2,
        width: 3,
        channels: 1,
        indices: (0..n).collect(),
        labels: vec![0; n],
        ..Batch::default()
    };
    sizes.iter().map(&mut batch).collect()
}

fn input() -> Input {
    Input::new(&Preset::named("none").unwrap().transform(1).unwrap(), Device::Cpu).unwrap()
}

fn statistics(model: &Model, sizes: &[usize], bytes: u64) -> (Vec<Statistics>, usize) {
    let budget = Budget::new(bytes);
    let (outcome, begun) = of_batches(model, &input(), &batches(sizes), &budget, &|_| {}).unwrap();
    assert_eq!((outcome.images, outcome.batches), (sizes.iter().sum(), sizes.len()));
    (outcome.layers, begun)
}

/// What each layer sees when those before it normalise by all images, in f64.
fn truth(sizes: &[usize], layers: usize) -> Vec<(f64, f64)> {
    let mut x: Vec<f64> = batches(sizes)
        .iter()
        .flat_map(|batch| batch.pixels.iter().map(|&p| (p as f32 / 255.0) as f64))
        .collect();
    let mut found = Vec::new();
    for _ in 0..layers {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        found.push((mean, variance));
        x.iter_mut().for_each(|x| *x = ((*x - mean) / (variance + EPS).sqrt()).max(0.0) * 3.0);
    }
    found
}

const UNEVEN: &[usize] = &[5, 1, 17, 4];

#[test]
fn every_layer_sees_what_inference_sees_however_the_images_are_split() {
    let (model, _) = model(3, 3, usize::MAX);
    let expected = truth(UNEVEN, 3);
    for sizes in [UNEVEN, &[27], &[1; 27], &[13, 14]] {
        let (found, begun) = statistics(&model, sizes, u64::MAX);
        assert_eq!(begun, sizes.len());
        for (found, (mean, variance)) in found.iter().zip(&expected) {
            assert!((found.mean[0] - mean).abs() < 1e-6 * variance.sqrt(), "{found:?} {mean}");
            assert!((found.variance[0] / variance - 1.0).abs() < 2e-6, "{found:?} {variance}");
        }
    }
}

#[test]
fn without_memory_for_activations_the_bits_are_the_same() {
    let (model, _) = model(3, 3, usize::MAX);
    let (cached, _) = statistics(&model, UNEVEN, u64::MAX);
    let (again, begun) = statistics(&model, UNEVEN, 0);
    assert_eq!((again, begun), (cached, 3 * UNEVEN.len()));
}

#[test]
fn where_the_device_is_full_passes_are_dropped_and_begun_again() {
    let (roomy, _) = model(3, 3, usize::MAX);
    let (expected, _) = statistics(&roomy, UNEVEN, u64::MAX);
    for most in 1..=4 {
        let (model, alive) = model(3, 3, most);
        let (found, begun) = statistics(&model, UNEVEN, u64::MAX);
        assert_eq!(found, expected);
        assert_eq!(alive.get(), 0, "a dropped pass gives up what it holds");
        assert_eq!(begun == UNEVEN.len(), most == 4, "{begun}");
    }
    let (model, _) = model(3, 3, 0);
    let error = of_batches(&model, &input(), &batches(UNEVEN), &Budget::new(1), &|_| {});
    assert!(error.unwrap_err().to_string().contains("out of memory"));
}

#[test]
fn a_layer_never_reached_is_named() {
    let (model, _) = model(2, 3, usize::MAX);
    let error = of_batches(&model, &input(), &batches(UNEVEN), &Budget::new(0), &|_| {});
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`bn2` was never reached"), "{error}");
}

#[test]
fn pixels_that_do_not_fit_are_refused_at_the_first_batch() {
    let (model, _) = model(2, 2, usize::MAX);
    let loaded = Cell::new(0);
    let batches = batches(UNEVEN).into_iter().inspect(|_| loaded.set(loaded.get() + 1)).map(Ok);
    let error = run(&model, &input(), batches, 1_000_000, &Budget::new(1_000_000), &|_| {});
    let error = error.unwrap_err();
    assert_eq!((error.kind(), loaded.get()), (ErrorKind::Limit, 1));
    assert!(error.to_string().contains("1000000 images take 6.0 MB"), "{error}");
}

#[test]
fn nothing_has_no_statistics() {
    let (model, _) = model(1, 1, usize::MAX);
    let of = |batches: &[Batch]| {
        let error = of_batches(&model, &input(), batches, &Budget::new(0), &|_| {});
        error.unwrap_err().to_string()
    };
    assert!(of(&[]).contains("no image"));
    let mut pixel = batches(&[1]).remove(0);
    (pixel.height, pixel.width) = (1, 1);
    pixel.pixels.truncate(1);
    assert!(of(&[pixel]).contains("`bn0` sees one value"));
}
