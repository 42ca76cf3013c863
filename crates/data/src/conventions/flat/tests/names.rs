//! Labels that are written as words: names, and what is none.

use super::{Folder, IMAGES, WANTED, labels, lines};
use crate::LabelForm;

fn of_cells(cells: [&str; 3]) -> Result<Vec<usize>, String> {
    let quoted = |c: usize| cells[c].replace('"', "\"\"");
    let text = "image,label\n".to_string() + &lines(|s, c, _| format!("{s},\"{}\"", quoted(c)));
    let folder = Folder::of(&IMAGES);
    folder.labelled(&text, LabelForm::default()).map(|set| labels(set.as_ref()))
}

#[test]
fn numbers_with_other_characters_around_them_are_no_names() {
    for cells in [
        ["tensor(0)", "tensor(2)", "tensor(10)"],
        ["'0'", "'2'", "'10'"],
        ["=\"0\"", "=\"2\"", "=\"10\""],
        ["\"0\"", "\"2\"", "\"10\""],
        ["np.int64(0)", "np.int64(2)", "np.int64(10)"],
        ["(0,)", "(2,)", "(10,)"],
        ["\u{200b}0", "\u{200b}2", "\u{200b}10"],
        ["０", "２", "１０"],
    ] {
        let error = of_cells(cells).unwrap_err();
        let what = "is a number written in another way, no name; write the class's number";
        assert!(error.starts_with("line 2: the label `") && error.contains(what), "{error}");
    }
}

#[test]
fn several_numbers_are_no_name() {
    for cells in [
        ["0 0 1", "0 1 0", "1 0 0"],
        ["(0, 0, 1)", "(0, 1, 0)", "(1, 0, 0)"],
        ["0;0;1", "0;1;0", "1;0;0"],
        ["0-0-1", "0-1-0", "1-0-0"],
        ["0.0 0.0 1.0", "0.0 1.0 0.0", "1.0 0.0 0.0"],
        ["0 1", "0 2", "1 2"],
    ] {
        let error = of_cells(cells).unwrap_err();
        assert!(error.contains(", not one class") || error.contains("not one class;"), "{error}");
    }
    let folder = Folder::of(&IMAGES);
    let vector = |c: usize| ["1 0 0", "0 1 0", "0 0 1"][c];
    let text =
        lines(|s, c, _| format!("{{\"file_name\": \"{s}.png\", \"label\": \"{}\"}}", vector(c)));
    let error = folder.labelled(&text, LabelForm::default()).err().unwrap();
    assert!(error.starts_with("line 1: the label 0 0 1, not one class"), "{error}");
}

#[test]
fn names_with_numbers_in_them_stay_names() {
    for cells in [
        ["10 downing street", "11 downing street", "7 up"],
        ["A320", "MD-11", "class 10"],
        ["737-200", "737-300", "747-100"],
        ["0-2", "15-20", "4-6"],
        ["1000-foot", "20%", "3d"],
        ["c0", "c1", "c10"],
        ["'10'", "cat", "tensor(1)"],
        ["Boeing (10)", "Boeing (2)", "Boeing (3)"],
        ["1/2 cup", "1/3 cup", "2 cups"],
    ] {
        assert_eq!(of_cells(cells), Ok(WANTED.to_vec()), "{cells:?}");
    }
}

#[test]
fn what_is_to_be_done_about_a_label_is_said_and_works() {
    for (cells, said) in [
        (["-1", "1", "1"], "(0 and 1 in place of -1 and 1)"),
        (["0", "1", "other"], "write all labels as numbers, or all as names with a letter in them"),
        (["cat", "dog", "NaN"], "leave out the line, and move the image out of the folder"),
    ] {
        let error = of_cells(cells).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(of_cells(["class 0", "class 1", "other"]), Ok(WANTED.to_vec()));
}

#[test]
fn an_order_that_capital_letters_decide_is_not_clear() {
    for (names, first) in [
        (&["cat1.png", "Dog1.png", "eel1.png"][..], "whether `Dog1.png` or `cat1.png` comes first"),
        (&["A.png", "a.png"], "whether `A.png` or `a.png` comes first"),
    ] {
        let rows = "x\ny\nz\n"[..2 * names.len()].to_string();
        let error = Folder::of(names).labelled(&rows, LabelForm::default()).err().unwrap();
        assert!(error.contains(first) && error.contains("capital and small letters"), "{error}");
    }
    for names in [["Cat1.png", "Dog1.png", "Eel1.png"], ["CAT.png", "Dog.png", "eel.png"]] {
        assert!(
            Folder::of(&names).labelled("x\ny\nz\n", LabelForm::default()).is_ok(),
            "{names:?}"
        );
    }
}

#[test]
fn a_column_a_class_may_say_yes_and_no_in_other_ways() {
    let folder = Folder::of(&IMAGES);
    let marks =
        |c: usize, yes: &str, no: &str| [0, 1, 2].map(|k| if k == c { yes } else { no }).join(",");
    for (yes, no) in
        [("yes", "no"), ("x", ""), ("X", "-"), ("1", "-1"), ("1", ""), ("TRUE", ""), ("1.0", "0.0")]
    {
        let text = "image,ant,bee,cat\n".to_string()
            + &lines(|s, c, _| format!("{s},{}", marks(c, yes, no)));
        let set = folder.labelled(&text, LabelForm::default()).unwrap();
        assert_eq!(
            (labels(set.as_ref()), set.class_names().unwrap().len()),
            (WANTED.to_vec(), 3),
            "{yes} {no}"
        );
        let form = LabelForm {
            label: ["cat", "bee", "ant"].map(String::from).to_vec(),
            ..LabelForm::default()
        };
        let set = folder.labelled(&text, form).unwrap();
        assert_eq!(labels(set.as_ref()), WANTED.map(|class| 2 - class), "{yes} {no}");
    }
    // CheXpert's -1 is neither yes nor no.
    let rows = |odd: &str| {
        lines(|s, c, i| format!("{s},{},{}", marks(c, "1", "0"), if i == 2 { odd } else { "0" }))
    };
    let text = format!("image,ant,bee,cat,dog\n{}", rows("-1"));
    let error = folder.labelled(&text, LabelForm::default()).err().unwrap();
    assert!(
        error.starts_with("line 4: `dog` is `-1`, where others are `0`; write 1 where"),
        "{error}"
    );
    let form =
        LabelForm { label: ["ant", "dog"].map(String::from).to_vec(), ..LabelForm::default() };
    let text = format!("image,ant,bee,cat,dog\n{}", rows("maybe"));
    let error = folder.labelled(&text, form).err().unwrap();
    assert!(
        error.contains("`dog` is `maybe`, neither 0 nor 1") || error.contains("has none of"),
        "{error}"
    );
    // Without headings an empty column is no class.
    let text = lines(|s, c, _| format!("{s}.png,{},", if c == 0 { "x," } else { ",x" }));
    assert!(folder.labelled(&text, LabelForm::default()).is_err());
}
