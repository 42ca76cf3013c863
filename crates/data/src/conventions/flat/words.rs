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
    OTHERS.contains(&&plain(heading)[..])
}

pub(super) fn is_several(heading: &str) -> bool {
    SEVERAL.contains(&&plain(heading)[..])
}

pub(crate) fn is_part(heading: &str) -> bool {
    PARTS.contains(&&plain(heading)[..]) || part_if(heading).is_some()
}

/// The part that a row belongs to where it is true (`is_valid` of fastai); else it is for training, or held out from that.
pub(super) fn part_if(heading: &str) -> Option<Split> {
    match &plain(heading)[..] {
        "isvalid" | "isval" | "isvalidation" => Some(Split::Val),
        "istest" => Some(Split::Test),
        "istrain" | "istraining" | "istrainingimage" => Some(Split::Train),
        _ => None,
    }
}

/// The same for a heading that may be that of a class, too: `train`.
pub(crate) fn bare_part(heading: &str) -> Option<Split> {
    match &plain(heading)[..] {
        "train" | "training" => Some(Split::Train),
        "holdout" | "heldout" => Some(Split::Test),
        _ => None,
    }
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
        assert!(!is_known("ILSVRC2012_val_00000001") && !is_known("MEL") && !is_known(""));
    }
}
