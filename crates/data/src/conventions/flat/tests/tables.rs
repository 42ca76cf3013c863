//! Tables as programs write them: the same rows mean the same with every separator.

use super::{DOGS, Folder, IMAGES, WANTED, by_column, labels, lines};
use crate::LabelForm;

fn refused(folder: &Folder, text: &str) -> String {
    match folder.labelled(text, LabelForm::default()) {
        Ok(set) => panic!("{text}: {} {:?}", set.describe(), set.class_names()),
        Err(error) => error,
    }
}

#[test]
fn several_columns_before_the_name_are_refused_with_every_separator() {
    let folder = Folder::of(&IMAGES);
    for by in ["\t", ",", ";", "|", " ", "  "] {
        for (first, second) in [("test", "7"), ("0.9", "cat"), ("3", "7.000000")] {
            let text = lines(|s, c, i| {
                let second = if second == "7" { c.to_string() } else { second.to_string() };
                let first = if first == "3" { i.to_string() } else { first.to_string() };
                [first, second, format!("{s}.png")].join(by)
            });
            let error = refused(&folder, &text);
            assert!(error.starts_with("several columns may be the label: column 1 ("), "{error}");
        }
        // An index, a label and a path, as MXNet has them.
        let text =
            lines(|s, c, i| [format!("{i}"), format!("{c}.000"), format!("x/{s}.png")].join(by));
        assert_eq!(labels(folder.labelled(&text, by_column("2")).unwrap().as_ref()), WANTED);
        // Two wnids are two labels, whatever follows.
        let text = lines(|s, c, _| {
            [format!("{s}.png"), format!("n0000000{c}"), "n00000009".into()].join(by)
        });
        let error = refused(&folder, &text);
        assert!(error.starts_with("several columns may be the label: column 2 ("), "{error}");
    }
}

#[test]
fn words_before_the_name_are_one_class_where_they_can_be_no_columns() {
    let folder = Folder::of(&IMAGES);
    let set =
        folder.labelled(&lines(|s, c, _| format!("{} {s}.png", DOGS[c])), LabelForm::default());
    let set = set.unwrap();
    assert_eq!(
        (labels(set.as_ref()), set.class_names().unwrap()[2].as_str()),
        (WANTED.to_vec(), "red fox")
    );
    for (line, shown) in [
        (
            lines(|s, c, _| format!("{} 0.9 {s}.png", DOGS[c])),
            "line 1: `red fox 0.9` may be one label",
        ),
        (lines(|s, c, _| format!("7 {} {s}.png", DOGS[c])), "line 1: `7 red fox` may be one label"),
        (
            lines(|s, c, _| format!("val {} {s}.png", DOGS[c])),
            "line 1: `val red fox` may be one label",
        ),
        (
            lines(|s, c, i| format!("{}{}\t{s}.png", ["", "x\t"][i % 2], DOGS[c])),
            "line 2: `x\\taffenpinscher` may be one label",
        ),
    ] {
        let error = refused(&folder, &line);
        assert!(error.starts_with(shown), "{error}");
        assert!(error.ends_with("; write tabs or commas between the columns"), "{error}");
    }
    // Boxes of one wnid each, or of two.
    let rows =
        |other: &str| lines(|s, c, i| format!("{s}.png n0000000{c} 1 2 3 4{}", [other, ""][i % 2]));
    assert_eq!(
        labels(folder.labelled(&rows(" 5 6"), LabelForm::default()).unwrap().as_ref()),
        WANTED
    );
    let error = refused(&folder, &rows(" n00000009 5 6 7 8"));
    assert!(error.starts_with("line 1: two labels, `n00000002` and `n00000009`"), "{error}");
}

#[test]
fn numbers_with_a_decimal_comma_are_numbers() {
    // pandas: `to_csv(sep=";", decimal=",")`; with ten classes words would come in another order.
    let classes = WANTED.map(|class| [2, 0, 10][class]);
    let folder = Folder::of(&IMAGES);
    for heading in ["", "image;label\n"] {
        let rows = lines(|s, c, _| format!("{s}.png;{},0", [2, 0, 10][c]));
        let set = folder.labelled(&format!("{heading}{rows}"), LabelForm::default()).unwrap();
        assert_eq!(labels(set.as_ref()), classes);
    }
    let text = lines(|s, _, i| format!("{s}.png\t{i},000"));
    let error = refused(&folder, &text);
    assert!(error.starts_with("line 1: the label 0,000: digits and commas"), "{error}");
    let error = refused(&folder, &lines(|s, c, _| format!("{s}.png\t{c},5")));
    assert!(error.starts_with("line 1: the label 2,5: a fraction is a score"), "{error}");
}

