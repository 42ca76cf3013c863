//! What is refused, with what was seen and the way out.

use swa_base::Kind;

use super::{DOGS, Folder, IMAGES, WANTED, labels, lines};
use crate::{Classes, LabelForm, Options};

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
            &["is no JSON: EOF while parsing a string at line 3 column "],
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
    // The numbers may be the outputs, or mean nothing.
    for list in [
        "red fox\nbeagle\naffenpinscher\n",
        "3 affenpinscher\n1 red fox\n2 beagle\n",
        "0 red fox\n1 beagle\n2 affenpinscher\n",
        "red fox,0\nbeagle,1\naffenpinscher,2\n",
    ] {
        let error = open(list).err().unwrap().to_string();
        assert!(
            error.contains("not in the order of their names") && error.contains("`class_map` says"),
            "{error}"
        );
    }
    for heading in ["class", "id,name", "Label", "wnid\tclass_name"] {
        let error = open(&format!("{heading}\n{sorted}")).err().unwrap().to_string();
        let what = format!("line 1: `{}` is a heading, no class", heading.replace('\t', "\\t"));
        assert!(error.contains(&what), "{error}");
    }
    for list in ["", "\n\n"] {
        assert!(open(list).err().unwrap().to_string().contains("it names no classes"));
    }
    for list in ["1 affenpinscher\n2 beagle\n3 red fox\n", "beagle,1\naffenpinscher,0\nred fox,2\n"]
    {
        assert_eq!(labels(open(list).unwrap().as_ref()), WANTED);
    }
}

#[test]
fn classes_whose_names_end_in_numbers_keep_them() {
    let folder = Folder::of(&IMAGES);
    let cars = ["Acura TL 2012", "Audi S4 2007", "Audi S4 2012"];
    folder.write("table", lines(|s, c, _| format!("{s}.png,{}", cars[c])).as_bytes());
    folder.write("list", cars.join("\n").as_bytes());
    let path = |name| Some(folder.path(name));
    let options = Options { labels: path("table"), classes: path("list"), ..Options::default() };
    let set = folder.open(options).unwrap();
    assert_eq!(
        (labels(set.as_ref()), set.class_names().unwrap()),
        (WANTED.to_vec(), &cars.map(String::from)[..])
    );
}

#[test]
fn labels_in_an_order_that_is_not_clear_are_refused() {
    let folder = Folder::of(&["1.png", "2.png", "10.png"]);
    let error = folder.labelled("a\nb\nc\n", LabelForm::default()).err().unwrap();
    assert!(error.contains("whether `10.png` or `2.png` comes first is not clear"), "{error}");
    let folder = Folder::of(&["01.png", "02.png", "10.png"]);
    assert!(folder.labelled("a\nb\nc\n", LabelForm::default()).is_ok());
}

#[test]
fn a_column_of_parts_that_is_not_understood_is_refused() {
    let folder = Folder::of(&IMAGES);
    for (heading, here, there, odd) in [
        ("Usage", "Training", "PublicTest", "PublicTest"),
        ("split", "train", "", ""),
        ("is_valid", "False", "maybe", "maybe"),
    ] {
        let part = |i: usize| if i < 3 { here } else { there };
        let rows = lines(|s, c, i| format!("{s}.png,{c},{}", part(i)));
        let error =
            folder.labelled(&format!("image,label,{heading}\n{rows}"), LabelForm::default());
        let error = error.err().unwrap();
        let expected = format!(
            "the column `{heading}` says to which part of the data rows belong, and `{odd}` is no"
        );
        assert!(error.starts_with(&expected), "{error}");
    }
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
    let list = |lines: &[String]| format!("[{}]", lines.join(",\n"));
    let below = |lines: &[String]| format!("{{\"labels\":\n{}}}", list(lines));
    for (same, other, line) in [
        (same.join("\n"), other.join("\n"), 2),
        (list(&same), list(&other), 2),
        (below(&same), below(&other), 3),
    ] {
        let set = folder.labelled(&same, LabelForm::default()).unwrap();
        assert_eq!(labels(&*set), WANTED);
        let error = folder.labelled(&other, LabelForm::default()).err().unwrap();
        let expected = format!("two values of `label` in one object at line {line} column ");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn numbers_that_are_no_class_are_named() {
    let folder = Folder::of(&IMAGES);
    for (number, expected) in [
        ("-1", "expected 0 or more; write the classes' numbers from 0 on (0 and 1 in place of -1"),
        ("4294967296", "expected a class's number"),
        ("99999999999999999999", "expected a class's number"),
    ] {
        let text = lines(|stem, class, i| match i {
            3 => format!("{stem}.png,{number}"),
            _ => format!("{stem}.png,{class}"),
        });
        let error = folder.labelled(&text, LabelForm::default()).err().unwrap();
        let start = format!("line 4: the label {number}, {expected}");
        assert!(error.starts_with(&start), "{error}");
    }
}
