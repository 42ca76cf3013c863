//! Every convention of data directories gives the labels and pixels that its library reads from the same
//! files (`fixtures/data/make.py`), and what is broken is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

// CIFAR -----------------------------------------------------------------------------------------------

#[test]
fn cifar_is_that_of_torchvision() {
    for (folder, set) in [
        ("cifar-10-batches-py", "cifar-10"),
        ("cifar-10-batches-bin", "cifar-10"),
        ("cifar-100-python", "cifar-100"),
        ("cifar-100-binary", "cifar-100"),
    ] {
        for (split, part) in [(Split::Train, "train"), (Split::HeldOut, "test")] {
            let found = same(&data(folder), split, &format!("{set}-{part}"));
            let classes = if set == "cifar-10" { 10 } else { 100 };
            assert_eq!(found.classes(), Classes::Exactly(classes));
            assert_eq!(found.class_names().unwrap().len(), classes);
        }
    }
}

#[test]
fn a_pickle_in_any_clothes_is_the_same() {
    let mut tried = 0;
    for entry in fs::read_dir(data("pickles")).unwrap() {
        let entry = entry.unwrap();
        let dir = folder(&[("data_batch_1", &fs::read(entry.path()).unwrap())]);
        let set = opened(dir.path(), Split::Train);
        assert_eq!(images(set.as_ref()), golden("pickles").images, "{}", entry.path().display());
        assert_eq!(set.class_names(), None);
        tried += 1;
    }
    assert_eq!(tried, 11);
}

#[test]
fn broken_cifar_is_refused() {
    let py = |name: &str| fs::read(data("cifar-10-batches-py").join(name)).unwrap();
    let bin = fs::read(data("cifar-10-batches-bin/data_batch_1.bin")).unwrap();
    let case = |kind: Kind, files: &[(&str, &[u8])], parts: &[&str]| {
        let dir = folder(files);
        let error = refused(dir.path(), Split::Train);
        assert_eq!(error.kind(), kind, "{error}");
        says(&error, parts);
    };
    case(
        Kind::Damaged,
        &[("data_batch_1.bin", &bin[..bin.len() - 1])],
        &["9,218 bytes", "3,073", "data_batch_1.bin"],
    );
    case(Kind::Truncated, &[("data_batch_1.bin", b"")], &["the file is empty"]);
    case(Kind::Damaged, &[("train.bin", &bin)], &["no multiple of the 3,074"]);
    let mut label = bin.clone();
    label[3073] = 10;
    case(
        Kind::Damaged,
        &[("data_batch_1.bin", &label)],
        &["image 1 has the label 10, expected 0 to 9"],
    );
    case(
        Kind::Input,
        &[("data_batch_1.bin", &bin), ("data_batch_3.bin", &bin)],
        &["`data_batch_2` is missing"],
    );
    case(
        Kind::Input,
        &[("test_batch.bin", &bin)],
        &["no train part, found `test`", "`split` test"],
    );
    case(
        Kind::Input,
        &[("data_batch_1", &py("batches.meta"))],
        &["its dict has no `labels`, only \"label_names\""],
    );
    let dir = folder(&[("data_batch_1", &bin)]);
    let error = refused(dir.path(), Split::Train);
    assert_eq!(error.kind().exit_code(), 3);
    says(&error, &["bad pickle"]);
    let names = b"airplane\ncat\n";
    case(
        Kind::Mismatch,
        &[("data_batch_1.bin", &bin), ("batches.meta.txt", names)],
        &["names 2 classes"],
    );
    // The array says more rows than there are labels or bytes.
    let mut rows = py("data_batch_1");
    let at = rows.windows(5).position(|w| w == b"(K\x03M\0").unwrap();
    rows[at + 2] = 4;
    case(
        Kind::Damaged,
        &[("data_batch_1", &rows)],
        &["expected 3072 bytes an image, found [4, 3072] and 9216"],
    );
}

