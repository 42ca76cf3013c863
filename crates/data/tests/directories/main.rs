//! Every convention of data directories gives the labels and pixels that its library reads from the same
//! files (`fixtures/data/make.py`), and what is broken is refused by name.

mod bad_images;
mod cifar;
mod flat;
mod parquet;
mod webdataset;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use swa_base::{Error, Kind};
use swa_data::{Classes, Dataset, Loader, Options, Preset, Split, Transform, open};
use swa_testing::fixtures;

fn data(name: &str) -> PathBuf {
    fixtures().join("data").join(name)
}

#[derive(Deserialize)]
struct Golden {
    sets: BTreeMap<String, Set>,
}

#[derive(Deserialize)]
struct Set {
    classes: Option<Vec<String>>,
    /// Label, CRC-32 of the RGB bytes.
    images: Vec<(usize, u32)>,
}

fn golden(name: &str) -> Set {
    let golden = fs::read(data("golden.json")).unwrap();
    serde_json::from_slice::<Golden>(&golden).unwrap().sets.remove(name).unwrap()
}

/// Labels and pixels. Asked for from the end on, so that nothing depends on the order.
fn images(set: &dyn Dataset) -> Vec<(usize, u32)> {
    let mut found = vec![(0, 0); set.len()];
    for (i, found) in found.iter_mut().enumerate().rev() {
        let mut crc = flate2::Crc::new();
        crc.update(&set.image(i).unwrap().pixels);
        *found = (set.label(i), crc.sum());
    }
    found
}

fn opened(dir: &Path, split: Split) -> Box<dyn Dataset> {
    open(dir, split, None).unwrap()
}

#[track_caller]
fn same(dir: &Path, split: Split, name: &str) -> Box<dyn Dataset> {
    let (set, golden) = (opened(dir, split), golden(name));
    assert_eq!(images(set.as_ref()), golden.images, "{}", set.describe());
    if let (Some(names), Some(expected)) = (set.class_names(), &golden.classes) {
        assert_eq!(names, expected);
    }
    set
}

/// The error of what must be refused. It names a file or folder in `dir`.
#[track_caller]
fn refused(dir: &Path, split: Split) -> Error {
    named(open(dir, split, None).err().expect("refused"), dir)
}

#[track_caller]
fn named(error: Error, dir: &Path) -> Error {
    let text = error.to_string();
    assert!(text.starts_with(&format!("`{}", dir.display())), "{text}");
    error
}

#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} not in {text:?}");
    }
}

/// A folder with some files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

fn photo() -> Vec<u8> {
    fs::read(fixtures().join("pixels/jpeg/420.jpg")).unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}
