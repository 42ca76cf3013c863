//! Which column is the output.

use std::path::Path;

use swa_base::Kind;

use super::{Data, map, named, refused};

#[test]
fn a_heading_says_which_column_is_the_output() {
    let folders = named(&["0", "1", "2"]);
    for (heading, outputs) in [
        ("output,class", [2, 0, 1]),
        ("index,class", [2, 0, 1]),
        ("\"index\",\"label\"", [2, 0, 1]),
        ("output class_id", [2, 0, 1]),
        ("class,output", [1, 2, 0]),
        ("wnid,idx", [1, 2, 0]),
        ("class_id,output", [1, 2, 0]),
    ] {
        for by in [",", "\t", " "] {
            let text = format!("{heading}\n0,1\n1,2\n2,0\n").replace(',', by);
            for data in [&folders, &named(&["n01", "n02", "n03"]), &Data(None, 3)] {
                assert_eq!(map(&text, data).unwrap().outputs(), outputs, "{text}");
            }
        }
    }
    let data = named(&["cat", "dog"]);
    let text = "id,label\ncat,1\ndog,0\n";
    assert_eq!(map(text, &data).unwrap().outputs(), [1, 0]);
    let what = "`cat,1`: no number of an output in the column that the heading says";
    refused(Kind::Input, "index,class\ncat,1\ndog,0\n", &data, &[what]);
    // Above numbers from 1 on it may be another index.
    assert_eq!(map("output,class\n1,cat\n2,dog\n", &data).unwrap().outputs(), [1, 2]);
    let what = "not those of outputs, from 0 on; if they are outputs, write `output,class`";
    refused(Kind::Input, "index,class\n1,cat\n2,dog\n", &data, &[what]);
}

#[test]
fn two_columns_of_numbers_need_a_heading_unless_both_ways_say_the_same() {
    let folders = named(&["0", "1", "2"]);
    for data in [&folders, &named(&["n01", "n02", "n03"]), &Data(None, 3)] {
        for heading in ["", "class,label\n"] {
            let title = data.0.as_ref().map_or("0", |names| &names[0]);
            let what = format!("either may be the class: `{title}` has the output 1 or 2");
            let text = format!("{heading}0 1\n1 2\n2 0\n");
            refused(Kind::Input, &text, data, &[&what, "`class,output` or `output,class`"]);
        }
        assert_eq!(map("0 1\n1 0\n2 2\n", data).unwrap().outputs(), [1, 0, 2]);
        // The other way round a class has no output.
        assert_eq!(map("0 5\n1 2\n2 0\n", data).unwrap().outputs(), [5, 2, 0]);
    }
}

#[test]
fn outputs_before_classes_may_have_gaps() {
    let data = named(&["n01", "n02", "n03"]);
    for text in [
        "4 n01\n0 n02\n2 n03\n",
        "4: n01\n0: n02\n2: n03\n",
        "index,wnid\n4,n01\n0,n02\n2,n03\n",
        "4,n01\n0,n02\n2,n03\n9,n09\n",
    ] {
        let map = map(text, &data).unwrap();
        assert_eq!(map.outputs(), [4, 0, 2], "{text}");
        map.check(10, Path::new("m")).unwrap();
    }
    let twice = "two lines begin with the number 2";
    refused(Kind::Input, "2 n01\n0 n02\n2 n03\n", &data, &[twice]);
    // Names that end in numbers.
    // A list in order of names that end in numbers.
    let data = named(&["Audi S4 2007", "Audi S4 2012"]);
    assert_eq!(map("Audi S4 2012\nAudi S4 2007\n", &data).unwrap().outputs(), [1, 0]);
    let data = named(&["Audi 100", "Audi 80"]);
    assert_eq!(map("0 Audi 80\n3 Audi 100\n", &data).unwrap().outputs(), [3, 0]);
    assert_eq!(map("Audi 80 0\nAudi 100 3\n", &data).unwrap().outputs(), [3, 0]);
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let data = named(&["cat", "dog"]);
    let config = |by_label: &str, by_id: &str| {
        format!(r#"{{"label2id": {{{by_label}}}, "id2label": {{{by_id}}}}}"#)
    };
    for (by_label, by_id) in [
        (r#""cat": 1, "dog": 0"#, r#""0": "dog", "1": "cat""#),
        (r#""cat": "1", "dog": "0""#, r#""0": "dog", "1": "cat", "2": "eel""#),
        (r#""cat": 1, "dog": 0"#, ""),
        ("", r#""0": "dog", "1": "cat""#),
        // One name of two outputs has the last of them.
        (
            r#""cat": 1, "dog": 0, "crane": 3"#,
            r#""0": "dog", "1": "cat", "2": "crane", "3": "crane""#,
        ),
    ] {
        assert_eq!(map(&config(by_label, by_id), &data).unwrap().outputs(), [1, 0], "{by_id}");
    }
    for (by_label, by_id) in [
        (r#""cat": 1, "dog": 0"#, r#""0": "cat", "1": "dog""#),
        (r#""cat": 1, "dog": 0"#, r#""0": "dog", "2": "cat""#),
        (r#""LABEL_0": 0, "LABEL_1": 1"#, r#""0": "dog", "1": "cat""#),
    ] {
        let what = "`label2id` and `id2label` contradict each other: the first gives `";
        refused(Kind::Input, &config(by_label, by_id), &data, &[what, "remove the one that"]);
    }
}