#[test]
fn a_pickle_that_names_code_is_refused_and_one_that_is_cut_too() {
    let hostile = [
        &b"cposix\nsystem\n(S'touch /tmp/x'\ntR."[..],
        b"\x80\x02}q\x00U\x04datac__builtin__\neval\ns.",
    ];
    for bytes in hostile {
        let dir = folder(&[("train", bytes)]);
        let error = refused(dir.path(), Split::Train);
        says(&error, &["code that acts", "nothing of it was run"]);
    }
    let whole = fs::read(data("cifar-10-batches-py/data_batch_1")).unwrap();
    for cut in (0..whole.len()).step_by(101).chain([whole.len() - 1]) {
        let dir = folder(&[("data_batch_1", &whole[..cut])]);
        let error = refused(dir.path(), Split::Train);
        assert_eq!(error.kind().exit_code(), 3, "{cut}: {error}");
    }
}

// WebDataset ------------------------------------------------------------------------------------------

#[test]
fn webdataset_is_that_of_webdataset() {
    let set = same(&data("webdataset"), Split::Train, "webdataset-train");
    assert_eq!(set.classes(), Classes::AtLeast(10));
    assert_eq!(set.name(1), "pictures-train-1.tar/nested/0001.jpeg");
    same(&data("webdataset"), Split::HeldOut, "webdataset-val");
    // Names longer than a header, in GNU's manner; a folder's entry; an ending in capitals.
    let set = same(&data("webdataset-gnu"), Split::Train, "webdataset-gnu");
    assert!(set.name(2).starts_with("gnu.tar/d/2-gnu-gnu-") && set.name(2).len() > 160);
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

#[test]
fn a_cut_shard_is_refused_wherever_it_is_cut() {
    let whole = fs::read(data("webdataset/pictures-val-0.tar")).unwrap();
    // Python fills up with zeros to 10 KiB; the archive itself ends 1024 bytes behind its last member.
    let end = whole.iter().rposition(|&byte| byte != 0).unwrap().next_multiple_of(512) + 1024;
    for cut in (0..end).step_by(257).chain((0..end).step_by(512)).chain([end - 1]) {
        let dir = folder(&[("shard-0.tar", &whole[..cut])]);
        let error = refused(dir.path(), Split::HeldOut);
        // Cut between the files of a sample, it lacks one.
        let kinds = [Kind::Truncated, Kind::Damaged, Kind::Input];
        assert!(kinds.contains(&error.kind()), "{cut}: {error}");
        says(&error, &["shard-0.tar`: "]);
    }
    let dir = folder(&[("shard-0.tar", &whole[..end])]);
    assert_eq!(opened(dir.path(), Split::HeldOut).len(), 3);
    // Two archives in one file: readers see the first alone.
    let dir = folder(&[("shard-0.tar", &[whole.clone(), whole].concat())]);
    says(&refused(dir.path(), Split::HeldOut), &["more follows after the end", "tar -A"]);
}

#[test]
fn samples_that_are_not_whole_are_refused() {
    let photo = photo();
    let case = |kind: Kind, members: &[(&str, &[u8])], parts: &[&str]| {
        let dir = folder(&[("a-0.tar", &tar(members))]);
        let error = refused(dir.path(), Split::Train);
        assert_eq!(error.kind(), kind, "{error}");
        says(&error, &[&["a-0.tar`: "], parts].concat());
    };
    let whole = [("a.jpg", &photo[..]), ("a.cls", b"1")];
    case(Kind::Damaged, &[whole, whole].concat(), &["it holds `a.jpg` twice"]);
    case(
        Kind::Damaged,
        &[&whole[..], &[("b.jpg", &photo), ("b.cls", b"2")], &whole].concat(),
        &["two samples have the key `a`"],
    );
    case(
        Kind::Input,
        &[("a.jpg", &photo), ("b.cls", b"1")],
        &["the sample `a` has no label, only jpg"],
    );
    case(
        Kind::Input,
        &[("a.cls", b"1"), ("b.jpg", &photo)],
        &["the sample `a` has no image, only cls"],
    );
    case(
        Kind::Damaged,
        &[("a.jpg", &photo), ("a.png", &photo), ("a.cls", b"1")],
        &["has two images, `a.jpg` and `a.png`"],
    );
    case(
        Kind::Input,
        &[("a.jpg", &photo), ("a.cls", b"cat")],
        &["`a.cls`: expected a class's number, found `cat`"],
    );
    case(
        Kind::Input,
        &[("a.jpg", &photo), ("a.cls", b"-1")],
        &["expected a class's number", "leave out samples without a class"],
    );
    for (json, said) in [
        ("{\"label\": 1.5}", "sample `a` is 1.5, not a class's number"),
        ("{\"label\": true}", "sample `a` is true, not a class's number"),
        ("{\"label\": 1, \"label\": 2}", "sample `a`, which has no `cls`: two values of `label`"),
    ] {
        case(Kind::Input, &[("a.jpg", &photo), ("a.json", json.as_bytes())], &[said]);
    }
    case(
        Kind::Input,
        &[("a.jpg", &photo), ("a.json", b"{\"caption\": \"cat\"}")],
        &["no label, only jpg, json"],
    );
    for label in ["cat", "3"] {
        case(
            Kind::Input,
            &[("a.jpg", &photo), ("a.json", format!("{{\"label\": \"{label}\"}}").as_bytes())],
            &[&format!("sample `a` is the string `{label}`, not a number"), "without quotation"],
        );
    }
    // What describes the shard is no sample.
    let meta = [("__meta__/info.json", &b"{}"[..]), ("a.jpg", &photo), ("a.cls", b"1")];
    assert_eq!(opened(folder(&[("a-0.tar", &tar(&meta))]).path(), Split::Train).len(), 1);
    let dir = folder(&[("a-0-of-2.tar", &tar(&whole))]);
    says(&refused(dir.path(), Split::Train), &["1 of 2 files are missing", "`a-1-of-2`"]);
    // Compressed, whatever it is called.
    for start in [&b"\x1f\x8b\x08"[..], b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00\x00"] {
        let dir = folder(&[("a-0.tar", start)]);
        says(&refused(dir.path(), Split::Train), &["a-0.tar`: a compressed shard", "gunzip"]);
    }
    let dir = folder(&[("a-0.tar", &tar(&[]))]);
    says(&refused(dir.path(), Split::Train), &["no samples in its shards"]);
    for files in
        [&[("a.tar.gz", &b"\x1f\x8b"[..])][..], &[("a.tar.gz", b"\x1f\x8b"), ("b.tar", b"")]]
    {
        let dir = folder(files);
        says(&refused(dir.path(), Split::Train), &["a.tar.gz`: a compressed shard", "gunzip"]);
    }
    // Beside a folder it is what that was unpacked from.
    let bin = fs::read(data("cifar-10-batches-bin/test_batch.bin")).unwrap();
    let files = [("cifar.tar.gz", &b"\x1f\x8b"[..]), ("cifar-10-batches-bin/test_batch.bin", &bin)];
    assert_eq!(opened(folder(&files).path(), Split::Test).len(), 4);
}

// Parquet ---------------------------------------------------------------------------------------------

#[test]
fn parquet_is_that_of_datasets() {
    let set = same(&data("huggingface"), Split::Train, "huggingface-train");
    assert_eq!(set.classes(), Classes::Exactly(4));
    assert_eq!(set.name(5), "`train-00001-of-00002.parquet` #1");
    same(&data("huggingface"), Split::HeldOut, "huggingface-validation");
}

#[test]
fn rows_are_the_same_however_they_are_stored() {
    for name in ["none", "snappy", "dictionary", "gzip", "pages", "version2", "index", "plain"] {
        let set = same(&data("parquet").join(name), Split::Train, "huggingface-train");
        let classes = if name == "plain" { Classes::AtLeast(4) } else { Classes::Exactly(4) };
        assert_eq!(set.classes(), classes, "{name}");
    }
}

#[test]
fn parquet_without_what_is_needed_is_refused() {
    let case = |kind: Kind, name: &str, parts: &[&str]| {
        let dir = folder(&[("x.parquet", &fs::read(data("parquet-refused").join(name)).unwrap())]);
        let error = refused(dir.path(), Split::Train);
        assert_eq!(error.kind(), kind, "{error}");
        says(&error, &[&["x.parquet`: "], parts].concat());
    };
    case(
        Kind::Input,
        "no-labels.parquet",
        &["no column of labels among `image.bytes`", "rename it to one of `label`"],
    );
    case(
        Kind::Input,
        "no-images.parquet",
        &["no column of images (a struct with `bytes`) among `label`"],
    );
    case(
        Kind::Unsupported,
        "words.parquet",
        &[
            "the column `label` is BYTE_ARRAY, expected whole numbers",
            "if it holds numbers, cast it: `dataset.cast_column(\"label\", datasets.Value(\"int64\"))`",
            "if words, encode it: `dataset.class_encode_column(\"label\")`",
        ],
    );
    for file in ["hidden.parquet", "null.parquet"] {
        case(
            Kind::Input,
            file,
            &["has no label from 0 on; leave out rows", "has -1", "`split` val"],
        );
    }
    says(
        &refused(&data("parquet/zstd"), Split::Train),
        &["`image.bytes` is compressed with ZSTD, expected none, snappy or gzip", "pq.write_table"],
    );
    says(
        &refused(&data("arrow"), Split::Train),
        &["arrow files, which are not read", "to_parquet"],
    );
    // An image that is elsewhere is a bad image.
    let dir =
        folder(&[("x.parquet", &fs::read(data("parquet-refused/elsewhere.parquet")).unwrap())]);
    let set = opened(dir.path(), Split::Train);
    says(&set.image(1).err().unwrap(), &["x.parquet #1`", "no bytes, only a path"]);
    assert!(set.image(2).is_ok());
}

#[test]
fn cut_or_changed_parquet_is_refused_without_a_panic() {
    let whole = fs::read(data("parquet/version2/pictures.parquet")).unwrap();
    for cut in (0..whole.len()).step_by(61).chain([whole.len() - 1]) {
        let dir = folder(&[("x.parquet", &whole[..cut])]);
        let error = refused(dir.path(), Split::Train);
        assert!(matches!(error.kind(), Kind::Truncated | Kind::Damaged), "{cut}: {error}");
    }
    for name in ["version2", "dictionary", "gzip", "index"] {
        let whole = fs::read(data("parquet").join(name).join("pictures.parquet")).unwrap();
        for at in (0..whole.len()).step_by(37).chain(whole.len() - 300..whole.len()) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            let dir = folder(&[("x.parquet", &flipped)]);
            match open(dir.path(), Split::Train, None) {
                Err(error) => drop(named(error, dir.path())),
                Ok(set) => (0..set.len()).for_each(|i| drop(set.image(i))),
            }
        }
    }
}

