use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;

/// Writes a file of an image, a label and a word in each row.
fn write(path: &Path, column: &str, rows: &[(i64, Option<&str>)]) {
    let schema = format!(
        "message m {{ required group image {{ required binary bytes; }} required int64 label; optional binary {column} (STRING); }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut file =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    let images: Vec<ByteArray> = rows
        .iter()
        .map(|(label, _)| {
            ByteArray::from(format!("P5 1 1 255\n{}", *label as u8 as char).as_bytes().to_vec())
        })
        .collect();
    let labels: Vec<i64> = rows.iter().map(|(label, _)| *label).collect();
    let words: Vec<ByteArray> = rows
        .iter()
        .filter_map(|(_, word)| Some(ByteArray::from(word.as_ref()?.as_bytes().to_vec())))
        .collect();
    let levels: Vec<i16> = rows.iter().map(|(_, word)| i16::from(word.is_some())).collect();
    let mut next = group.next_column().unwrap().unwrap();
    next.typed::<ByteArrayType>().write_batch(&images, None, None).unwrap();
    next.close().unwrap();
    let mut next = group.next_column().unwrap().unwrap();
    next.typed::<Int64Type>().write_batch(&labels, None, None).unwrap();
    next.close().unwrap();
    let mut next = group.next_column().unwrap().unwrap();
    next.typed::<ByteArrayType>().write_batch(&words, Some(&levels), None).unwrap();
    next.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
}

fn open_part(dir: &Path, split: Split) -> std::result::Result<Vec<usize>, String> {
    let set =
        Options { split, ..Options::default() }.open(dir).map_err(|error| error.to_string())?;
    Ok((0..set.len())
        .map(|i| {
            // The image is that of the row.
            assert_eq!(usize::from(set.image(i).unwrap().pixels[0]), set.label(i));
            set.label(i)
        })
        .collect())
}

#[test]
fn a_column_of_parts_chooses_the_rows() {
    let rows = |words: [Option<&'static str>; 6]| -> Vec<(i64, Option<&str>)> {
        [2, 7, 1, 0, 5, 3].into_iter().zip(words).collect()
    };
    let [train, val, test] = ["train", "validation", "Test"].map(Some);
    for column in ["split", "subset", "data_split"] {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a.parquet"), column, &rows([train, train, val, val, test, test]));
        write(&dir.path().join("b.parquet"), column, &rows([test, train, test, val, train, val]));
        for (split, labels) in [
            (Split::Train, vec![2, 7, 7, 5]),
            (Split::Val, vec![1, 0, 0, 3]),
            (Split::Test, vec![5, 3, 2, 1]),
        ] {
            assert_eq!(open_part(dir.path(), split), Ok(labels), "{column}");
        }
        let both = open_part(dir.path(), Split::HeldOut).unwrap_err();
        assert!(both.contains("a validation and a test part are both there"), "{both}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    // Of one value there is nothing to choose; of others it is not known what they say.
    write(&path, "split", &rows([Some("a"); 6]));
    assert_eq!(open_part(dir.path(), Split::HeldOut), Ok(vec![2, 7, 1, 0, 5, 3]));
    for words in [[Some("a"), Some("b")], [Some("0"), Some("2")], [Some("a"), None]] {
        let [first, rest] = words;
        write(&path, "split", &rows([first, rest, rest, rest, rest, rest]));
        let error = open_part(dir.path(), Split::HeldOut).unwrap_err();
        assert!(error.contains("is no known part; write train, val or test there"), "{error}");
    }
    write(&path, "caption", &rows([train, train, val, val, test, Some("a test")]));
    assert_eq!(open_part(dir.path(), Split::HeldOut), Ok(vec![2, 7, 1, 0, 5, 3]));
    // Each word is one of a part, whatever the heading is, unless the file's name says which part it is.
    write(&path, "origin", &rows([train, train, val, val, test, test]));
    assert_eq!(open_part(dir.path(), Split::Val), Ok(vec![1, 0]));
    let named = tempfile::tempdir().unwrap();
    let rows_of_one = rows([train, train, train, train, train, train]);
    write(&named.path().join("test-00000.parquet"), "origin", &rows_of_one);
    assert_eq!(open_part(named.path(), Split::Test), Ok(vec![2, 7, 1, 0, 5, 3]));
    // By numbers, or yes and no.
    let [yes, no] = ["True", "False"].map(Some);
    for (heading, answers) in [("is_train", [no, yes]), ("Is_Valid", [yes, no])] {
        let [held_out, other] = answers;
        write(&path, heading, &rows([held_out, other, held_out, other, other, other]));
        assert_eq!(open_part(dir.path(), Split::HeldOut), Ok(vec![2, 1]), "{heading}");
        assert_eq!(open_part(dir.path(), Split::Train), Ok(vec![7, 0, 5, 3]), "{heading}");
    }
    let [zero, one, two] = ["0", "1", "2"].map(Some);
    write(&path, "partition", &rows([zero, zero, one, one, two, two]));
    assert_eq!(open_part(dir.path(), Split::Val), Ok(vec![1, 0]));
    write(&path, "partition", &rows([train, train, val, val, test, test]));
    assert_eq!(open_part(dir.path(), Split::Val), Ok(vec![1, 0]));
    // Some rows alone, in one file or in the next.
    write(&path, "split", &rows([train, train, val, val, None, None]));
    let error = open_part(dir.path(), Split::Val).unwrap_err();
    let what =
        "the column `split` says to which part of the data rows belong, and `` is no known part";
    assert!(error.contains(what), "{error}");
    write(&path, "split", &rows([train, train, val, val, test, test]));
    write(&dir.path().join("b.parquet"), "caption", &[(1, None)]);
    let error = open_part(dir.path(), Split::Val).unwrap_err();
    assert!(error.contains(what), "{error}");
    std::fs::remove_file(dir.path().join("b.parquet")).unwrap();
    // Only rows that count need a label.
    write(&path, "split", &[(1, val), (-1, test), (2, val)]);
    assert_eq!(open_part(dir.path(), Split::Val), Ok(vec![1, 2]));
    let error = open_part(dir.path(), Split::Test);
    assert!(error.unwrap_err().contains("row 1 has no label from 0 on"));
}

#[test]
fn files_that_the_names_promise_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = |n: usize| dir.path().join(format!("test-{n:05}-of-00003.parquet"));
    write(&file(0), "caption", &[(1, None)]);
    write(&file(2), "caption", &[(0, None)]);
    let error = open_part(dir.path(), Split::HeldOut).unwrap_err();
    let what = "1 of 3 files are missing: the names of the others say how many there are";
    assert!(error.contains(what) && error.contains("`test-00001-of-00003`"), "{error}");
    write(&file(1), "caption", &[(2, None)]);
    assert_eq!(open_part(dir.path(), Split::HeldOut), Ok(vec![1, 2, 0]));
}
