//! Labels that are numbers, or several of them, though they are written as words.

/// Whether a cell holds several numbers, with blanks, commas, semicolons or brackets between them: `1 0 0`, `(1, 0, 0)`.
pub(super) fn are_several(cell: &str) -> bool {
    let is_between = |c: char| c.is_whitespace() || "()[]{},;".contains(c);
    let mut words = cell.split(is_between).filter(|word| !word.is_empty()).peekable();
    let is_number = |word: &str| {
        word.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
            && word.parse::<f64>().is_ok()
    };
    let mut count = 0;
    words.all(|word| {
        count += 1;
        is_number(word)
    }) && count > 1
}

/// How many numbers a cell like `1-0-0` holds, all of them 0 or 1: an image's place in a column for each class.
pub(super) fn vector(cell: &str) -> Option<usize> {
    let words = cell.split(|c: char| c.is_whitespace() || "-_/:|&+".contains(c));
    let mut count = 0;
    for word in words {
        if !["0", "1", "0.0", "1.0"].contains(&word) {
            return None;
        }
        count += 1;
    }
    Some(count).filter(|&count| count > 1)
}

/// What programs write around a number when they print it instead of its value.
const WRAPPERS: &[&str] = &[
    "tensor",
    "longtensor",
    "inttensor",
    "array",
    "asarray",
    "int",
    "int_",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "long",
    "float",
    "float16",
    "float32",
    "float64",
    "double",
    "scalar",
    "str",
    "str_",
    "decimal",
    "eagertensor",
];

/// Whether a cell is a whole number within marks, wrappers or characters that are not seen: `'10'`, `tensor(10)`, `(10,)`,
/// `="10"`, and digits of other scripts.
pub(super) fn is_wrapped_number(cell: &str) -> bool {
    let mut rest = cell;
    loop {
        rest = rest.trim_matches(is_wrapping);
        if is_whole(rest) {
            return true;
        }
        // TensorFlow's `<tf.Tensor: shape=(), dtype=int64, numpy=10>`, Python's `b'10'`, and calls.
        rest = if let Some((_, number)) = rest.split_once("numpy=") {
            number.trim_end_matches('>')
        } else if let Some(bytes) =
            rest.strip_prefix(['b', 'u']).filter(|b| b.starts_with(['\'', '"']))
        {
            bytes
        } else if let Some((name, inner)) = rest.split_once('(') {
            let name = name.rsplit('.').next().unwrap_or_default().trim().to_ascii_lowercase();
            if !WRAPPERS.contains(&&name[..]) {
                return false;
            }
            inner.split(',').next().unwrap_or_default()
        } else {
            return false;
        };
    }
}

/// Quotation marks, brackets, what separates cells, and what is not seen.
fn is_wrapping(c: char) -> bool {
    c.is_whitespace()
        || "'\"`´‘’‚“”„‹›«»′″()[]{},;:=".contains(c)
        || matches!(
            c,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// Digits of any script, with a sign and noughts behind a point.
fn is_whole(text: &str) -> bool {
    let text = text.trim_start_matches(['-', '+', '−', '－', '＋']);
    let (digits, noughts) = text.split_once(['.', '．']).unwrap_or((text, ""));
    // Roman numbers and fractions are no digits.
    let is_digit =
        |c: char| c.is_numeric() && !matches!(c, '\u{80}'..='\u{ff}' | '\u{2150}'..='\u{218f}');
    !digits.is_empty() && digits.chars().all(is_digit) && noughts.chars().all(|c| "0０".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_known_in_any_clothes() {
        for cell in [
            "tensor(10)",
            "torch.tensor([10])",
            "tensor(10, device='cuda:0')",
            "'10'",
            "\"10\"",
            "=\"10\"",
            "np.int64(10)",
            "(10,)",
            "\u{200b}10",
            "10\u{200b}",
            "１０",
            "١٠",
            "b'10'",
            "‘10’",
            "[10.0",
            "array([10],
            dtype=int64)",
            "<tf.Tensor: shape=(), dtype=int64, numpy=10>",
            "'-1'",
            ":10",
            "numpy.float32(10.0)",
        ] {
            assert!(is_wrapped_number(cell), "{cell}");
        }
        for cell in [
            "cat",
            "'cat'",
            "class 10",
            "c10",
            "MD-11",
            "A320",
            "737-200",
            "1000-foot",
            "10 downing street",
            "Ⅱ",
            "½",
            "10%",
            "$10",
            "Boeing (10)",
            "tensor(x)",
            "()",
            "",
            "10.5",
            "no. 10",
            "10a",
            "int(",
            "b",
            "2020:10",
        ] {
            assert!(!is_wrapped_number(cell), "{cell}");
        }
    }

    #[test]
    fn several_numbers_are_told_from_names() {
        for cell in
            ["1 0 0", "(1, 0, 0)", "1;0;0", "1.0 0.0 0.0", "0 1", "12 -7", "(25, 32)", "1,0;0"]
        {
            assert!(are_several(cell), "{cell}");
        }
        for cell in
            ["1", "(10,)", "24 hours", "737-200", "1-0-0", "", "10 downing street", "7 up 3", "- 1"]
        {
            assert!(!are_several(cell), "{cell}");
        }
        for (cell, count) in
            [("1-0-0", Some(3)), ("0/1", Some(2)), ("1_0", Some(2)), ("1.0|0.0", Some(2))]
        {
            assert_eq!(vector(cell), count, "{cell}");
        }
        for cell in ["1", "737-200", "0-2", "1-0-", "a-0", ""] {
            assert_eq!(vector(cell), None, "{cell}");
        }
    }
}