// A flat folder ---------------------------------------------------------------------------------------

/// Six images as ImageNet's are called, and label files; the folder lies in another one.
fn flat(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let photo = photo();
    let mut all: Vec<(String, &[u8])> =
        (1..=6).map(|i| (format!("val/ILSVRC2012_val_{i:08}.JPEG"), &photo[..])).collect();
    all.extend(files.iter().map(|(name, text)| (name.to_string(), text.as_bytes())));
    let all: Vec<(&str, &[u8])> = all.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let dir = folder(&all);
    let val = dir.path().join("val");
    (dir, val)
}

/// A thousand wnids, sorted.
fn wnids() -> Vec<String> {
    (0..1000).map(|i| format!("n{:08}", 1_440_764 + 7 * i)).collect()
}

fn labels(set: &dyn Dataset) -> Vec<usize> {
    (0..set.len()).map(|i| set.label(i)).collect()
}

const WANTED: [usize; 6] = [65, 970, 0, 999, 65, 3];

/// Lines of something for each image.
fn lines(line: impl Fn(usize, usize) -> String) -> String {
    WANTED.iter().enumerate().map(|(i, &class)| line(i + 1, class) + "\n").collect()
}

#[test]
fn label_files_in_use_are_read() {
    let wnids = wnids();
    let mapping: String =
        wnids.iter().rev().map(|wnid| format!("{wnid} a fish, with a name\n")).collect();
    // The development kit counts in an order of its own.
    let id = |class: usize| (class * 7 + 13) % 1000 + 1;
    let map_clsloc: String =
        wnids.iter().enumerate().map(|(i, wnid)| format!("{wnid} {} x\n", id(i))).collect();
    let ids_first: String =
        wnids.iter().enumerate().map(|(i, wnid)| format!("{}\t{wnid}\n", id(i))).collect();
    let index: BTreeMap<String, [&str; 2]> =
        wnids.iter().enumerate().map(|(i, wnid)| (i.to_string(), [wnid.as_str(), "x"])).collect();
    let index = serde_json::to_string(&index).unwrap();
    let kaggle = "ImageId,PredictionString\n".to_string()
        + &lines(|i, c| format!("ILSVRC2012_val_{i:08},{} 85 1 499 272 {0} 1 2 3 4", wnids[c]));
    let caffe = lines(|i, c| format!("ILSVRC2012_val_{i:08}.JPEG {c}"));
    let csv = "\u{feff}filename,label\r\n".to_string()
        + &lines(|i, c| format!("\"val/ILSVRC2012_val_{i:08}.JPEG\",\"{c}\"\r"));
    let tabs = lines(|i, c| format!("ILSVRC2012_val_{i:08}.JPEG\t{}\t0\t32\t44\t62", wnids[c]));
    let synsets = lines(|_, c| wnids[c].clone());
    let truth = lines(|_, c| id(c).to_string());
    let numbers = lines(|_, c| c.to_string());
    let cases = [
        ("val/LOC_val_solution.csv", &kaggle, Some(&mapping)),
        ("val.txt", &caffe, None),
        ("labels.csv", &csv, None),
        ("labels.csv", &csv, Some(&index)),
        ("val/val_annotations.txt", &tabs, Some(&index)),
        ("imagenet_2012_validation_synset_labels.txt", &synsets, Some(&mapping)),
        ("ILSVRC2012_validation_ground_truth.txt", &truth, Some(&map_clsloc)),
        ("ILSVRC2012_validation_ground_truth.txt", &truth, Some(&ids_first)),
        // Numbers from 0 on are class indices.
        ("val_labels.txt", &numbers, None),
    ];
    for (name, text, classes) in cases {
        let mut files = vec![(name, text.as_str())];
        files.extend(classes.map(|text| ("classes", text.as_str())));
        let (dir, val) = flat(&files);
        let classes = classes.map(|_| dir.path().join("classes"));
        let known = classes.is_some();
        let set = Options { classes, ..Options::default() }.open(&val).unwrap();
        assert_eq!(labels(set.as_ref()), WANTED, "{name}");
        assert_eq!(set.name(1), "ILSVRC2012_val_00000002.JPEG");
        let expected = if known { Classes::Exactly(1000) } else { Classes::AtLeast(1000) };
        assert_eq!((set.classes(), set.class_names().is_some()), (expected, known), "{name}");
        assert!(set.image(5).is_ok());
    }
    // Beside the list of ids it needs no flag; the folder above leads to the part.
    let files = [("val/ILSVRC2012_validation_ground_truth.txt", truth.as_str())];
    let (dir, val) = flat(&files);
    fs::write(val.join("map_clsloc.txt"), &map_clsloc).unwrap();
    assert_eq!(labels(opened(dir.path(), Split::HeldOut).as_ref()), WANTED);
    // The class folders of the training part are a list as well.
    let (dir, val) = flat(&[("val.txt", &synsets)]);
    let train = dir.path().join("train");
    wnids.iter().for_each(|wnid| fs::create_dir_all(train.join(wnid)).unwrap());
    let set = Options { classes: Some(train), ..Options::default() }.open(&val).unwrap();
    assert_eq!(labels(set.as_ref()), WANTED);
}

