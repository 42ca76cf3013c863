//! Headings that are in use for what a label file's columns hold, and what their values look like.

mod lists;

use crate::split::Split;
use lists::{IMAGES, LABELS, OTHERS, PARTS, SEVERAL};

/// A heading in small letters, without blanks, marks and brackets.
pub(crate) fn plain(heading: &str) -> String {
    heading.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub(super) fn is_image(heading: &str) -> bool {
    let heading = plain(heading);
    // `audio_file_name`, but with images: datasets allows `*_file_name`.
    IMAGES.contains(&&heading[..])
        || heading.ends_with("filename")
        || heading.ends_with("imagepath")
}

pub(super) fn is_label(heading: &str) -> bool {
    LABELS.contains(&&plain(heading)[..])
}

/// Whether it is a heading of a list of classes: of names or of numbers.
pub(crate) fn is_class_heading(heading: &str) -> bool {
    const OF_LISTS: &[&str] = &[
        "name",
        "id",
        "index",
        "idx",
        "number",
        "output",
        "outputs",
        "outputid",
        "outputindex",
        "outputnumber",
    ];
    is_label(heading) || OF_LISTS.contains(&&plain(heading)[..])
}

/// Whether a heading of labels says that a cell may hold several.
pub(super) fn is_plural(heading: &str) -> bool {
    let heading = plain(heading);
    is_label(&heading)
        && heading.ends_with('s')
        && !["class", "cls", "species", "diagnosis"].contains(&&heading[..])
}

pub(super) fn is_other(heading: &str) -> bool {
    OTHERS.contains(&&plain(heading)[..]) || is_part(heading)
}

pub(super) fn is_several(heading: &str) -> bool {
    SEVERAL.contains(&&plain(heading)[..])
}

pub(crate) fn is_part(heading: &str) -> bool {
    PARTS.contains(&&plain(heading)[..]) || part_if(heading).is_some()
}

/// The part that a row belongs to where it is true (`is_valid` of fastai, `testset`); else it is for training, or held out
/// from that.
pub(super) fn part_if(heading: &str) -> Option<Split> {
    part_of_flag(heading).filter(|(_, is_certain)| *is_certain).map(|(part, _)| part)
}

/// The same for a heading that may be that of a class, too: `train`.
pub(crate) fn bare_part(heading: &str) -> Option<Split> {
    part_of_flag(heading).map(|(part, _)| part)
}

/// The part that a heading of yes and no speaks of, and whether it can be nothing else.
fn part_of_flag(heading: &str) -> Option<(Split, bool)> {
    const BESIDE: [&str; 9] =
        ["is", "in", "for", "set", "split", "data", "image", "images", "sample"];
    let words = tokens(heading);
    let mut own = words.iter().filter(|word| !BESIDE.contains(&&***word));
    let (Some(word), None) = (own.next(), own.next()) else { return None };
    let glued = word.strip_prefix("is").or_else(|| word.strip_suffix("set")).unwrap_or(word);
    let is_certain = words.len() > 1 || glued != word;
    // An image may be valid.
    if glued == "valid" && (!is_certain || words.iter().any(|word| word.starts_with("image"))) {
        return None;
    }
    Split::of_word(glued).map(|part| (part, is_certain))
}

/// The part that a cell under a heading of parts names: a word for one, among words that say nothing else (`Training set`,
/// `train1`), or one in use there alone.
pub(super) fn part_of_cell(cell: &str) -> Option<Split> {
    const BESIDE: [&str; 5] = ["set", "split", "data", "images", "part"];
    let words = tokens(cell);
    let mut own = words.iter().filter(|word| !BESIDE.contains(&&***word));
    let (Some(word), None) = (own.next(), own.next()) else { return None };
    match word.strip_suffix("set").unwrap_or(word) {
        "tr" | "trn" => Some(Split::Train),
        "va" => Some(Split::Val),
        "te" | "tst" => Some(Split::Test),
        word => Split::of_word(word),
    }
}

/// The words of a heading or a cell, in small letters: at what is no letter, and at capitals after small letters.
fn tokens(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut before = ' ';
    for c in text.chars() {
        if !c.is_alphabetic() || before.is_lowercase() && c.is_uppercase() {
            found.push(String::new());
        }
        if c.is_alphabetic() {
            found.last_mut().expect("one").extend(c.to_lowercase());
        }
        before = c;
    }
    found.retain(|word| !word.is_empty());
    // `held_out` and `hold-out` are one.
    if let Some(at) =
        found.windows(2).position(|two| ["held", "hold"].contains(&&*two[0]) && two[1] == "out")
    {
        found[at].push_str("out");
        found.remove(at + 1);
    }
    found
}

/// CelebA's heading of a column that numbers the parts.
pub(super) fn is_partition(heading: &str) -> bool {
    plain(heading) == "partition"
}

/// Whether it is a heading that is in use for anything.
pub(super) fn is_known(heading: &str) -> bool {
    !plain(heading).is_empty()
        && (is_image(heading) || is_label(heading) || is_other(heading) || is_several(heading))
}

/// Such as `n01440764`: a class of WordNet.
pub(crate) fn is_wnid(word: &str) -> bool {
    let digits = word.strip_prefix('n').unwrap_or_default();
    digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Up to the first blank.
pub(crate) fn first_word(cell: &str) -> &str {
    cell.split_whitespace().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_told_by_what_is_in_use() {
        for heading in ["Label", "class_id", "Class Name", "dx", "PredictionString", "y"] {
            assert!(is_label(heading) && is_known(heading), "{heading}");
        }
        for heading in ["fold", "Unnamed: 0", "is_valid", "x_min", "age_approx", ""] {
            assert!(is_other(heading) && !is_label(heading), "{heading}");
        }
        for heading in ["Image_ID", "file_name", "filepath", "Image Index", "ID"] {
            assert!(is_image(heading) || heading == "Image Index", "{heading}");
        }
        for (heading, part, is_certain) in [
            ("is_valid", Split::Val, true),
            ("isTest", Split::Test, true),
            ("is_training_image", Split::Train, true),
            ("istrain", Split::Train, true),
            ("testset", Split::Test, true),
            ("in_test", Split::Test, true),
            ("is_holdout", Split::Test, true),
            ("is_held_out", Split::Test, true),
            ("Hold-Out", Split::Test, false),
            ("is_test_set", Split::Test, true),
            ("Train", Split::Train, false),
            ("test", Split::Test, false),
            ("validation", Split::Val, false),
        ] {
            assert_eq!(part_of_flag(heading), Some((part, is_certain)), "{heading}");
        }
        for heading in
            ["valid", "invalid", "is_valid_image", "test_score", "train_test", "set", "label", ""]
        {
            assert_eq!(part_of_flag(heading), None, "{heading}");
        }
        for (cell, part) in [
            ("Training set", Some(Split::Train)),
            ("train1", Some(Split::Train)),
            ("test_set", Some(Split::Test)),
            ("tst", Some(Split::Test)),
            ("holdout", Some(Split::Test)),
            ("PublicTest", None),
            ("base", None),
            ("0", None),
        ] {
            assert_eq!(part_of_cell(cell), part, "{cell}");
        }
        assert!(!is_known("ILSVRC2012_val_00000001") && !is_known("MEL") && !is_known(""));
    }
}
