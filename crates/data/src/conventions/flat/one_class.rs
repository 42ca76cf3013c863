//! The labels in a column, one class a row.

use std::collections::HashSet;

use super::labels::Labels;
use super::table::Table;
use super::value::Value;
use super::words::{self, first_word, is_wnid};
use super::wrapped;
use crate::split::Split;
use swa_base::text::printable;
use swa_base::{Error, Result, setting};

/// Fails if what is before the images' names, in lines of different numbers of words, may be more than classes' names: if
/// there is a number or a tab among the words, or each begins with a part of the data.
pub(super) fn check_one_name(table: &Table) -> Result<()> {
    let is_number = |word: &str| !matches!(Value::of(word), Value::Word(_));
    let is_part = |cell: &str| Split::of_word(first_word(cell)).is_some();
    let are_parts = table.column(0).all(is_part);
    let odd = |&row: &usize| {
        let cell = table.cell(row, 0);
        let several = cell.split_whitespace().nth(1).is_some();
        let is_odd = are_parts || cell.contains('\t') || cell.split_whitespace().any(is_number);
        several && is_odd
    };
    let Some(row) = (0..table.rows()).find(odd) else { return Ok(()) };
    let cell = printable(&table.cell(row, 0).chars().take(60).collect::<String>());
    let what = format!("line {}: `{cell}` may be one label or several columns", table.lines[row]);
    Err(Error::input(what).remedy("write tabs or commas between the columns"))
}

/// The labels in a column: all numbers, or all words.
pub(super) fn values(table: &Table, column: usize) -> Result<Labels> {
    let at = |row: usize, what: String| match table.lines[row] {
        0 => Error::input(what),
        line => Error::input(format!("line {line}: {what}")),
    };
    let first = table.cell(0, column);
    let are_numbers = matches!(Value::of(first), Value::Whole(_));
    let (mut numbers, mut words) = (vec![], vec![]);
    for row in 0..table.rows() {
        let cell = table.cell(row, column);
        let shown: String = printable(&cell.chars().take(60).collect::<String>());
        match Value::of(cell) {
            Value::Empty if cell.is_empty() => {
                return Err(at(row, "it has no label".into())
                    .remedy("leave out the line, and move the image out of the folder"));
            }
            Value::Empty => {
                return Err(at(row, format!("the label {shown} says that there is none")).remedy(
                    "leave out the line, and move the image out of the folder; if it is a class, write another word or \
                     its number",
                ));
            }
            Value::Fraction(_) => {
                let what =
                    format!("the label {shown}: a fraction is a score or a measure, no class");
                return Err(at(row, what).remedy(concat!(
                    "give the file of the true classes, or choose another column: ",
                    setting!("label_column", "NAME")
                )));
            }
            Value::Unclear => {
                let what =
                    format!("the label {shown}: digits and commas that may be several numbers");
                return Err(at(row, what).remedy("write a class's number without commas"));
            }
            Value::Nested => {
                return Err(at(row, format!("the label {shown}, not one class"))
                    .remedy("give a file with one class an image"));
            }
            Value::Whole(n) if are_numbers => {
                numbers.push(u32::try_from(n).map_err(|_| match n < 0 {
                    true => {
                        at(row, format!("the label {shown}, expected 0 or more")).remedy(NEGATIVE)
                    }
                    false => at(row, format!("the label {shown}, expected a class's number")),
                })?);
            }
            Value::Word(_) if !are_numbers => words.push(word(cell).map_err(|what| at(row, what))?),
            _ => {
                let what =
                    format!("the label `{shown}`, where the first is `{}`", printable(first));
                return Err(at(row, what)
                    .remedy("write all labels as numbers, or all as names with a letter in them"));
            }
        }
    }
    check_names(&words).map_err(|what| {
        at(0, what).remedy("write the class's number alone, or a name with letters")
    })?;
    Ok(if are_numbers { Labels::Numbers(numbers) } else { Labels::Words(words) })
}

/// What to do about a number below 0.
pub(crate) const NEGATIVE: &str = "write the classes' numbers from 0 on (0 and 1 in place of -1 and 1); if -1 means no class, \
                                   leave out such images and their lines";

/// Fails if all words are numbers in other clothes, of which 10 would come before 2, or zeros and ones of a column a class.
fn check_names(words: &[String]) -> std::result::Result<(), String> {
    let Some(first) = words.first() else { return Ok(()) };
    let shown = printable(&first.chars().take(60).collect::<String>());
    if words.iter().all(|word| wrapped::is_wrapped_number(word)) {
        return Err(format!("the label `{shown}` is a number written in another way, no name"));
    }
    let width = wrapped::vector(first);
    if width.is_some() && words.iter().all(|word| wrapped::vector(word) == width) {
        return Err(format!(
            "the label `{shown}`: 0 or 1 for each of several classes, not one class"
        ));
    }
    Ok(())
}

/// Fails if a cell holds several words that are labels of other rows: between commas, or between blanks where the heading
/// speaks of several (`labels`).
pub(super) fn check_one_class(table: &Table, column: usize, heading: &str) -> Result<()> {
    let between = |c: char| match words::is_plural(heading) {
        true => c == ',' || c == ';' || c.is_whitespace(),
        false => c == ',' || c == ';',
    };
    let several = |cell: &&str| cell.contains(between);
    if !table.column(column).any(|cell| several(&cell)) {
        return Ok(());
    }
    let alone: HashSet<&str> = table.column(column).filter(|cell| !several(cell)).collect();
    for row in 0..table.rows() {
        let cell = table.cell(row, column);
        let mut classes = cell.split(between).map(str::trim).filter(|class| !class.is_empty());
        if several(&cell) && classes.all(|class| alone.contains(class)) {
            let shown = printable(&cell.chars().take(60).collect::<String>());
            let what = format!("the label `{shown}`: several classes, which other rows have alone");
            let line = table.lines[row];
            let line = if line == 0 { String::new() } else { format!("line {line}: ") };
            return Err(
                Error::input(format!("{line}{what}")).remedy("give a file with one class an image")
            );
        }
    }
    Ok(())
}

/// A class's name. A wnid may be followed by boxes, each with its wnid.
fn word(cell: &str) -> std::result::Result<String, String> {
    let wnid = first_word(cell);
    if is_wnid(wnid) {
        let other = cell.split_whitespace().find(|word| is_wnid(word) && *word != wnid);
        return match other {
            Some(other) => Err(format!("two labels, `{wnid}` and `{other}`")),
            None => Ok(wnid.to_string()),
        };
    }
    match cell.contains('|') {
        true => Err(format!("the label `{}`: several classes between bars", printable(cell))),
        false => Ok(cell.to_string()),
    }
}
