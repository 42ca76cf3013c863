//! From the labels in a file to the images that count, their classes' numbers, and the classes.

use std::path::Path;

use super::beside;
use super::classes::ClassList;
use super::images::{Images, without_ending};
use super::labels::{self, Labelled, Labels, Named};
use crate::options::LabelForm;
use crate::split::Split;
use crate::text::grouped;
use swa_base::{Error, Kind, Result, look, setting};

/// Usual names of the lists that translate the development kit's numbers.
const ID_FILES: [&str; 1] = ["map_clsloc.txt"];

/// The list of classes beside Caltech's labels.
const CLASSES_BESIDE: (&str, &str) = ("image_class_labels.txt", "classes.txt");

/// The prefix of the names of ImageNet's images, and its number of classes.
const IMAGENET: (&str, usize) = ("ILSVRC2012_", 1000);

/// What is needed to know the labels.
pub(super) struct Resolving<'a> {
    pub dir: &'a Path,
    /// The label file.
    pub path: &'a Path,
    /// All classes, if they were given.
    pub list: Option<ClassList>,
    pub form: &'a LabelForm,
}

/// Which images count, and their labels.
pub(super) struct Resolved {
    /// Places among the images.
    pub used: Vec<usize>,
    /// A label for each of these.
    pub labels: Vec<usize>,
    pub classes: Known,
    /// What was taken for the label, where there was a choice.
    pub column: Option<String>,
    /// What was taken for granted about numbers.
    pub counted: Option<&'static str>,
}

impl Resolving<'_> {
    pub fn run(self, images: &Images, split: Split) -> Result<Resolved> {
        let Resolving { dir, path, list, form } = self;
        let labelled = labels::read(path, images, form, split)?;
        let (ordered, column) = (labelled.images.is_none(), labelled.column.clone());
        let (used, labels) = place(labelled, images).map_err(|error| error.at(path))?;
        let list = match list {
            None if matches!(&labels, Labels::Numbers(numbers) if !numbers.contains(&0)) => {
                list_beside(dir, path, ordered)?
            }
            list => list,
        };
        let imagenet = images.files.iter().all(|file| file.to_string_lossy().contains(IMAGENET.0));
        let mut counted = None;
        let resolved = match labels {
            Labels::Words(words) => of_words(&words, list, imagenet),
            Labels::Numbers(numbers) => {
                match Numbering::of(&numbers, ordered, list.as_ref(), form.first) {
                    Ok((Numbering::Indices, note)) => {
                        counted = note;
                        of_indices(&numbers, list)
                    }
                    Ok((Numbering::Ids, _)) => of_ids(&numbers, list),
                    Ok((Numbering::FromOne, _)) => {
                        let numbers: Vec<u32> = numbers.iter().map(|n| n - 1).collect();
                        of_indices(&numbers, list)
                    }
                    Err(error) => Err(error),
                }
            }
            Labels::Columns(numbers, names, n) => of_columns(&numbers, names, n, list),
        };
        let (labels, classes) = resolved.map_err(|error| error.at(path))?;
        Ok(Resolved { used, labels, classes, column, counted })
    }
}

/// The list that translates numbers: Caltech's beside the labels, the development kit's beside the images.
fn list_beside(dir: &Path, path: &Path, ordered: bool) -> Result<Option<ClassList>> {
    let own = path.with_file_name(CLASSES_BESIDE.1);
    let found = match path.file_name().is_some_and(|name| name == CLASSES_BESIDE.0) {
        true => look::is_file(&own)?.then_some(own),
        false if ordered => beside(dir, &ID_FILES)?,
        false => None,
    };
    let list = found.map(|path| ClassList::read(&path)).transpose()?;
    Ok(list.map(|list| ClassList { is_beside: true, ..list }))
}

/// What numbers count.
#[derive(Debug, PartialEq, Eq)]
enum Numbering {
    /// Classes, from 0.
    Indices,
    /// The numbers of a list of classes, from 1.
    Ids,
    /// Classes, from 1.
    FromOne,
}

