//! The values of a row group: its labels, and words.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::file::Chunks;
use swa_base::{Error, Kind, Result};

/// In place of a label that is none.
pub(super) const NO_LABEL: u32 = u32::MAX;

/// The labels of a row group; [`NO_LABEL`] where there is none, or a number below 0.
pub(super) fn read_labels(
    reader: &SerializedFileReader<Chunks>,
    group: usize,
    column: usize,
    rows: usize,
) -> parquet::errors::Result<Result<Vec<u32>>> {
    let values = read_numbers(reader, group, column, rows)?;
    let label = |value: Option<i64>| value?.try_into().ok();
    let labels = |values: Vec<Option<i64>>| {
        values.into_iter().map(|value| label(value).unwrap_or(NO_LABEL)).collect()
    };
    Ok(values.map(labels))
}

fn read_numbers(
    reader: &SerializedFileReader<Chunks>,
    group: usize,
    column: usize,
    rows: usize,
) -> parquet::errors::Result<Result<Vec<Option<i64>>>> {
    match reader.get_row_group(group)?.get_column_reader(column)? {
        ColumnReader::Int64ColumnReader(mut reader) => read_some(&mut reader, rows, |value| value),
        ColumnReader::Int32ColumnReader(mut reader) => read_some(&mut reader, rows, i64::from),
        _ => unreachable!("`Columns` took a column of integers"),
    }
}

/// The most bytes of a word: those for parts of the data are short.
const WORD: usize = 64;

/// The first values of a row group as text, of numbers the words that they stand for; "" where there is none. Long ones are
/// cut.
pub(super) fn read_words(
    reader: &SerializedFileReader<Chunks>,
    group: usize,
    column: usize,
    rows: usize,
    names: Option<&[String]>,
) -> parquet::errors::Result<Result<Vec<String>>> {
    let text = |value: ByteArray| {
        let bytes = value.data();
        String::from_utf8_lossy(&bytes[..bytes.len().min(WORD)]).into_owned()
    };
    let values = match reader.get_row_group(group)?.get_column_reader(column)? {
        ColumnReader::ByteArrayColumnReader(mut reader) => read_some(&mut reader, rows, text)?,
        ColumnReader::BoolColumnReader(mut reader) => {
            read_some(&mut reader, rows, |value| value.to_string())?
        }
        // Whole numbers beside empty cells.
        ColumnReader::FloatColumnReader(mut reader) => {
            read_some(&mut reader, rows, |value| value.to_string())?
        }
        ColumnReader::DoubleColumnReader(mut reader) => {
            read_some(&mut reader, rows, |value| value.to_string())?
        }
        _ => read_numbers(reader, group, column, rows)?.map(|values| {
            let name = |number: i64| names?.get(usize::try_from(number).ok()?).cloned();
            let text = |number: i64| name(number).unwrap_or_else(|| number.to_string());
            values.into_iter().map(|value| value.map(text)).collect()
        }),
    };
    Ok(values.map(|values| values.into_iter().map(Option::unwrap_or_default).collect()))
}

/// The value of each row, where it has one.
fn read_some<T: DataType, V>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    of: impl Fn(T::T) -> V,
) -> parquet::errors::Result<Result<Vec<Option<V>>>> {
    let (levels, values) = read_rows(reader, rows)?;
    if levels.len() != rows {
        let what = format!("values of {} rows in a group of {rows}", levels.len());
        return Ok(Err(Error::new(Kind::Damaged, what)));
    }
    let mut values = values.into_iter();
    let value = |there: bool| if there { values.next().map(&of) } else { None };
    Ok(Ok(levels.into_iter().map(value).collect()))
}

/// Whether each row has a value, and the values.
pub(super) fn read_rows<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
) -> parquet::errors::Result<(Vec<bool>, Vec<T::T>)> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    // Page by page: memory grows with what is there, not with what is promised.
    let mut count = 0;
    while count < rows {
        let (read, ..) = reader.read_records(
            (rows - count).min(1 << 16),
            Some(&mut levels),
            None,
            &mut values,
        )?;
        if read == 0 {
            break;
        }
        count += read;
    }
    // A required column has no levels.
    if levels.is_empty() {
        levels = vec![0; count];
    }
    let most = levels.iter().copied().max().unwrap_or(0);
    let there = |level: i16| level == most && !values.is_empty();
    Ok((levels.into_iter().map(there).collect(), values))
}
