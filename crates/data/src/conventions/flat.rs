//! Images in one folder and a file of their labels: ImageNet's validation set as it is distributed.
//!
//! Images come sorted by name, which is the order of `ILSVRC2012_val_00000001.JPEG` and the following names. [`labels`]
//! reads label files; [`classes`] says which class a label stands for.

mod classes;
mod columns;
mod flags;
mod images;
mod joined;
mod json;
mod label_column;
mod labels;
mod one_class;
mod parts;
mod resolve;
mod table;
mod value;
pub(crate) mod words;
mod wrapped;

use std::path::{Path, PathBuf};

use crate::dataset::{Classes, Dataset};
use crate::decode;
use crate::image::Image;
use crate::listing::{Listing, any_image_stem};
use crate::options::Options;
use crate::text::grouped;
use classes::ClassList;
use images::Images;
pub(super) use parts::of_rows as parts_of_rows;
use resolve::{Known, Resolved, Resolving};
use swa_base::text::printable;
use swa_base::{Error, Result, look, setting, text_file};

pub(super) const HOLDS: &str = concat!(
    "a folder of images with a file of labels (",
    setting!("labels", "FILE"),
    ", or beside them as `labels.csv`)"
);

/// Hugging Face's names of label files. They lie in the folder itself, above those with the images.
const METADATA: [&str; 2] = ["metadata.jsonl", "metadata.csv"];

/// Usual names of label files.
const LABEL_FILES: [&str; 11] = [
    METADATA[0],
    METADATA[1],
    "LOC_val_solution.csv",
    "ILSVRC2012_validation_ground_truth.txt",
    "imagenet_2012_validation_synset_labels.txt",
    "val_annotations.txt",
    "val.txt",
    "val_labels.txt",
    "val.csv",
    "labels.txt",
    "labels.csv",
];

pub(super) fn sniff(listing: &Listing) -> bool {
    match &listing.folders[..] {
        [] => listing.files.iter().any(|name| any_image_stem(name).is_some()),
        // The images may lie in one folder below their table.
        [_] => metadata(listing).is_some(),
        _ => false,
    }
}

/// Hugging Face's table in a folder.
fn metadata(listing: &Listing) -> Option<&'static str> {
    METADATA.into_iter().find(|name| listing.files.iter().any(|file| file == name))
}

/// Fails if a folder of class folders has a table of labels as well, which may say something else.
pub(super) fn check_no_table(dir: &Path, listing: &Listing) -> Result<()> {
    let Some(name) = metadata(listing) else { return Ok(()) };
    let path = dir.join(name);
    let text = text_file::read(&path)?;
    // Captions are no labels.
    if !labels::has_label(&text).map_err(|error| error.at(&path))? {
        return Ok(());
    }
    let what = format!("labels are in `{name}`, and there are folders as of classes: which count?");
    Err(Error::input(what).at(dir).remedy(format!(
        concat!(
            "give ",
            setting!("labels"),
            " {}, or ",
            setting!("format", "imagefolder"),
            " for the folders"
        ),
        printable(&path.to_string_lossy())
    )))
}

/// Fails if the only folder beside a label file would be taken for the only class: tiny-imagenet's `val/images`.
pub(super) fn check_no_label_file(dir: &Path, listing: &Listing) -> Result<()> {
    let is_there = |name: &&&str| listing.files.iter().any(|file| file == **name);
    let ([only], Some(name)) = (&listing.folders[..], LABEL_FILES.iter().find(is_there)) else {
        return Ok(());
    };
    let folder = dir.join(only);
    let what = format!(
        "labels are in `{name}`, and `{}` would be the only class",
        printable(&only.to_string_lossy())
    );
    Err(Error::input(what).at(dir).remedy(format!(
        concat!("give `{}`, or ", setting!("format", "imagefolder"), " for one class"),
        printable(&folder.to_string_lossy())
    )))
}

