//! One parquet file: its labels, and the pages that its images are in. The crate `parquet` reads them, from
//! the mapped file.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};

use super::columns::{Columns, PartColumn};
use super::values::{read_labels, read_rows, read_words};
use crate::split::Split;
use crate::text::grouped;
use swa_base::panics;
use swa_base::text::printable;
use swa_base::{Error, Kind, Result};
use swa_tools::select::base_name;
use swa_tools::store::Source;

/// The most rows of a file: several times as many as the largest data sets have.
const MAX_ROWS: i64 = 1 << 26;

/// The most different words of a column that says of which part of the data each row is.
const MAX_WORDS: usize = 1 << 10;

/// A page of images: the number of its row group, and its own there.
pub(super) type PageId = (u32, u32);

/// The images of some rows.
pub(super) struct Page {
    /// None where a row has none.
    pub images: Vec<Option<ByteArray>>,
    /// Bytes of memory that it keeps.
    pub size: u64,
}

pub(super) struct File {
    source: Arc<Source>,
    reader: SerializedFileReader<Chunks>,
    image: usize,
    /// [`super::values::NO_LABEL`] where a row has none, as one of another part of the data may.
    pub labels: Vec<u32>,
    /// The columns that may say of which part of the data each row is.
    pub parts: Vec<Words>,
    pub class_names: Option<Vec<String>>,
    groups: Vec<Group>,
}

/// A column of few different words.
pub(super) struct Words {
    pub heading: String,
    /// The heading speaks of parts of the data.
    pub is_headed: bool,
    kinds: Vec<String>,
    /// The word of each row.
    rows: Vec<u16>,
}

impl Words {
    pub fn row(&self, row: usize) -> &str {
        &self.kinds[usize::from(self.rows[row])]
    }
}

/// A row group.
struct Group {
    /// One past its last row in the file.
    end: usize,
    /// The first row of each page within the group, once an image was asked for.
    pages: OnceLock<Vec<u32>>,
}

impl File {
    /// Reads the footer and the labels. `label`: the column that holds them, if it was said.
    pub fn open(path: &Path, label: Option<&str>) -> Result<Self> {
        Self::read(Arc::new(Source::open(path)?), label).map_err(|error| error.at(path))
    }

    fn read(source: Arc<Source>, asked: Option<&str>) -> Result<Self> {
        if source.size() == 0 {
            return Err(Error::new(Kind::Truncated, "the file is empty"));
        }
        let chunks = Chunks::new(source.clone());
        let reader = guarded(|| SerializedFileReader::new(chunks))?;
        let metadata = reader.metadata();
        let Columns { image, label, parts, class_names } = Columns::find(metadata, asked)?;
        let mut groups = Vec::with_capacity(metadata.num_row_groups());
        let mut labels = Vec::new();
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let rows = group.num_rows();
            if !(0..=MAX_ROWS - labels.len() as i64).contains(&rows) {
                return Err(Error::limit(format!("more than {MAX_ROWS} rows")));
            }
            let rows = rows as usize;
            labels.extend(guarded(|| read_labels(&reader, number, label, rows))??);
            groups.push(Group { end: labels.len(), pages: OnceLock::new() });
        }
        let parts = parts.iter().map(|of| words(&reader, of)).collect::<Result<Vec<_>>>()?;
        let parts = parts.into_iter().flatten().collect();
        Ok(File { source, reader, image, labels, parts, class_names, groups })
    }

    pub fn path(&self) -> &Path {
        self.source.path()
    }

    pub fn name(&self) -> String {
        base_name(self.path())
    }

    pub fn check_unchanged(&self) -> Result<()> {
        self.source.check_unchanged()
    }

    /// The page of a row, and the row's place in it.
    pub fn page_of(&self, row: usize) -> Result<(PageId, usize)> {
        let number = self.groups.partition_point(|group| group.end <= row);
        let start = if number == 0 { 0 } else { self.groups[number - 1].end };
        let group = &self.groups[number];
        let pages = match group.pages.get() {
            Some(pages) => pages,
            None => {
                let pages = guarded(|| self.first_rows(number, group.end - start))??;
                // Another thread may have found the same.
                group.pages.get_or_init(|| pages)
            }
        };
        let within = (row - start) as u32;
        let page = pages.partition_point(|&first| first <= within) - 1;
        Ok(((number as u32, page as u32), (within - pages[page]) as usize))
    }

    /// The first row of each page of a group, from the pages' headers.
    fn first_rows(&self, group: usize, rows: usize) -> parquet::errors::Result<Result<Vec<u32>>> {
        let group = self.reader.get_row_group(group)?;
        let mut pages = group.get_column_page_reader(self.image)?;
        let (mut firsts, mut row) = (vec![], 0);
        while let Some(page) = pages.peek_next_page()? {
            // Images are not repeated within a row: as many levels as rows.
            if let Some(n) = page.num_rows.or(page.num_levels).filter(|&n| n > 0 && !page.is_dict) {
                firsts.push(row as u32);
                row += n;
                if row > rows {
                    break;
                }
            }
            pages.skip_next_page()?;
        }
        if row != rows {
            let what = format!("pages of {} rows in a group of {}", grouped(row), grouped(rows));
            return Ok(Err(Error::new(Kind::Damaged, what)));
        }
        Ok(Ok(firsts))
    }

    /// Reads a page that `page_of` named.
    pub fn page(&self, (number, page): PageId) -> Result<Page> {
        let group = &self.groups[number as usize];
        let pages = group.pages.get().expect("`page_of` has found them");
        let start = if number == 0 { 0 } else { self.groups[number as usize - 1].end };
        let first = pages[page as usize] as usize;
        let end = pages.get(page as usize + 1).map_or(group.end - start, |&next| next as usize);
        let (levels, values) = guarded(|| {
            let group = self.reader.get_row_group(number as usize)?;
            let ColumnReader::ByteArrayColumnReader(mut reader) =
                group.get_column_reader(self.image)?
            else {
                unreachable!("`Columns` took a column of bytes");
            };
            reader.skip_records(first)?;
            read_rows(&mut reader, end - first)
        })?;
        // Uncompressed, they are parts of the file where that is in memory anyway.
        let in_memory = whole(&self.source).unwrap_or_default().as_ptr_range();
        let mut size = 0;
        for value in &values {
            let in_file = in_memory.contains(&value.data().as_ptr());
            size += size_of::<ByteArray>() as u64 + if in_file { 0 } else { value.len() as u64 };
        }
        let mut values = values.into_iter();
        let images: Vec<Option<ByteArray>> =
            levels.into_iter().map(|there| if there { values.next() } else { None }).collect();
        match images.len() == end - first {
            true => Ok(Page { images, size }),
            false => {
                let what = format!("a page ends after {} rows", images.len());
                Err(Error::new(Kind::Truncated, what))
            }
        }
    }
}

