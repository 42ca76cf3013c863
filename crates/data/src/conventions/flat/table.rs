//! A label file as a table: rows of cells, all of one length.
//!
//! Text is split at tabs, commas, semicolons, bars or blanks; the first of them that splits every line into as many
//! cells, one of which names an image, is the file's, unless the first line says another (`sep=;`). Quotation marks hold a cell together, as RFC 4180 has it.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::json;
use super::words::is_wnid;
use swa_base::{Error, Result};

/// The most cells that a label file may have: 14 million images with four columns.
pub(super) const MAX_CELLS: usize = 1 << 26;

/// Rows of cells, and the names of the columns where the form has them beside the rows.
#[derive(Default)]
pub(super) struct Table {
    pub headings: Option<Vec<String>>,
    pub width: usize,
    /// All cells, one after the other.
    text: String,
    ends: Vec<usize>,
    /// The line of each row, from 1.
    pub lines: Vec<usize>,
}

/// What stands between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    Byte(u8),
    /// One or more.
    Blanks,
    /// The last run of blanks of a line: what is before it is a name with blanks.
    LastBlanks,
    /// The first run of them or the first comma: a name, a wnid, and more of any number, such as boxes.
    First,
    /// None: each line is a cell.
    None,
}

impl Separator {
    /// In the order in which they are tried.
    pub const ALL: [Separator; 7] = [
        Separator::Byte(b'\t'),
        Separator::Byte(b','),
        Separator::Byte(b';'),
        Separator::Byte(b'|'),
        Separator::Blanks,
        Separator::LastBlanks,
        Separator::First,
    ];
}

impl Table {
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// Without blanks around it.
    pub fn cell(&self, row: usize, column: usize) -> &str {
        let at = row * self.width + column;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }

    pub fn column(&self, column: usize) -> impl Iterator<Item = &str> + Clone {
        (0..self.rows()).map(move |row| self.cell(row, column))
    }

    /// Adds a row; the first says how many cells each has.
    pub fn push<'c>(&mut self, line: usize, cells: impl Iterator<Item = &'c str>) -> Result<()> {
        let before = self.ends.len();
        for cell in cells {
            self.text.push_str(cell.trim());
            self.ends.push(self.text.len());
        }
        let found = self.ends.len() - before;
        if self.ends.len() > MAX_CELLS {
            return Err(Error::limit(format!("a label file of more than {MAX_CELLS} cells")));
        }
        if self.lines.is_empty() {
            self.width = found;
        }
        if found != self.width {
            let what = format!(
                "line {line}: it has another number of columns than the first line: {found}, not {}",
                self.width
            );
            return Err(Error::input(what));
        }
        self.lines.push(line);
        Ok(())
    }

    /// Removes the first row.
    pub fn drop_first(&mut self) {
        let taken = self.ends[self.width - 1];
        self.text.drain(..taken);
        self.ends.drain(..self.width);
        self.ends.iter_mut().for_each(|end| *end -= taken);
        self.lines.remove(0);
    }

    /// Keeps these rows alone.
    pub fn keep(&mut self, kept: &[bool]) {
        let mut table =
            Table { headings: self.headings.take(), width: self.width, ..Table::default() };
        for row in (0..self.rows()).filter(|&row| kept[row]) {
            for column in 0..self.width {
                table.text.push_str(self.cell(row, column));
                table.ends.push(table.text.len());
            }
            table.lines.push(self.lines[row]);
        }
        *self = table;
    }

    /// JSON, or lines of JSON.
    pub fn of_json(text: &str) -> Result<Option<Self>> {
        match text.trim_start().as_bytes().first() {
            Some(b'{' | b'[') => json::read(text).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether no cell of a column holds anything.
    pub fn is_blank(&self, column: usize) -> bool {
        self.column(column).all(str::is_empty)
    }

    /// # Errors
    /// `Input` where the rows differ in length or a line has a single cell, unless that is what is asked for.
    pub fn of_text(text: &str, separator: Separator) -> Result<Self> {
        let mut table = Table::default();
        match separator {
            Separator::Byte(byte) => table.read_separated(text, byte)?,
            _ => {
                for (number, line) in lines(text) {
                    match separator {
                        Separator::None => table.push(number, std::iter::once(bare(line)))?,
                        Separator::Blanks => table.push(number, words(line).into_iter())?,
                        Separator::LastBlanks => {
                            let cells = line.rsplit_once(char::is_whitespace);
                            let cells = cells.map(|(name, label)| [bare(name), bare(label)]);
                            table.push(number, cells.into_iter().flatten())?;
                        }
                        _ => {
                            let (name, wnids) = first_and_wnids(line).ok_or_else(|| {
                                Error::input(format!("line {number}: no name and wnid"))
                            })?;
                            table.push(number, [name, &wnids].into_iter())?;
                        }
                    }
                }
            }
        }
        if table.width < 2 && separator != Separator::None && table.rows() > 0 {
            return Err(Error::input("it has one column"));
        }
        Ok(table)
    }

    fn read_separated(&mut self, text: &str, separator: u8) -> Result<()> {
        let comments = comments(text);
        let skipped = text[..comments].lines().count();
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .trim(Trim::All)
            .from_reader(&text.as_bytes()[comments..]);
        let mut record = StringRecord::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(false) => return Ok(()),
                Ok(true) => {}
                Err(error) => return Err(Error::input(format!("is no table: {error}"))),
            }
            let line = record.position().map_or(0, |position| position.line() as usize) + skipped;
            if record.iter().all(str::is_empty) {
                continue;
            }
            self.push(line, record.iter())?;
        }
    }
}

