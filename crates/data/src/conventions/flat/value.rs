//! What a cell of a label file holds: a number, a word, or what is no label.

use super::wrapped;

/// What a cell holds, as far as labels are concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Empty,
    /// A whole number, also written as `3.0` or `3,0`.
    Whole(i64),
    Fraction(f64),
    /// Digits and commas that may be thousands, a fraction or several numbers.
    Unclear,
    /// A list or an object of JSON, or several numbers.
    Nested,
    Word(&'a str),
}

impl<'a> Value<'a> {
    pub fn of(cell: &'a str) -> Self {
        let first = cell.bytes().next();
        match first {
            None => return Value::Empty,
            Some(b'[' | b'{') => return Value::Nested,
            Some(b'(') if wrapped::are_several(cell) => return Value::Nested,
            Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'n' | b'N') => {}
            Some(_) => return Value::Word(cell),
        }
        if ["nan", "na", "n/a", "null", "none"].iter().any(|empty| cell.eq_ignore_ascii_case(empty))
        {
            return Value::Empty;
        }
        let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            // What does not fit is larger than any number of classes.
            return Value::Whole(cell.parse().unwrap_or(i64::MAX));
        }
        if digits.contains(',') && digits.bytes().all(|b| b.is_ascii_digit() || b",. ".contains(&b))
        {
            return Value::with_comma(cell);
        }
        let number = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        match cell.parse::<f64>() {
            Ok(x) if number && x.fract() == 0.0 && x.abs() < 2f64.powi(53) => {
                Value::Whole(x as i64)
            }
            Ok(x) if number => Value::Fraction(x),
            _ if wrapped::are_several(cell) => Value::Nested,
            _ => Value::Word(cell),
        }
    }

    /// Digits with commas: a fraction where it can be nothing else. `1,000` may be a thousand.
    fn with_comma(cell: &'a str) -> Self {
        let is_fraction = cell.split_once(',').is_some_and(|(before, after)| {
            let after_is_whole = !after.is_empty() && after.bytes().all(|b| b.is_ascii_digit());
            before.bytes().all(|b| !b", .".contains(&b)) && after_is_whole && after.len() != 3
        });
        match is_fraction.then(|| cell.replace(',', ".").parse::<f64>()) {
            Some(Ok(x)) if x.fract() == 0.0 && x.abs() < 2f64.powi(53) => Value::Whole(x as i64),
            Some(Ok(x)) => Value::Fraction(x),
            _ => Value::Unclear,
        }
    }

    /// The same, where a column says of each image whether it is of a class: pandas writes `True` and `False`.
    pub fn of_flag(cell: &'a str) -> Self {
        match () {
            () if cell.eq_ignore_ascii_case("true") => Value::Whole(1),
            () if cell.eq_ignore_ascii_case("false") => Value::Whole(0),
            () => Value::of(cell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_look_like() {
        for (cell, value) in [
            ("", Value::Empty),
            ("NaN", Value::Empty),
            ("N/A", Value::Empty),
            ("7", Value::Whole(7)),
            ("-2", Value::Whole(-2)),
            ("3.0", Value::Whole(3)),
            ("1e0", Value::Whole(1)),
            ("0.25", Value::Fraction(0.25)),
            ("99999999999999999999", Value::Whole(i64::MAX)),
            ("747-200", Value::Word("747-200")),
            ("n01440764", Value::Word("n01440764")),
            ("nv", Value::Word("nv")),
            ("red fox", Value::Word("red fox")),
            ("[1, 2]", Value::Nested),
            ("1 0 0", Value::Nested),
            ("(1, 0, 0)", Value::Nested),
            ("(none)", Value::Word("(none)")),
            ("-", Value::Word("-")),
            ("inf", Value::Word("inf")),
            ("10,0", Value::Whole(10)),
            ("-1,0", Value::Whole(-1)),
            ("7,00", Value::Whole(7)),
            ("0,25", Value::Fraction(0.25)),
            ("1,000", Value::Unclear),
            ("1,234,567", Value::Unclear),
            ("1.234,5", Value::Unclear),
            ("3, 4", Value::Unclear),
            ("7,", Value::Unclear),
            ("3, of many", Value::Word("3, of many")),
            ("True", Value::Word("True")),
        ] {
            assert_eq!(Value::of(cell), value, "{cell}");
        }
        let flags = ["True", "FALSE", "1", "0.5"].map(Value::of_flag);
        let expected = [Value::Whole(1), Value::Whole(0), Value::Whole(1), Value::Fraction(0.5)];
        assert_eq!(flags, expected);
    }
}