impl Numbering {
    /// `ordered`: there are no names, as in the development kit's file. `first`: the number of the first class, if that
    /// was said.
    fn of(
        numbers: &[u32],
        ordered: bool,
        list: Option<&ClassList>,
        first: Option<u32>,
    ) -> Result<(Self, Option<&'static str>)> {
        let has_ids = list.is_some_and(|list| !list.ids.is_empty());
        if numbers.contains(&0) {
            return match first {
                Some(1) => Err(Error::input(concat!(
                    "a label is 0, but ",
                    setting!("first_label"),
                    " says that the first class is 1"
                ))),
                _ => Ok((Numbering::Indices, None)),
            };
        }
        match first {
            Some(0) => return Ok((Numbering::Indices, None)),
            Some(_) if has_ids => return Ok((Numbering::Ids, None)),
            Some(_) => return Ok((Numbering::FromOne, None)),
            None if ordered || list.is_some_and(|list| list.is_beside) => {
                return Ok((Numbering::Ids, None));
            }
            None => {}
        }
        let largest = numbers.iter().copied().max().unwrap_or(0) as usize;
        let mut seen = vec![false; largest.min(numbers.len()) + 1];
        for &number in numbers {
            if let Some(seen) = seen.get_mut(number as usize) {
                *seen = true;
            }
        }
        let all_from_one = seen.len() == largest + 1 && seen[1..].iter().all(|&seen| seen);
        match (has_ids, all_from_one && largest > 1) {
            (true, true) => Ok((Numbering::Ids, None)),
            (false, false) => Ok((Numbering::Indices, Some("counted from 0, though none is 0"))),
            (list, _) => {
                let what = match list {
                    true => "no label is 0: they may be the list's numbers, or classes from 0",
                    false => "every class from 1 has images and none is 0: they may count from 1",
                };
                Err(Error::input(what).remedy(concat!(
                    "say what the first class is: ",
                    setting!("first_label", "1"),
                    " or ",
                    setting!("first_label", "0")
                )))
            }
        }
    }
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
            " a file with wnids (LOC_val_solution.csv); if they are classes, ",
            setting!("first_label"),
            " says from which number on"
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

/// Classes by columns, in the order of the columns; with a list, by their names in it.
fn of_columns(
    numbers: &[u32],
    names: Option<Vec<String>>,
    n: usize,
    list: Option<ClassList>,
) -> Result<(Vec<usize>, Known)> {
    let labels = || numbers.iter().map(|&number| number as usize);
    match (names, list) {
        (Some(names), Some(list)) => {
            let places: Vec<usize> =
                names.iter().map(|name| list.position(name)).collect::<Result<_>>()?;
            Ok((labels().map(|column| places[column]).collect(), Known::Names(list.names)))
        }
        (Some(names), None) => Ok((labels().collect(), Known::Names(names))),
        (None, _) => Ok((labels().collect(), Known::Exactly(n))),
    }
}

/// The images that count, and their labels in the same order.
fn place(labelled: Labelled, images: &Images) -> Result<(Vec<usize>, Labels)> {
    let Labelled { images: named, labels, of_other_parts, .. } = labelled;
    let mut wanted = vec![true; images.files.len()];
    of_other_parts.iter().for_each(|&image| wanted[image] = false);
    let used: Vec<usize> = (0..wanted.len()).filter(|&image| wanted[image]).collect();
    let (found, expected) = (labels.len(), used.len());
    let mismatch = || {
        Error::new(
            Kind::Mismatch,
            format!("labels for {} images, the folder has {}", grouped(found), grouped(expected)),
        )
    };
    let Some(named) = named else {
        return if found == expected { Ok((used, labels)) } else { Err(mismatch()) };
    };
    let mut rows: Vec<Option<usize>> = vec![None; wanted.len()];
    let mut problems = Vec::new();
    for (row, image) in named.iter().enumerate() {
        match image {
            // One table for all parts of the data.
            Named::Absent(name) if images.belongs_elsewhere(name) => {}
            Named::Absent(name) => {
                let name = without_ending(name);
                problems.push(format!("`{name}` has a label, but the image is not there"));
            }
            &Named::Image(image) => match rows[image].replace(row) {
                None => {}
                Some(_) => {
                    problems.push(format!("`{}` has more than one label", images.title(image)))
                }
            },
        }
    }
    for &image in used.iter().filter(|&&image| rows[image].is_none()) {
        problems.push(format!("`{}` has no label", images.title(image)));
    }
    if !problems.is_empty() {
        let remedy = match (&named[..], problems.len()) {
            ([Named::Absent(_), ..], 1) => concat!(
                "give the label file of these images, and all of them; if its first line holds headings, name one: ",
                setting!("label_column", "NAME")
            ),
            _ => concat!(
                "give the label file of these images, and all of them; where the others are of another part of the data, ",
                "one table of all, with a column `split` of train, val or test"
            ),
        };
        return Err(mismatch().remedy(remedy).list(problems));
    }
    let labels = labels.in_order(used.iter().filter_map(|&image| rows[image]));
    Ok((used, labels))
}

/// The classes, as far as they are known.
pub(super) enum Known {
    Names(Vec<String>),
    Exactly(usize),
    AtLeast(usize),
}
