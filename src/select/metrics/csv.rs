//! Comma-separated values with a line of names: timm's `summary.csv`, Lightning's `metrics.csv`, fastai's and Keras'
//! logs, spreadsheets. Lightning writes a line for each time it logs, with the cells that were logged; the others
//! are empty, and here they are absent.

use std::path::Path;

use super::table::{Cell, Table};
use crate::{Error, Result};

/// Values are separated by what the first line has most of: commas, semicolons or tabs.
pub(super) fn read(text: &str, path: &Path) -> Result<Table> {
    let first = text.lines().next().unwrap_or_default();
    let count = |mark: u8| first.bytes().filter(|byte| *byte == mark).count();
    let delimiter = [b',', b';', b'\t'].into_iter().rev().max_by_key(|mark| count(*mark));
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter.unwrap_or(b','))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let wrong = |e: csv::Error| Error::input(format!("is no CSV: {e}")).at(path);
    let names = reader.headers().map_err(wrong)?.clone();
    let mut table = Table::default();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        // A trainer that is resumed writes the names again.
        if record == names {
            continue;
        }
        if record.len() > names.len() {
            let line = record.position().map_or(0, |position| position.line());
            let (n, m) = (record.len(), names.len());
            return Err(Error::input(format!(
                "line {line} has {n} values, the first one {m} names"
            ))
            .at(path));
        }
        let cells = names.iter().zip(&record);
        table.push(cells.filter_map(|(name, text)| Some((name, Cell::of_text(text)?))));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        read(text, Path::new("m.csv")).unwrap()
    }

    #[test]
    fn empty_cells_are_absent() {
        let text = "epoch,step,train_loss,val_loss\n0,49,0.7,\n0,99,,0.5\n";
        let table = table(text);
        assert_eq!(table.columns(), ["epoch", "step", "train_loss", "val_loss"]);
        let val = table.column("val_loss").unwrap();
        assert_eq!((table.number(0, val), table.number(1, val)), (None, Some(0.5)));
    }

    #[test]
    fn separators_spaces_and_quotes_are_understood() {
        for text in ["epoch;acc;note\n1; 0.5 ;x\n", "epoch\tacc\tnote\n1\t0.5\tx\n"] {
            let table = table(text);
            assert_eq!(table.number(0, 1), Some(0.5), "{text}");
        }
        let table = table("epoch,\"val, acc\",model\n3,nan,\"a,b.pt\"\n");
        assert!(table.number(0, table.column("val, acc").unwrap()).unwrap().is_nan());
        assert_eq!(table.text(0, 2), Some("a,b.pt"));
    }

    #[test]
    fn names_that_a_resumed_trainer_repeats_are_no_row() {
        let text = "epoch,top1\n0,50\nepoch,top1\n1,60\n";
        assert_eq!(table(text).len(), 2);
    }

    #[test]
    fn a_line_with_more_values_than_names_is_refused() {
        let error = read("epoch,a\n1,2\n1,2,3\n", Path::new("m.csv")).unwrap_err().to_string();
        assert_eq!(error, "`m.csv`: line 3 has 3 values, the first one 2 names");
        // Fewer: the rest is absent.
        assert_eq!(table("epoch,a\n1\n").number(0, 1), None);
    }
}
