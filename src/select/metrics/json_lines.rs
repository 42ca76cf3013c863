//! An object a line, as MMEngine, Weights & Biases and many scripts log; or all of them in one list.

use std::path::Path;

use serde_json::Value;

use super::json::{cells, parse};
use super::table::Table;
use crate::{Error, Result, json};

/// Of lines. One at the end that is not complete, as a trainer leaves it that is writing or was killed, is left out
/// and noted.
pub(super) fn read(text: &str, path: &Path, notes: &mut Vec<String>) -> Result<Table> {
    let mut table = Table::default();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match parse(line.trim_end()) {
            Ok(Value::Object(object)) => table.push(cells(&object)),
            Err(e) if e.is_eof() && !line.ends_with('\n') && number > 0 => {
                notes.push(format!(
                    "`{}`: its last line is not complete and was left out",
                    path.display()
                ));
            }
            Ok(_) => {
                return Err(Error::input(format!("line {} is no JSON object", number + 1)).at(path));
            }
            Err(e) => {
                return Err(Error::input(json::what(&e, number + 1)).at(path).remedy(
                    "give CSV with a line of names, an object a line, or a trainer_state.json",
                ));
            }
        }
    }
    Ok(table)
}

/// Of a list.
pub(super) fn of_list(list: &[Value], path: &Path) -> Result<Table> {
    let mut table = Table::default();
    for (number, item) in list.iter().enumerate() {
        let Value::Object(object) = item else {
            return Err(
                Error::input(format!("item {} of its list is no object", number + 1)).at(path)
            );
        };
        table.push(cells(object));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_row_and_an_incomplete_one_at_the_end_is_none() {
        let mut notes = vec![];
        let text =
            "{\"epoch\": 1, \"acc\": 0.5}\n\n{\"epoch\": 2, \"acc\": NaN}\n{\"epoch\": 3, \"a";
        let table = read(text, Path::new("m"), &mut notes).unwrap();
        assert_eq!((table.len(), table.number(0, 1)), (2, Some(0.5)));
        assert_eq!(notes, ["`m`: its last line is not complete and was left out"]);
        // Elsewhere it is an error.
        for (bad, expected) in [
            ("{\"a\": 1}\n{\"a\n{\"a\": 2}\n", "EOF while parsing a string at line 2 column 3"),
            ("{\"a\": 1}\n{\"a\n", "EOF while parsing a string at line 2 column 3"),
            ("{\"a\": 1}\n[2]\n", "`m`: line 2 is no JSON object"),
            ("{\"a", "EOF while parsing a string at line 1 column 3"),
        ] {
            let error = read(bad, Path::new("m"), &mut notes).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
