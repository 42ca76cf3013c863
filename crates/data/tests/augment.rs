//! Training pixels are those of torchvision's augmentations: the same bytes for the same box, the
//! same boxes in distribution (`fixtures/pixels/augment.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use swa_base::Kind;
use swa_data::placement::{Placement, Span};
use swa_data::resize::Window;
use swa_data::{
    Augmentation, Image, Interpolation, Loader, Order, Preset, Split, Training, Transform, decode,
};

fn pixels() -> PathBuf {
    swa_testing::root().join("fixtures/pixels")
}

#[derive(Deserialize)]
struct Golden {
    boxes: Vec<Boxed>,
    padded: Vec<Padded>,
    draws: Vec<Draws>,
}

#[derive(Deserialize)]
struct Boxed {
    file: String,
    /// Left, top, width, height.
    r#box: [usize; 4],
    size: usize,
    interpolation: Interpolation,
    flip: bool,
    crc: u32,
}

#[derive(Deserialize)]
struct Padded {
    file: String,
    start: [isize; 2],
    size: usize,
    flip: bool,
    crc: u32,
}

#[derive(Deserialize)]
struct Draws {
    width: usize,
    height: usize,
    /// Of a variable: limits, and the share of draws up to each.
    shares: BTreeMap<String, Vec<(f64, f64)>>,
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(pixels().join("augment.json")).unwrap()).unwrap()
}

fn read(file: &str) -> Image {
    decode::read(&pixels().join(file)).unwrap()
}

fn crc(pixels: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(pixels);
    crc.sum()
}

#[test]
fn a_box_becomes_torchvisions_pixels() {
    let golden = golden();
    assert!(golden.boxes.len() >= 60);
    for Boxed { file, r#box, size, interpolation, flip, crc: expected } in golden.boxes {
        let [left, top, width, height] = r#box;
        let part = Window { left, top, width, height };
        let span = Span::whole(size);
        let placement =
            Placement { part, width: size, height: size, across: span, down: span, flip };
        let found = placement.apply(read(&file), interpolation);
        assert_eq!(crc(&found.pixels), expected, "{file} {placement:?} {interpolation:?}");
    }
}

#[test]
fn a_padded_crop_becomes_torchvisions_pixels() {
    let golden = golden();
    assert!(golden.padded.len() >= 60);
    for Padded { file, start, size, flip, crc: expected } in golden.padded {
        let image = read(&file);
        let (width, height) = (image.width, image.height);
        let part = Window { left: 0, top: 0, width, height };
        let [across, down] = start.map(|start| Span { start, size });
        let placement = Placement { part, width, height, across, down, flip };
        let found = placement.apply(image, Interpolation::Bilinear);
        assert_eq!(crc(&found.pixels), expected, "{file} {placement:?}");
    }
}

/// The share of draws up to each limit differs by less than 4.5 standard errors of the two samples.
#[test]
fn boxes_are_drawn_as_torchvision_draws_them() {
    const DRAWS: usize = 100_000;
    let training = Training { augmentation: Augmentation::ResizedCrop, seed: 4, size: None };
    for Draws { width, height, shares } in golden().draws {
        let draw = |index| {
            let placement =
                training.placement(index, (width, height), Some(224), || unreachable!());
            placement.unwrap().part
        };
        let boxes: Vec<Window> = (0..DRAWS).map(draw).collect();
        assert_eq!(shares.len(), 6);
        for (variable, shares) in shares {
            let of = |part: &Window| match variable.as_str() {
                "left" => part.left as f64,
                "top" => part.top as f64,
                "width" => part.width as f64,
                "height" => part.height as f64,
                "area" => (part.width * part.height) as f64,
                _ => part.width as f64 / part.height as f64,
            };
            for (limit, expected) in shares {
                let count = boxes.iter().filter(|part| of(part) <= limit + 1e-9).count();
                let found = count as f64 / DRAWS as f64;
                assert!(
                    (found - expected).abs() < 0.012,
                    "{width}x{height}: {variable} up to {limit}: {found}, torchvision {expected}"
                );
            }
        }
    }
}

