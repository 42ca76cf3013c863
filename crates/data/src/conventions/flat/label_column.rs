//! Which of a table's columns holds the labels.

use std::collections::HashMap;

use super::columns::{Label, SHOWN, by_name, short};
use super::flags;
use super::table::Table;
use super::value::Value;
use super::words::{self, first_word, is_wnid};
use swa_base::text::printable;
use swa_base::{Error, Result, setting};

/// How to say which column it is.
const ASK: &str = concat!(
    "say which column is the label: ",
    setting!("label_column", "NAME"),
    ", or its number from 1"
);

/// A table without its headings, as far as its columns are known.
pub(super) struct Seen<'t> {
    pub table: &'t Table,
    /// The column of the images' names.
    pub image: usize,
    pub headings: Option<&'t [String]>,
}

impl Seen<'_> {
    pub fn heading(&self, column: usize) -> &str {
        self.headings.map_or("", |headings| headings[column].as_str())
    }

    /// The column that was asked for.
    pub fn asked(&self, name: &str) -> Result<usize> {
        let numbers: Vec<String> = (1..=self.table.width).map(|n| n.to_string()).collect();
        let column = by_name(self.headings.unwrap_or(&numbers), name)?;
        match column == self.image {
            true => {
                Err(Error::input(format!("`{}` has the images' names", printable(name)))
                    .remedy(ASK))
            }
            false => Ok(column),
        }
    }

    /// `parts`: the columns that say to which part of the data rows belong.
    pub fn label(&self, parts: &[usize]) -> Result<Label> {
        // A comma at the end of every line makes a column of nothing.
        let is_blank = |c: usize| self.heading(c).is_empty() && self.table.is_blank(c);
        let others: Vec<usize> = (0..self.table.width)
            .filter(|&c| c != self.image && !parts.contains(&c) && !is_blank(c))
            .collect();
        if others.is_empty() {
            return Err(Error::input("it names images, but has no column of labels"));
        }
        if self.headings.is_none() {
            return self.label_without_headings(&others);
        }
        let has_x = others.iter().any(|&c| words::plain(self.heading(c)) == "x");
        let is_label = |&&column: &&usize| {
            let heading = self.heading(column);
            words::is_label(heading) && !(has_x && words::plain(heading) == "y")
        };
        let labels: Vec<usize> = others.iter().filter(is_label).copied().collect();
        match labels[..] {
            [] => {}
            [only] => return Ok(Label::Column(only)),
            _ => {
                return self
                    .agreed(&labels, true)
                    .map(Label::Column)
                    .ok_or_else(|| self.ask(&labels));
            }
        }
        let may_be = |&&column: &&usize| {
            let heading = self.heading(column);
            let nested = || self.table.column(column).any(|cell| Value::of(cell) == Value::Nested);
            !words::is_other(heading) && !words::is_several(heading) && !nested()
        };
        let rest: Vec<usize> = others.iter().filter(may_be).copied().collect();
        match rest[..] {
            [] => Err(self.none(&others)),
            [only] if self.is_index(only) || self.is_flag_of_part(only) => Err(self.none(&[only])),
            [only] => Ok(Label::Column(only)),
            _ if self.looks_one_hot(&rest) => {
                self.check_one_hot(&rest)?;
                Ok(Label::OneHot(rest))
            }
            _ => Err(self.ask(&rest)),
        }
    }

    /// Whether a column counts its rows. A few labels may by chance.
    fn is_index(&self, column: usize) -> bool {
        let Value::Whole(first) = Value::of(self.table.cell(0, column)) else { return false };
        let mut counted = self.table.column(column).zip(0..);
        let follows = |(cell, n): (&str, i64)| match Value::of(cell) {
            Value::Whole(number) => number.checked_sub(first) == Some(n),
            _ => false,
        };
        self.table.rows() > 4 && counted.all(follows)
    }

    /// Whether a column says yes or no under the name of a part: `train`.
    fn is_flag_of_part(&self, column: usize) -> bool {
        words::bare_part(self.heading(column)).is_some()
            && self.table.column(column).all(|cell| flags::answer(cell).is_some())
    }

    fn label_without_headings(&self, others: &[usize]) -> Result<Label> {
        let wnids: Vec<usize> = others
            .iter()
            .copied()
            .filter(|&column| self.table.column(column).all(|cell| is_wnid(first_word(cell))))
            .collect();
        match (others, &wnids[..]) {
            ([only], _) | (_, [only]) => return Ok(Label::Column(*only)),
            _ => {}
        }
        if let Some(column) = self.agreed(others, false) {
            return Ok(Label::Column(column));
        }
        // Of two columns of 0 and 1, one may be anything. An empty one, without a heading, is no column.
        let is_full = |&column: &usize| !self.table.column(column).any(str::is_empty);
        if others.len() > 2 && others.iter().all(is_full) && self.looks_one_hot(others) {
            self.check_one_hot(others)?;
            return Ok(Label::OneHot(others.to_vec()));
        }
        Err(self.ask(others))
    }

    /// The one of these columns that counts, if all give every image the same class. `numbered`: a column of
    /// numbers counts where others name the same classes.
    fn agreed(&self, columns: &[usize], numbered: bool) -> Option<usize> {
        let readings: Option<Vec<(bool, Vec<i64>)>> =
            columns.iter().map(|&column| self.reading(column)).collect();
        let readings = readings?;
        let numbers: Vec<usize> = (0..columns.len()).filter(|&i| readings[i].0).collect();
        let first = *numbers.first().unwrap_or(&0);
        if readings.iter().all(|(_, reading)| *reading == readings[first].1) {
            return Some(columns[first]);
        }
        let [only] = numbers[..] else { return None };
        let same = |(_, other): &(bool, Vec<i64>)| {
            let pairs = || other.iter().zip(&readings[only].1);
            let (mut there, mut back) = (HashMap::new(), HashMap::new());
            pairs().all(|(a, b)| {
                *there.entry(*a).or_insert(*b) == *b && *back.entry(*b).or_insert(*a) == *a
            })
        };
        (numbered && readings.iter().all(same)).then_some(columns[only])
    }

    /// The classes of a column's rows, and whether they are written as numbers: else places among the sorted words.
    fn reading(&self, column: usize) -> Option<(bool, Vec<i64>)> {
        let values = || self.table.column(column).map(Value::of);
        let whole: Option<Vec<i64>> = values()
            .map(|value| if let Value::Whole(n) = value { Some(n) } else { None })
            .collect();
        if let Some(whole) = whole {
            return Some((true, whole));
        }
        let words: Option<Vec<&str>> = values()
            .map(|value| if let Value::Word(word) = value { Some(word) } else { None })
            .collect();
        let words = words?;
        let mut sorted = words.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let place = |word: &&str| sorted.binary_search(word).map_or(0, |place| place as i64);
        Some((false, words.iter().map(place).collect()))
    }

    /// Whether all cells are numbers from 0 to 1, or say yes or no in another way, and yes at least once.
    fn looks_one_hot(&self, columns: &[usize]) -> bool {
        let cells = || columns.iter().flat_map(|&column| self.table.column(column));
        let in_range = |cell: &str| match Value::of_flag(cell) {
            Value::Whole(n) => n == 0 || n == 1,
            Value::Fraction(x) => (0.0..=1.0).contains(&x),
            _ => false,
        };
        cells().all(in_range)
            || (cells().all(|cell| flags::mark(cell).is_some())
                && cells().any(|cell| flags::mark(cell) == Some(true)))
    }

    pub fn check_one_hot(&self, columns: &[usize]) -> Result<()> {
        const ONE: &str = concat!(
            "give a file with one class an image, or choose the column that counts: ",
            setting!("label_column", "NAME")
        );
        const WRITE: &str = "write 1 where the image is of the class, and 0 where it is not";
        let table = self.table;
        let mut spellings: [Option<String>; 2] = [None, None];
        for row in 0..table.rows() {
            let mut ones = vec![];
            for &column in columns {
                let cell = table.cell(row, column);
                let at =
                    || format!("{}{} is `{}`", self.line(row), self.title(column), short(cell));
                let Some(is_one) = flags::mark(cell) else {
                    let (what, remedy) = match Value::of(cell) {
                        Value::Fraction(_) => (
                            "a probability or a score is no label",
                            "give the file of the true classes",
                        ),
                        _ => ("a column a class says yes or no of each image", WRITE),
                    };
                    let what = format!("{}, neither 0 nor 1: {what}", at());
                    return Err(Error::input(what).remedy(remedy));
                };
                let spelling = flags::spelling(cell);
                let known = spellings[usize::from(is_one)].get_or_insert_with(|| spelling.clone());
                if *known != spelling {
                    let what = format!("{}, where others are `{}`", at(), short(known));
                    return Err(Error::input(what).remedy(WRITE));
                }
                if is_one {
                    ones.push(column);
                }
            }
            if let [_] = ones[..] {
                continue;
            }
            let (line, image) = (self.line(row), short(table.cell(row, self.image)));
            let n = columns.len();
            let what = match ones.len() {
                0 => format!("{line}`{image}` has none of the {n} classes"),
                _ => {
                    let titles: Vec<String> =
                        ones.iter().take(3).map(|&column| self.title(column)).collect();
                    format!("{line}`{image}` has several of the {n} classes: {}", titles.join(", "))
                }
            };
            return Err(Error::input(what).remedy(ONE));
        }
        Ok(())
    }

    pub fn line(&self, row: usize) -> String {
        match self.table.lines[row] {
            0 => String::new(),
            line => format!("line {line}: "),
        }
    }

    pub fn title(&self, column: usize) -> String {
        match self.headings {
            Some(_) => format!("`{}`", short(self.heading(column))),
            None => format!("column {}", column + 1),
        }
    }

    /// A column and what it holds, for a message.
    fn described(&self, column: usize) -> String {
        let values = || self.table.column(column).map(Value::of);
        let numbers: Option<Vec<f64>> = values()
            .map(|value| match value {
                Value::Whole(n) => Some(n as f64),
                Value::Fraction(x) => Some(x),
                _ => None,
            })
            .collect();
        let holds = match numbers {
            Some(numbers) => {
                let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
                let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                format!("{least} to {most}")
            }
            None => format!("such as `{}`", short(self.table.cell(0, column))),
        };
        format!("{} ({holds})", self.title(column))
    }

    fn all_described(&self, columns: &[usize]) -> String {
        let mut all: Vec<String> =
            columns.iter().take(SHOWN).map(|&column| self.described(column)).collect();
        if columns.len() > SHOWN {
            all.push(format!("and {} more", columns.len() - SHOWN));
        }
        all.join(", ")
    }

    fn ask(&self, columns: &[usize]) -> Error {
        let seen = self.all_described(columns);
        Error::input(format!("several columns may be the label: {seen}")).remedy(ASK)
    }

    /// None of the columns is a label, as far as headings say.
    fn none(&self, columns: &[usize]) -> Error {
        if let Some(&several) = columns.iter().find(|&&c| words::is_several(self.heading(c))) {
            let what = format!("{} may have several labels an image", self.title(several));
            return Error::input(what)
                .remedy("give a file with one class an image; only such data are evaluated");
        }
        let what = format!("no column is known to be a label: {}", self.all_described(columns));
        Error::input(what).remedy(ASK)
    }
}
