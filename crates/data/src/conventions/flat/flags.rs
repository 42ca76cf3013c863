//! Columns that say of each image whether it is of a class, a column a class.

use super::value::Value;

/// Whether a cell says that the image is of the column's class: 1 or 0, `True` or `False`, `yes` or `no`, a cross or nothing,
/// 1 or -1. None: it says neither.
pub(super) fn mark(cell: &str) -> Option<bool> {
    match Value::of_flag(cell) {
        Value::Whole(1) => Some(true),
        Value::Whole(0 | -1) | Value::Empty => Some(false),
        Value::Word(word) => match &word.to_lowercase()[..] {
            "x" | "yes" | "y" | "t" | "✓" | "✔" => Some(true),
            "no" | "n" | "f" | "-" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// How such a cell is written: of one table, all that say yes are written alike, and all that say no.
pub(super) fn spelling(cell: &str) -> String {
    match Value::of_flag(cell) {
        Value::Whole(n) => n.to_string(),
        Value::Empty => String::new(),
        _ => cell.to_lowercase(),
    }
}

/// Whether a cell says yes or no in a column that says of which part of the data a row is.
pub(super) fn answer(cell: &str) -> Option<bool> {
    mark(cell)
        .filter(|_| !matches!(Value::of_flag(cell), Value::Empty | Value::Whole(-1)) && cell != "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_yes_or_no() {
        for cell in ["1", "1.0", "True", "x", "X", "yes", "Y"] {
            assert_eq!((mark(cell), answer(cell)), (Some(true), Some(true)), "{cell}");
        }
        for cell in ["0", "0.0", "false", "No"] {
            assert_eq!((mark(cell), answer(cell)), (Some(false), Some(false)), "{cell}");
        }
        for cell in ["", "-1", "NaN", "-"] {
            assert_eq!((mark(cell), answer(cell)), (Some(false), None), "{cell}");
        }
        for cell in ["2", "0.5", "cat", "maybe", "[1]"] {
            assert_eq!(mark(cell), None, "{cell}");
        }
    }
}
