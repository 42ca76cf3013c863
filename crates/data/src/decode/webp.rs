//! WebP through the `image-webp` crate, lossy and lossless: the bytes of libwebp, alpha dropped.
//!
//! Animations are refused: nothing says which of their images is meant.

use std::io::{Cursor, ErrorKind};

use image_webp::{DecodingError, WebPDecoder};

use super::{Image, check_pixels};
use swa_base::{Error, Kind, Result};

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    // The decoder fills the gap where the end of a lossy image is missing; libwebp refuses such a file.
    let promised =
        bytes[4..].first_chunk().map_or(0, |&size| u64::from(u32::from_le_bytes(size)) + 8);
    if promised > bytes.len() as u64 {
        let what = format!("{} of {promised} bytes of the WebP are there", bytes.len());
        return Err(Error::new(Kind::BadImage, format!("cut off: {what}")));
    }
    check_chunks(&bytes[12..promised.max(12) as usize])?;
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(refusal)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_pixels(width, height)?;
    if decoder.is_animated() {
        return Err(Error::new(Kind::BadImage, "an animated WebP image, which is not read")
            .remedy("convert it to PNG or JPEG"));
    }
    let size = decoder.output_buffer_size().ok_or_else(|| Error::limit("WebP: too large"))?;
    let mut pixels = vec![0; size];
    decoder.read_image(&mut pixels).map_err(refusal)?;
    if decoder.has_alpha() {
        pixels = pixels.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    }
    if pixels.len() != width * height * 3 {
        return Err(Error::new(
            Kind::BadImage,
            "corrupt: the WebP decodes to the wrong number of pixels",
        ));
    }
    Ok(Image { width, height, channels: 3, pixels })
}

/// Fails if a part is longer than the file says to be: the decoder reads on, libwebp does not.
fn check_chunks(mut rest: &[u8]) -> Result<()> {
    let bad = |what| Error::new(Kind::BadImage, format!("corrupt WebP: {what}"));
    if rest.len() < 8 {
        return Err(bad("it says that it holds nothing"));
    }
    while let Some((kind, after)) = rest.split_first_chunk::<4>()
        && let Some((size, after)) = after.split_first_chunk::<4>()
    {
        let size = u32::from_le_bytes(*size) as usize;
        let is_lossy = kind == b"VP8 ";
        let Some(content) = after.get(..size) else {
            return Err(bad("a part is longer than the file"));
        };
        // A key frame, of a known version, that is shown, and whose first part is within it.
        if is_lossy && let [a, b, c, ..] = *content {
            let tag = u32::from_le_bytes([a, b, c, 0]);
            let is_known = tag & 1 == 0 && tag >> 1 & 7 <= 3 && tag >> 4 & 1 == 1;
            if !is_known || (tag >> 5) as usize + 10 > size {
                return Err(bad("its frame's header"));
            }
        }
        // Parts begin at even places.
        rest = after.get(size + size % 2..).unwrap_or_default();
    }
    Ok(())
}

fn refusal(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(source) if source.kind() == ErrorKind::UnexpectedEof => {
            Error::new(Kind::BadImage, "cut off: the WebP ends inside its data")
        }
        DecodingError::MemoryLimitExceeded | DecodingError::ImageTooLarge => {
            Error::limit(format!("WebP: {error}"))
        }
        _ => Error::new(Kind::BadImage, format!("corrupt WebP: {error}")),
    }
}
