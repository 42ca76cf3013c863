//! CIFAR in Python pickles and binary files.

use std::fs;

use super::*;

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
