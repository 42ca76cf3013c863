//! A trainer's results, whatever file they were in: rows of named cells, of which each row has some.

use std::collections::HashMap;

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
}

impl Table {
    /// Adds a row. Of two cells of one name the later one counts.
    pub fn push(&mut self, cells: impl IntoIterator<Item = (String, Cell)>) {
        let mut row: Vec<(usize, Cell)> = vec![];
        for (name, cell) in cells {
            let next = self.columns.len();
            let column = *self.numbers.entry(name).or_insert_with_key(|name| {
                self.columns.push(name.clone());
                next
            });
            match row.iter_mut().find(|(other, _)| *other == column) {
                Some((_, own)) => *own = cell,
                None => row.push((column, cell)),
            }
        }
        row.sort_by_key(|(column, _)| *column);
        self.rows.push(row);
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
        let has = |column: usize| (0..self.len()).any(|row| self.number(row, column).is_some());
        let columns = self.columns.iter().enumerate();
        columns.filter(|(column, _)| has(*column)).map(|(_, name)| name.as_str()).collect()
    }
}
