//! What is read, and how the label is known.

use swa_base::Kind;

use super::{DOGS, Folder, IMAGES, WANTED, by_column, labels, lines};
use crate::{Format, LabelForm, Options, Split};

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
fn the_parts_of_one_table_are_told_by_their_folders() {
    // The same names in both parts, with and without a column that says which.
    let folder = Folder::of(&[]);
    for (part, n) in [("train", 3), ("test", 4)] {
        (0..n).for_each(|i| folder.write(&format!("set/{part}/{i}.png"), b""));
    }
    let rows = |column: bool| {
        let row = |part: &str, i: usize, class: usize| match column {
            true => format!("{part}/{i}.png,{class},{part}\n"),
            false => format!("{part}/{i}.png,{class}\n"),
        };
        let train: String = (0..3).map(|i| row("train", i, i % 2)).collect();
        train + &(0..4).map(|i| row("test", i, 1 - i % 2)).collect::<String>()
    };
    for table in
        [format!("image,label\n{}", rows(false)), format!("image,label,split\n{}", rows(true))]
    {
        folder.write("set/labels.csv", table.as_bytes());
        for (split, wanted) in [(Split::Train, vec![0, 1, 0]), (Split::Test, vec![1, 0, 1, 0])] {
            let set = folder.open(Options { split, ..Options::default() }).unwrap();
            assert_eq!(labels(set.as_ref()), wanted, "{table}");
        }
    }
    // Those of one part are not those of another.
    folder.write("set/labels.csv", b"image,label\ntrain/0.png,0\ntrain/1.png,1\ntrain/2.png,0\n");
    assert!(folder.open(Options { split: Split::Test, ..Options::default() }).is_err());
    // fastai's column.
    let folder = Folder::of(&IMAGES);
    let rows = lines(|s, c, i| format!("{s}.png,{c},{}", if i < 2 { "False" } else { "True" }));
    folder.write("table", format!("image,label,is_valid\n{rows}").as_bytes());
    for (split, wanted) in [(Split::Train, &WANTED[..2]), (Split::Val, &WANTED[2..])] {
        let labels_path = Some(folder.path("table"));
        let set =
            folder.open(Options { labels: labels_path, split, ..Options::default() }).unwrap();
        assert_eq!(labels(set.as_ref()), wanted);
    }
}
