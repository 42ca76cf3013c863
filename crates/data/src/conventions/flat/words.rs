//! Headings that are in use for what a label file's columns hold, and what their values look like.

use crate::split::Split;

/// Headings of a column of images' names, as [`plain`] writes them.
const IMAGES: &[&str] = &[
    "image",
    "images",
    "imageid",
    "imageindex",
    "imageids",
    "imagename",
    "imagefile",
    "imagefilename",
    "imagepath",
    "imagefilepath",
    "img",
    "imgid",
    "imgname",
    "imgpath",
    "imgfile",
    "file",
    "files",
    "filename",
    "filenames",
    "filepath",
    "fname",
    "path",
    "relpath",
    "relativepath",
    "name",
    "photo",
    "photoid",
    "picture",
    "id",
    "key",
];

/// Headings of a column of labels. `y` is one unless there is an `x`.
const LABELS: &[&str] = &[
    "label",
    "labels",
    "labelid",
    "labelidx",
    "labelindex",
    "labelname",
    "labelnumber",
    "labeltext",
    "class",
    "classes",
    "classid",
    "classidx",
    "classindex",
    "classlabel",
    "classname",
    "classnumber",
    "category",
    "categoryid",
    "categoryidx",
    "categoryname",
    "target",
    "targets",
    "targetid",
    "targetlabel",
    "groundtruth",
    "groundtruthlabel",
    "gt",
    "gtlabel",
    "truth",
    "truelabel",
    "trueclass",
    "finelabel",
    "cls",
    "clsid",
    "y",
    "ytrue",
    "wnid",
    "wordnetid",
    "synset",
    "synsetid",
    "predictionstring",
    "breed",
    "species",
    "diagnosis",
    "dx",
];

/// Headings of columns that are known to be no labels of classes.
const OTHERS: &[&str] = &[
    "",
    "unnamed0",
    "index",
    "idx",
    "i",
    "row",
    "rowid",
    "rownumber",
    "number",
    "no",
    "id",
    "uid",
    "uuid",
    "key",
    "fold",
    "folds",
    "kfold",
    "cvfold",
    "foldid",
    "isvalid",
    "isval",
    "istest",
    "split",
    "splits",
    "set",
    "subset",
    "partition",
    "part",
    "phase",
    "usage",
    "istrain",
    "istraining",
    "isvalidation",
    "istrainingimage",
    "datasplit",
    "splitname",
    "traintest",
    "traintestsplit",
    "order",
    "seq",
    "sequence",
    "sequenceid",
    "position",
    "rank",
    "batch",
    "batchid",
    "site",
    "siteid",
    "session",
    "sessionid",
    "difficult",
    "width",
    "height",
    "w",
    "h",
    "imagewidth",
    "imageheight",
    "imgwidth",
    "imgheight",
    "channels",
    "depth",
    "mode",
    "format",
    "size",
    "imagesize",
    "filesize",
    "bytes",
    "resolution",
    "aspectratio",
    "area",
    "x",
    "y",
    "x1",
    "x2",
    "y1",
    "y2",
    "xmin",
    "xmax",
    "ymin",
    "ymax",
    "left",
    "top",
    "right",
    "bottom",
    "bbox",
    "box",
    "boxes",
    "bboxes",
    "bndbox",
    "roix1",
    "roix2",
    "roiy1",
    "roiy2",
    "roi",
    "md5",
    "sha1",
    "sha256",
    "hash",
    "checksum",
    "phash",
    "etag",
    "url",
    "imageurl",
    "link",
    "source",
    "sourceid",
    "dataset",
    "datasetid",
    "license",
    "licence",
    "author",
    "photographer",
    "copyright",
    "date",
    "datetime",
    "datetaken",
    "timestamp",
    "time",
    "year",
    "month",
    "day",
    "created",
    "caption",
    "captions",
    "text",
    "prompt",
    "description",
    "title",
    "comment",
    "comments",
    "note",
    "notes",
    "confidence",
    "conf",
    "score",
    "scores",
    "prob",
    "probability",
    "probabilities",
    "logit",
    "prediction",
    "predictions",
    "pred",
    "preds",
    "predicted",
    "predictedlabel",
    "predictedclass",
    "predlabel",
    "predclass",
    "ypred",
    "weight",
    "weights",
    "sampleweight",
    "scoreweight",
    "validationweight",
    "quality",
    "blur",
    "age",
    "ageapprox",
    "sex",
    "gender",
    "patient",
    "patientid",
    "subject",
    "subjectid",
    "lesionid",
    "studyid",
    "visitid",
    "lat",
    "lon",
    "lng",
    "latitude",
    "longitude",
    "camera",
    "device",
    "make",
    "model",
    "iso",
    "orientation",
    "rotation",
    "angle",
    "annotator",
    "annotatorid",
    "rater",
    "user",
    "userid",
    "labeler",
    "worker",
    "workerid",
];

/// Headings of columns of several labels an image.
const SEVERAL: &[&str] =
    &["tags", "attributes", "findinglabels", "objects", "annotations", "keywords", "multilabel"];

/// Headings of a column that says which part of the data a row belongs to.
const PARTS: &[&str] = &[
    "split",
    "splits",
    "datasplit",
    "splitname",
    "traintest",
    "traintestsplit",
    "set",
    "subset",
    "partition",
    "part",
    "phase",
    "usage",
];

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
pub(super) fn bare_part(heading: &str) -> Option<Split> {
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
