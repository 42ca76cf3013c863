//! Images that cannot be read, in every convention.

use std::fs;
use std::sync::Arc;

use super::*;

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