#[test]
fn a_thousand_classes_in_the_label_file_are_all() {
    let wnids = wnids();
    let names: Vec<String> = (1..=1000).map(|i| format!("ILSVRC2012_val_{i:08}.JPEG")).collect();
    let text: String =
        names.iter().zip(wnids.iter().rev()).map(|(n, w)| format!("{n} {w}\n")).collect();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    files.push(("val.txt", text.as_bytes()));
    let dir = folder(&files);
    let set = opened(dir.path(), Split::HeldOut);
    assert_eq!(set.class_names().unwrap(), wnids);
    assert!((0..1000).all(|i| set.label(i) == 999 - i));
}

#[test]
fn label_files_that_do_not_fit_are_refused() {
    let wnids = wnids();
    let case = |kind: Kind, files: &[(&str, &str)], parts: &[&str]| {
        let (dir, val) = flat(files);
        let error = named(open(&val, Split::HeldOut, None).err().expect("refused"), dir.path());
        assert_eq!(error.kind(), kind, "{error}");
        says(&error, parts);
    };
    let index = |n: usize| -> String {
        (1..=n).map(|i| format!("ILSVRC2012_val_{i:08}.JPEG {i}\n")).collect()
    };
    case(
        Kind::Input,
        &[],
        &["6 images, but no file of their labels", "`labels` FILE", "`LOC_val_solution.csv`"],
    );
    case(
        Kind::Mismatch,
        &[("val.txt", &index(5))],
        &["labels for 5 images, the folder has 6", "00000006` has no label"],
    );
    case(
        Kind::Mismatch,
        &[("val.txt", &index(7))],
        &["labels for 7 images, the folder has 6", "00000007` has a label, but"],
    );
    case(
        Kind::Mismatch,
        &[("val.txt", &(index(6) + &index(1)))],
        &["labels for 7 images", "more than one label"],
    );
    case(
        Kind::Mismatch,
        &[("val.txt", "0\n1\n2\n")],
        &["val.txt`: labels for 3 images, the folder has 6"],
    );
    case(Kind::Input, &[("val.txt", "")], &["it holds no labels"]);
    case(
        Kind::Input,
        &[("val.txt", "0\n1\n-2\n3\n4\n5\n")],
        &["line 3: the label -2, expected 0 or more"],
    );
    case(
        Kind::Input,
        &[("val.txt", "0\n1\nx\n3\n4\n5\n")],
        &["line 3: the label `x`, where the first is `0`"],
    );
    case(
        Kind::Input,
        &[("val.txt", "0\n1 2\n")],
        &["line 2: it has another number of columns than the first line"],
    );
    case(
        Kind::Input,
        &[("val.txt", &index(6)), ("val.csv", &index(6))],
        &["several label files: `val.txt`, `val.csv`"],
    );
    let truth = lines(|_, c| (c + 1).to_string());
    case(
        Kind::Input,
        &[("val.txt", &truth)],
        &["the development kit's ids", "`classes` map_clsloc.txt"],
    );
    let synsets = lines(|_, c| wnids[c].clone());
    case(Kind::Input, &[("val.txt", &synsets)], &["5 of ImageNet's 1,000 classes", "`classes`"]);
    let (dir, val) = flat(&[("val.txt", &synsets), ("few", "n01440764\n"), ("two", "a\na\n")]);
    let with = |name: &str| {
        let options = Options { classes: Some(dir.path().join(name)), ..Options::default() };
        options.open(&val).err().expect("refused")
    };
    says(&with("few"), &["val.txt`: the label `n", "none of the 1 classes"]);
    says(&with("two"), &["two`: it names the class `a` twice"]);
    assert_eq!(with("absent").kind(), Kind::Usage);
    // Not for what needs no labels.
    let options = Options { classes: Some(dir.path().join("few")), ..Options::default() };
    let error = options.open(&data("webdataset")).err().unwrap();
    assert_eq!(error.kind(), Kind::Usage);
    says(&error, &["`labels` and `classes` are for a flat folder of images"]);
}

