//! Which column of a label file names the images, and which holds the labels.
//!
//! Nothing is guessed. The images' names are where names of images stand. The label is the column that is asked for;
//! else the one whose heading says so; else the only one beside the names that is not known to be something else;
//! else columns of 0 and 1 with one 1 a row, a column a class. Where several columns may be the label and do not say
//! the same, the file is refused with what was seen.

use std::path::Path;

use super::images::{self, Images};
use super::label_column::Seen;
use super::table::Table;
use super::value::Value;
use super::words;
use crate::options::LabelForm;
use crate::split::Split;
use swa_base::text::printable;
use swa_base::{Error, Result, setting};

/// Columns and values that a message shows.
pub(super) const SHOWN: usize = 8;

/// What a table's columns are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// The images' names.
    pub image: usize,
    pub label: Label,
    /// Images that are left out, since the file says that they belong to another part of the data.
    pub of_other_parts: Vec<usize>,
    /// The headings of those that chose the rows.
    pub chosen_by: Vec<String>,
    /// The columns' headings, where the first line has them.
    pub headings: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Label {
    Column(usize),
    /// A column a class, in the order of the columns.
    OneHot(Vec<usize>),
}

/// What was said about a label file.
pub(super) struct Asked<'a> {
    pub path: &'a Path,
    pub form: &'a LabelForm,
    /// Which part of the data, where the file says to which its rows belong.
    pub split: Split,
}

/// Finds the columns, and takes the line of headings and the rows of other parts off the table: these need no label.
/// None where no column names an image.
pub(super) fn find(table: &mut Table, images: &Images, asked: &Asked) -> Result<Option<Columns>> {
    let form = asked.form;
    if table.rows() == 0 || table.width < 2 {
        return Ok(None);
    }
    let beside = table.headings.take();
    let first: Vec<String> = match &beside {
        Some(headings) => headings.clone(),
        None => (0..table.width).map(|column| table.cell(0, column).to_string()).collect(),
    };
    let image = match &form.image {
        Some(name) => match by_name(&first, name) {
            Ok(column) => column,
            // Another separator may give a column of that name.
            Err(error) if beside.is_some() => return Err(error),
            Err(_) => return Ok(None),
        },
        None => match image_column(table, images, &first)? {
            Some(column) => column,
            None => return Ok(None),
        },
    };
    let headings = match beside {
        Some(headings) => Some(headings),
        None if has_headings(table, images, image, form)? => {
            table.drop_first();
            Some(first)
        }
        None => None,
    };
    if table.rows() == 0 {
        return Err(Error::input("it holds no labels"));
    }
    let seen = Seen { table, image, headings: headings.as_deref() };
    let said: Vec<usize> = form.label.iter().filter_map(|name| seen.asked(name).ok()).collect();
    let parts = seen.parts(&said)?;
    let mut of_other_parts = vec![];
    let part_columns = parts.as_ref().map(|parts| parts.columns.clone()).unwrap_or_default();
    if let Some(parts) = parts {
        let chosen = asked.split.choose(asked.path, parts.rows.clone())?;
        let kept: Vec<bool> = parts.rows.iter().map(|part| *part == chosen).collect();
        for row in (0..table.rows()).filter(|&row| !kept[row]) {
            of_other_parts.extend(images.find(table.cell(row, image))?);
        }
        table.keep(&kept);
    }
    let seen = Seen { table, image, headings: headings.as_deref() };
    let label = match &form.label[..] {
        [] => seen.label(&part_columns)?,
        [one] => Label::Column(seen.asked(one)?),
        several => {
            let columns: Vec<usize> =
                several.iter().map(|name| seen.asked(name)).collect::<Result<_>>()?;
            seen.check_one_hot(&columns)?;
            Label::OneHot(columns)
        }
    };
    let heading = |column: &usize| headings.as_ref().map(|headings| short(&headings[*column]));
    let chosen_by = part_columns.iter().filter_map(heading).collect();
    Ok(Some(Columns { image, label, of_other_parts, chosen_by, headings }))
}