#[test]
fn padded_crops_and_flips_are_spread_evenly() {
    let training = Training { augmentation: Augmentation::PaddedCrop, seed: 9, size: None };
    let part = Window { left: 0, top: 0, width: 32, height: 32 };
    let span = Span::whole(32);
    let plain = Placement { part, width: 32, height: 32, across: span, down: span, flip: false };
    let mut counts: BTreeMap<(isize, isize), usize> = BTreeMap::new();
    let mut flips = 0;
    for index in 0..81_000 {
        let placement = training.placement(index, (32, 32), None, || Ok(plain)).unwrap();
        assert_eq!((placement.across.size, placement.down.size), (32, 32));
        *counts.entry((placement.across.start, placement.down.start)).or_default() += 1;
        flips += usize::from(placement.flip);
    }
    let starts: BTreeSet<isize> = counts.keys().map(|&(start, _)| start).collect();
    assert_eq!(starts, (-4..=4).collect());
    // 1000 each, standard deviation 32.
    assert_eq!(counts.len(), 81);
    assert!(counts.values().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    // Standard deviation 142.
    assert!((39_800..41_200).contains(&flips), "{flips}");
}

fn train(preset: &str, seed: u64) -> Transform {
    let preset = Preset::named(preset).unwrap();
    let augmentation = preset.augmentation.unwrap();
    let transform = preset.transform(preset.mean.len()).unwrap();
    Transform { training: Some(Training { augmentation, seed, size: None }), ..transform }
}

/// Each photograph's bytes, by its index.
fn seen(seed: u64, batch_size: usize, order: Vec<usize>) -> BTreeMap<usize, u32> {
    let photos = Arc::from(swa_data::open(&pixels().join("photos"), Split::Train, None).unwrap());
    let loader = Loader::new(photos, order, train("imagenet", seed), batch_size, 0).unwrap();
    let mut seen = BTreeMap::new();
    for batch in loader {
        let batch = batch.unwrap();
        assert_eq!((batch.height, batch.width), (224, 224));
        let images = batch.pixels.chunks_exact(224 * 224 * 3);
        seen.extend(batch.indices.iter().copied().zip(images.map(crc)));
    }
    seen
}

#[test]
fn an_images_pixels_depend_on_seed_and_index_alone() {
    let n = 10;
    let first = seen(0, 4, Order::Dataset.indices(n));
    assert_eq!(first.len(), n);
    for (batch_size, order) in [(1, Order::Dataset), (7, Order::Shuffled { seed: 5 })] {
        assert_eq!(seen(0, batch_size, order.indices(n)), first);
    }
    // A part of the images, as another machine may have it.
    let part = seen(0, 2, vec![8, 3]);
    assert_eq!(part, [(3, first[&3]), (8, first[&8])].into());
    let other = seen(1, 4, Order::Dataset.indices(n));
    assert!(first.iter().all(|(index, crc)| other[index] != *crc));
}

#[test]
fn the_mnist_family_is_not_augmented() {
    let image = read("png/grey.png");
    let evaluation = Transform { training: None, ..train("mnist", 3) };
    assert_eq!(
        train("mnist", 3).apply(image.clone(), 5).unwrap(),
        evaluation.apply(image, 5).unwrap()
    );
}

#[test]
fn a_crop_larger_than_the_padded_image_is_refused() {
    let transform = Transform { crop: Some(32), ..train("cifar10", 0) };
    let error = transform.apply(read("jpeg/16x16.jpg"), 0).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("`resize`"), "{error}");
    let transform = Transform { resize: Some(24), ..transform };
    let image = transform.apply(read("jpeg/16x16.jpg"), 0).unwrap();
    assert_eq!((image.width, image.height), (32, 32));
}

#[test]
fn a_resized_crop_needs_a_size() {
    let transform = Transform { crop: None, ..train("imagenet", 0) };
    let error = transform.validate().unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().contains("`crop`"), "{error}");
}
