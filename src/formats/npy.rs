//! The header of a NumPy array file: type, order and shape, as a Python dict in text; the values follow.
//!
//! Format: `numpy.lib.format`, versions 1 to 3 (NEP 1). The scanner knows the three keys and no other Python.

use std::ops::Range;

use crate::store::Source;
use crate::tensors::{Dtype, MAX_RANK};
use crate::{Error, Kind, Result};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header in bytes; NumPy's own limit is 10,000.
const MAX_TEXT: u64 = 100_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub values: Values,
    /// The first dimension varies fastest.
    pub fortran_order: bool,
    pub shape: Vec<u64>,
    /// The bytes of the source that follow the header: the values.
    pub data: Range<u64>,
}

/// What the values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    Numbers {
        dtype: Dtype,
        big_endian: bool,
    },
    /// A pickle in place of values.
    Objects,
    /// Numbers of a type that safetensors lacks, and why they cannot be read.
    Unreadable(String),
    /// Not numbers, but this.
    Other(&'static str),
}

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("bad NumPy header: {what}"))
        .remedy("the file is damaged: save or copy it again")
}

fn truncated() -> Error {
    Error::new(Kind::Truncated, "bad NumPy header: it is cut short")
        .remedy("the file is damaged: save or copy it again")
}

impl Header {
    /// Reads the header of the array that a part of a source is.
    pub fn read(source: &Source, within: Range<u64>) -> Result<Self> {
        let mut scratch = vec![];
        let head = source.read(within.start..within.end.min(within.start + 12), &mut scratch)?;
        let Some([major, minor, length @ ..]) = head.strip_prefix(MAGIC) else {
            return Err(bad("it does not begin as one"));
        };
        let (size, length) = match (*major, *minor, length) {
            (1, 0, [a, b, ..]) => (10, u16::from_le_bytes([*a, *b]) as u64),
            (2 | 3, 0, [a, b, c, d]) => (12, u32::from_le_bytes([*a, *b, *c, *d]) as u64),
            (1..=3, 0, _) => return Err(truncated()),
            _ => return Err(bad(format!("its version {major}.{minor} is not known"))),
        };
        if length > MAX_TEXT {
            let what = format!("its NumPy header has {length} bytes, the limit is {MAX_TEXT}");
            return Err(Error::limit(what));
        }
        let text = within.start + size..within.start + size + length;
        if text.end > within.end {
            return Err(truncated());
        }
        let data = text.end..within.end;
        let mut scratch = vec![];
        // Versions 1 and 2 are Latin-1, which matters for names of fields only.
        let text = String::from_utf8_lossy(source.read(text, &mut scratch)?);
        parse(&text, data)
    }
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`
fn parse(text: &str, data: Range<u64>) -> Result<Header> {
    let mut scanner = Scanner { rest: text };
    let (mut values, mut fortran_order, mut shape) = (None, None, None);
    scanner.expect('{')?;
    while !scanner.take('}') {
        let key = scanner.text()?;
        scanner.expect(':')?;
        let twice = match key {
            "descr" => values.replace(scanner.kind()?).is_some(),
            "fortran_order" => fortran_order.replace(scanner.truth()?).is_some(),
            "shape" => shape.replace(scanner.sizes()?).is_some(),
            _ => return Err(bad(format!("its key `{key}` is not known"))),
        };
        if twice {
            return Err(bad(format!("it has `{key}` twice")));
        }
        if !scanner.take(',') {
            scanner.expect('}')?;
            break;
        }
    }
    if !scanner.rest.trim().is_empty() {
        return Err(bad("text follows its dict"));
    }
    match (values, fortran_order, shape) {
        (Some(values), Some(fortran_order), Some(shape)) => {
            Ok(Header { values, fortran_order, shape, data })
        }
        _ => Err(bad("it lacks one of `descr`, `fortran_order` and `shape`")),
    }
}

/// A type by its code: byte order, kind, bytes per value.
fn kind(code: &str) -> Result<Values> {
    let unknown = || bad(format!("its type `{code}` is not known"));
    let big_endian = match code.chars().next() {
        Some('<' | '|') => false,
        Some('>') => true,
        _ => return Err(unknown()),
    };
    let dtype = match &code[1..] {
        "b1" => Dtype::BOOL,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "u1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "c8" => Dtype::C64,
        "c16" | "c24" | "c32" | "f12" | "f16" => {
            return Ok(Values::Unreadable(format!("of type `{code}`, which safetensors lacks")));
        }
        // NumPy drops the names of types that are not its own. Leaving such arrays out would break the model.
        "V1" | "V2" => {
            return Ok(Values::Unreadable(format!(
                "of type `{code}`, as NumPy saves bfloat16 and float8, which loses the type"
            )));
        }
        rest => {
            return match rest.chars().next() {
                Some('O') => Ok(Values::Objects),
                Some('S' | 'U' | 'a') => Ok(Values::Other("an array of texts")),
                Some('M' | 'm') => Ok(Values::Other("an array of times")),
                Some('V') => Ok(Values::Other("an array of raw bytes")),
                _ => Err(unknown()),
            };
        }
    };
    Ok(Values::Numbers { dtype, big_endian })
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(c);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn expect(&mut self, c: char) -> Result<()> {
        if self.take(c) { Ok(()) } else { Err(bad(format!("it has no `{c}` where one belongs"))) }
    }

    /// A string between quotes. Escapes are not decoded: no string that matters has any.
    fn text(&mut self) -> Result<&'a str> {
        let quote = if self.take('\'') { '\'' } else { '"' };
        if quote == '"' {
            self.expect('"')?;
        }
        let mut escaped = false;
        let ends = |c: char| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        };
        let end = self.rest.find(ends).ok_or_else(|| bad("a text in it does not end"))?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool> {
        let rest = self.rest.trim_start();
        let found = [("True", true), ("False", false)];
        let found = found.iter().find_map(|(text, truth)| Some((rest.strip_prefix(text)?, *truth)));
        let (rest, truth) =
            found.ok_or_else(|| bad("`fortran_order` is neither True nor False"))?;
        self.rest = rest;
        Ok(truth)
    }

    /// A tuple of sizes. Python 2 wrote an L after long ones.
    fn sizes(&mut self) -> Result<Vec<u64>> {
        let broken = || bad("its shape is no tuple of sizes");
        let mut sizes = vec![];
        let mut comma = true;
        self.expect('(')?;
        while !self.take(')') {
            if !comma {
                return Err(broken());
            }
            let rest = self.rest.trim_start();
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let size = rest[..digits].parse().map_err(|_| broken())?;
            let rest = &rest[digits..];
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            comma = self.take(',');
            sizes.push(size);
            if sizes.len() > MAX_RANK {
                return Err(bad(format!("it has more than {MAX_RANK} dimensions")));
            }
        }
        // Without a comma it is a number in parentheses, not a tuple.
        if sizes.len() == 1 && !comma { Err(broken()) } else { Ok(sizes) }
    }

    /// A type: a code, or a list of fields, which is skipped.
    fn kind(&mut self) -> Result<Values> {
        if !self.rest.trim_start().starts_with(['[', '(']) {
            return kind(self.text()?);
        }
        let mut depth = 0u32;
        loop {
            self.rest = self.rest.trim_start();
            let c = self.rest.chars().next().ok_or_else(|| bad("its type does not end"))?;
            if matches!(c, '\'' | '"') {
                self.text()?;
                continue;
            }
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '[' | '(' => depth += 1,
                // Cannot underflow: the first was an opening one.
                ']' | ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(Values::Other("an array of records"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The header of an array of version 1 with so many bytes of values.
    fn read(text: &str, values: usize) -> Result<Header> {
        let mut bytes = [MAGIC, &[1, 0], &(text.len() as u16).to_le_bytes()].concat();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + values, 0);
        of(&bytes)
    }

    fn of(bytes: &[u8]) -> Result<Header> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Header::read(&Source::open(file.path()).unwrap(), 0..bytes.len() as u64)
    }

    fn header(descr: &str, order: &str, shape: &str) -> String {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}   \n")
    }

    #[test]
    fn headers_are_read_as_numpy_reads_them() {
        let numbers = |dtype, big_endian| Values::Numbers { dtype, big_endian };
        let header = |descr, order, shape, size| read(&header(descr, order, shape), size).unwrap();
        let plain = header("'<f4'", "False", "(3, 4)", 48);
        assert_eq!(plain.values, numbers(Dtype::F32, false));
        assert_eq!((plain.fortran_order, plain.shape), (false, vec![3, 4]));
        assert_eq!(plain.data.end - plain.data.start, 48);
        let scalar = header("'|b1'", "False", "()", 1);
        assert_eq!((scalar.values, scalar.shape), (numbers(Dtype::BOOL, false), vec![]));
        let python_2 = header("\">i8\"", "True", "(3L,)", 24);
        assert_eq!(python_2.values, numbers(Dtype::I64, true));
        assert_eq!((python_2.fortran_order, python_2.shape), (true, vec![3]));
        assert_eq!(header("'<f2'", "False", "(3, 0)", 0).shape, [3, 0]);
        assert_eq!(header("'|O'", "False", "()", 9).values, Values::Objects);
        assert_eq!(header("'<U7'", "False", "(2,)", 56).values, Values::Other("an array of texts"));
        let records = "[('a]\\'', '<f4'), ('b', [('c', '|u1', (2,))])]";
        assert_eq!(
            header(records, "False", "(2,)", 12).values,
            Values::Other("an array of records")
        );
        assert!(matches!(header("'<c16'", "False", "()", 16).values, Values::Unreadable(_)));
        // bfloat16 by ml_dtypes.
        assert!(matches!(header("'<V2'", "False", "()", 2).values, Values::Unreadable(_)));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let shape = |shape| header("'<f4'", "False", shape);
        let bombs = [
            ("", 0, "no `{`"),
            ("{'descr': '<f4', 'fortran_order': False, }", 0, "lacks one"),
            ("{'descr': '<f4', 'descr': '<f4', }", 0, "twice"),
            ("{'descr': '<f4', 'shape': (), 'x': 1}", 0, "`x` is not known"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': ()} + 1", 4, "follows"),
            (&header("'f4'", "False", "()"), 4, "type `f4`"),
            (&header("'é4'", "False", "()"), 4, "is not known"),
            (&header("''", "False", "()"), 4, "is not known"),
            (&header("'<f3'", "False", "()"), 4, "is not known"),
            (&header("'<f4", "False", "()"), 4, "is not known"),
            (&header("'<f4'", "1", "()"), 4, "neither"),
            (&header(&"[".repeat(60_000), "False", "()"), 4, "does not end"),
            (&shape("(1)"), 4, "no tuple"),
            (&shape("(1 2)"), 8, "no tuple"),
            (&shape("(-1,)"), 4, "no tuple"),
            (&shape("(99999999999999999999,)"), 4, "no tuple"),
            (&shape(&format!("({})", "1, ".repeat(65))), 4, "dimensions"),
        ];
        for (text, size, expected) in bombs {
            let error = read(text, size).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:.80}: {error}");
        }
    }

    #[test]
    fn lengths_are_compared_with_the_file() {
        let v2 = |length: u32| [MAGIC, &[2, 0], &length.to_le_bytes(), b"{}"].concat();
        let cases = [
            (b"\x93NUMP".to_vec(), "begin"),
            (MAGIC.to_vec(), "begin"),
            ([MAGIC, &[1, 0, 9]].concat(), "cut short"),
            ([MAGIC, &[2, 0, 9, 0, 0]].concat(), "cut short"),
            ([MAGIC, &[4, 0, 9, 0, 0, 0]].concat(), "version 4.0"),
            ([MAGIC, &[1, 0, 9, 0]].concat(), "cut short"),
            (v2(3), "cut short"),
            (v2(u32::MAX), "limit"),
            (v2(2), "lacks one"),
        ];
        for (bytes, expected) in cases {
            let error = of(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_scanner(text in "[\\[\\](){}'\"\\\\,:0-9LTrueFalsdchpnotn_<f4|VOé ]{0,60}") {
            let _ = parse(&text, 0..0);
            let _ = parse(&header(&text, "False", "()"), 0..0);
            let _ = parse(&header("'<f4'", "False", &text), 0..0);
        }

        #[test]
        fn what_is_written_is_read(shape in prop::collection::vec(0u64..1000, 0..6), order: bool) {
            let tuple = shape.iter().map(|n| format!("{n},")).collect::<String>();
            let order_text = if order { "True" } else { "False" };
            let header = parse(&header("'<f4'", order_text, &format!("({tuple})")), 0..0).unwrap();
            prop_assert_eq!((header.shape, header.fortran_order), (shape, order));
        }
    }
}
