//! Images in one folder and a file of their labels: ImageNet's validation set as it is distributed.
//!
//! Images come sorted by name, which is the order of `ILSVRC2012_val_00000001.JPEG` and the following names. [`labels`]
//! reads label files; [`classes`] says which class a label stands for.

mod classes;
mod labels;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::dataset::{Classes, Dataset};
use crate::decode;
use crate::image::Image;
use crate::listing::{Listing, image_stem};
use crate::options::Options;
use crate::text::grouped;
use classes::ClassList;
use labels::{Labels, Table};
use swa_base::text::printable;
use swa_base::{Error, Kind, Result, setting};

pub(super) const HOLDS: &str = concat!(
    "a folder of images with a file of labels (",
    setting!("labels", "FILE"),
    ", or beside them as `labels.csv`)"
);

/// Usual names of label files.
const LABEL_FILES: [&str; 9] = [
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

/// Usual names of the lists that translate the development kit's numbers.
const ID_FILES: [&str; 1] = ["map_clsloc.txt"];

/// The prefix of the names of ImageNet's images, and its number of classes.
const IMAGENET: (&str, usize) = ("ILSVRC2012_", 1000);

pub(super) fn sniff(listing: &Listing) -> bool {
    listing.folders.is_empty() && listing.files.iter().any(|name| image_stem(name).is_some())
}

pub(super) fn open(dir: &Path, listing: &Listing, options: &Options) -> Result<Box<dyn Dataset>> {
    let files: Vec<OsString> =
        listing.files.iter().filter(|name| image_stem(name).is_some()).cloned().collect();
    if files.is_empty() {
        return Err(Error::input("no images").at(dir).remedy(format!("give {HOLDS}")));
    }
    let path = match &options.labels {
        Some(path) => path.clone(),
        None => beside(dir, &LABEL_FILES)?.ok_or_else(|| {
            let what = format!("{} images, but no file of their labels", grouped(files.len()));
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
    let (labels, classes) = resolve(dir, &files, &path, list)?;
    let dir = dir.to_path_buf();
    Ok(Box::new(Flat { dir, labels_path: path, files, labels, classes }))
}

/// The one of these files that is in `dir` or, if none is, one folder up.
fn beside(dir: &Path, names: &[&str]) -> Result<Option<PathBuf>> {
    // A relative path may have no parent in its text.
    let up = std::fs::canonicalize(dir).ok().and_then(|dir| dir.parent().map(Path::to_path_buf));
    for place in [Some(dir.to_path_buf()), up].into_iter().flatten() {
        let found: Vec<&str> =
            names.iter().copied().filter(|name| place.join(name).is_file()).collect();
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

/// The label of each image, and the classes.
fn resolve(
    dir: &Path,
    files: &[OsString],
    path: &Path,
    list: Option<ClassList>,
) -> Result<(Vec<usize>, Known)> {
    let keys: Vec<String> = files.iter().map(|name| labels::key(&name.to_string_lossy())).collect();
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(keys.len());
    for (i, key) in keys.iter().enumerate() {
        if let Some(other) = places.insert(key, i) {
            let what = format!(
                "`{}` and `{}` have the same name",
                files[other].display(),
                files[i].display()
            );
            return Err(Error::input(what).at(dir).remedy("keep one of them"));
        }
    }
    let table = labels::read(path, |key| places.contains_key(key))?;
    let ordered = table.keys.is_none();
    let labels = place(table, &keys, &places).map_err(|error| error.at(path))?;
    // Class indices count from 0; the development kit's numbers, from 1.
    let ids = matches!(&labels, Labels::Numbers(numbers) if ordered && !numbers.contains(&0));
    let list = match list {
        None if ids => beside(dir, &ID_FILES)?.map(|path| ClassList::read(&path)).transpose()?,
        list => list,
    };
    let imagenet = keys.iter().all(|key| key.starts_with(IMAGENET.0));
    let resolved = match labels {
        Labels::Words(words) => of_words(&words, list, imagenet),
        Labels::Numbers(numbers) if ids => of_ids(&numbers, list),
        Labels::Numbers(numbers) => of_indices(&numbers, list),
    };
    resolved.map_err(|error| error.at(path))
}

fn of_words(
    words: &[String],
    list: Option<ClassList>,
    imagenet: bool,
) -> Result<(Vec<usize>, Known)> {
    let said = list.is_some();
    let list = list.unwrap_or_else(|| ClassList::of_words(words));
    if imagenet && !said && list.names.len() != IMAGENET.1 {
        let (found, all) = (list.names.len(), grouped(IMAGENET.1));
        let what = format!("{found} of ImageNet's {all} classes, so no class's number is known");
        return Err(Error::input(what).remedy(concat!(
            "give all with ",
            setting!("classes"),
            ": a list of wnids or the folder `train`"
        )));
    }
    let labels = words.iter().map(|word| list.position(word)).collect::<Result<_>>()?;
    Ok((labels, Known::Names(list.names)))
}

fn of_ids(ids: &[u32], list: Option<ClassList>) -> Result<(Vec<usize>, Known)> {
    let list = list.filter(|list| !list.ids.is_empty()).ok_or_else(|| {
        Error::input(
            "numbers from 1 on, the development kit's ids: they are not class indices, and \
             nothing says which wnid each is",
        )
        .remedy(concat!(
            "give ",
            setting!("classes", "map_clsloc.txt"),
            " (lines of wnid and id), or as ",
            setting!("labels"),
            " a file with wnids (LOC_val_solution.csv)"
        ))
    })?;
    let labels = ids.iter().map(|&id| list.position_of_id(id)).collect::<Result<_>>()?;
    Ok((labels, Known::Names(list.names)))
}

fn of_indices(numbers: &[u32], list: Option<ClassList>) -> Result<(Vec<usize>, Known)> {
    let labels: Vec<usize> = numbers.iter().map(|&number| number as usize).collect();
    let largest = labels.iter().copied().max().unwrap_or(0);
    match list {
        Some(list) if largest >= list.names.len() => Err(Error::new(
            Kind::Mismatch,
            format!(
                "a label is {largest}, but with {} classes the largest is {}",
                grouped(list.names.len()),
                list.names.len() - 1
            ),
        )),
        Some(list) => Ok((labels, Known::Names(list.names))),
        None => Ok((labels, Known::AtLeast(largest + 1))),
    }
}

/// Brings the labels into the order of the images.
fn place(table: Table, keys: &[String], places: &HashMap<&str, usize>) -> Result<Labels> {
    let (found, expected) = (table.labels.len(), keys.len());
    let mismatch = || {
        Error::new(
            Kind::Mismatch,
            format!("labels for {} images, the folder has {}", grouped(found), grouped(expected)),
        )
    };
    let Some(named) = &table.keys else {
        return if found == expected { Ok(table.labels) } else { Err(mismatch()) };
    };
    let mut rows: Vec<Option<usize>> = vec![None; expected];
    let mut problems = Vec::new();
    for (row, key) in named.iter().enumerate() {
        match places.get(key.as_str()) {
            None => problems.push(format!("`{key}` has a label, but the image is not there")),
            Some(&place) => match rows[place].replace(row) {
                None => {}
                Some(_) => problems.push(format!("`{key}` has more than one label")),
            },
        }
    }
    for (row, key) in rows.iter().zip(keys) {
        if row.is_none() {
            problems.push(format!("`{key}` has no label"));
        }
    }
    if !problems.is_empty() {
        return Err(mismatch()
            .remedy("give the label file of these images, and all of them")
            .list(problems));
    }
    Ok(table.labels.in_order(rows.into_iter().flatten()))
}

/// The classes, as far as they are known.
enum Known {
    Names(Vec<String>),
    AtLeast(usize),
}

struct Flat {
    dir: PathBuf,
    labels_path: PathBuf,
    files: Vec<OsString>,
    labels: Vec<usize>,
    classes: Known,
}

impl Dataset for Flat {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn classes(&self) -> Classes {
        match &self.classes {
            Known::Names(names) => Classes::Exactly(names.len()),
            Known::AtLeast(n) => Classes::AtLeast(*n),
        }
    }

    fn class_names(&self) -> Option<&[String]> {
        match &self.classes {
            Known::Names(names) => Some(names),
            Known::AtLeast(_) => None,
        }
    }

    fn label(&self, index: usize) -> usize {
        self.labels[index]
    }

    fn name(&self, index: usize) -> String {
        self.files[index].to_string_lossy().into_owned()
    }

    fn image(&self, index: usize) -> Result<Image> {
        decode::read(&self.dir.join(&self.files[index]))
    }

    fn describe(&self) -> String {
        let classes = match self.classes() {
            Classes::Exactly(n) => grouped(n),
            Classes::AtLeast(n) => format!("at least {}", grouped(n)),
        };
        format!(
            "folder `{}`, {} images, {classes} classes, labels from `{}`",
            printable(&self.dir.to_string_lossy()),
            grouped(self.files.len()),
            printable(&self.labels_path.to_string_lossy())
        )
    }
}
