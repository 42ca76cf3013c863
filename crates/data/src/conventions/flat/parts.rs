//! Columns of a table that say to which part of the data its rows belong.

use std::collections::HashSet;

use super::columns::short;
use super::flags;
use super::label_column::Seen;
use super::table::Table;
use super::value::Value;
use super::words;
use crate::split::Split;
use swa_base::text::printable;
use swa_base::{Error, Result};

/// The columns that say it, and each row's part.
pub(super) struct Parts {
    pub columns: Vec<usize>,
    pub rows: Vec<Split>,
}

const WRITE: &str =
    "write train, val or test there, or leave out the column and the rows of other parts";

/// The part of each row, by columns with these headings that hold no labels. `rows`: their cells.
///
/// # Errors
/// Those of [`Seen::parts`].
pub(in crate::conventions) fn of_rows<'c>(
    headings: &[String],
    rows: impl Iterator<Item = Vec<&'c str>>,
) -> Result<Option<Vec<Split>>> {
    let mut table = Table::default();
    for cells in rows {
        table.push(0, cells.into_iter())?;
    }
    // No column has the images or the labels.
    let none = headings.len();
    let seen = Seen { table: &table, image: none, headings: Some(headings) };
    Ok(seen.parts(&[none])?.map(|parts| parts.rows))
}

