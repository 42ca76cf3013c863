//! The values of a row group: its labels, and the parts of the data that its rows belong to.

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::file::Chunks;
use crate::split::Split;
use swa_base::{Error, Kind, Result, setting};

/// In place of a label that is none.
pub(super) const NO_LABEL: u32 = u32::MAX;

/// The labels of a row group. `may_lack`: rows may be of another part of the data, and have none.
pub(super) fn read_labels(
    reader: &SerializedFileReader<Chunks>,
    group: usize,
    column: usize,
    rows: usize,
    may_lack: bool,
) -> parquet::errors::Result<Result<Vec<u32>>> {
    let group = reader.get_row_group(group)?;
    let (levels, values): (Vec<bool>, Vec<i64>) = match group.get_column_reader(column)? {
        ColumnReader::Int64ColumnReader(mut reader) => read_rows(&mut reader, rows)?,
        ColumnReader::Int32ColumnReader(mut reader) => {
            let (levels, values) = read_rows(&mut reader, rows)?;
            (levels, values.into_iter().map(i64::from).collect())
        }
        _ => unreachable!("`Columns` took a column of integers"),
    };
    if levels.len() != rows {
        let what = format!("labels of {} rows in a group of {rows}", levels.len());
        return Ok(Err(Error::new(Kind::Damaged, what)));
    }
    if may_lack {
        let mut values = values.into_iter();
        let mut label = |there: bool| if there { values.next()?.try_into().ok() } else { None };
        let labels = levels.into_iter().map(|there| label(there).unwrap_or(NO_LABEL));
        return Ok(Ok(labels.collect()));
    }
    if levels.iter().any(|there| !there) {
        return Ok(Err(Error::input("a row has no label")));
    }
    let label = |value: i64| {
        u32::try_from(value).map_err(|_| {
            let error = Error::input(format!("a label is {value}, expected 0 or more"));
            if value != -1 {
                return error;
            }
            error.remedy(concat!(
                "labels of -1 mark a test part without answers; give ",
                setting!("split", "val")
            ))
        })
    };
    Ok(values.into_iter().map(label).collect())
}

/// The parts of the data that the words of a column name.
pub(super) fn read_parts(
    reader: &SerializedFileReader<Chunks>,
    group: usize,
    column: usize,
    rows: usize,
) -> parquet::errors::Result<Result<Vec<Option<Split>>>> {
    let group = reader.get_row_group(group)?;
    let ColumnReader::ByteArrayColumnReader(mut reader) = group.get_column_reader(column)? else {
        unreachable!("`Columns` took a column of bytes");
    };
    let (levels, values) = read_rows(&mut reader, rows)?;
    if levels.len() != rows {
        let what = format!("parts of {} rows in a group of {rows}", levels.len());
        return Ok(Err(Error::new(Kind::Damaged, what)));
    }
    let mut values = values.into_iter();
    let part = |there: bool| match there {
        true => Split::of_word(std::str::from_utf8(values.next()?.data()).ok()?),
        false => None,
    };
    Ok(Ok(levels.into_iter().map(part).collect()))
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
