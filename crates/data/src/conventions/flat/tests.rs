//! Label files as people have them: each is read as it is meant, or refused with what was seen and the way out.

use std::fs;
use std::path::{Path, PathBuf};

use swa_base::Kind;

use crate::{Classes, Dataset, Format, LabelForm, Options, Split};

/// Six images: `a.png` to `f.png`.
const IMAGES: [&str; 6] = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"];

/// A folder `set` of these (empty) images, and files in the folder above it.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn of(images: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("set")).unwrap();
        let folder = Folder { dir };
        images.iter().for_each(|image| folder.write(&format!("set/{image}"), b""));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn open(&self, options: Options) -> swa_base::Result<Box<dyn Dataset>> {
        options.open(&self.path("set"))
    }

    /// Opened with a label file of this text.
    fn labelled(&self, text: &str, form: LabelForm) -> Result<Box<dyn Dataset>, String> {
        self.write("table", text.as_bytes());
        let labels = Some(self.path("table"));
        let options = Options { labels, label_form: form, ..Options::default() };
        self.open(options).map_err(|error| {
            assert_eq!(error.file(), Some(self.path("table").as_path()), "{error}");
            assert!(matches!(error.kind().exit_code(), 3 | 6), "{error}");
            let prefix = format!("`{}`: ", self.path("table").display());
            error.to_string().replacen(&prefix, "", 1)
        })
    }
}

fn labels(set: &dyn Dataset) -> Vec<usize> {
    (0..set.len()).map(|i| set.label(i)).collect()
}

fn by_column(name: &str) -> LabelForm {
    LabelForm { label: vec![name.into()], ..LabelForm::default() }
}

/// What the six images have in most of the tests.
const WANTED: [usize; 6] = [2, 0, 1, 0, 2, 1];

/// A line an image. The closure gets its name without ending, its class, and its place.
fn lines(line: impl Fn(&str, usize, usize) -> String) -> String {
    let stems = IMAGES.iter().map(|image| image.trim_end_matches(".png"));
    stems.zip(WANTED).enumerate().map(|(i, (stem, class))| line(stem, class, i) + "\n").collect()
}

const DOGS: [&str; 3] = ["affenpinscher", "beagle", "red fox"];