pub(super) fn open(dir: &Path, listing: &Listing, options: &Options) -> Result<Box<dyn Dataset>> {
    let images = Images::list(dir, listing)?;
    if images.files.is_empty() {
        return Err(Error::input("no images").at(dir).remedy(format!("give {HOLDS}")));
    }
    let path = match &options.labels {
        Some(path) => path.clone(),
        None => beside(dir, &LABEL_FILES)?.ok_or_else(|| {
            let what = format!("{} images, but no file of their labels", grouped(images.files.len()));
            Error::input(what).at(dir).remedy(format!(
                concat!(
                    "give it with ",
                    setting!("labels", "FILE"),
                    ", or put the images into a folder for each class; looked for {}, here and one folder up"
                ),
                LABEL_FILES.map(|name| format!("`{name}`")).join(", ")
            ))
        })?,
    };
    let list = match &options.classes {
        Some(path) => Some(ClassList::read(path)?),
        None => None,
    };
    let resolving = Resolving { dir, path: &path, list, form: &options.label_form };
    let resolved = resolving.run(&images, options.split)?;
    Ok(Box::new(Flat { dir: dir.to_path_buf(), labels_path: path, images, resolved }))
}

/// The one of these files that is in `dir` or, if none is, one folder up.
fn beside(dir: &Path, names: &[&str]) -> Result<Option<PathBuf>> {
    // A relative path may have no parent in its text.
    let up = std::fs::canonicalize(dir).ok().and_then(|dir| dir.parent().map(Path::to_path_buf));
    for place in [Some(dir.to_path_buf()), up].into_iter().flatten() {
        let mut found: Vec<&str> = vec![];
        for name in names {
            if look::is_file(&place.join(name))? {
                found.push(name);
            }
        }
        match found[..] {
            [] => {}
            [name] => return Ok(Some(place.join(name))),
            _ => {
                let found: Vec<String> = found.iter().map(|name| format!("`{name}`")).collect();
                return Err(Error::input(format!("several label files: {}", found.join(", ")))
                    .at(&place)
                    .remedy(concat!("choose with ", setting!("labels", "FILE"))));
            }
        }
    }
    Ok(None)
}

struct Flat {
    dir: PathBuf,
    labels_path: PathBuf,
    images: Images,
    resolved: Resolved,
}

impl Flat {
    fn image_file(&self, index: usize) -> &std::ffi::OsStr {
        &self.images.files[self.resolved.used[index]]
    }
}

impl Dataset for Flat {
    fn len(&self) -> usize {
        self.resolved.used.len()
    }

    fn classes(&self) -> Classes {
        match &self.resolved.classes {
            Known::Names(names) => Classes::Exactly(names.len()),
            Known::Exactly(n) => Classes::Exactly(*n),
            Known::AtLeast(n) => Classes::AtLeast(*n),
        }
    }

    fn class_names(&self) -> Option<&[String]> {
        match &self.resolved.classes {
            Known::Names(names) => Some(names),
            _ => None,
        }
    }

    fn label(&self, index: usize) -> usize {
        self.resolved.labels[index]
    }

    fn name(&self, index: usize) -> String {
        self.image_file(index).to_string_lossy().into_owned()
    }

    fn image(&self, index: usize) -> Result<Image> {
        decode::read(&self.dir.join(self.image_file(index)))
    }

    fn files(&self) -> usize {
        self.len()
    }

    fn file(&self, place: usize) -> PathBuf {
        self.dir.join(self.image_file(place))
    }

    fn describe(&self) -> String {
        let classes = match self.classes() {
            Classes::Exactly(n) => grouped(n),
            Classes::AtLeast(n) => format!("at least {}", grouped(n)),
        };
        let Resolved { column, counted, .. } = &self.resolved;
        let column = column.as_ref().map(|column| format!(", {column}")).unwrap_or_default();
        let counted = counted.map(|counted| format!(" ({counted})")).unwrap_or_default();
        format!(
            "folder `{}`, {} images, {classes} classes, labels from `{}`{column}{counted}",
            printable(&self.dir.to_string_lossy()),
            grouped(self.len()),
            printable(&self.labels_path.to_string_lossy())
        )
    }
}

#[cfg(test)]
mod tests;
