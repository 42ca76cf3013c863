//! A trainer's results, whatever file they were in: rows of named cells, of which each row has some.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use swa_base::text::printable;

/// What stands in a cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// NaN and infinities among them.
    Number(f64),
    Text(String),
}

/// Rows in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    /// In the order in which they are met.
    columns: Vec<String>,
    numbers: HashMap<String, usize>,
    /// For each row (column, cell), ascending; what a row lacks is not there.
    rows: Vec<Vec<(usize, Cell)>>,
    /// Columns that have several cells in one row, which differ.
    ambiguous: BTreeMap<usize, [Cell; 2]>,
}

impl Cell {
    /// A number where the text is one, `nan` and `inf` included; nothing where it is empty.
    pub fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.parse() {
            Ok(number) => Some(Cell::Number(number)),
            Err(_) if text.is_empty() => None,
            Err(_) => Some(Cell::Text(text.to_string())),
        }
    }

    /// Whether another says the same; NaN is NaN.
    fn is(&self, other: &Cell) -> bool {
        let is_nan = |cell: &Cell| matches!(cell, Cell::Number(x) if x.is_nan());
        self == other || is_nan(self) && is_nan(other)
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Cell::Number(number) => number.fmt(f),
            Cell::Text(text) => write!(f, "`{}`", printable(text)),
        }
    }
}

impl Table {
    /// Adds a row.
    pub fn push(&mut self, cells: impl IntoIterator<Item = (impl AsRef<str>, Cell)>) {
        let mut row = BTreeMap::new();
        for (name, cell) in cells {
            let name = name.as_ref();
            let column = match self.numbers.get(name) {
                Some(column) => *column,
                None => {
                    self.columns.push(name.to_string());
                    self.numbers.insert(name.to_string(), self.columns.len() - 1);
                    self.columns.len() - 1
                }
            };
            match row.entry(column) {
                Entry::Vacant(place) => drop(place.insert(cell)),
                Entry::Occupied(own) if own.get().is(&cell) => {}
                Entry::Occupied(own) => {
                    self.ambiguous.entry(column).or_insert_with(|| [own.get().clone(), cell]);
                }
            }
        }
        self.rows.push(row.into_iter().collect());
    }

    /// Two different cells of one row in a column, where the file names it twice: which counts, nobody can know.
    pub fn ambiguous(&self, column: usize) -> Option<&[Cell; 2]> {
        self.ambiguous.get(&column)
    }

    /// Names of the columns, in the order in which the file has them.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The number of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// What a row has in a column.
    pub fn cell(&self, row: usize, column: usize) -> Option<&Cell> {
        let row = &self.rows[row];
        row.binary_search_by_key(&column, |(own, _)| *own).ok().map(|at| &row[at].1)
    }

    /// The number that a row has in a column.
    pub fn number(&self, row: usize, column: usize) -> Option<f64> {
        match self.cell(row, column)? {
            Cell::Number(number) => Some(*number),
            Cell::Text(_) => None,
        }
    }

    /// The text that a row has in a column.
    pub fn text(&self, row: usize, column: usize) -> Option<&str> {
        match self.cell(row, column)? {
            Cell::Text(text) => Some(text),
            Cell::Number(_) => None,
        }
    }

    /// Names of the columns that hold a number in some row, in the order of the file.
    pub fn metrics(&self) -> Vec<&str> {
        let mut has = vec![false; self.columns.len()];
        for (column, cell) in self.rows.iter().flatten() {
            has[*column] |= matches!(cell, Cell::Number(_));
        }
        let columns = self.columns.iter().zip(has);
        columns.filter(|(_, has)| *has).map(|(name, _)| name.as_str()).collect()
    }
}
