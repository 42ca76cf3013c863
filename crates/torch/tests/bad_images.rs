//! What the tools say of images that are not whole, not images, too large or of another kind, each
//! with its exit code; and that nothing is written then.

use std::fs;
use std::path::Path;

use swa_testing::data_tools::*;
use swa_testing::*;

fn pixels(name: &str) -> Vec<u8> {
    fs::read(fixtures().join("pixels").join(name)).unwrap()
}

/// A PNG's bytes with another size in its header.
fn resized_header(mut png: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    png
}

/// A JPEG's bytes with another size in its frame header.
fn resized_frame(mut jpeg: Vec<u8>, width: u16, height: u16) -> Vec<u8> {
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

/// Ten classes with a good image each, and one more file in the last.
fn folder(dir: &Path, name: &str, bytes: &[u8]) {
    let good = pixels("png/rgb.png");
    for class in 0..10 {
        let class = dir.join(format!("n{class:08}"));
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join("good.JPEG"), &good).unwrap();
    }
    fs::write(dir.join("n00000009").join(name), bytes).unwrap();
}

#[test]
fn every_kind_of_bad_image_is_an_error_that_names_it() {
    let jpeg = pixels("jpeg/420.jpg");
    let png = pixels("png/rgb.png");
    let mut corrupt = png.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle..middle + 8].fill(0x55);
    let tall = resized_frame(jpeg.clone(), 97, 60_000);
    let cases: Vec<(&str, Vec<u8>, i32, &str)> = vec![
        ("empty.JPEG", vec![], 3, "the file is empty"),
        ("cut.JPEG", jpeg[..jpeg.len() / 2].to_vec(), 3, "cut off"),
        ("cut.png", png[..png.len() / 2].to_vec(), 3, "cut off"),
        ("corrupt.png", corrupt, 3, "corrupt PNG"),
        ("taller-than-its-data.jpg", tall, 3, ""),
        ("wide.JPEG", resized_frame(jpeg.clone(), 65_000, 65_000), 6, "65000x65000 pixels"),
        ("bomb.png", resized_header(png.clone(), 1 << 20, 1 << 20), 6, "1048576x1048576 pixels"),
        ("bomb.ppm", b"P6 99999 99999 255\n".to_vec(), 6, "99999x99999 pixels"),
        ("page.jpg", b"<!DOCTYPE html><html>".to_vec(), 3, "not an image"),
        (
            "pointer.jpg",
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            3,
            "a Git LFS pointer",
        ),
        ("animation.JPEG", b"GIF89a\x01\0\x01\0".to_vec(), 3, "a GIF image"),
        ("photo.webp", b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), 3, "WebP"),
        ("scan.tif", b"II*\0\x08\0\0\0".to_vec(), 3, "a TIFF image"),
        ("deep.pgm", b"P5 1 1 65535\n12".to_vec(), 3, "the maximum 65535"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    colour_model(&model);
    let out = dir.path().join("out.safetensors");
    fs::write(&out, "old").unwrap();
    for (name, bytes, code, part) in cases {
        let data = dir.path().join(format!("data-{name}"));
        folder(&data, name, &bytes);
        let path = format!("n00000009/{name}");
        let mut update = swa_bn_update();
        update.arg(&model).args(["--preset", "cifar10", "--force", "--data"]).arg(&data);
        fails(update.arg("-o").arg(&out), code, &[&path, part]);
        assert_eq!(fs::read(&out).unwrap(), b"old", "{name}");
        // Left out when that is allowed, and the number that was used is told.
        let mut eval = swa_eval();
        eval.arg(&model).args(["--preset", "cifar10", "--allow-bad", "1", "--data"]).arg(&data);
        let report = json(&mut eval);
        assert_eq!(report["models"][0]["n"], 10, "{name}");
        let skipped = report["skipped"].as_array().unwrap();
        assert!(skipped.len() == 1 && skipped[0].as_str().unwrap().contains(&path), "{skipped:?}");
    }
}

#[test]
fn content_decides_not_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (dir.path().join("model.safetensors"), dir.path().join("data"));
    colour_model(&model);
    // A PNG of the same size as the others, which are PNGs named .JPEG themselves.
    folder(&data, "palette.bmp", &pixels("png/palette.png"));
    let report = json(swa_eval().arg(&model).args(["--preset", "cifar10", "--data"]).arg(&data));
    assert_eq!(report["models"][0]["n"], 11);
}

#[test]
fn a_class_too_many_or_too_few_is_an_error_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (dir.path().join("model.safetensors"), dir.path().join("data"));
    colour_model(&model);
    folder(&data, "more.png", &pixels("png/rgb.png"));
    fs::create_dir(data.join("n00000010")).unwrap();
    fs::copy(data.join("n00000009/more.png"), data.join("n00000010/more.png")).unwrap();
    let run = || {
        let mut command = swa_eval();
        command.arg(&model).args(["--preset", "cifar10", "--data"]).arg(&data);
        command
    };
    fails(&mut run(), 3, &["the data has 11 classes", "has 10"]);
    fs::remove_dir_all(data.join("n00000010")).unwrap();
    fs::remove_dir_all(data.join("n00000000")).unwrap();
    fails(&mut run(), 3, &["the data has 9 classes", "has 10"]);
}

#[test]
fn the_flags_of_label_files_say_what_the_file_leaves_open() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (dir.path().join("model.safetensors"), dir.path().join("data"));
    colour_model(&model);
    fs::create_dir(&data).unwrap();
    for i in 0..4 {
        fs::write(data.join(format!("{i}.gif")), pixels("gif/global.gif")).unwrap();
    }
    let labels = dir.path().join("table");
    let run = |more: &[&str]| {
        let mut command = swa_eval();
        command.arg(&model).args(["--preset", "cifar10", "--resize", "32", "--data"]).arg(&data);
        command.arg("--labels").arg(&labels).args(more);
        command
    };
    fs::write(&labels, "0.gif,0,3\n1.gif,1,3\n2.gif,0,3\n3.gif,1,4\n").unwrap();
    fails(&mut run(&[]), 3, &["several columns may be the label", "--label-column NAME"]);
    for (column, line) in [("2", "column `2`"), ("3", "column `3`")] {
        let output = run(&["--label-column", column]).assert().success().get_output().clone();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(line), "{said}");
    }
    // All images are the same: the network has one answer, and the labels decide how often it is right.
    let nll = |column| json(&mut run(&["--label-column", column]))["models"][0]["nll"].clone();
    assert_ne!(nll("2"), nll("3"));
    fs::write(&labels, "0.gif 1\n1.gif 2\n2.gif 2\n3.gif 1\n").unwrap();
    fails(&mut run(&[]), 3, &["they may count from 1", "--first-label 1 or --first-label 0"]);
    assert_ne!(
        json(&mut run(&["--first-label", "1"]))["models"][0]["nll"],
        json(&mut run(&["--first-label", "0"]))["models"][0]["nll"]
    );
    run(&["--first-label", "2"]).assert().code(2);
}
