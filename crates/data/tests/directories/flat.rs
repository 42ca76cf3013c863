//! Images in one folder, and a file of their labels.

use std::fs;
use std::path::PathBuf;

use super::*;

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
