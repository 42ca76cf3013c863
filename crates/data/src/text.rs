//! Text files of labels and classes, and numbers as people read them.

use std::path::Path;

use swa_base::{Error, Result};

/// The largest file of labels or classes that is read, in bytes.
const MAX_TEXT: u64 = 1 << 28;

/// Reads a file of labels or classes, without its byte order mark.
///
/// # Errors
/// `Usage` where there is no such file, `Limit` above [`MAX_TEXT`], `Input` for what is not UTF-8.
pub(crate) fn read(path: &Path) -> Result<String> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::usage("no such file").at(path),
        _ => Error::io(path, "read", source),
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_TEXT {
        return Err(Error::limit(format!("a file of {size} bytes, above {MAX_TEXT}")).at(path));
    }
    let text = String::from_utf8(std::fs::read(path).map_err(failed)?)
        .map_err(|_| Error::input("not a text file in UTF-8").at(path))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

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
