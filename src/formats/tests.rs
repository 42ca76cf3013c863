use super::*;

/// The format of a file with these bytes, or the error.
fn format(bytes: &[u8]) -> Result<Container> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let source = Source::open(file.path()).unwrap();
    recognise(&Candidate::of(&source).unwrap()).map(|(container, _)| container)
}

#[test]
fn the_table_is_in_the_order_of_the_containers() {
    for (i, (container, format)) in FORMATS.iter().enumerate() {
        assert_eq!(*container as usize, i);
        assert_eq!(container.name(), format.name);
    }
}

#[test]
fn folders_are_searched_for_the_endings_of_the_table() {
    let expected = [
        "safetensors",
        "pth",
        "pt",
        "ckpt",
        "tar",
        "bin",
        "pyth",
        "th",
        "npz",
        "h5",
        "keras",
        "msgpack",
    ];
    assert_eq!(endings().collect::<Vec<_>>(), expected);
}

#[test]
fn strangers_are_named() {
    let mut tar = b"pickle".to_vec();
    tar.resize(100, 0);
    tar.extend(b"0000644\0");
    tar.resize(512, 0);
    let cases: [(&[u8], &str); 7] = [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "an HTML page"),
        (b"PK\x05\x06xx", "an empty zip file"),
        (b"\x80\x04xx", "a Python pickle"),
        (b"GGUFxx", "a GGUF file"),
        (&tar, "a tar file"),
    ];
    for (bytes, expected) in cases {
        let error = format(bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(error.kind(), Kind::NotACheckpoint | Kind::Unsupported), "{error}");
    }
}

#[test]
fn what_no_format_knows_is_said_to_be_none_or_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let source = Source::open(&path).unwrap();
        recognise(&Candidate::of(&source).unwrap()).map(|(container, _)| container)
    };
    let with = |start: &[u8]| [start, &[0; 60]].concat();
    let noise: Vec<u8> = (1..200u8).map(|n| n.wrapping_mul(151)).collect();
    let cases: [(&str, Vec<u8>, &str); 16] = [
        ("saved_model.pb", with(b"\x08\x01\x12\xa0\x06\n8\n\x05Const"), "a protocol buffer"),
        ("x.caffemodel", with(b"\n\x07AlexNet"), "a protocol buffer"),
        ("ckpt-1.index", with(b"\0\0\x1a\x08\x01"), "a TensorFlow checkpoint"),
        ("yolo.weights", with(b"\0\0\0\0\x02\0\0\0\x05\0\0\0\x80"), "weights of Darknet"),
        ("x.mat", with(b"MATLAB 5.0 MAT-file"), "a MATLAB file"),
        ("x.mp4", with(b"\0\0\0\x18ftypisom"), "a video"),
        ("x.wav", with(b"RIFF\0\0\0\0WAVEfmt "), "a RIFF file"),
        ("x.pyc", with(b"\xa7\r\r\n"), "compiled Python"),
        ("x.txt", b"\xff\xfel\0e\0a\0r\0n\0".to_vec(), "a text file"),
        ("y.txt", b"Gr\xf6\xdfe: f\xfcnf\n".repeat(2), "a text file"),
        ("z.txt", b"\xd1\xa7\xcf\xb0\xc2\xca: 5\n".repeat(2), "a text file"),
        ("a.pth", noise.clone(), "is in no format that is read; name a checkpoint in"),
        ("b.ckpt", vec![0; 5000], "zeros alone"),
        ("counter.ckpt", b"3".to_vec(), "1 byte(s), too few for a checkpoint; name the file"),
        ("x.zip", npz::tests::zip(&[("model.pth", vec![])]), "such as `model.pth`; unpack it"),
        ("noise", noise.clone(), "is in no format that is read"),
    ];
    for (name, bytes, expected) in cases {
        let error = error(name, &bytes).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(matches!(error.kind(), Kind::NotACheckpoint | Kind::Unsupported), "{error}");
    }
    // SpeechBrain's folder.
    std::fs::write(folder.path().join("model.ckpt"), "").unwrap();
    let text = error("counter.ckpt", b"3").unwrap_err().to_string();
    assert!(text.contains("name the weights, `model.ckpt` beside it"), "{text}");
    // Its own reader says what is wrong with what is called safetensors.
    assert_eq!(error("a.safetensors", &noise).unwrap(), Container::Safetensors);
}

#[test]
fn formats_are_told_by_their_first_bytes() {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80";
    assert_eq!(format(magic).unwrap(), Container::TorchLegacy);
    assert_eq!(format(b"\x10\0\0\0\0\0\0\0{").unwrap(), Container::Safetensors);
    assert_eq!(format(b"\x89HDF\r\n\x1a\nxx").unwrap(), Container::Hdf5);
    assert_eq!(format(b"\x82\xa6params\x82").unwrap(), Container::Flax);
    // A pickle's first bytes, or a length of 640.
    assert_eq!(format(b"\x80\x02\0\0\0\0\0\0{").unwrap(), Container::Safetensors);
    // A map with the key `a`, or a length of 0x61a182.
    assert_eq!(format(b"\x82\xa1a\0\0\0\0\0{").unwrap(), Container::Safetensors);
    assert_eq!(format(b"\x82\xa1a\0\0\0\0\0\x80").unwrap(), Container::Flax);
}

#[test]
fn zip_files_are_told_by_the_names_in_them() {
    for (names, expected) in [
        (&["x/data.pkl", "x/data/0"][..], Container::Torch),
        (&["x/version", "x/data.pkl", "a.npy"], Container::Torch),
        (&["w.npy", "readme"], Container::Npz),
        (&["config.json", "model.weights.h5"], Container::Hdf5),
        // Its reader says what is missing.
        (&["readme"], Container::Torch),
    ] {
        let entries: Vec<_> = names.iter().map(|name| (*name, vec![])).collect();
        assert_eq!(format(&npz::tests::zip(&entries)).unwrap(), expected, "{names:?}");
    }
}
