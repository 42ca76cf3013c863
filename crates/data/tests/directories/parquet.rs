//! Parquet files of `datasets`.

use std::fs;

use super::*;

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