/// The separator that the first line names, as Excel has it: `sep=;`.
pub(super) fn said_separator(text: &str) -> Option<Separator> {
    let line = text.split('\n').next()?.trim_end_matches('\r').trim_matches('"');
    let said = line.get(..4).filter(|said| said.eq_ignore_ascii_case("sep="))?;
    match &line.as_bytes()[said.len()..] {
        [byte] => Some(Separator::Byte(*byte)),
        _ => None,
    }
}

/// The bytes of the lines at the start that are no rows: one that names the separator, and those that begin with `#`.
fn comments(text: &str) -> usize {
    let mut end = match said_separator(text) {
        Some(_) => text.split_inclusive('\n').next().map_or(0, str::len),
        None => 0,
    };
    for line in text[end..].split_inclusive('\n') {
        if !line.starts_with('#') {
            break;
        }
        end += line.len();
    }
    end
}

/// The lines that hold something, with their numbers.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = comments(text);
    let skipped = text[..start].lines().count();
    let lines = text[start..].lines().zip(skipped + 1..);
    lines.map(|(line, number)| (number, line.trim())).filter(|(_, line)| !line.is_empty())
}

/// Cells between blanks; quotation marks hold one together.
fn words(line: &str) -> Vec<&str> {
    let (mut found, mut rest) = (vec![], line.trim());
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (word, after) = match quoted {
            Some((word, after)) if after.is_empty() || after.starts_with(char::is_whitespace) => {
                (word, after)
            }
            _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        found.push(word);
        rest = after.trim_start();
    }
    found
}

/// A name, then a wnid, then anything: the name, and all wnids.
fn first_and_wnids(line: &str) -> Option<(&str, String)> {
    let (name, rest) = line.split_once(|c: char| c == ',' || c.is_whitespace())?;
    let mut words = rest
        .split(|c: char| c == ',' || c == '"' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .peekable();
    words.peek().filter(|word| is_wnid(word))?;
    let wnids: Vec<&str> = words.filter(|word| is_wnid(word)).collect();
    Some((bare(name), wnids.join(" ")))
}

/// Without blanks and quotation marks around it.
fn bare(cell: &str) -> &str {
    let cell = cell.trim();
    let inner = cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"'));
    inner.unwrap_or(cell).trim()
}