#[test]
fn the_label_is_known_by_heading_or_by_being_the_only_one() {
    let fold = |i: usize| i % 2;
    let one_hot = |class: usize, by: &str| -> String {
        [0, 1, 2].map(|c| if c == class { "1.0" } else { "0.0" }).join(by)
    };
    let cases: Vec<(&str, String)> = vec![
        (
            "fold before label",
            "image,fold,label\n".to_string() + &lines(|s, c, i| format!("{s}.png,{},{c}", fold(i))),
        ),
        ("Kaggle's dogs", "id,breed\n".to_string() + &lines(|s, c, _| format!("{s},{}", DOGS[c]))),
        (
            "HAM10000",
            "lesion_id,image_id,dx,dx_type,age,sex,localization\n".to_string()
                + &lines(|s, c, i| {
                    format!("HAM_{i},{s},{},histo,80.0,male,scalp", ["akiec", "bcc", "nv"][c])
                }),
        ),
        (
            "ISIC, one-hot",
            "image,MEL,NV,BCC\n".to_string() + &lines(|s, c, _| format!("{s},{}", one_hot(c, ","))),
        ),
        (
            "one-hot beside a fold",
            "image,fold,MEL,NV,BCC\n".to_string()
                + &lines(|s, c, i| format!("{s},{},{}", fold(i), one_hot(c, ","))),
        ),
        ("one-hot without headings", lines(|s, c, _| format!("{s}.png\t{}", one_hot(c, "\t")))),
        (
            "metadata.jsonl",
            lines(|s, c, i| {
                format!("{{\"file_name\": \"{s}.png\", \"width\": {i}, \"label\": {c}}}")
            }),
        ),
        (
            "lists of one",
            lines(|s, c, _| {
                format!("{{\"file_name\": \"{s}.png\", \"label\": [\"{}\"]}}", DOGS[c])
            }),
        ),
        (
            "an array of objects",
            format!(
                "[{}]",
                lines(|s, c, _| format!("{{\"path\": \"x/{s}.png\", \"class\": {c}}},"))
                    .trim_end_matches(",\n")
            ),
        ),
        (
            "an object",
            format!(
                "{{{}}}",
                lines(|s, c, _| format!("\"{s}.png\": {c},")).trim_end_matches(",\n")
            ),
        ),
        (
            "StyleGAN",
            format!(
                "{{\"labels\": [{}]}}",
                lines(|s, c, _| format!("[\"00/{s}.png\", {c}],")).trim_end_matches(",\n")
            ),
        ),
        (
            "pandas' index",
            ",filename,target\n".to_string() + &lines(|s, c, i| format!("{i},{s}.png,{c}")),
        ),
        (
            "semicolons and blanks",
            "\u{feff}Image; Class\r\n".to_string() + &lines(|s, c, _| format!("{s}.png ; {c}\r")),
        ),
        ("tabs", lines(|s, c, _| format!("{s}.png\t{c}"))),
        ("bars", lines(|s, c, _| format!("{s}.png|{c}"))),
        (
            "Windows paths",
            "path,label\n".to_string() + &lines(|s, c, _| format!("C:\\data\\val\\{s}.png,{c}")),
        ),
        ("the label first", lines(|s, c, _| format!("{c} {s}.png"))),
        (
            "classes with blanks",
            "name,class\n".to_string() + &lines(|s, c, _| format!("\"{s}.png\",\"{}\"", DOGS[c])),
        ),
        (
            "classes with commas",
            "name,class\n".to_string() + &lines(|s, c, _| format!("{s}.png,\"{c}, of many\"")),
        ),
        ("floats of pandas", "name,label\n".to_string() + &lines(|s, c, _| format!("{s},{c}.0"))),
        (
            "numbers and names",
            "filename,label,label_name\n".to_string()
                + &lines(|s, c, _| format!("{s},{c},{}", ["zebra", "cat", "dog"][c])),
        ),
        (
            "numbers and names, no headings",
            lines(|s, c, _| format!("{s}.png,{c},{}", ["cat", "dog", "zebra"][c])),
        ),
        (
            "boxes of coordinates",
            "image,x,y,w,h,label\n".to_string()
                + &lines(|s, c, i| format!("{s},{i},{i},10,20,{c}")),
        ),
        (
            "an unknown heading",
            "image,width,height,variety\n".to_string()
                + &lines(|s, c, i| format!("{s},{i},{i},{}", DOGS[c])),
        ),
        (
            "comments first",
            "# made by hand\n# twice\n".to_string() + &lines(|s, c, _| format!("{s}.png {c}")),
        ),
        ("in order", lines(|_, c, _| c.to_string())),
        ("in order, with a heading", "label\n".to_string() + &lines(|_, c, _| c.to_string())),
        ("in order, names with blanks", lines(|_, c, _| DOGS[c].to_string())),
    ];
    let folder = Folder::of(&IMAGES);
    for (name, text) in cases {
        match folder.labelled(&text, LabelForm::default()) {
            Ok(set) => assert_eq!(labels(set.as_ref()), WANTED, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn what_was_taken_is_said() {
    let folder = Folder::of(&IMAGES);
    let describe = |text: &str, form| folder.labelled(text, form).unwrap().describe();
    let text = "image,fold,label\n".to_string() + &lines(|s, c, i| format!("{s},{i},{c}"));
    assert!(describe(&text, LabelForm::default()).ends_with("/table`, column `label`"));
    let text = "image,MEL,NV,BCC\n".to_string()
        + &lines(|s, c, _| format!("{s},{},{},{}", c / 2, c % 2, usize::from(c == 0)));
    let set = folder.labelled(&text, LabelForm::default()).unwrap();
    assert!(set.describe().ends_with("/table`, one column a class, `MEL` to `BCC`"));
    assert_eq!(set.class_names().unwrap(), ["MEL", "NV", "BCC"]);
    assert_eq!(labels(set.as_ref()), [0, 2, 1, 2, 0, 1]);
    let text = lines(|s, c, _| format!("{s}.png {}", [3, 7, 9][c]));
    assert!(describe(&text, LabelForm::default()).ends_with("(counted from 0, though none is 0)"));
}

#[test]
fn what_may_be_meant_otherwise_is_refused_with_what_was_seen() {
    let fold = |i: usize| i % 2;
    let cases: Vec<(&str, String, &[&str])> = vec![
        (
            "two numbers, no headings",
            lines(|s, c, i| format!("{s}.png,{},{c}", fold(i))),
            &[
                "several columns may be the label: column 2 (0 to 1), column 3 (0 to 2)",
                "`label_column` NAME, or its number",
            ],
        ),
        (
            "two labels",
            "image,label,target\n".to_string() + &lines(|s, c, i| format!("{s},{c},{}", fold(i))),
            &["several columns may be the label: `label` (0 to 2), `target` (0 to 1)"],
        ),
        (
            "no label",
            "image,fold\n".to_string() + &lines(|s, _, i| format!("{s},{}", fold(i))),
            &["no column is known to be a label: `fold` (0 to 1)", "`label_column`"],
        ),
        (
            "captions",
            lines(|s, _, _| {
                format!("{{\"file_name\": \"{s}.png\", \"text\": \"a photo of {s}\"}}")
            }),
            &["no column is known to be a label: `text` (such as `a photo of a`)"],
        ),
        (
            "unknown headings",
            "image,alpha,beta\n".to_string() + &lines(|s, c, i| format!("{s},{c},{i}")),
            &["several columns may be the label: `alpha` (0 to 2), `beta` (0 to 5)"],
        ),
        (
            "several classes an image",
            "image,MEL,NV,BCC\n".to_string()
                + &lines(|s, c, _| format!("{s},1,{},0", usize::from(c == 1))),
            &["line 4: `c` has several of the 3 classes: `MEL`, `NV`"],
        ),
        (
            "an image of no class",
            "image,MEL,NV,BCC\n".to_string()
                + &lines(|s, c, _| format!("{s},0,0,{}", usize::from(c == 2))),
            &["line 3: `b` has none of the 3 classes"],
        ),
        (
            "probabilities",
            "image,MEL,NV,BCC\n".to_string() + &lines(|s, c, _| format!("{s},0.{c}5,0.2,0.1")),
            &["line 2: `MEL` is `0.25`, neither 0 nor 1: a probability or a score is no label"],
        ),
        (
            "a score",
            "image,label\n".to_string() + &lines(|s, c, _| format!("{s},0.{c}")),
            &["line 2: the label 0.2: a fraction is a score"],
        ),
        (
            "bars between classes",
            "Image Index,Finding Labels,x\n".to_string()
                + &lines(|s, _, _| format!("{s}.png,Edema|Mass,1")),
            &["`Finding Labels` may have several labels an image"],
        ),
        (
            "a list of classes",
            lines(|s, c, _| format!("{{\"file_name\": \"{s}.png\", \"label\": [{c}, 1]}}")),
            &["the label [2,1], not one class"],
        ),
        (
            "wnids that differ",
            lines(|s, c, _| format!("{s},n0000000{c} 1 2 3 4 n00000009 1 2 3 4")),
            &["line 1: two labels, `n00000002` and `n00000009`"],
        ),
        (
            "names without labels",
            lines(|s, _, _| format!("set/{s}.png")),
            &["it names images, but has no column of labels"],
        ),
        (
            "names of other images",
            lines(|s, c, _| format!("other-{s}.png,{c}")),
            &[
                "no column of it names an image of the folder: its first line is `other-a.png,2`, the first image `a.png`",
            ],
        ),
        (
            "an empty label",
            "image,label\n".to_string()
                + &lines(|s, c, i| {
                    format!("{s},{}", if i == 3 { String::new() } else { c.to_string() })
                }),
            &["line 5: it has no label"],
        ),
        (
            "words among numbers",
            lines(|s, c, i| {
                format!("{s}.png,{}", if i == 3 { "cat".into() } else { c.to_string() })
            }),
            &["line 4: the label `cat`, where the first is `2`"],
        ),
        (
            "from one on",
            lines(|s, c, _| format!("{s}.png,{}", c + 1)),
            &["every class from 1 has images and none is 0", "`first_label` 1 or `first_label` 0"],
        ),
        (
            "COCO",
            "{\"images\": [], \"annotations\": [{\"image_id\": 1, \"category_id\": 3}]}".into(),
            &["annotations in COCO's form, which are not one label an image"],
        ),
        ("broken JSON", "{\"a.png\": 1,".into(), &["is no JSON"]),
        (
            "a cut line of JSON",
            lines(|s, c, i| {
                if i == 2 {
                    "{\"file".into()
                } else {
                    format!("{{\"file_name\": \"{s}.png\", \"label\": {c}}}")
                }
            }),
            &["line 3: is no JSON object"],
        ),
        (
            "headings that are not known",
            "photo_no,animal\n".to_string() + &lines(|s, c, _| format!("{s},{}", DOGS[c])),
            &["if its first line holds headings, name one: `label_column` NAME"],
        ),
        (
            "the first image is not there",
            "z.png,1\n".to_string() + &lines(|s, c, _| format!("{s}.png,{c}")),
            &[
                "labels for 7 images, the folder has 6",
                "`z` has a label, but the image is not there",
            ],
        ),
    ];
    let folder = Folder::of(&IMAGES);
    for (name, text, parts) in cases {
        let error = match folder.labelled(&text, LabelForm::default()) {
            Ok(set) => panic!("{name}: {}", set.describe()),
            Err(error) => error,
        };
        for part in parts {
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}

#[test]
fn a_column_that_is_named_is_taken() {
    let folder = Folder::of(&IMAGES);
    let text = lines(|s, c, i| format!("{s}.png,{},{c}", i % 2));
    assert_eq!(labels(folder.labelled(&text, by_column("3")).unwrap().as_ref()), WANTED);
    assert_eq!(
        labels(folder.labelled(&text, by_column("2")).unwrap().as_ref()),
        [0, 1, 0, 1, 0, 1]
    );
    let text = "Image,Alpha Beta,gamma\n".to_string() + &text;
    for name in ["gamma", "GAMMA", "3"] {
        assert_eq!(
            labels(folder.labelled(&text, by_column(name)).unwrap().as_ref()),
            WANTED,
            "{name}"
        );
    }
    let set = folder.labelled(&text, by_column("alpha_beta")).unwrap();
    assert_eq!(labels(set.as_ref()), [0, 1, 0, 1, 0, 1]);
    let error = folder.labelled(&text, by_column("delta")).err().unwrap();
    assert!(
        error.starts_with("it has no column `delta`, only `Image`, `Alpha Beta`, `gamma`"),
        "{error}"
    );
    let error = folder.labelled(&text, by_column("image")).err().unwrap();
    assert!(error.starts_with("`image` has the images' names"), "{error}");
    // Several: a column a class.
    let text = "image,fold,cat,dog\n".to_string()
        + &lines(|s, c, i| format!("{s},{},{},{}", i % 2, c % 2, 1 - c % 2));
    let form = LabelForm { label: vec!["dog".into(), "cat".into()], ..LabelForm::default() };
    let set = folder.labelled(&text, form).unwrap();
    assert_eq!(set.class_names().unwrap(), ["dog", "cat"]);
    assert_eq!(labels(set.as_ref()), WANTED.map(|class| class % 2));
}

#[test]
fn numbers_that_begin_at_one_are_not_taken_for_indices() {
    let folder = Folder::of(&IMAGES);
    let text = lines(|s, c, _| format!("{s}.png,{}", c + 1));
    let first = |n| LabelForm { first: Some(n), ..LabelForm::default() };
    assert_eq!(labels(folder.labelled(&text, first(1)).unwrap().as_ref()), WANTED);
    let plain = folder.labelled(&text, first(0)).unwrap();
    assert_eq!((labels(plain.as_ref())[0], plain.classes()), (3, Classes::AtLeast(4)));
    let ordered = lines(|_, c, _| (c + 1).to_string());
    assert_eq!(labels(folder.labelled(&ordered, first(1)).unwrap().as_ref()), WANTED);
    let error = folder.labelled(&ordered, LabelForm::default()).err().unwrap();
    assert!(error.contains("`first_label` says from which number on"), "{error}");
    let error = folder.labelled(&lines(|_, c, _| c.to_string()), first(1)).err().unwrap();
    assert!(error.starts_with("a label is 0, but `first_label` says"), "{error}");
}

#[test]
fn images_whose_names_are_numbers_are_told_from_classes() {
    let folder = Folder::of(&["0.png", "1.png", "2.png", "3.png"]);
    let open = |text: &str, form| folder.labelled(text, form);
    for text in [
        "0.png,3\n1.png,2\n2.png,1\n3.png,0\n",
        "image,label\n0,3\n1,2\n2,1\n3,0\n",
        "3,0.png\n2,1.png\n1,2.png\n0,3.png\n",
    ] {
        assert_eq!(
            labels(open(text, LabelForm::default()).unwrap().as_ref()),
            [3, 2, 1, 0],
            "{text}"
        );
    }
    let error = open("0,3\n1,2\n2,1\n3,0\n", LabelForm::default()).err().unwrap();
    assert!(error.starts_with("names of images may be in columns 1 and 2"), "{error}");
    let form = LabelForm { image: Some("2".into()), ..LabelForm::default() };
    assert_eq!(labels(open("0,3\n1,2\n2,1\n3,0\n", form).unwrap().as_ref()), [3, 2, 1, 0]);
}

#[test]
fn names_with_blanks_need_no_quotation_marks() {
    let folder = Folder::of(&["my cat.png", "the dog.png", "x.png"]);
    for text in [
        "my cat.png 1\nthe dog.png 0\nx.png 2\n",
        "\"my cat.png\" 1\n\"the dog.png\" 0\nx.png 2\n",
        "my cat.png;1\nthe dog.png;0\nx.png;2\n",
    ] {
        let set = folder.labelled(text, LabelForm::default()).unwrap();
        assert_eq!(labels(set.as_ref()), [1, 0, 2], "{text}");
    }
}

#[test]
fn rows_of_other_parts_are_left_out() {
    let folder = Folder::of(&IMAGES);
    let text = "image,split,label\n".to_string()
        + &lines(|s, c, i| format!("{s},{},{c}", if i < 2 { "train" } else { "val" }));
    folder.write("table", text.as_bytes());
    let open = |split| {
        let labels = Some(folder.path("table"));
        folder.open(Options { labels, split, ..Options::default() })
    };
    let set = open(Split::HeldOut).unwrap();
    assert_eq!((labels(set.as_ref()), set.name(0)), (WANTED[2..].to_vec(), "c.png".into()));
    assert_eq!(labels(open(Split::Train).unwrap().as_ref()), WANTED[..2]);
    // Only their own rows say what labels are: those of a test part are not known.
    for unknown in ["", "-1", "0.5", "?"] {
        let text = "image,split,label\n".to_string()
            + &lines(|s, c, i| match i < 2 {
                true => format!("{s},test,{unknown}"),
                false => format!("{s},val,{c}"),
            });
        folder.write("table", text.as_bytes());
        assert_eq!(labels(open(Split::Val).unwrap().as_ref()), WANTED[2..], "{unknown:?}");
        if unknown != "?" {
            let error = open(Split::Test).err().unwrap().to_string();
            assert!(error.contains("label"), "{unknown:?}: {error}");
        }
    }
}

#[test]
fn caltechs_birds_are_joined() {
    let folder = Folder::of(&["001.a/x.jpg", "001.a/y.jpg", "002.b/x.jpg"]);
    folder.write("images.txt", b"1 001.a/x.jpg\n2 001.a/y.jpg\n3 002.b/x.jpg\n");
    folder.write("image_class_labels.txt", b"1 1\n2 1\n3 2\n");
    folder.write("classes.txt", b"1 001.a\n2 002.b\n");
    let open = |split| {
        let labels = Some(folder.path("image_class_labels.txt"));
        folder.open(Options { labels, split, ..Options::default() }).unwrap()
    };
    let set = open(Split::Train);
    assert_eq!(labels(set.as_ref()), [0, 0, 1]);
    assert_eq!(set.class_names().unwrap(), ["001.a", "002.b"]);
    folder.write("train_test_split.txt", b"1 1\n2 0\n3 0\n");
    assert_eq!(labels(open(Split::Train).as_ref()), [0]);
    assert_eq!(
        (labels(open(Split::HeldOut).as_ref()), open(Split::Test).name(0)),
        (vec![0, 1], "001.a/y.jpg".into())
    );
}

#[test]
fn images_in_several_folders_are_found_by_their_paths() {
    // HAM10000 comes in two folders of images and a table.
    let folder = Folder::of(&["part_1/a.jpg", "part_2/b.jpg", "part_2/c.jpg"]);
    let set = folder.labelled("image_id,dx\na,nv\nb,mel\nc,nv\n", LabelForm::default()).unwrap();
    assert_eq!(labels(set.as_ref()), [1, 0, 1]);
    let error = folder.labelled("0\n1\n0\n", LabelForm::default()).err().unwrap();
    assert!(error.contains("in several folders, which have no order of their own"), "{error}");
}

#[test]
fn hugging_faces_table_is_found_and_never_outvoted_in_silence() {
    let table = |folder: &Folder, label: &str| {
        let line = |name: &str, n| format!("{{\"file_name\": \"{name}\", \"{label}\": {n}}}\n");
        let text = line("x/1.png", 0) + &line("y/2.png", 1);
        folder.write("set/metadata.jsonl", text.as_bytes());
    };
    let folder = Folder::of(&["x/1.png", "y/2.png"]);
    table(&folder, "label");
    let error = folder.open(Options::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Input);
    let error = error.to_string();
    assert!(
        error.contains("labels are in `metadata.jsonl`, and there are folders as of classes"),
        "{error}"
    );
    let labels_path = Some(folder.path("set/metadata.jsonl"));
    for options in [
        Options { labels: labels_path, ..Options::default() },
        Options { format: Some(Format::ImageFolder), ..Options::default() },
    ] {
        assert_eq!(labels(folder.open(options).unwrap().as_ref()), [0, 1]);
    }
    // Captions do not stand against folders.
    table(&folder, "text");
    assert!(folder.open(Options::default()).unwrap().describe().starts_with("ImageFolder"));
    let flat = Folder::of(&["1.png", "2.png"]);
    flat.write("set/metadata.csv", b"file_name,label\n1.png,dog\n2.png,cat\n");
    assert_eq!(labels(flat.open(Options::default()).unwrap().as_ref()), [1, 0]);
    let one = Folder::of(&["images/1.png", "images/2.png"]);
    one.write("set/metadata.csv", b"file_name,label\nimages/1.png,dog\nimages/2.png,cat\n");
    assert_eq!(labels(one.open(Options::default()).unwrap().as_ref()), [1, 0]);
}

#[test]
fn other_files_are_named_as_what_they_are() {
    let folder = Folder::of(&IMAGES);
    for (bytes, parts) in [
        (&b"MATLAB 5.0 MAT-file"[..], "a MATLAB file, not a text file; save its table as CSV"),
        (b"PK\x03\x04....", "a zip file, such as an Excel workbook"),
        (b"\x80\x04\x95", "a pickle, not a text file"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"a.png,caf\xe9\n", "not a text file in UTF-8; save it as UTF-8"),
        (b"a.png\0,1\n", "not a text file: it holds bytes of zero"),
    ] {
        folder.write("table", bytes);
        let options = Options { labels: Some(folder.path("table")), ..Options::default() };
        let error = folder.open(options).err().unwrap().to_string();
        assert!(error.contains(parts), "{error}");
    }
    // Excel's "Unicode text".
    let text = "image\tlabel\r\n".to_string() + &lines(|s, c, _| format!("{s}.png\t{c}\r"));
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    folder.write("table", &[b"\xff\xfe", &utf16[..]].concat());
    let options = Options { labels: Some(folder.path("table")), ..Options::default() };
    assert_eq!(labels(folder.open(options).unwrap().as_ref()), WANTED);
}

#[test]
fn a_list_of_classes_in_an_order_of_its_own_is_refused() {
    let folder = Folder::of(&IMAGES);
    folder.write("table", lines(|s, c, _| format!("{s}.png,{}", DOGS[c])).as_bytes());
    let open = |list: &str| {
        folder.write("list", list.as_bytes());
        let path = |name| Some(folder.path(name));
        folder.open(Options { labels: path("table"), classes: path("list"), ..Options::default() })
    };
    let sorted = "affenpinscher\nbeagle\ncollie\nred fox\n";
    let set = open(sorted).unwrap();
    assert_eq!((labels(set.as_ref())[0], set.classes()), (3, Classes::Exactly(4)));
    let error = open("red fox\nbeagle\naffenpinscher\n").err().unwrap().to_string();
    assert!(
        error.contains("not in the order of their names") && error.contains("`class_map` says"),
        "{error}"
    );
    let set = open("3 affenpinscher\n1 red fox\n2 beagle\n").unwrap();
    assert_eq!(labels(set.as_ref()), WANTED);
}

#[test]
fn a_link_that_leads_nowhere_is_a_bad_image() {
    let folder = Folder::of(&IMAGES[..5]);
    let link = folder.path("set/f.png");
    std::os::unix::fs::symlink("/nowhere/f.png", &link).unwrap();
    let text = lines(|s, c, _| format!("{s}.png,{c}"));
    let set = folder.labelled(&text, LabelForm::default()).unwrap();
    let error = set.image(5).unwrap_err();
    assert_eq!(error.kind(), Kind::BadImage);
    assert!(
        error.to_string().contains("a link that leads nowhere, to `/nowhere/f.png`"),
        "{error}"
    );
}

#[test]
fn a_hostile_table_is_refused_within_bounds() {
    let folder = Folder::of(&IMAGES);
    let wide = "a.png".to_string() + &",1".repeat(300_000) + "\n";
    assert!(folder.labelled(&wide, LabelForm::default()).is_err());
    let keys: String = (0..5_000).map(|i| format!("\"k{i}\": 1,")).collect();
    let text = format!("{{{keys} \"file_name\": \"a.png\"}}\n").repeat(2);
    let error = folder.labelled(&text, LabelForm::default()).err().unwrap();
    assert!(error.contains("records of more than 4096 names"), "{error}");
    let deep = "[".repeat(100_000);
    assert!(folder.labelled(&deep, LabelForm::default()).err().unwrap().contains("is no JSON"));
    let _: &Path = &folder.path("set");
}

#[test]
fn two_values_of_one_name_are_no_label() {
    let folder = Folder::of(&IMAGES);
    let line =
        |stem: &str, class: usize| format!(r#"{{"file_name": "{stem}.png", "label": {class}}}"#);
    let with = |extra: &str| {
        let mut all: Vec<String> =
            lines(|stem, class, _| line(stem, class)).lines().map(String::from).collect();
        all[1] = all[1].replace('}', &format!(", {extra}}}"));
        all
    };
    let same = with(r#""label": 0"#);
    let other = with(r#""label": 1"#);
    for (same, other, at) in [
        (same.join("\n"), other.join("\n"), "line 2: "),
        (format!("[{}]", same.join(",")), format!("[{}]", other.join(",")), ""),
    ] {
        let set = folder.labelled(&same, LabelForm::default()).unwrap();
        assert_eq!(labels(&*set), WANTED);
        let error = folder.labelled(&other, LabelForm::default()).err().unwrap();
        assert_eq!(error, format!("{at}two values of `label` in one object"));
    }
}

#[test]
fn numbers_that_are_no_class_are_named() {
    let folder = Folder::of(&IMAGES);
    for (number, expected) in [
        ("-1", "expected 0 or more"),
        ("4294967296", "expected a class's number"),
        ("99999999999999999999", "expected a class's number"),
    ] {
        let text = lines(|stem, class, i| match i {
            3 => format!("{stem}.png,{number}"),
            _ => format!("{stem}.png,{class}"),
        });
        let error = folder.labelled(&text, LabelForm::default()).err().unwrap();
        assert_eq!(error, format!("line 4: the label {number}, {expected}"));
    }
}
