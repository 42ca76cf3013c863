//! The labels in a label file: its form is found, its rows are brought to the images.
//!
//! | lines | example |
//! |---|---|
//! | a table with a column of images' names | `ILSVRC2012_val_00000001.JPEG 65` (Caffe's `val.txt`), Kaggle's and Hugging Face's CSV |
//! | JSON | `metadata.jsonl` of Hugging Face |
//! | wnid, in the order of the images | `imagenet_2012_validation_synset_labels.txt` |
//! | number, in the order of the images | `ILSVRC2012_validation_ground_truth.txt` of the development kit |
//! | number of an image and number of a class | `image_class_labels.txt` of Caltech's birds, whose names are in `images.txt` |

use std::path::Path;

use super::columns::{self, Asked, Columns, Label};
use super::flags;
use super::images::Images;
use super::joined;
use super::one_class::{check_one_class, check_one_name, values};
use super::table::{self, Separator, Table};
use super::value::Value;
use super::words;
use crate::options::LabelForm;
use crate::split::Split;
use swa_base::text::printable;
use swa_base::{Error, Result, setting, text_file};

/// A label file, read.
pub(super) struct Labelled {
    /// The image of each row, where rows name images; else the rows are in the order of the images.
    pub images: Option<Vec<Named>>,
    pub labels: Labels,
    /// Images that are left out, since they belong to another part of the data.
    pub of_other_parts: Vec<usize>,
    /// Which column was taken, where there was a choice.
    pub column: Option<String>,
}

/// A row's image.
pub(super) enum Named {
    Image(usize),
    /// It is not there.
    Absent(String),
}

/// What the rows say: all of one kind.
#[derive(Debug)]
pub(super) enum Labels {
    Numbers(Vec<u32>),
    /// Such as `n01440764`.
    Words(Vec<String>),
    /// Classes' numbers by columns, and the columns' headings where there are any.
    Columns(Vec<u32>, Option<Vec<String>>, usize),
}

impl Labels {
    pub fn len(&self) -> usize {
        match self {
            Labels::Numbers(numbers) | Labels::Columns(numbers, ..) => numbers.len(),
            Labels::Words(words) => words.len(),
        }
    }

    /// The labels of some rows.
    pub fn in_order(self, rows: impl Iterator<Item = usize>) -> Labels {
        match self {
            Labels::Numbers(numbers) => Labels::Numbers(rows.map(|row| numbers[row]).collect()),
            Labels::Words(words) => Labels::Words(rows.map(|row| words[row].clone()).collect()),
            Labels::Columns(numbers, names, n) => {
                Labels::Columns(rows.map(|row| numbers[row]).collect(), names, n)
            }
        }
    }
}

/// Reads a label file. `split` counts where the file says which part of the data its rows belong to.
pub(super) fn read(
    path: &Path,
    images: &Images,
    form: &LabelForm,
    split: Split,
) -> Result<Labelled> {
    let text = text_file::read(path)?;
    let at = |error: Error| if error.file().is_some() { error } else { error.at(path) };
    of_text(&text, images, &Asked { path, form, split }).map_err(at)
}

/// Whether a table, which need not be of images that are there, has a column whose heading is a label's.
pub(super) fn has_label(text: &str) -> Result<bool> {
    if let Some(table) = Table::of_json(text)? {
        return Ok(table
            .headings
            .is_some_and(|headings| headings.iter().any(|h| words::is_label(h))));
    }
    let first = table::lines(text).next().map_or("", |(_, line)| line);
    Ok(first.split(['\t', ',', ';']).any(words::is_label))
}

fn of_text(text: &str, images: &Images, asked: &Asked) -> Result<Labelled> {
    if let Some(mut table) = Table::of_json(text)? {
        return match columns::find(&mut table, images, asked)? {
            Some(columns) => of_table(&table, columns, images),
            None => Err(no_names(&table, images)),
        };
    }
    if table::lines(text).next().is_none() {
        return Err(Error::input("it holds no labels"));
    }
    let said = table::said_separator(text);
    let tried = Separator::ALL.into_iter().filter(|tried| said.is_none_or(|said| said == *tried));
    for separator in tried {
        let Ok(mut table) = Table::of_text(text, separator) else { continue };
        // The first table that names images is the file's. If it is refused, a way to split lines that makes fewer
        // columns of them would put a fold or a score into the names of classes.
        if let Some(columns) = columns::find(&mut table, images, asked)? {
            if separator == Separator::LastBlanks && columns.image + 1 == table.width {
                check_one_name(&table)?;
            }
            return of_table(&table, columns, images);
        }
    }
    if let Some(mut table) = joined::read(text, asked.path)?
        && let Some(columns) = columns::find(&mut table, images, asked)?
    {
        return of_table(&table, columns, images);
    }
    in_order(text, images, asked.form)
}

