//! Shards of WebDataset.

use std::fs;

use super::*;

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
