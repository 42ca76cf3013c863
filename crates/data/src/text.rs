//! Text files of labels and classes, and numbers as people read them.

use std::path::Path;

use swa_base::{Error, Kind, Result};

/// The largest file of labels or classes that is read, in bytes.
const MAX_TEXT: u64 = 1 << 28;

/// Reads a file of labels or classes, without its byte order mark.
///
/// # Errors
/// `Usage` where there is no such file, `Limit` above [`MAX_TEXT`], `Unsupported` for a format that is known, `Input` for
/// other files that are no text.
pub(crate) fn read(path: &Path) -> Result<String> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::usage("no such file").at(path),
        _ => Error::io(path, "read", source),
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_TEXT {
        return Err(Error::limit(format!("a file of {size} bytes, above {MAX_TEXT}")).at(path));
    }
    of_bytes(std::fs::read(path).map_err(failed)?).map_err(|error| error.at(path))
}

/// UTF-8, or UTF-16 with its byte order mark, as spreadsheets write it.
fn of_bytes(bytes: Vec<u8>) -> Result<String> {
    let utf16 = |from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> =
            bytes[2..].as_chunks::<2>().0.iter().map(|&pair| from(pair)).collect();
        String::from_utf16(&units).map_err(|_| Error::input("not a text file in UTF-16"))
    };
    match bytes[..] {
        [0xff, 0xfe, _, _, ..] => return utf16(u16::from_le_bytes),
        [0xfe, 0xff, _, _, ..] => return utf16(u16::from_be_bytes),
        _ => {}
    }
    if let Some((_, name)) = BINARY.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err(Error::new(Kind::Unsupported, format!("{name}, not a text file"))
            .remedy("save its table as CSV"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::input("not a text file in UTF-8").remedy("save it as UTF-8"))?;
    if text.contains('\0') {
        return Err(Error::input("not a text file: it holds bytes of zero"));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

/// What people take for a label file, by its first bytes.
const BINARY: [(&[u8], &str); 8] = [
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"\x89HDF", "an HDF5 or MATLAB file"),
    (b"PK\x03\x04", "a zip file, such as an Excel workbook"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"PAR1", "a parquet file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x80", "a pickle"),
];

/// 50000 becomes "50,000".
pub(crate) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1281167, "1,281,167")];
        for (n, text) in cases {
            assert_eq!(grouped(n), text);
        }
    }
}
