//! What lies in a directory.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use swa_base::{Error, Result, look};

/// What a directory holds, one level deep, without hidden entries and litter; links are followed.
pub(crate) struct Listing {
    /// Names of sub-folders, sorted as bytes.
    pub folders: Vec<OsString>,
    /// Names of regular files, sorted as bytes; also of links with an image's ending that lead nowhere.
    pub files: Vec<OsString>,
    /// Names of other links that lead nowhere.
    pub dangling: Vec<OsString>,
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
        let mut listing = Listing { folders: vec![], files: vec![], dangling: vec![] };
        for name in look::names(dir).map_err(failed)? {
            if is_hidden(&name) || is_litter(&name) {
                continue;
            }
            match std::fs::metadata(dir.join(&name)) {
                Ok(meta) if meta.is_dir() => listing.folders.push(name),
                Ok(meta) if meta.is_file() => listing.files.push(name),
                Err(e) if !look::leads_nowhere(&e) => {
                    return Err(Error::io(&dir.join(&name), "look at", e));
                }
                // It is an error only when its image is asked for.
                Err(_) if any_image_stem(&name).is_some() => listing.files.push(name),
                Err(_) => listing.dangling.push(name),
                // Devices.
                Ok(_) => {}
            }
        }
        listing.dangling.sort();
        listing.folders.sort();
        listing.files.sort();
        Ok(listing)
    }
}

/// The endings of image names, in any case. The decoder is chosen by content, not by these.
pub const EXTENSIONS: [&str; 9] =
    ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// An ending of images that `ImageFolder` passes over.
pub(crate) const GIF: &str = "gif";

/// The name without its image ending, which may be [`GIF`], too; None where it has none.
pub(crate) fn any_image_stem(name: &OsStr) -> Option<&[u8]> {
    let stem = || {
        let name = name.as_encoded_bytes();
        let at = name.len().checked_sub(GIF.len() + 1)?;
        let ending = name[at..].strip_prefix(b".")?;
        ending.eq_ignore_ascii_case(GIF.as_bytes()).then_some(&name[..at])
    };
    image_stem(name).or_else(stem)
}

/// The name without its image ending; None where it has none.
pub(crate) fn image_stem(name: &OsStr) -> Option<&[u8]> {
    // Not `Path::extension`: a name may consist of its ending alone.
    let name = name.as_encoded_bytes();
    let dot = name.iter().rposition(|&b| b == b'.')?;
    let ending = &name[dot + 1..];
    EXTENSIONS.iter().any(|e| ending.eq_ignore_ascii_case(e.as_bytes())).then_some(&name[..dot])
}

/// Whether what failed is a link that leads nowhere, or to itself.
pub(crate) fn is_dead_link(path: &Path, failed: &std::io::Error) -> bool {
    // What nobody may look at may well be there.
    let is_hidden = failed.kind() == std::io::ErrorKind::PermissionDenied;
    !is_hidden && look::leads_nowhere(failed) && path.is_symlink()
}

/// Whether a name begins with a dot.
pub(crate) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether archivers, file servers or file systems made it, not people.
pub(crate) fn is_litter(name: &OsStr) -> bool {
    const LITTER: [&str; 9] = [
        "__MACOSX",
        "__pycache__",
        "@eaDir",
        "#recycle",
        "#snapshot",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        "Thumbs.db",
    ];
    LITTER.iter().any(|litter| name == *litter)
}