impl Seen<'_> {
    /// Which part of the data each row belongs to, where a column says it: by its heading, or because each of its cells is a
    /// word for a part. One that says it of some rows alone is refused: with the others, training images would count among
    /// the test images. `asked`: columns that are labels.
    pub fn parts(&self, asked: &[usize]) -> Result<Option<Parts>> {
        let columns: Vec<usize> = (0..self.table.width)
            .filter(|column| *column != self.image && !asked.contains(column))
            .collect();
        let (mut said, mut flags, mut not_known) = (vec![], vec![], None);
        for &column in columns.iter().filter(|_| self.headings.is_some()) {
            let heading = self.heading(column);
            let is_flag = words::part_if(heading).is_some();
            if !is_flag && !words::is_part(heading) {
                continue;
            }
            match self.check_parts(column) {
                Ok(false) => {}
                Ok(true) if is_flag => flags.push(column),
                Ok(true) => said.push(column),
                Err(error) if self.says_some(column) => return Err(error),
                Err(error) => not_known = not_known.or(Some(error)),
            }
        }
        if let Some((&column, others)) = said.split_first() {
            let rows = |column: usize| -> Vec<Split> {
                self.table.column(column).filter_map(|cell| self.part_of(column, cell)).collect()
            };
            let own = rows(column);
            if let Some(&other) = others.iter().find(|&&other| rows(other) != own) {
                return Err(self.contradict(column, other));
            }
            return Ok(Some(Parts { columns: said, rows: own }));
        }
        flags.extend(self.flags_beside_labels(&columns, asked)?);
        if !flags.is_empty() {
            return self.by_flags(flags).map(Some);
        }
        match (self.by_words(&columns, asked)?, not_known) {
            (None, Some(error)) => Err(error),
            (parts, _) => Ok(parts),
        }
    }

    /// Whether a column whose heading speaks of parts says one in every row; not where it says one in none.
    fn check_parts(&self, column: usize) -> Result<bool> {
        let heading = self.heading(column);
        let cells = || self.table.column(column);
        if words::is_partition(heading) && cells().all(|cell| celeb_part(cell).is_some()) {
            // CelebA's: 0 is for training, 1 for validation, 2 for test. Two parts may be others.
            return match (
                cells().any(|cell| Value::of(cell) == Value::Whole(2)),
                cells().all(|cell| Value::of(cell) == Value::Whole(0)),
            ) {
                (false, false) => {
                    let what = format!(
                        "the column `{}` holds 0 and 1 alone: which part is which?",
                        printable(heading)
                    );
                    Err(Error::input(what).remedy(WRITE))
                }
                _ => Ok(true),
            };
        }
        let odd = cells().find(|cell| self.part_of(column, cell).is_none());
        let Some(odd) = odd else { return Ok(true) };
        let is_alike = || cells().all(|cell| cell == odd);
        // Of one value there is nothing to choose; many numbers are those of folds or clients; and there are parts, phases and
        // sets of other things, Kaggle's `Usage` says which rows of a test part are scored in public.
        let none_known = || cells().all(|cell| self.part_of(column, cell).is_none());
        let may_be_other = ["part", "phase", "set", "usage"].contains(&&words::plain(heading)[..]);
        let is_from_zero = || cells().any(|cell| Value::of(cell) == Value::Whole(0));
        let is_of_another_kind = || is_alike() || may_be_other && !is_from_zero();
        if self.has_many_numbers(column) || none_known() && is_of_another_kind() {
            return Ok(false);
        }
        let what = format!(
            "the column `{}` says to which part of the data rows belong, and `{}` is no known part",
            printable(heading),
            short(odd)
        );
        Err(Error::input(what).remedy(WRITE))
    }

    fn contradict(&self, one: usize, other: usize) -> Error {
        let what = format!(
            "{} and {} say to which part of the data rows belong, and not the same",
            self.title(one),
            self.title(other)
        );
        Error::input(what).remedy("leave out the one that does not count")
    }

    /// Whether a cell of a column names a part.
    fn says_some(&self, column: usize) -> bool {
        self.table.column(column).any(|cell| self.part_of(column, cell).is_some())
    }

    /// Whether a column holds more different numbers than there are parts.
    fn has_many_numbers(&self, column: usize) -> bool {
        // Of training, validation and test, one may be there twice (WILDS).
        const PARTS: usize = 4;
        let mut found = HashSet::new();
        for cell in self.table.column(column) {
            let Value::Whole(number) = Value::of(cell) else { return false };
            found.insert(number);
        }
        found.len() > PARTS
    }

    /// The part that a cell of such a column names.
    fn part_of(&self, column: usize, cell: &str) -> Option<Split> {
        let heading = self.heading(column);
        match words::part_if(heading) {
            Some(part) => flags::answer(cell).map(|yes| match (yes, part) {
                (true, part) => part,
                (false, Split::Train) => Split::Test,
                (false, _) => Split::Train,
            }),
            None if words::is_partition(heading) => {
                words::part_of_cell(cell).or_else(|| celeb_part(cell))
            }
            None => words::part_of_cell(cell),
        }
    }

    /// Columns of yes and no under the bare name of a part (`train`), beside a column of labels. Among others of
    /// yes and no such a one may be that of a class.
    fn flags_beside_labels(&self, columns: &[usize], asked: &[usize]) -> Result<Vec<usize>> {
        let is_label = |&&column: &&usize| words::is_label(self.heading(column));
        if self.headings.is_none() || (asked.is_empty() && !columns.iter().any(|c| is_label(&c))) {
            return Ok(vec![]);
        }
        let is_flag =
            |column: usize| self.table.column(column).all(|cell| flags::answer(cell).is_some());
        let others = columns.iter().filter(|column| !is_label(column)).copied();
        let found: Vec<usize> = others
            .filter(|&column| !words::is_other(self.heading(column)) && is_flag(column))
            .collect();
        let is_bare = |column: &usize| words::bare_part(self.heading(*column)).is_some();
        let bare: Vec<usize> = found.iter().copied().filter(is_bare).collect();
        match bare.first() {
            Some(&first) if bare.len() < found.len() => {
                let what = format!(
                    "the column {} may say to which part of the data rows belong, or be that of a class",
                    self.title(first)
                );
                Err(Error::input(what).remedy(
                    "leave it out, or write a column `split` of train, val or test in place of it",
                ))
            }
            _ => Ok(bare),
        }
    }

    /// The part of the rows in which a column of yes and no says yes.
    fn flag(&self, column: usize) -> Option<Split> {
        words::bare_part(self.heading(column))
    }

    /// Rows by columns of yes and no, a column a part. Where none says yes, the row is of the part without a column.
    fn by_flags(&self, columns: Vec<usize>) -> Result<Parts> {
        let flags: Vec<(usize, Split)> =
            columns.iter().filter_map(|&column| Some((column, self.flag(column)?))).collect();
        let has = |part| flags.iter().any(|(_, of)| *of == part);
        let rest = match (has(Split::Train), has(Split::Val), has(Split::Test)) {
            (false, ..) => Some(Split::Train),
            (_, _, false) => Some(Split::Test),
            (_, false, _) => Some(Split::Val),
            _ => None,
        };
        let mut rows = Vec::with_capacity(self.table.rows());
        for row in 0..self.table.rows() {
            let yes = |(column, part): &(usize, Split)| {
                (flags::answer(self.table.cell(row, *column)) == Some(true)).then_some(*part)
            };
            let mut said: Vec<Split> = flags.iter().filter_map(yes).collect();
            said.sort();
            said.dedup();
            let part = match said[..] {
                [part] => Some(part),
                [] => rest,
                _ => None,
            };
            rows.push(part.ok_or_else(|| {
                let titles: Vec<String> = columns
                    .iter()
                    .map(|&column| format!("`{}`", short(self.heading(column))))
                    .collect();
                let what = format!(
                    "{}{} do not say one part of the data",
                    self.line(row),
                    titles.join(" and ")
                );
                Error::input(what)
                    .remedy("write one column `split` with train, val or test in every row")
            })?);
        }
        Ok(Parts { columns, rows })
    }

    /// Rows by a column of which every cell is a word for a part, whatever its heading is.
    fn by_words(&self, columns: &[usize], asked: &[usize]) -> Result<Option<Parts>> {
        // Without headings such words may be classes, unless it is said where those are.
        if self.headings.is_none() && asked.is_empty() {
            return Ok(None);
        }
        let reading = |column: usize| {
            let parts = self.table.column(column).map(Split::of_word);
            parts.collect::<Option<Vec<Split>>>().map(|rows| (column, rows))
        };
        let others = columns.iter().filter(|&&column| !words::is_label(self.heading(column)));
        let found: Vec<(usize, Vec<Split>)> =
            others.filter_map(|&column| reading(column)).collect();
        let [(first, rows), ..] = &found[..] else { return Ok(None) };
        if let Some((other, _)) = found.iter().find(|(_, other)| other != rows) {
            return Err(self.contradict(*first, *other));
        }
        let columns = found.iter().map(|(column, _)| *column).collect();
        Ok(Some(Parts { columns, rows: rows.clone() }))
    }
}

/// The parts of CelebA, by number.
fn celeb_part(cell: &str) -> Option<Split> {
    match Value::of(cell) {
        Value::Whole(0) => Some(Split::Train),
        Value::Whole(1) => Some(Split::Val),
        Value::Whole(2) => Some(Split::Test),
        _ => None,
    }
}
