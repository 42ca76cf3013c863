//! What lies in a directory.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use swa_base::{Error, Result};

/// What a directory holds, one level deep, without hidden entries; links are followed.
pub(crate) struct Listing {
    /// Names of sub-folders, sorted as bytes.
    pub folders: Vec<OsString>,
    /// Names of regular files, sorted as bytes.
    pub files: Vec<OsString>,
}

impl Listing {
    /// # Errors
    /// `Usage` where `dir` is no directory, `Io` where it cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let meta = std::fs::metadata(dir).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::usage("no such directory").at(dir),
            _ => Error::io(dir, "read the directory", source),
        })?;
        if !meta.is_dir() {
            return Err(Error::usage("not a directory")
                .at(dir)
                .remedy("give the folder that holds it"));
        }
        let failed = |source| Error::io(dir, "list the directory", source);
        let mut listing = Listing { folders: vec![], files: vec![] };
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if is_hidden(&name) {
                continue;
            }
            match std::fs::metadata(dir.join(&name)) {
                Ok(meta) if meta.is_dir() => listing.folders.push(name),
                Ok(meta) if meta.is_file() => listing.files.push(name),
                // Devices, and links that lead nowhere.
                _ => {}
            }
        }
        listing.folders.sort();
        listing.files.sort();
        Ok(listing)
    }
}

/// The endings of image names, in any case. The decoder is chosen by content, not by these.
pub const EXTENSIONS: [&str; 9] =
    ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// The name without its image ending; None where it has none.
pub(crate) fn image_stem(name: &OsStr) -> Option<&[u8]> {
    // Not `Path::extension`: a name may consist of its ending alone.
    let name = name.as_encoded_bytes();
    let dot = name.iter().rposition(|&b| b == b'.')?;
    let ending = &name[dot + 1..];
    EXTENSIONS.iter().any(|e| ending.eq_ignore_ascii_case(e.as_bytes())).then_some(&name[..dot])
}

/// Whether a name begins with a dot.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
