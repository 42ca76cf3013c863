//! Tables that people and trainers write: labels, classes, metrics, weights.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::{Error, Kind, Result};

/// The largest file that is read, in bytes.
const MAX_SIZE: u64 = 1 << 28;

/// Reads a text file, or a pipe to its end, without a byte order mark: UTF-8, or UTF-16 with its mark, as spreadsheets and
/// PowerShell write it.
///
/// # Errors
/// `Usage` where there is no such file, or a folder; `Limit` above 256 MB; `Unsupported` for a format that is known,
/// `Input` for other files that are no text; `Io`.
pub fn read(path: &Path) -> Result<String> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::usage("no such file").at(path),
        ErrorKind::IsADirectory => {
            Error::usage("is a folder").at(path).remedy("name the file in it")
        }
        _ => Error::io(path, "read", source),
    };
    let mut bytes = vec![];
    // A device or a pipe has no size that could be asked for before.
    File::open(path)
        .and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(Error::limit(format!("a text of more than {MAX_SIZE} bytes")).at(path));
    }
    of_bytes(bytes).map_err(|error| error.at(path))
}

fn of_bytes(bytes: Vec<u8>) -> Result<String> {
    let utf16 = |from: fn([u8; 2]) -> u16| {
        let wrong = || Error::input("not a text file in UTF-16");
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|&pair| from(pair)).collect();
        match rest {
            [] => String::from_utf16(&units).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    };
    let text = match bytes[..] {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes)?,
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes)?,
        _ => {
            if let Some((_, name)) = BINARY.iter().find(|(start, _)| bytes.starts_with(start)) {
                return Err(Error::new(Kind::Unsupported, format!("{name}, not a text file"))
                    .remedy("save its table as CSV"));
            }
            String::from_utf8(bytes)
                .map_err(|_| Error::input("not a text file in UTF-8").remedy("save it as UTF-8"))?
        }
    };
    if text.contains('\0') {
        return Err(Error::input("not a text file: it holds bytes of zero"));
    }
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

/// What people take for a text file, by its first bytes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_other_files_named() {
        let text = |bytes: &[u8]| of_bytes(bytes.to_vec());
        for bytes in [&b"\xff\xfea\0,\0"[..], b"\xfe\xff\0a\0,", b"\xef\xbb\xbfa,", b"a,"] {
            assert_eq!(text(bytes).unwrap(), "a,");
        }
        assert_eq!(text(b"\xff\xfe").unwrap(), "");
        let wrong: [(&[u8], &str); 6] = [
            (b"\xff\xfea\0,", "not a text file in UTF-16"),
            (b"\xff\xfe\0\xd8a\0", "not a text file in UTF-16"),
            (b"\xff\xfe\0\0a\0\0\0", "bytes of zero"),
            (b"caf\xe9", "not a text file in UTF-8; save it as UTF-8"),
            (b"PK\x03\x04", "a zip file, such as an Excel workbook, not a text file"),
            (b"a,\0", "bytes of zero"),
        ];
        for (bytes, what) in wrong {
            let error = text(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn what_is_no_file_is_named_and_what_never_ends_is_ended() {
        let error = |path: &str| read(Path::new(path)).unwrap_err();
        assert_eq!((error("/dev").kind(), error("/dev/no").kind()), (Kind::Usage, Kind::Usage));
        assert_eq!(error("/dev/zero").kind(), Kind::Limit);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), "");
    }
}
