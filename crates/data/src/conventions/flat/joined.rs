//! Labels by the numbers of images, as Caltech's birds (CUB-200) have them: `image_class_labels.txt` holds the number of
//! each image and that of its class, `images.txt` beside it the number of each image and its path. In
//! `train_test_split.txt` training images have a 1.

use std::collections::HashMap;
use std::path::Path;

use super::table::{Separator, Table};
use swa_base::{Error, Result, look, text_file};

/// The table of paths, labels and parts; None where there is no `images.txt`.
pub(super) fn read(labels: &str, path: &Path) -> Result<Option<Table>> {
    let names = path.with_file_name("images.txt");
    if names == path || !look::is_file(&names)? {
        return Ok(None);
    }
    let Ok(labels) = Table::of_text(labels, Separator::Blanks) else { return Ok(None) };
    if labels.width != 2 {
        return Ok(None);
    }
    let names = by_number(&names)?;
    let parts = path.with_file_name("train_test_split.txt");
    let parts = if look::is_file(&parts)? { Some(by_number(&parts)?) } else { None };
    let mut table = Table::default();
    for row in 0..labels.rows() {
        let (number, line) = (labels.cell(row, 0), labels.lines[row]);
        let missing = |file: &str| {
            Error::input(format!("line {line}: image {number} is not in `{file}` beside it"))
        };
        let name = names.get(number).ok_or_else(|| missing("images.txt"))?;
        let mut cells = vec![name.as_str(), labels.cell(row, 1)];
        if let Some(parts) = &parts {
            let part = parts.get(number).ok_or_else(|| missing("train_test_split.txt"))?;
            cells.push(if part == "1" { "train" } else { "test" });
        }
        table.push(line, cells.into_iter())?;
    }
    let headings = ["image", "label", "split"][..table.width].iter();
    table.headings = Some(headings.map(|heading| heading.to_string()).collect());
    Ok(Some(table))
}

fn by_number(path: &Path) -> Result<HashMap<String, String>> {
    let text = text_file::read(path)?;
    let table = Table::of_text(&text, Separator::Blanks).map_err(|error| error.at(path))?;
    let mut found = HashMap::with_capacity(table.rows());
    for row in 0..table.rows() {
        let (number, value) = (table.cell(row, 0).to_string(), table.cell(row, 1).to_string());
        if found.insert(number, value).is_some() {
            let (line, number) = (table.lines[row], table.cell(row, 0));
            return Err(Error::input(format!("line {line}: image {number} a second time")).at(path));
        }
    }
    Ok(found)
}