/// The column that has this heading, or this number from 1.
pub(super) fn by_name(headings: &[String], name: &str) -> Result<usize> {
    let same = |heading: &String| heading == name;
    let alike = |heading: &String| words::plain(heading) == words::plain(name);
    let number = name.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let found = headings.iter().position(same).or_else(|| {
        let mut all = headings.iter().enumerate().filter(|(_, heading)| alike(heading));
        match (all.next(), all.next()) {
            (Some((column, _)), None) => Some(column),
            _ => None,
        }
    });
    found.or(number.filter(|&n| n < headings.len())).ok_or_else(|| {
        let what = format!("it has no column `{}`, only {}", printable(name), listed(headings));
        Error::input(what)
    })
}

fn listed(headings: &[String]) -> String {
    let mut names: Vec<String> =
        headings.iter().take(SHOWN).map(|name| format!("`{}`", short(name))).collect();
    if headings.len() > SHOWN {
        names.push(format!("and {} more", headings.len() - SHOWN));
    }
    names.join(", ")
}

/// A cell as a message shows it.
pub(super) fn short(cell: &str) -> String {
    let start: String = cell.chars().take(40).collect();
    let start = printable(&start);
    if cell.chars().count() > 40 { format!("{start}…") } else { start }
}

/// The column with the images' names: the one whose cells name most images.
fn image_column(table: &Table, images: &Images, first: &[String]) -> Result<Option<usize>> {
    let mut counts = vec![];
    for column in 0..table.width {
        let mut seen = vec![false; images.files.len()];
        let (mut several, mut endings) = (0, false);
        for cell in table.column(column) {
            match images.find(cell) {
                Ok(None) => continue,
                Ok(Some(image)) => seen[image] = true,
                Err(_) => several += 1,
            }
            endings |= images::has_ending(cell);
        }
        counts.push((seen.iter().filter(|&&seen| seen).count() + several, endings));
    }
    let most = counts.iter().map(|&(count, _)| count).max().unwrap_or(0);
    if most == 0 {
        return Ok(None);
    }
    let mut best: Vec<usize> = (0..table.width).filter(|&c| counts[c].0 * 2 >= most).collect();
    let mut prefer = |is_better: &dyn Fn(usize) -> bool| {
        if best.iter().any(|&column| is_better(column)) {
            best.retain(|&column| is_better(column));
        }
    };
    // Class numbers may be the names of images without their endings.
    prefer(&|column| counts[column].1);
    prefer(&|column| words::is_image(&first[column]));
    let same = |&other: &usize| {
        let pairs = table.column(best[0]).zip(table.column(other)).skip(1);
        pairs.into_iter().all(|(a, b)| images.find(a).ok() == images.find(b).ok())
    };
    if best.iter().all(same) {
        return Ok(Some(best[0]));
    }
    let columns: Vec<String> = best.iter().map(|column| (column + 1).to_string()).collect();
    let what = format!("names of images may be in columns {}", columns.join(" and "));
    Err(Error::input(what).remedy(concat!("say in which: ", setting!("image_column", "NAME"))))
}

/// Whether the first line is one of headings.
fn has_headings(table: &Table, images: &Images, image: usize, form: &LabelForm) -> Result<bool> {
    let first: Vec<&str> = (0..table.width).map(|column| table.cell(0, column)).collect();
    let asked = form.label.iter().chain(&form.image);
    let is_named =
        |name: &String| first.iter().any(|cell| words::plain(cell) == words::plain(name));
    if asked.filter(|name| name.parse::<usize>().is_err()).any(is_named) {
        return Ok(true);
    }
    let own = images.find(first[image])?;
    if own.is_some() {
        // `image` may be the heading, and an image be called so.
        let mut others = table.column(image).skip(1).map(|cell| images.find(cell).ok().flatten());
        return Ok(words::is_known(first[image]) && others.any(|other| other == own));
    }
    if images::has_ending(first[image]) {
        return Ok(false);
    }
    let is_above_numbers = |column: usize| {
        let mut below = table.column(column).skip(1).map(Value::of_flag);
        let is_number =
            |value| matches!(value, Value::Whole(_) | Value::Fraction(_) | Value::Unclear);
        table.rows() > 1
            && matches!(Value::of(first[column]), Value::Word(_))
            && below.all(is_number)
    };
    let mut others = (0..table.width).filter(|&column| column != image);
    Ok(first.iter().any(|cell| words::is_known(cell)) || others.any(is_above_numbers))
}
