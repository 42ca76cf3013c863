//! Files: named as what they are, endings of formats that are not written, bounds of what a header counts.

use swa_testing::*;

use crate::run::{Run, epochs};

#[test]
fn files_are_named_as_what_they_are() {
    let run = Run::new();
    let mut tar = [0u8; 600];
    tar[..17].copy_from_slice(b"model_config.yaml");
    tar[257..262].copy_from_slice(b"ustar");
    let mut archive = tar;
    archive[..17].copy_from_slice(b"holiday_photos.js");
    let cases: [(&[u8], &str); 12] = [
        (b"\x08\x08\x12\x07pytorch\x1a\x062.11.0:\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "an ONNX model"),
        (b"\x08\x07:\xff\x01\x00\x00\x00\x00\x00\x00\x00", "an ONNX model"),
        (b"learning rate 0.05, then constant\nlearning rate 0.05\n", "a text file, not weights"),
        (b"{\"a\": 1, \"b\": [1, 2, 3]}", "a JSON file, not weights"),
        ("précis: 0,5\n".as_bytes(), "a text file, not weights"),
        (b"GGUF\x03\0\0\0\0\0\0\0", "a GGUF file"),
        (&tar, "a NeMo archive"),
        (&archive, "a tar archive"),
        (b"BZh91AY&SY\0\0\0", "a bzip2 file"),
        (b"\x93NUMPY\x01\0v\0", "a single NumPy array"),
        (b"\x1c\0\0\0TFL3\0\0\0\0", "a TensorFlow Lite model"),
        (b"%PDF-1.7 a report\n\xff\xff", "a PDF document"),
    ];
    for (bytes, what) in cases {
        for name in ["x.safetensors", "x.pth"] {
            std::fs::write(run.path(name), bytes).unwrap();
            let error = fails(&mut run.avg(&[name, "-o", "out.safetensors"]), 3, &[what]);
            assert!(!error.contains("header of"), "{error}");
        }
    }
}

#[test]
fn files_in_no_format_are_said_to_be_none() {
    let run = Run::new();
    let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(n ^ 2654435) >> 9) as u8).collect();
    for (name, bytes, parts) in [
        ("a.pth", &noise[..], ["is in no format that is read", "torch.save"]),
        ("b.ckpt", &[0; 5000], ["zeros alone", "save or copy it again"]),
        ("c.safetensors", &noise, ["not a safetensors file", "save or copy it again"]),
        ("counter.ckpt", b"3", ["1 byte(s), too few for a checkpoint", "name the file"]),
    ] {
        std::fs::write(run.path(name), bytes).unwrap();
        fails(&mut run.avg(&[name, "-o", "x.pth"]), 3, &parts);
    }
}

#[test]
fn endings_of_formats_that_are_not_written_are_refused() {
    let run = epochs();
    for ending in ["npz", "keras", "h5", "onnx", "gguf", "zip", "PKL"] {
        let output = format!("out.{ending}");
        let parts = ["is not a format that is written", ".safetensors or .pth"];
        fails(&mut run.avg(&["d", "-o", &output]), 2, &parts);
    }
    let parts = ["is not a format that is written", ".safetensors or .pth"];
    fails(&mut run.avg(&["d", "--state", "s", "-o", "x.npz"]), 2, &parts);
    // A folder's name for a file, and an ending that says nothing.
    for more in [&[][..], &["--state", "s"], &["--scheme", "ema:0.5"]] {
        let arguments = [&["d", "-o", "swa/"], more].concat();
        fails(&mut run.avg(&arguments), 2, &["`swa/`: is a folder's name, and a file is written"]);
    }
    run.avg(&["d", "-o", "swa.v2"]).assert().success();
    assert_eq!(load(&run.path("swa.v2")).len(), 3);
    for ending in ["pyth", "th"] {
        run.avg(&["d", "-o", &format!("out/../o.{ending}")]);
        run.avg(&["d", "-o", &format!("o.{ending}")]).assert().success();
        assert!(std::fs::read(run.path(&format!("o.{ending}"))).unwrap().starts_with(b"PK"));
    }
    // And they are found in folders.
    for ending in ["pyth", "th", "h5", "keras"] {
        let found = Run::new();
        std::fs::create_dir(found.path("d")).unwrap();
        std::fs::copy(run.path("o.pyth"), found.path("d").join(format!("e_1.{ending}"))).unwrap();
        found.avg(&["d", "-o", "x.safetensors"]).assert().success();
    }
}

/// The most memory that a run may take, for what is counted in a header and not in its bytes.
#[test]
fn what_a_header_counts_is_bounded() {
    let run = Run::new();
    let write = |name: &str, keys: usize| {
        let keys: Vec<String> = (0..keys).map(|i| format!(r#""k{i}":"v""#)).collect();
        let header = format!(
            r#"{{"__metadata__":{{{}}},"w":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#,
            keys.join(",")
        );
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], header.as_bytes(), &[0; 4]].concat();
        std::fs::write(run.path(name), file).unwrap();
    };
    write("most.safetensors", 100_000);
    run.avg(&["most.safetensors", "-o", "x.safetensors"]).assert().success();
    write("more.safetensors", 2_000_000);
    let parts = ["more than 100000 entries of metadata"];
    fails(&mut run.avg(&["more.safetensors", "-o", "y.safetensors"]), 6, &parts);
    let long = "l".repeat(60_000);
    let header = format!(r#"{{"{long}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    std::fs::write(run.path("long.safetensors"), file).unwrap();
    fails(&mut run.avg(&["--list", "long.safetensors"]), 6, &["its name has 60000 bytes", "1000"]);
    std::fs::create_dir(run.path("m")).unwrap();
    let map: Vec<String> = (0..1_000_001).map(|i| format!(r#""k{i}":"a.safetensors""#)).collect();
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","));
    std::fs::write(run.path("m/model.safetensors.index.json"), index).unwrap();
    fails(&mut run.avg(&["m", "-o", "z"]), 6, &["more than 1000000 tensors"]);
}