/// Labels without names.
fn in_order(text: &str, images: &Images, form: &LabelForm) -> Result<Labelled> {
    let mut table = Table::of_text(text, Separator::None)?;
    let is_split = |line: &str| line.contains(['\t', ',', ';', '|']);
    let words = |line: &str| line.split_whitespace().count();
    let is_text = |line: &str| {
        let mut ends = [line.split_whitespace().next(), line.split_whitespace().last()].into_iter();
        ends.all(|word| word.is_some_and(|word| matches!(Value::of(word), Value::Word(_))))
    };
    let lines = || table::lines(text);
    let first = table.cell(0, 0).to_string();
    let count = words(&first);
    let odd = lines().find(|(_, line)| words(line) != count && !is_text(line));
    if let Some((number, line)) = odd.filter(|_| !is_split(&first)) {
        let what = format!(
            "line {number}: it has another number of columns than the first line: {}, not {count}",
            words(line)
        );
        return Err(Error::input(what));
    }
    let columns = lines().any(|(_, line)| is_split(line) || (words(line) > 1 && !is_text(line)));
    if columns || !form.label.is_empty() || form.image.is_some() {
        return Err(no_names(&table, images));
    }
    let named = table.column(0).filter(|cell| matches!(images.find(cell), Ok(Some(_)))).count();
    let are_numbers = table.column(0).all(|cell| matches!(Value::of(cell), Value::Whole(_)));
    if named * 2 > table.rows() && !are_numbers {
        return Err(Error::input("it names images, but has no column of labels").remedy(
            "give a file with the class of each, or put the images into a folder for each class",
        ));
    }
    // One line more than there are images, the first of them a word that is used for headings.
    if table.rows() == images.files.len() + 1 && words::is_label(table.cell(0, 0)) {
        table.drop_first();
    }
    if images.are_nested() {
        return Err(Error::input(
            "it names no images, and those of the folder are in several folders, which have no order of their own",
        )
        .remedy("give a file with the path of each image and its class"));
    }
    // Labels are those of the images in the order of their names: 10.png comes before 2.png, which whoever wrote the
    // labels may have meant otherwise.
    if let Some(([a, b], why)) = images.unclear_order() {
        let what = format!(
            "it names no images, and whether `{a}` or `{b}` comes first is not clear: {why}"
        );
        return Err(
            Error::input(what).remedy("give a file with the name of each image and its class")
        );
    }
    let labels = values(&table, 0)?;
    Ok(Labelled { images: None, labels, of_other_parts: vec![], column: None })
}

fn no_names(table: &Table, images: &Images) -> Error {
    let seen: Vec<String> = (0..table.width.min(6))
        .filter(|_| table.rows() > 0)
        .map(|column| {
            let start: String = table.cell(0, column).chars().take(60).collect();
            format!("`{}`", printable(&start))
        })
        .collect();
    let what = format!(
        "no column of it names an image of the folder: its first line is {}, the first image `{}`",
        seen.join(", "),
        images.name(0)
    );
    Error::input(what).remedy(concat!(
        "give the label file of these images, with their names in a column; ",
        setting!("image_column", "NAME"),
        " says in which"
    ))
}

fn of_table(table: &Table, columns: Columns, images: &Images) -> Result<Labelled> {
    let mut named = vec![];
    for name in table.column(columns.image) {
        named.push(match images.find(name)? {
            Some(image) => Named::Image(image),
            None => Named::Absent(name.to_string()),
        });
    }
    let labels = match &columns.label {
        Label::Column(column) => {
            let heading = columns.headings.as_ref().map_or("", |headings| &headings[*column]);
            check_one_class(table, *column, heading)?;
            values(table, *column)?
        }
        Label::OneHot(several) => {
            let class = |row: usize| {
                let is_one = |&&column: &&usize| flags::mark(table.cell(row, column)) == Some(true);
                several.iter().position(|column| is_one(&column)).unwrap_or(0) as u32
            };
            let names = columns.headings.as_ref();
            let names = names.map(|names| several.iter().map(|&c| names[c].clone()).collect());
            Labels::Columns((0..table.rows()).map(class).collect(), names, several.len())
        }
    };
    let mut column = taken(table, &columns);
    if let Some(by) = columns.chosen_by.first() {
        let chosen = format!("rows chosen by `{by}`");
        column = Some(column.map_or(chosen.clone(), |column| format!("{column}, {chosen}")));
    }
    let of_other_parts = columns.of_other_parts;
    Ok(Labelled { images: Some(named), labels, of_other_parts, column })
}

/// What was taken for the label, for the line that describes the data.
fn taken(table: &Table, columns: &Columns) -> Option<String> {
    let title = |column: usize| match &columns.headings {
        Some(headings) => printable(&headings[column]),
        None => (column + 1).to_string(),
    };
    match &columns.label {
        Label::Column(_) if table.width == 2 && columns.headings.is_none() => None,
        Label::Column(column) => Some(format!("column `{}`", title(*column))),
        Label::OneHot(several) => {
            let (first, last) = (several[0], several[several.len() - 1]);
            Some(format!("one column a class, `{}` to `{}`", title(first), title(last)))
        }
    }
}