// Bad images ------------------------------------------------------------------------------------------

/// The images that come in the wild: whole, cut short, a bomb, CMYK, a PNG named .JPEG.
fn wild() -> [(Vec<u8>, bool); 5] {
    let read = |name: &str| fs::read(fixtures().join("pixels").join(name)).unwrap();
    let photo = photo();
    let mut bomb = b"\xff\xd8\xff\xc0\0\x0b\x08".to_vec();
    bomb.extend([65000u16.to_be_bytes(), 65000u16.to_be_bytes()].concat());
    bomb.extend(b"\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\0\xff\xd9");
    [
        (photo[..photo.len() / 2].to_vec(), false),
        (photo, true),
        (bomb, false),
        (read("jpeg/cmyk.jpg"), true),
        (read("png/rgb.png"), true),
    ]
}

/// The wild images in each convention that holds files of images.
fn wild_sets() -> Vec<(&'static str, tempfile::TempDir)> {
    let wild = wild();
    let names: Vec<String> = (0..wild.len()).map(|i| format!("{i}.JPEG")).collect();
    let images = || names.iter().zip(&wild).map(|(name, (bytes, _))| (name.clone(), &bytes[..]));
    let write = |files: Vec<(String, &[u8])>| {
        folder(&files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect::<Vec<_>>())
    };
    let classes = images().map(|(name, bytes)| (format!("class/{name}"), bytes)).collect();
    let labels: String = names.iter().map(|name| format!("{name} 0\n")).collect();
    let flat = images().chain([("labels.txt".to_string(), labels.as_bytes())]).collect();
    let mut members = vec![];
    for (name, bytes) in images() {
        let key = name.trim_end_matches(".JPEG").to_string();
        members.extend([(name, bytes), (format!("{key}.cls"), &b"0"[..])]);
    }
    let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (n.as_str(), *b)).collect();
    let shard = folder(&[("a-0.tar", &tar(&members))]);
    vec![("imagefolder", write(classes)), ("flat", write(flat)), ("webdataset", shard)]
}

