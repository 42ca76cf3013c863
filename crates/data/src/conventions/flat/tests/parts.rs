//! Columns that say to which part of the data a row belongs.

use super::{DOGS, Folder, IMAGES, WANTED, by_column, labels, lines};
use crate::{LabelForm, Options, Split};

/// The labels of a part of a table with these columns before and after the label; the cells are by place.
fn of_part(
    folder: &Folder,
    text: &str,
    split: Split,
    form: &LabelForm,
) -> Result<Vec<usize>, String> {
    folder.write("table", text.as_bytes());
    let labels_path = Some(folder.path("table"));
    let options =
        Options { labels: labels_path, split, label_form: form.clone(), ..Options::default() };
    folder.open(options).map(|set| labels(set.as_ref())).map_err(|error| error.to_string())
}

#[test]
fn rows_are_chosen_by_whatever_column_says_their_part() {
    let folder = Folder::of(&IMAGES);
    use Split::{HeldOut, Test, Train, Val};
    let held_out = |word: [&'static str; 2]| move |i: usize| word[usize::from(i >= 2)].to_string();
    let three = |words: [&'static str; 3]| move |i: usize| words[i / 2].to_string();
    type Cells = Box<dyn Fn(usize) -> String>;
    type Rows = Vec<(Split, Vec<usize>)>;
    let cases: Vec<(&str, Cells, Rows)> = vec![
        (
            "is_train",
            Box::new(held_out(["1", "0"])),
            vec![(Train, vec![0, 1]), (Test, vec![2, 3, 4, 5])],
        ),
        ("is_training", Box::new(held_out(["True", "False"])), vec![(HeldOut, vec![2, 3, 4, 5])]),
        ("is_validation", Box::new(held_out(["no", "yes"])), vec![(Val, vec![2, 3, 4, 5])]),
        ("is_test", Box::new(held_out(["0.0", "1.0"])), vec![(Test, vec![2, 3, 4, 5])]),
        (
            "is_val,is_test",
            Box::new(three(["0,0", "1,0", "0,1"])),
            vec![(Train, vec![0, 1]), (Val, vec![2, 3]), (Test, vec![4, 5])],
        ),
        (
            "is_train,is_val,is_test",
            Box::new(three(["1,0,0", "0,1,0", "0,0,1"])),
            vec![(Train, vec![0, 1]), (Val, vec![2, 3]), (Test, vec![4, 5])],
        ),
        (
            "partition",
            Box::new(three(["0", "1", "2"])),
            vec![(Train, vec![0, 1]), (Val, vec![2, 3]), (Test, vec![4, 5])],
        ),
        ("train", Box::new(held_out(["1", "0"])), vec![(HeldOut, vec![2, 3, 4, 5])]),
        (
            "holdout",
            Box::new(held_out(["0", "1"])),
            vec![(Train, vec![0, 1]), (HeldOut, vec![2, 3, 4, 5])],
        ),
        ("test", Box::new(held_out(["no", "yes"])), vec![(Train, vec![0, 1])]),
        ("val", Box::new(held_out(["0", "1"])), vec![(Val, vec![2, 3, 4, 5])]),
        ("is_holdout", Box::new(held_out(["0", "1"])), vec![(HeldOut, vec![2, 3, 4, 5])]),
        ("testset", Box::new(held_out(["0", "1"])), vec![(Train, vec![0, 1])]),
        ("in_test", Box::new(held_out(["False", "True"])), vec![(Train, vec![0, 1])]),
        ("split", Box::new(held_out(["tr", "te"])), vec![(Test, vec![2, 3, 4, 5])]),
        ("Split", Box::new(held_out(["training set", "test set"])), vec![(Train, vec![0, 1])]),
        ("subset", Box::new(held_out(["train1", "test1"])), vec![(Train, vec![0, 1])]),
        ("held_out", Box::new(held_out(["0", "1"])), vec![(Train, vec![0, 1])]),
        // Another column of another thing.
        ("split,part", Box::new(held_out(["train,hand", "test,foot"])), vec![(Train, vec![0, 1])]),
        ("subset,split", Box::new(held_out(["a,train", "b,test"])), vec![(Train, vec![0, 1])]),
        ("fold", Box::new(held_out(["train", "valid"])), vec![(Val, vec![2, 3, 4, 5])]),
        ("data_split", Box::new(held_out(["Train", "Test"])), vec![(HeldOut, vec![2, 3, 4, 5])]),
        ("mode", Box::new(held_out(["training", "validation"])), vec![(HeldOut, vec![2, 3, 4, 5])]),
        ("stage", Box::new(three(["train", "val", "test"])), vec![(Test, vec![4, 5])]),
        (
            "dataset,stage",
            Box::new(held_out(["train,training", "test,testing"])),
            vec![(HeldOut, vec![2, 3, 4, 5])],
        ),
        (
            "split,stage",
            Box::new(held_out(["train,test", "test,train"])),
            vec![(HeldOut, vec![2, 3, 4, 5])],
        ),
    ];
    for (heading, cell, parts) in cases {
        for (split, rows) in parts {
            let wanted: Vec<usize> = rows.iter().map(|&row| WANTED[row]).collect();
            let form = LabelForm { first: Some(0), ..LabelForm::default() };
            let text = format!("image,{heading},label\n")
                + &lines(|s, c, i| format!("{s},{},{c}", cell(i)));
            assert_eq!(of_part(&folder, &text, split, &form), Ok(wanted.clone()), "{heading}");
            let text = format!("image,kind,{heading}\n")
                + &lines(|s, c, i| format!("{s},{c},{}", cell(i)));
            assert_eq!(
                of_part(&folder, &text, split, &LabelForm { label: vec!["kind".into()], ..form }),
                Ok(wanted),
                "{heading}"
            );
        }
    }
    // Without headings, where it is said which column is the label.
    let text = lines(|s, c, i| format!("{s}.png,{},{c}", if i < 2 { "train" } else { "test" }));
    assert_eq!(of_part(&folder, &text, HeldOut, &by_column("3")), Ok(WANTED[2..].to_vec()));
    assert!(
        of_part(&folder, &text, HeldOut, &LabelForm::default())
            .unwrap_err()
            .contains("several columns may be")
    );
}

#[test]
fn what_only_looks_like_a_part_chooses_nothing() {
    let folder = Folder::of(&IMAGES);
    let all = |text: &str, form: &LabelForm| of_part(&folder, text, Split::HeldOut, form);
    // A number of a fold, of a client, of a set.
    for heading in ["fold", "partition", "set"] {
        let text =
            format!("image,{heading},label\n") + &lines(|s, c, i| format!("{s},{},{c}", i % 5));
        assert_eq!(all(&text, &LabelForm::default()), Ok(WANTED.to_vec()), "{heading}");
    }
    // Classes that are called as parts are, in a column of labels, in one that is named, and as columns.
    let text = "image,label\n".to_string()
        + &lines(|s, c, _| format!("{s},{}", ["test", "train", "val"][c]));
    assert_eq!(all(&text, &LabelForm::default()), Ok(vec![2, 0, 1, 0, 2, 1]));
    let text = "image,kind\n".to_string() + &lines(|s, _, _| format!("{s},train"));
    assert_eq!(all(&text, &by_column("kind")), Ok(vec![0; 6]));
    let text = "image,bus,train,van\n".to_string()
        + &lines(|s, c, _| format!("{s},{},{},{}", c / 2, c % 2, usize::from(c == 0)));
    assert_eq!(all(&text, &LabelForm::default()), Ok(vec![0, 2, 1, 2, 0, 1]));
    let text = "image,label,bus,train\n".to_string()
        + &lines(|s, c, _| format!("{s},{c},{},{}", c / 2, c % 2));
    let error = all(&text, &LabelForm::default()).unwrap_err();
    assert!(
        error.contains("`train` may say to which part of the data rows belong, or be"),
        "{error}"
    );
    // Of one value there is nothing to choose.
    for (heading, word) in [("split", "a"), ("subset", "0"), ("Usage", "Public")] {
        let text = format!("image,{heading},label\n") + &lines(|s, c, _| format!("{s},{word},{c}"));
        assert_eq!(all(&text, &LabelForm::default()), Ok(WANTED.to_vec()), "{heading}");
    }
    // Nor do these headings say it in words that are not known.
    for (heading, words) in [
        ("Usage", ["Public", "Private"]),
        ("part", ["elbow", "wrist"]),
        ("phase", ["1", "2"]),
        ("set", ["A", "B"]),
    ] {
        let text = format!("image,{heading},label\n")
            + &lines(|s, c, i| format!("{s},{},{c}", words[i % 2]));
        assert_eq!(all(&text, &LabelForm::default()), Ok(WANTED.to_vec()), "{heading}");
    }
}

#[test]
fn parts_that_are_not_clear_are_refused() {
    let folder = Folder::of(&IMAGES);
    for (heading, cells, said) in [
        (
            "partition",
            ["0", "1"],
            "the column `partition` holds 0 and 1 alone: which part is which?",
        ),
        ("split", ["0", "1"], "`split` says to which part of the data rows belong, and `0` is no"),
        ("set", ["0", "2"], "`set` says to which part of the data rows belong, and `0` is no"),
        (
            "subset",
            ["1", "3"],
            "`subset` says to which part of the data rows belong, and `1` is no",
        ),
        ("split", ["base", "novel"], "and `base` is no known part; write train, val or test there"),
        (
            "split,subset",
            ["train,test", "test,train"],
            "`split` and `subset` say to which part of the data rows belong, and not the same",
        ),
        (
            "stage,mode",
            ["train,test", "test,train"],
            "`stage` and `mode` say to which part of the data rows belong",
        ),
        ("is_val,is_test", ["1,1", "0,1"], "line 2: `is_val` and `is_test` do not say one part"),
        (
            "is_train",
            ["1", "maybe"],
            "the column `is_train` says to which part of the data rows belong, and `maybe`",
        ),
        ("split_name", ["train", "extra"], "the column `split_name` says to which part"),
    ] {
        let text = format!("image,{heading},label\n")
            + &lines(|s, c, i| format!("{s},{},{c}", cells[i / 3]));
        let error = of_part(&folder, &text, Split::HeldOut, &LabelForm::default()).unwrap_err();
        assert!(error.contains(said), "{heading}: {error}");
    }
}

#[test]
fn a_lone_column_of_another_thing_is_no_label() {
    let folder = Folder::of(&IMAGES);
    let other = |i: usize| [3, 1, 4, 1, 5, 9][i].to_string();
    let index = |first: usize| move |i: usize| (i + first).to_string();
    let flag = |i: usize| (i % 2).to_string();
    type Cells = Box<dyn Fn(usize) -> String>;
    let mut cases: Vec<(&str, Cells)> = vec![
        ("nr", Box::new(index(0))),
        ("n", Box::new(index(1))),
        ("num", Box::new(index(7))),
        ("train", Box::new(flag)),
        ("holdout", Box::new(flag)),
    ];
    for heading in
        ["order", "seq", "sequence", "position", "rank", "batch", "site", "session", "difficult"]
    {
        cases.push((heading, Box::new(other)));
    }
    for (heading, cell) in cases {
        let text = format!("image,{heading}\n") + &lines(|s, _, i| format!("{s},{}", cell(i)));
        let error = folder.labelled(&text, LabelForm::default()).err().unwrap_or_default();
        assert!(error.starts_with("no column is known to be a label: `"), "{heading}: {error}");
        let form = LabelForm { first: Some(0), ..by_column(heading) };
        assert!(folder.labelled(&text, form).is_ok(), "{heading}");
        let text = format!("image,{heading},variety\n")
            + &lines(|s, c, i| format!("{s},{},{}", cell(i), DOGS[c]));
        // Only a name tells an index from a class.
        if !["nr", "n", "num", "train", "holdout"].contains(&heading) {
            let set = folder.labelled(&text, LabelForm::default()).unwrap();
            assert_eq!(labels(set.as_ref()), WANTED, "{heading}");
        }
    }
    // A class an image, in another order.
    let text = "image,kind\n".to_string() + &lines(|s, _, i| format!("{s},{}", 5 - i));
    assert_eq!(
        labels(folder.labelled(&text, LabelForm::default()).unwrap().as_ref()),
        [5, 4, 3, 2, 1, 0]
    );
}
