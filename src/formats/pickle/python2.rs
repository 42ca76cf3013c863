//! The two ways in which protocol 0 writes a string on a line.

/// What Python 2's `repr` made of a `str`, back to its bytes. None where it is no such thing.
pub(super) fn string(line: &[u8]) -> Option<Vec<u8>> {
    let (&quote, rest) = line.split_first()?;
    let (&end, inner) = rest.split_last()?;
    if quote != end || !matches!(quote, b'\'' | b'"') {
        return None;
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match *rest.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => hex(&[*rest.next()?, *rest.next()?])? as u8,
            escaped @ (b'\\' | b'\'' | b'"') => escaped,
            _ => return None,
        });
    }
    Some(out)
}

/// Python's `raw-unicode-escape`: Latin-1, and `\uXXXX` or `\UXXXXXXXX` for all else.
pub(super) fn unicode(line: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match after.first() {
            Some(b'u') if byte == b'\\' => 4,
            Some(b'U') if byte == b'\\' => 8,
            // A backslash alone stands for itself, and so does one after it.
            Some(b'\\') if byte == b'\\' => {
                out.push_str("\\\\");
                rest = &after[1..];
                continue;
            }
            _ => 0,
        };
        if digits == 0 {
            out.push(byte.into());
            rest = after;
            continue;
        }
        let code = hex(after.get(1..1 + digits)?)?;
        // A lone surrogate is no character.
        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &after[1 + digits..];
    }
    Some(out)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |sum, &digit| Some(sum << 4 | char::from(digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_those_of_python_2() {
        // repr of the bytes, Python 2.7.
        let cases: [(&[u8], &[u8]); 4] = [
            (b"'data'", b"data"),
            (b"'\\x00\\xff a\\n\\t\\r\\\\'", b"\0\xff a\n\t\r\\"),
            (b"\"it's\"", b"it's"),
            (b"'it\\'s \"'", b"it's \""),
        ];
        for (line, bytes) in cases {
            assert_eq!(string(line).as_deref(), Some(bytes));
        }
        for line in [&b"'"[..], b"", b"data", b"'a\"", b"'\\x0'", b"'\\q'", b"'a\\'"] {
            assert_eq!(string(line), None, "{line:?}");
        }
    }

    #[test]
    fn unicode_lines_are_latin_1_with_escapes() {
        // '\u20ac\xe9 \n\\'.encode('raw-unicode-escape'), with what pickle escapes beside.
        assert_eq!(unicode(b"\\u20ac\xe9 \\u000a\\u005c").unwrap(), "\u{20ac}\u{e9} \n\\");
        assert_eq!(unicode(b"\\U0001f600\\ud800").unwrap(), "\u{1f600}\u{fffd}");
        assert_eq!(unicode(b"\\\\u0041\\\\\\u0041").unwrap(), "\\\\u0041\\\\A");
        assert_eq!((unicode(b"\\u12"), unicode(b"\\uzzzz")), (None, None));
    }
}
