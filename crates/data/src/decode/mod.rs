//! A file becomes 8-bit RGB, the same bytes as Pillow's `Image.open(file).convert("RGB")`.
//!
//! The format is decided by content, never by name. Where Pillow accepts broken data and fills the
//! gap (a JPEG whose scan ends early but properly, a PNG with a wrong checksum), this refuses; what
//! Pillow refuses is refused. EXIF rotation is not applied, as in torchvision's loader, except to
//! TIFF, which Pillow itself turns.

mod bmp;
mod cmyk;
mod gif;
mod jpeg;
mod jpeg_headers;
mod png;
mod pnm;
mod tiff;
mod webp;

use std::path::Path;

use crate::image::{Image, MAX_PIXELS};
use crate::listing::is_dead_link;
use swa_base::text::printable;
use swa_base::{Error, Kind, Result, panics};

/// The largest file that is read, in bytes: no sound image of [`MAX_PIXELS`] needs more.
pub const MAX_FILE: u64 = 1 << 30;

/// Formats that are recognised so that the error can name them: offset, signature, name.
const REFUSED: &[(usize, &[u8], &str)] = &[
    (0, b"II+\0", "a BigTIFF image"),
    (0, b"MM\0+", "a BigTIFF image"),
    (0, b"P1", "a PBM image written as text"),
    (0, b"P2", "a PGM image written as text"),
    (0, b"P3", "a PPM image written as text"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphei", "a HEIF image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
];

/// Reads and decodes the file at `path`; errors name it.
///
/// # Errors
/// `Io` where the file cannot be read, `BadImage` for a link that leads nowhere, `Limit` above [`MAX_FILE`], otherwise
/// those of [`decode`].
pub fn read(path: &Path) -> Result<Image> {
    let failed = |source: std::io::Error| match is_dead_link(path, &source) {
        true => {
            let to = std::fs::read_link(path).unwrap_or_default();
            let what =
                format!("a link that leads nowhere, to `{}`", printable(&to.to_string_lossy()));
            Error::new(Kind::BadImage, what).at(path).remedy("mend or remove it")
        }
        false => Error::io(path, "read", source),
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(Error::limit(format!("a file of {length} bytes, above {MAX_FILE}")).at(path));
    }
    decode(&std::fs::read(path).map_err(failed)?).map_err(|error| error.at(path))
}

/// Decodes the bytes of a JPEG, PNG, WebP, BMP, GIF, TIFF or Netpbm file into an RGB image; of a GIF or TIFF the first
/// one.
///
/// # Errors
/// `BadImage` where they are of another format, cut off or corrupt, also where a decoder panics; `Limit` above
/// [`MAX_PIXELS`].
pub fn decode(bytes: &[u8]) -> Result<Image> {
    let decoder = match bytes {
        [] => return Err(Error::new(Kind::BadImage, "the file is empty")),
        [0xff, 0xd8, 0xff, ..] => jpeg::decode,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => png::decode,
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => tiff::decode,
        [b'B', b'M', ..] => bmp::decode,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => gif::decode,
        [b'P', b'4' | b'5' | b'6', space, ..] if space.is_ascii_whitespace() => pnm::decode,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::decode,
        _ => return Err(unknown(bytes)),
    };
    guarded(|| decoder(bytes))
}

/// A panic becomes an error.
fn guarded(decode: impl FnOnce() -> Result<Image>) -> Result<Image> {
    panics::catch(decode)
        .unwrap_or_else(|| Err(Error::new(Kind::BadImage, "corrupt: the decoder gave up on it")))
}

/// The error for what is none of these.
fn unknown(bytes: &[u8]) -> Error {
    let starts = |&&(at, signature, _): &&(usize, &[u8], &str)| {
        bytes.get(at..at + signature.len()) == Some(signature)
    };
    if let Some((_, _, name)) = REFUSED.iter().find(starts) {
        return Error::new(Kind::BadImage, format!("{name}, which is not read"))
            .remedy("convert it to PNG or JPEG");
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return Error::new(Kind::BadImage, "a Git LFS pointer, not an image")
            .remedy("run `git lfs pull`");
    }
    let start: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Error::new(
        Kind::BadImage,
        format!(
            "not an image: neither JPEG, PNG, WebP, BMP, GIF, TIFF nor Netpbm (it starts with {})",
            start.join(" ")
        ),
    )
}

/// Refuses what would be a decompression bomb for Pillow too.
fn check_pixels(width: usize, height: usize) -> Result<()> {
    let pixels = width as u64 * height as u64;
    if pixels > MAX_PIXELS {
        let what = format!("an image of {width}x{height} pixels, above {MAX_PIXELS}");
        return Err(Error::limit(what));
    }
    Ok(())
}

/// Grey to RGB by repetition.
fn grey_to_rgb(grey: impl ExactSizeIterator<Item = u8>) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(grey.len() * 3);
    grey.for_each(|value| rgb.extend_from_slice(&[value; 3]));
    rgb
}

/// An image of `channels` channels, 1 or 3: grey is repeated, RGB becomes luma as in Pillow's
/// `convert("L")` (ITU-R 601-2, 16-bit weights, rounded). Panics for another number of channels.
pub fn to_channels(image: Image, channels: usize) -> Image {
    let pixels = match (image.channels, channels) {
        (1, 3) => grey_to_rgb(image.pixels.iter().copied()),
        (3, 1) => image.pixels.as_chunks::<3>().0.iter().map(luma).collect(),
        _ => {
            assert_eq!(image.channels, channels, "images have 1 or 3 channels");
            return image;
        }
    };
    Image { channels, pixels, ..image }
}

fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests;
