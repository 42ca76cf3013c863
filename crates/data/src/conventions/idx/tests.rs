use std::io::Write;

use super::*;
use swa_base::Kind;

/// A header and values.
fn idx(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = (0x800 + dimensions.len() as u32).to_be_bytes().to_vec();
    dimensions.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// Two images of 2x3 and their labels 7 and 2.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let values: Vec<u8> = (0..12).collect();
    (idx(&[2, 2, 3], &values), idx(&[2], &[7, 2]))
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
    dir
}

fn refusal(files: &[(&str, &[u8])], split: Split) -> (Kind, String) {
    let error = crate::open(folder(files).path(), split, None).err().expect("refused");
    (error.kind(), error.to_string())
}

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

#[test]
fn plain_and_gzip_hold_the_same() {
    let (images, labels) = pair();
    let (zipped, zipped_labels) = (gzip(&images), gzip(&labels));
    let plain = folder(&[(IMAGES, &images), (LABELS, &labels)]);
    let gz = folder(&[
        ("train-images-idx3-ubyte.gz", &zipped),
        ("train-labels.idx1-ubyte.gz", &zipped_labels),
    ]);
    // A browser that unpacks keeps the name.
    let named =
        folder(&[("train-images-idx3-ubyte.gz", &images), ("train-labels-idx1-ubyte", &labels)]);
    for dir in [plain, gz, named] {
        let data = crate::open(dir.path(), Split::Train, None).unwrap();
        assert_eq!(
            (data.len(), data.classes(), data.class_names()),
            (2, Classes::AtLeast(8), None)
        );
        assert_eq!((data.label(0), data.label(1)), (7, 2));
        let image = data.image(1).unwrap();
        assert_eq!((image.width, image.height, image.channels), (3, 2, 1));
        assert_eq!(image.pixels, [6, 7, 8, 9, 10, 11]);
        assert!(data.name(1).ends_with("` #1"), "{}", data.name(1));
        assert!(data.describe().ends_with(", 2 images of 3x2, 8 classes"), "{}", data.describe());
    }
}

#[test]
fn the_split_chooses_the_files() {
    let (images, labels) = pair();
    let other = idx(&[1, 1, 1], &[9]);
    let test_labels = idx(&[1], &[0]);
    let dir = folder(&[
        (IMAGES, &images),
        (LABELS, &labels),
        ("t10k-images.idx3-ubyte", &other),
        ("t10k-labels.idx1-ubyte", &test_labels),
    ]);
    assert_eq!(crate::open(dir.path(), Split::Train, None).unwrap().len(), 2);
    assert_eq!(crate::open(dir.path(), Split::Test, None).unwrap().len(), 1);
}

#[test]
fn files_of_no_split_are_any() {
    let (images, labels) = pair();
    let dir = folder(&[("images.idx3-ubyte", &images), ("labels.idx1-ubyte", &labels)]);
    assert_eq!(crate::open(dir.path(), Split::Test, None).unwrap().len(), 2);
}

#[test]
fn an_absent_split_names_what_is_there() {
    let (images, labels) = pair();
    let (kind, text) = refusal(&[(IMAGES, &images), (LABELS, &labels)], Split::Test);
    assert_eq!(kind, Kind::Input);
    assert!(text.ends_with("no test part, found `train`; use `split` train"), "{text}");
}

#[test]
fn two_sets_are_ambiguous() {
    let (images, labels) = pair();
    let files: &[(&str, &[u8])] = &[
        ("emnist-digits-train-images-idx3-ubyte", &images),
        ("emnist-letters-train-images-idx3-ubyte", &images),
        ("emnist-letters-train-labels-idx1-ubyte", &labels),
    ];
    assert!(refusal(files, Split::Train).1.contains("several sets of images: `emnist-digits"));
}

#[test]
fn labels_must_be_there_and_be_as_many() {
    let (images, _) = pair();
    let (_, text) = refusal(&[(IMAGES, &images)], Split::Train);
    assert!(text.ends_with("put `train-labels-idx1-ubyte` beside it"), "{text}");
    let three = idx(&[3], &[1, 2, 3]);
    let (kind, text) = refusal(&[(IMAGES, &images), (LABELS, &three)], Split::Train);
    assert_eq!(kind, Kind::Mismatch);
    assert!(text.ends_with("3 labels for the 2 images of `train-images-idx3-ubyte`"), "{text}");
}

#[test]
fn a_wrong_header_or_length_is_refused() {
    let (images, labels) = pair();
    let mut longer = images.clone();
    longer.push(0);
    let cut = &images[..images.len() - 1];
    let huge = idx(&[u32::MAX, u32::MAX, u32::MAX], &[]);
    let cases: [(&[u8], &str, Kind); 9] = [
        (&labels, "expected magic number 0x00000803 (images), found 0x00000801", Kind::Input),
        (&longer, "expected 28 bytes from its header [2, 2, 3], found 29", Kind::Damaged),
        (cut, "expected 28 bytes from its header [2, 2, 3], found 27", Kind::Truncated),
        (&images[..9], "cut off", Kind::Truncated),
        (&[], "the file is empty", Kind::Truncated),
        (&idx(&[0, 28, 28], &[]), "it is empty: its header says [0, 28, 28]", Kind::Input),
        (&huge, "images of 18446744065119617025 pixels", Kind::Limit),
        (&gzip(&longer), "more follows after the 12 bytes", Kind::Damaged),
        (&gzip(cut), "cut off: 11 of 12 bytes", Kind::Truncated),
    ];
    for (bytes, expected, kind) in cases {
        let (found, text) = refusal(&[(IMAGES, bytes), (LABELS, &labels)], Split::Train);
        assert!(text.contains(expected) && found == kind, "{text}");
    }
}

#[test]
fn broken_gzip_is_refused() {
    let (images, labels) = pair();
    let zipped = gzip(&images);
    for cut in 2..zipped.len() {
        let (kind, text) = refusal(&[(IMAGES, &zipped[..cut]), (LABELS, &labels)], Split::Train);
        assert!(matches!(kind, Kind::Truncated | Kind::Damaged), "cut at {cut}: {text}");
    }
    let mut flipped = zipped.clone();
    let at = zipped.len() - 6;
    flipped[at] ^= 1;
    let (kind, text) = refusal(&[(IMAGES, &flipped), (LABELS, &labels)], Split::Train);
    assert!(kind == Kind::Damaged && text.contains("corrupt gzip data"), "{text}");
}

#[test]
fn a_gzip_bomb_costs_no_memory() {
    // The header promises a terabyte.
    let promise = gzip(&idx(&[1 << 20, 1 << 10, 1 << 10], &[0; 1000]));
    let labels = idx(&[1], &[0]);
    let (kind, text) = refusal(&[(IMAGES, &promise), (LABELS, &labels)], Split::Train);
    assert_eq!(kind, Kind::Damaged);
    assert!(text.contains("promises 1099511627776 bytes"), "{text}");
    // The header promises 12 bytes, a hundred megabytes follow.
    let (_, text) = refusal(
        &[(IMAGES, &gzip(&idx(&[2, 2, 3], &vec![0; 100 << 20]))), (LABELS, &labels)],
        Split::Train,
    );
    assert!(text.contains("more follows after the 12 bytes"), "{text}");
}