/// The words of a column; None where they say of no part of the data.
fn words(reader: &SerializedFileReader<Chunks>, of: &PartColumn) -> Result<Option<Words>> {
    let read = |group: usize, rows: usize| {
        guarded(|| read_words(reader, group, of.column, rows, of.names.as_deref()))?
    };
    let groups = reader.metadata().row_groups().iter().map(|group| group.num_rows() as usize);
    let groups: Vec<(usize, usize)> = groups.enumerate().filter(|(_, rows)| *rows > 0).collect();
    let says = |word: &str| of.is_headed || Split::of_word(word.trim()).is_some();
    // Captions are not read beyond the first.
    match groups.first() {
        Some(&(first, _)) if says(&read(first, 1)?[0]) => {}
        _ => return Ok(None),
    }
    let PartColumn { heading, is_headed, .. } = of;
    let mut found =
        Words { heading: heading.clone(), is_headed: *is_headed, kinds: vec![], rows: vec![] };
    let mut places: HashMap<String, u16> = HashMap::new();
    for (group, rows) in groups {
        for word in read(group, rows)? {
            let next = found.kinds.len();
            let place = match places.get(&word) {
                Some(&place) => place,
                // Ids, or numbers of any kind.
                None if next == MAX_WORDS || !says(&word) => return Ok(None),
                None => {
                    found.kinds.push(word.clone());
                    places.insert(word, next as u16);
                    next as u16
                }
            };
            found.rows.push(place);
        }
    }
    Ok(Some(found))
}

/// Errors and panics of the crate are the file's fault.
fn guarded<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    match panics::catch(read) {
        Some(Ok(value)) => Ok(value),
        Some(Err(ParquetError::External(error))) => match error.downcast::<io::Error>() {
            Ok(error) => Err(own(*error)),
            Err(error) => Err(unsound(Kind::Damaged, &error.to_string())),
        },
        Some(Err(error @ ParquetError::EOF(_))) => {
            Err(unsound(Kind::Truncated, &error.to_string()))
        }
        Some(Err(error)) => Err(unsound(Kind::Damaged, &error.to_string())),
        None => Err(unsound(Kind::Damaged, "the reader gave up on it")),
    }
}

/// An error of ours that went through the crate.
fn own(error: io::Error) -> Error {
    let text = error.to_string();
    match error.into_inner().and_then(|inner| inner.downcast::<Error>().ok()) {
        Some(error) => *error,
        None => unsound(Kind::Damaged, &text),
    }
}

fn unsound(kind: Kind, what: &str) -> Error {
    Error::new(kind, format!("not a sound parquet file: {}", printable(what)))
        .remedy("copy or download the file again")
}

/// All bytes of a file, where they can be had without a copy.
fn whole(source: &Source) -> Option<&[u8]> {
    source.in_memory(0..source.size())
}

/// A file as the crate wants to read it.
pub(super) struct Chunks {
    source: Arc<Source>,
    /// The whole file, where it can be had without a copy.
    in_memory: Option<Bytes>,
}

impl Chunks {
    fn new(source: Arc<Source>) -> Self {
        let in_memory = whole(&source).is_some();
        let in_memory = in_memory.then(|| Bytes::from_owner(InMemory(source.clone())));
        Chunks { source, in_memory }
    }
}

/// Keeps the mapping alive as long as a part of it is in use.
struct InMemory(Arc<Source>);

impl AsRef<[u8]> for InMemory {
    fn as_ref(&self) -> &[u8] {
        whole(&self.0).unwrap_or_default()
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.source.size()
    }
}

impl ChunkReader for Chunks {
    type T = Cursor;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Cursor> {
        Ok(Cursor { source: self.source.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.checked_add(length as u64).filter(|&end| end <= self.source.size());
        let Some(end) = end else {
            return Err(ParquetError::EOF(format!("cut off: {length} bytes at {start}")));
        };
        match &self.in_memory {
            Some(bytes) => Ok(bytes.slice(start as usize..end as usize)),
            None => {
                let mut scratch = Vec::new();
                let bytes = self.source.read(start..end, &mut scratch);
                Ok(bytes.map_err(io::Error::other)?.to_vec().into())
            }
        }
    }
}

pub(super) struct Cursor {
    source: Arc<Source>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.source.size().saturating_sub(self.at);
        let n = left.min(into.len() as u64);
        if n == 0 {
            return Ok(0);
        }
        let mut scratch = Vec::new();
        let bytes =
            self.source.read(self.at..self.at + n, &mut scratch).map_err(io::Error::other)?;
        into[..n as usize].copy_from_slice(bytes);
        self.at += n;
        Ok(n as usize)
    }
}
