//! What the tools say of bad images in a tar shard: they name them, and count the others.

use std::fs;

use swa_testing::data_tools::{json, swa_bn_update, swa_eval};
use swa_testing::{fails, fixtures};

/// The images that come in the wild, numbered from 0: cut short, whole, a bomb, CMYK, a PNG. 0 and 2 are bad.
fn images() -> [Vec<u8>; 5] {
    let read = |name: &str| fs::read(fixtures().join("pixels").join(name)).unwrap();
    let photo = read("jpeg/420.jpg");
    let mut bomb = b"\xff\xd8\xff\xc0\0\x0b\x08".to_vec();
    bomb.extend([65000u16.to_be_bytes(), 65000u16.to_be_bytes()].concat());
    bomb.extend(b"\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\0\xff\xd9");
    [photo[..photo.len() / 2].to_vec(), photo, bomb, read("jpeg/cmyk.jpg"), read("png/rgb.png")]
}

/// Each image as `N.JPEG`, with the label 0 in `N.cls`.
fn shard() -> Vec<u8> {
    let mut shard = Vec::new();
    for (i, image) in images().iter().enumerate() {
        add(&mut shard, &format!("{i}.JPEG"), image);
        add(&mut shard, &format!("{i}.cls"), b"0");
    }
    shard.extend([0; 1024]);
    shard
}

/// Appends a regular file to a tar archive: a header of 512 bytes, then the bytes, in whole blocks.
fn add(shard: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let mut header = [0u8; 512];
    let mut put =
        |at: usize, text: &str| header[at..][..text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, "00000000000\0");
    // The checksum counts itself as spaces.
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    shard.extend(header);
    shard.extend(bytes);
    shard.resize(shard.len().next_multiple_of(512), 0);
}

/// The tools list what they left out, on stderr and in JSON, and say how many images were used.
#[test]
fn the_tools_name_the_bad_images_of_a_shard_and_count_the_others() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a-0.tar"), shard()).unwrap();
    let model = fixtures().join("fashion-mnist/ckpt_0240.safetensors");
    let flags = ["--preset", "fashion-mnist", "--resize", "28", "--crop", "28", "--data"];
    let eval = || {
        let mut command = swa_eval();
        command.arg(&model).args(flags).arg(dir.path());
        command
    };
    let report = json(eval().args(["--allow-bad", "2"]));
    assert_eq!(report["models"][0]["n"], 3);
    let skipped: Vec<&str> =
        report["skipped"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(skipped[0].contains("a-0.tar/0.JPEG`: cut off"), "{skipped:?}");
    assert!(skipped.len() == 2 && skipped[1].contains("a-0.tar/2.JPEG`: an image of 65000x65000"));
    let output = eval().args(["--allow-bad", "2"]).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
    assert!(stdout.contains("3 images in"), "{stdout}");
    assert!(skipped.iter().all(|line| stderr.contains(line)), "{stderr}");
    assert!(stderr.contains("warning: 2 image(s) left out:"), "{stderr}");
    fails(eval().args(["--allow-bad", "1"]), 3, &["2 bad images", "0.JPEG", "2.JPEG"]);
    fails(&mut eval(), 3, &["a-0.tar/0.JPEG`: cut off", "--allow-bad N"]);
    let out = dir.path().join("out.safetensors");
    let report = json(
        swa_bn_update()
            .arg(&model)
            .args(flags)
            .arg(dir.path())
            .arg("-o")
            .arg(&out)
            .args(["--allow-bad", "2"]),
    );
    assert_eq!((&report["images"], report["skipped"].as_array().unwrap().len()), (&3.into(), 2));
}