#[test]
fn bad_images_are_skipped_and_named_in_every_convention() {
    let none = Preset::named("none").unwrap().transform(3).unwrap();
    let transform = Transform { resize: Some(16), crop: Some(16), ..none };
    for (name, dir) in wild_sets() {
        let set: Arc<dyn Dataset> = opened(dir.path(), Split::HeldOut).into();
        let run = |allow| {
            let order = (0..set.len()).collect();
            let mut loader = Loader::new(set.clone(), order, transform.clone(), 2, allow).unwrap();
            let batches: Vec<_> = loader.by_ref().collect();
            (batches, loader.bad())
        };
        let (batches, bad) = run(2);
        let used: Vec<usize> =
            batches.into_iter().flat_map(|batch| batch.unwrap().indices).collect();
        assert_eq!(used, [1, 3, 4], "{name}");
        assert_eq!(bad.len(), 2, "{name}: {bad:?}");
        let place =
            if name == "webdataset" { "a-0.tar/0.JPEG`: cut off" } else { "0.JPEG`: cut off" };
        assert!(bad[0].contains(place) && bad[0].starts_with('`'), "{name}: {bad:?}");
        assert!(bad[1].contains("2.JPEG`: an image of 65000x65000 pixels"), "{name}: {bad:?}");
        let (batches, _) = run(1);
        let error = batches.into_iter().find_map(|batch| batch.err()).unwrap();
        assert_eq!(error.kind(), Kind::BadImage);
        says(&error, &["2 bad images, `allow_bad` is 1", "0.JPEG", "2.JPEG"]);
        let (batches, _) = run(0);
        says(&batches.into_iter().find_map(|batch| batch.err()).unwrap(), &["`allow_bad` N skips"]);
    }
}
