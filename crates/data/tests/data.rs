//! Pixels are those of Pillow and torchvision, byte for byte (`fixtures/pixels/make.py`), and broken
//! images are refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use swa_base::Kind;
use swa_data::{Classes, Dataset, Image, Loader, Order, Split, Transform, decode};

fn pixels() -> PathBuf {
    swa_testing::root().join("fixtures/pixels")
}

#[derive(Deserialize)]
struct Golden {
    transforms: BTreeMap<String, Transform>,
    files: BTreeMap<String, BTreeMap<String, u32>>,
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(pixels().join("golden.json")).unwrap()).unwrap()
}

fn crc(image: &Image) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&image.pixels);
    crc.sum()
}

/// Fails where the pixels of a file are not Pillow's.
fn are_pillows(files: &BTreeMap<String, BTreeMap<String, u32>>) {
    let mut wrong = Vec::new();
    for (name, expected) in files {
        match decode::read(&pixels().join(name)) {
            Err(error) => wrong.push(error.to_string()),
            Ok(image) => {
                let size = (image.width as u32, image.height as u32);
                if size != (expected["width"], expected["height"]) || crc(&image) != expected["rgb"]
                {
                    wrong.push(format!("{name}: {image:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

#[test]
fn every_decoded_pixel_is_pillows() {
    let golden = golden();
    assert!(golden.files.len() >= 117);
    are_pillows(&golden.files);
}

/// BMP, GIF and TIFF, by `fixtures/pixels/other.py`.
#[test]
fn every_form_of_bmp_gif_and_tiff_is_pillows() {
    #[derive(Deserialize)]
    struct Other {
        files: BTreeMap<String, BTreeMap<String, u32>>,
    }
    let json = std::fs::read(pixels().join("other.json")).unwrap();
    let golden: Other = serde_json::from_slice(&json).unwrap();
    assert!(golden.files.len() >= 149);
    are_pillows(&golden.files);
}

/// What `fuzz/images.py` found: files that Pillow refuses and we once read.
#[test]
fn what_pillow_refuses_is_refused() {
    let finds = std::fs::read_dir(pixels().join("refused")).unwrap();
    let mut count = 0;
    for find in finds.map(|find| find.unwrap().path()) {
        let error = decode::read(&find).expect_err(&find.display().to_string());
        assert_eq!(error.kind(), Kind::BadImage, "{error}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn every_transformed_pixel_is_torchvisions() {
    let golden = golden();
    assert_eq!(golden.transforms.len(), 6);
    let mut wrong = Vec::new();
    for (file, expected) in &golden.files {
        let image = decode::read(&pixels().join(file)).unwrap();
        for (name, transform) in &golden.transforms {
            transform.validate().unwrap();
            let image = transform.apply(image.clone(), 0).unwrap();
            if crc(&image) != expected[name] {
                wrong.push(format!("{file}: {name} {image:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_imagenet_preset_is_the_golden_one() {
    let preset = swa_data::Preset::named("imagenet").unwrap().transform(3).unwrap();
    assert_eq!(preset, golden().transforms["imagenet"]);
}

/// Where a JPEG's first scan starts.
fn scan_start(bytes: &[u8]) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap()
}

#[test]
fn a_cut_image_is_an_error_wherever_it_is_cut() {
    for name in [
        "jpeg/420.jpg",
        "jpeg/420-progressive.jpg",
        "jpeg/grey.jpg",
        "jpeg/cmyk.jpg",
        "jpeg/ycck-420.jpg",
        "jpeg/restart-blocks.jpg",
        "png/rgb.png",
        "png/palette.png",
        "png/interlaced.png",
        "netpbm/bits.pbm",
        "netpbm/rgb.ppm",
        "webp/lossy.webp",
        "webp/lossless.webp",
        "bmp/32.bmp",
        "bmp/32-top-down.bmp",
        "gif/global.gif",
        "gif/interlaced.gif",
        "gif/photo.gif",
        "tiff/rgb-little.tif",
        "tiff/rgb-lzw-tiles.tif",
        "tiff/palette-4-lzw.tif",
        "tiff/grey-1-packbits.tif",
        "tiff/cmyk-planes.tif",
    ] {
        let bytes = std::fs::read(pixels().join(name)).unwrap();
        // A PNG's last 16 bytes are the checksum of its pixels and a chunk that says it is over.
        // The end of a GIF's codes, of their run of blocks and of the file itself hold no pixels.
        let end = match name.split('/').next() {
            Some("png") => bytes.len() - 16,
            Some("gif") => bytes.len() - 4,
            _ => bytes.len(),
        };
        let step = if end < 1000 { 7 } else { 97 };
        for cut in (0..end).step_by(step).chain([end - 1]) {
            let error = decode::decode(&bytes[..cut]).expect_err(name);
            assert_eq!(error.kind(), Kind::BadImage, "{name} cut at {cut}: {error}");
        }
    }
}

#[test]
fn a_scan_that_ends_early_is_an_error_even_with_an_end_marker() {
    for name in ["jpeg/420.jpg", "jpeg/grey.jpg", "jpeg/restart-blocks.jpg", "jpeg/ycck-420.jpg"] {
        let bytes = std::fs::read(pixels().join(name)).unwrap();
        let start = scan_start(&bytes);
        for part in 1..8 {
            let cut = start + 14 + (bytes.len() - start - 20) * part / 8;
            let mut cut = bytes[..cut].to_vec();
            cut.extend([0xff, 0xd9]);
            assert!(decode::decode(&cut).is_err(), "{name}, {part} eighths");
        }
    }
}

#[test]
fn the_error_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.jpg");
    let bytes = std::fs::read(pixels().join("jpeg/420.jpg")).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 300]).unwrap();
    let error = decode::read(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("`{}`: cut off: the JPEG", path.display())), "{error}");
}

#[test]
fn flipped_bits_let_no_panic_out() {
    for name in [
        "jpeg/420.jpg",
        "jpeg/444-progressive.jpg",
        "jpeg/cmyk.jpg",
        "png/interlaced.png",
        "webp/lossy.webp",
        "webp/lossless-alpha.webp",
    ] {
        let bytes = std::fs::read(pixels().join(name)).unwrap();
        for at in (0..bytes.len()).step_by(29) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            if let Ok(image) = decode::decode(&bytes) {
                assert_eq!(image.pixels.len(), image.width * image.height * image.channels);
            }
        }
    }
}

fn photos() -> Arc<dyn Dataset> {
    Arc::from(swa_data::open(&pixels().join("photos"), Split::Test, None).unwrap())
}

#[test]
fn the_photographs_are_an_image_folder() {
    let photos = photos();
    assert_eq!(photos.classes(), Classes::Exactly(4));
    assert_eq!(photos.class_names().unwrap(), ["cat", "cup", "person", "rocket"]);
    let names: Vec<String> = (0..photos.len()).map(|i| photos.name(i)).collect();
    assert_eq!(
        names,
        [
            "cat/chelsea.jpg",
            "cat/close.jpeg",
            "cat/tall/chelsea.JPG",
            "cup/coffee.jpg",
            "cup/not-a-jpeg.JPEG",
            "cup/print.jpg",
            "person/astronaut.jpg",
            "person/grey.jpg",
            "rocket/pad.jpg",
            "rocket/rocket.jpg"
        ]
    );
    assert!(photos.describe().ends_with("photos`, 10 images, 4 classes"), "{}", photos.describe());
}

#[test]
fn batches_hold_the_golden_pixels_in_order() {
    let golden = golden();
    let (photos, transform) = (photos(), golden.transforms["imagenet"].clone());
    let order = Order::Shuffled { seed: 3 }.indices(photos.len());
    let loader = Loader::new(Arc::clone(&photos), order.clone(), transform, 4, 0).unwrap();
    let mut seen = Vec::new();
    for batch in loader {
        let batch = batch.unwrap();
        assert_eq!((batch.height, batch.width, batch.channels), (224, 224, 3));
        for (i, pixels) in batch.pixels.chunks_exact(224 * 224 * 3).enumerate() {
            let name = photos.name(batch.indices[i]);
            let mut crc = flate2::Crc::new();
            crc.update(pixels);
            assert_eq!(crc.sum(), golden.files[&format!("photos/{name}")]["imagenet"], "{name}");
            assert_eq!(batch.labels[i], photos.label(batch.indices[i]));
        }
        seen.extend(batch.indices);
    }
    assert_eq!(seen, order);
}