#[test]
fn pandas_columns_of_true_and_false_are_a_column_a_class() {
    let folder = Folder::of(&IMAGES);
    let flags =
        |class: usize, text: [&str; 2]| [0, 1, 2].map(|c| text[usize::from(c == class)]).join(",");
    for text in [["False", "True"], ["false", "TRUE"], ["0", "1"]] {
        for (heading, by_index) in
            [("image,ant,bee,cat", false), (",image,ant,bee,cat", true), (",ant,bee,cat", false)]
        {
            let rows = lines(|s, c, i| match by_index {
                true => format!("{i},{s}.png,{}", flags(c, text)),
                false => format!("{s}.png,{}", flags(c, text)),
            });
            let set = folder.labelled(&format!("{heading}\n{rows}"), LabelForm::default()).unwrap();
            assert_eq!(labels(set.as_ref()), WANTED, "{heading} {text:?}");
            assert_eq!(set.class_names().unwrap(), ["ant", "bee", "cat"]);
        }
    }
    let rows = lines(|s, c, _| format!("{s}.png,True,{},False", c == 1));
    let error = refused(&folder, &format!(",ant,bee,cat\n{rows}"));
    assert!(error.starts_with("line 4: `c.png` has several of the 3 classes"), "{error}");
}

#[test]
fn columns_of_nothing_and_a_line_that_names_the_separator_do_not_count() {
    let folder = Folder::of(&IMAGES);
    for text in [
        lines(|s, c, _| format!("{s}.png,{c},")),
        lines(|s, c, _| format!("{s}.png,,{c},,")),
        "image,label,\n".to_string() + &lines(|s, c, _| format!("{s}.png,{c},")),
        "image,,variety,\n".to_string() + &lines(|s, c, _| format!("{s}.png,,{},", DOGS[c])),
        "sep=;\nimage;label\n".to_string() + &lines(|s, c, _| format!("{s}.png;{c}")),
        "\u{feff}\"sep=;\"\r\n".to_string() + &lines(|s, c, _| format!("{s}.png;{c}\r")),
        "SEP=,\nimage,label\n".to_string() + &lines(|s, c, _| format!("{s}.png,{c}")),
    ] {
        let set = folder.labelled(&text, LabelForm::default());
        assert_eq!(labels(set.unwrap_or_else(|error| panic!("{text}: {error}")).as_ref()), WANTED);
    }
    // With the separator that is said, though another would do; lines are still counted from the first.
    let error =
        refused(&folder, &("sep=;\n".to_string() + &lines(|s, c, _| format!("{s}.png;{c}.5"))));
    assert!(error.starts_with("line 2: the label 2.5: a fraction"), "{error}");
    let error = refused(&folder, &lines(|s, _, _| format!("{s}.png,")));
    assert!(error.starts_with("it names images, but has no column of labels"), "{error}");
}

#[test]
fn predictions_and_several_classes_in_a_cell_are_no_label() {
    let folder = Folder::of(&IMAGES);
    for heading in ["prediction", "pred", "Predicted", "score", "y_pred"] {
        let text = format!("image,{heading}\n") + &lines(|s, c, _| format!("{s}.png,{c}"));
        let error = refused(&folder, &text);
        assert!(error.starts_with("no column is known to be a label: `"), "{error}");
        assert_eq!(labels(folder.labelled(&text, by_column("2")).unwrap().as_ref()), WANTED);
        let text =
            format!("image,{heading},label\n") + &lines(|s, c, i| format!("{s}.png,{i},{c}"));
        let set = folder.labelled(&text, LabelForm::default()).unwrap();
        assert_eq!(labels(set.as_ref()), WANTED);
    }
    let rows = |odd: &str| {
        lines(|s, c, i| {
            format!("{s}.png;{}", if i == 4 { odd.to_string() } else { format!("c0{c}") })
        })
    };
    for (heading, odd) in
        [("labels", "c02 c01"), ("labels", "c02, c00"), ("label", "c02,c00"), ("class", "c00, c01")]
    {
        let error = refused(&folder, &format!("image;{heading}\n{}", rows(odd)));
        let shown =
            format!("line 6: the label `{odd}`: several classes, which other rows have alone");
        assert!(error.starts_with(&shown), "{error}");
    }
    // One class: its words are no classes of their own, or the heading speaks of one.
    for (heading, odd) in [("labels", "c02 c07"), ("label", "c02 c01"), ("species", "c02 c01")] {
        let text = format!("image;{heading}\n{}", rows(odd));
        assert_eq!(
            folder.labelled(&text, LabelForm::default()).unwrap().class_names().unwrap().len(),
            4
        );
    }
}
