use swa_base::Kind;

use crate::{Format, Options, Split};

/// A folder with these (empty) files.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        if file.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
            continue;
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    dir
}

fn names(files: &[&str]) -> Vec<String> {
    let dir = folder(files);
    let data = crate::open(dir.path(), Split::Train, None).unwrap();
    (0..data.len()).map(|i| format!("{} {}", data.label(i), data.name(i))).collect()
}

fn refusal(files: &[&str], split: Split) -> String {
    let dir = folder(files);
    let error = crate::open(dir.path(), split, None).err().expect("refused");
    assert_eq!(error.kind(), Kind::Input);
    error.to_string()
}

#[test]
fn classes_are_sorted_as_strings() {
    assert_eq!(
        names(&["2/a.png", "10/a.png", "B/a.png", "a/a.png"]),
        ["0 10/a.png", "1 2/a.png", "2 B/a.png", "3 a/a.png"]
    );
    let dir = folder(&["2/a.png", "10/a.png"]);
    let data = crate::open(dir.path(), Split::Train, None).unwrap();
    assert!(data.describe().ends_with("not of numbers: class 0 is `10`"), "{}", data.describe());
}

#[test]
fn images_come_by_folder_then_by_name() {
    // As torchvision orders them: "c", "c/a", "c/a-b", "c/a/z" as strings.
    let files = ["c/z.jpg", "c/a/z/1.jpg", "c/a-b/2.jpg", "c/a/3.jpg", "c/b.jpg", "c/A.jpg"];
    assert_eq!(
        names(&files),
        ["0 c/A.jpg", "0 c/b.jpg", "0 c/z.jpg", "0 c/a/3.jpg", "0 c/a-b/2.jpg", "0 c/a/z/1.jpg"]
    );
}

#[test]
fn only_images_count_and_hidden_entries_do_not() {
    let files = [
        "c/1.JPEG",
        "c/2.Tif",
        "c/3.webp",
        "c/x.txt",
        "c/jpg",
        "c/._1.jpg",
        "c/.t/1.png",
        ".git/1.png",
        "n.csv",
    ];
    assert_eq!(names(&files), ["0 c/1.JPEG", "0 c/2.Tif", "0 c/3.webp"]);
}

#[test]
fn train_and_val_are_splits() {
    let dir = folder(&[
        "train/a/1.png",
        "train/b/1.png",
        "val/a/1.png",
        "val/b/2.png",
        "val/b/3.png",
        "labels.txt",
    ]);
    let count = |split| crate::open(dir.path(), split, None).unwrap().len();
    assert_eq!((count(Split::Train), count(Split::Test)), (2, 3));
    let text = refusal(&["train/a/1.png"], Split::Test);
    assert!(text.ends_with("no test part, found `train`; use `split` train"), "{text}");
    let three = ["test/a/1.png", "train/a/1.png", "val/a/1.png"];
    let text = refusal(&three, Split::HeldOut);
    assert!(text.ends_with("choose with `split` val or `split` test"), "{text}");
    let dir = folder(&three);
    assert!(crate::open(dir.path(), Split::Val, None).unwrap().describe().contains("/val`"));
    let text = refusal(&["test/a/1.png", "t10k/a/1.png"], Split::Test);
    assert!(text.ends_with("several folders of one part; give one of them"), "{text}");
}

#[test]
fn parts_are_known_by_other_names() {
    for (train, test) in [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("train", "dev"),
        ("train_images", "val_images"),
        ("train1", "test1"),
        ("imagenette2-train", "imagenette2-val"),
    ] {
        let files =
            [format!("{train}/a/1.png"), format!("{test}/a/1.png"), format!("{test}/a/2.png")];
        let dir = folder(&files.each_ref().map(String::as_str));
        let count = |split| crate::open(dir.path(), split, None).unwrap().len();
        assert_eq!((count(Split::Train), count(Split::HeldOut)), (1, 2), "{train} {test}");
    }
    for files in [
        ["seg_train/a/1.png", "seg_test/a/1.png", "seg_pred/1.png"],
        ["train/a/1.png", "validation_set/a/1.png", "validation_set/a/2.png"],
    ] {
        let text = refusal(&files, Split::Train);
        assert!(text.contains("are they classes?; give the folder of the part"), "{text}");
    }
}

#[test]
fn parts_among_classes_are_classes_where_that_is_said() {
    let files = ["bus/1.png", "car/2.png", "train/3.png", "val/4.png"];
    let text = refusal(&files, Split::Train);
    assert!(text.contains("`train` and `val` seem to be parts of the data, but `bus`"), "{text}");
    let dir = folder(&files);
    let data = crate::open(dir.path(), Split::Train, Some(Format::ImageFolder)).unwrap();
    assert_eq!(data.class_names().unwrap(), ["bus", "car", "train", "val"]);
    // Without other classes they are parts.
    let dir =
        folder(&["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "meta/x.txt"]);
    let data = crate::open(dir.path(), Split::Train, Some(Format::ImageFolder)).unwrap();
    assert_eq!(data.class_names().unwrap(), ["a", "b"]);
    // One alone is no class either, unless it is a train.
    for part in ["val", "Test", "dev"] {
        let text = refusal(&[&format!("{part}/a/1.png"), "images/1.png"], Split::HeldOut);
        let what =
            format!("`{part}` seems to be a part of the data, but `images` holds images, too");
        assert!(text.contains(&what), "{text}");
    }
    // A table may be for the images of all folders.
    let dir = folder(&["val/a.png", "images/b.png", "table"]);
    let labels = dir.path().join("table");
    std::fs::write(&labels, "a.png 0\nb.png 1\n").unwrap();
    let data = Options { labels: Some(labels), ..Options::default() }.open(dir.path()).unwrap();
    assert_eq!(data.len(), 2);
}

#[test]
fn parts_below_a_single_folder_are_parts() {
    let files = [
        "archive/train/a/1.png",
        "archive/train/b/1.png",
        "archive/val/a/1.png",
        "archive/val/b/1.png",
    ];
    for (files, below) in [
        ([&files[..], &["__MACOSX/"]].concat(), "archive/"),
        (files.map(|file| file.trim_start_matches("archive/")).to_vec(), ""),
    ] {
        let dir = folder(&files);
        for (split, part) in [(Split::Train, "train"), (Split::HeldOut, "val")] {
            let data = crate::open(dir.path(), split, None).unwrap();
            assert_eq!(data.class_names().unwrap(), ["a", "b"]);
            assert!(data.describe().contains(&format!("{below}{part}`, 2 images")));
        }
    }
    let text = refusal(&["archive/train/a/1.png", "archive/train/b/1.png"], Split::Test);
    assert!(text.contains("archive`: no test part, found `train`"), "{text}");
}

#[test]
fn a_class_of_that_name_is_a_class() {
    let files = ["bullet_train/1.png", "tram/1.png", "test tube/1.png"];
    assert_eq!(names(&files), ["0 bullet_train/1.png", "1 test tube/1.png", "2 tram/1.png"]);
    assert_eq!(names(&["train/1.png", "bus/1.png"]), ["0 bus/1.png", "1 train/1.png"]);
}

#[test]
fn folders_without_images_are_refused() {
    assert!(refusal(&["a/", "b/x.txt"], Split::Train).contains("no images below its 2 folders"));
    let text = refusal(&["a/1.png", "b/x.txt", "c/"], Split::Train);
    assert!(
        text.contains("2 class folders hold no image") && text.ends_with("\n  `b`\n  `c`"),
        "{text}"
    );
    let text = refusal(&["a/1.gif", "b/2.GIF"], Split::Train);
    assert!(
        text.ends_with("there are .gif files, which torchvision's ImageFolder passes over"),
        "{text}"
    );
    let dir = folder(&["1.png"]);
    let text = crate::open(dir.path(), Split::Train, Some(Format::ImageFolder)).err().unwrap();
    assert!(text.to_string().contains("no class folders, only 1 files"), "{text}");
}

#[test]
fn links_are_followed_and_loops_are_refused() {
    let dir = folder(&["real/a/1.png", "data/b/2.png"]);
    let (real, data) = (dir.path().join("real/a"), dir.path().join("data"));
    std::os::unix::fs::symlink(&real, data.join("a")).unwrap();
    assert_eq!(crate::open(&data, Split::Train, None).unwrap().len(), 2);
    std::os::unix::fs::symlink(&data, data.join("b/back")).unwrap();
    let error = crate::open(&data, Split::Train, None).err().unwrap();
    assert_eq!(error.kind(), Kind::Input);
    assert!(error.to_string().contains("leads back to a folder"), "{error}");
}

#[test]
fn names_with_control_characters_are_escaped() {
    let dir = folder(&["a\u{1b}[2J/1.png", "b/1.png"]);
    let data = crate::open(dir.path(), Split::Train, None).unwrap();
    let error = data.image(0).unwrap_err().to_string();
    assert!(error.contains("a\\u{1b}[2J/1.png`: the file is empty"), "{error}");
}

#[test]
fn what_lies_beside_train_and_val_is_no_class() {
    let tree = ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/2.png"];
    for beside in [
        "__MACOSX/train/a/._1.png",
        "__MACOSX/x/1.png",
        "annotations/val.json",
        "Annotations/",
        "meta/classes.txt",
        ".cache/1.png",
        "@eaDir/train/1.png",
        "lost+found/",
    ] {
        let dir = folder(&[&tree[..], &[beside]].concat());
        for (split, count) in [(Split::Train, 2), (Split::HeldOut, 2)] {
            let data = crate::open(dir.path(), split, None).unwrap();
            assert_eq!(
                (data.len(), data.class_names().unwrap()),
                (count, &["a", "b"].map(String::from)[..]),
                "{beside}"
            );
        }
    }
    let text = refusal(&[&tree[..], &["extra/1.png"]].concat(), Split::Train);
    assert!(
        text.contains(
            "`train` and `val` seem to be parts of the data, but `extra` holds images, too"
        ),
        "{text}"
    );
    assert!(
        text.ends_with(
            "give the folder of the part that is meant, or, if all are classes, `format` imagefolder"
        ),
        "{text}"
    );
    // And beside classes.
    assert_eq!(
        names(&["a/1.png", "b/1.png", "__MACOSX/a/._1.png", "a/__MACOSX/x.png"]),
        ["0 a/1.png", "1 b/1.png"]
    );
    // Of folders of several things the one that holds the classes is named.
    let text = refusal(
        &["images/a/1.png", "images/b/2.png", "parts/x.txt", "attributes/y.txt"],
        Split::Train,
    );
    assert!(
        text.contains("2 class folders hold no image; give `")
            && text.contains("/images`, which holds the images"),
        "{text}"
    );
}

#[test]
fn a_link_that_leads_nowhere_is_a_bad_image_or_a_missing_class() {
    let dir = folder(&["a/1.png", "b/2.png"]);
    std::os::unix::fs::symlink("/nowhere", dir.path().join("a/0.png")).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path().join("b/notes")).unwrap();
    let error = crate::open(dir.path(), Split::Train, None).err().unwrap();
    // What it was cannot be known. It is no failure of the disk.
    let text = error.to_string();
    assert!(
        text.contains("b/notes`: a link that leads nowhere: images would be missing"),
        "{text}"
    );
    assert_eq!(error.kind(), Kind::Input);
    std::fs::remove_file(dir.path().join("b/notes")).unwrap();
    std::os::unix::fs::symlink("3.png", dir.path().join("b/3.png")).unwrap();
    let data = crate::open(dir.path(), Split::Train, None).unwrap();
    assert_eq!((data.len(), data.name(0)), (4, "a/0.png".to_string()));
    for image in [0, 3] {
        assert_eq!(data.image(image).unwrap_err().kind(), Kind::BadImage);
    }
    std::os::unix::fs::symlink("/nowhere", dir.path().join("aa")).unwrap();
    let text = crate::open(dir.path(), Split::Train, None).err().unwrap().to_string();
    assert!(text.contains("aa`: a link that leads nowhere: a class would be missing"), "{text}");
}
