//! JPEG through libjpeg-turbo-rs, set up as Pillow sets up libjpeg-turbo: accurate integer IDCT,
//! fancy upsampling, block smoothing for progressive files whose last scans are absent.
//!
//! The only file that names the decoder, so that it can be exchanged. Files whose luma has fewer samples
//! than their chroma, which Pillow reads and nobody writes, are refused.

use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, Decoder, JpegError, PixelFormat};

use super::cmyk::{self, Plane};
use super::{Image, check_pixels, grey_to_rgb, jpeg_headers};
use crate::image::MAX_PIXELS;
use swa_base::{Error, Kind, Result};

/// The most scans that are decoded. Progressive files have a dozen; one with thousands is made to cost time.
const MAX_SCANS: usize = 1000;

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    jpeg_headers::check(bytes)?;
    let limits =
        DecodeLimits { max_pixels: MAX_PIXELS, max_scans: MAX_SCANS, ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(refusal)?;
    let header = decoder.header();
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    let (components, bits) = (header.components.len(), header.precision);
    check_pixels(width, height)?;
    if bits != 8 || !matches!(components, 1 | 3 | 4) {
        let what = format!("a JPEG of {components} components of {bits} bits");
        return Err(Error::new(Kind::BadImage, format!("{what}, expected 1, 3 or 4 of 8 bits")));
    }
    if !has_end(bytes) {
        return Err(Error::new(Kind::BadImage, "cut off: the JPEG has no end marker"));
    }
    let color_space = decoder.jpeg_color_space();
    if components == 4 {
        let pixels = four_components(decoder, color_space == ColorSpace::Ycck)?;
        return Ok(Image { width, height, channels: 3, pixels });
    }
    let grey = color_space == ColorSpace::Grayscale;
    let format = if grey { PixelFormat::Grayscale } else { PixelFormat::Rgb };
    decoder.set_output_format(format);
    decoder.set_block_smoothing(true);
    let decoded = decoder.decode_image().map_err(refusal)?;
    if (decoded.width, decoded.height, decoded.pixel_format) != (width, height, format) {
        return Err(Error::new(
            Kind::BadImage,
            "corrupt: the JPEG's size changes as it is decoded",
        ));
    }
    let pixels = if grey { grey_to_rgb(decoded.data.into_iter()) } else { decoded.data };
    if pixels.len() != width * height * 3 {
        return Err(Error::new(
            Kind::BadImage,
            "corrupt: the JPEG decodes to the wrong number of pixels",
        ));
    }
    Ok(Image { width, height, channels: 3, pixels })
}

/// CMYK and YCCK: see [`cmyk`].
fn four_components(decoder: Decoder, ycck: bool) -> Result<Vec<u8>> {
    let header = decoder.header();
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    let factors: Vec<[usize; 2]> = header
        .components
        .iter()
        .map(|c| [c.horizontal_sampling.into(), c.vertical_sampling.into()])
        .collect();
    let [most_across, most_down] =
        [0, 1].map(|i| factors.iter().map(|factor| factor[i]).max().unwrap_or(1));
    let raw = decoder.decode_raw().map_err(refusal)?;
    let plane = |i: usize| {
        let [across, down] = factors[i];
        if across * down == 0 || most_across % across != 0 || most_down % down != 0 {
            let what = format!("a CMYK JPEG with sampling factors {factors:?}");
            return Err(Error::new(
                Kind::BadImage,
                format!("{what}, which are not multiples of each other"),
            ));
        }
        let plane = Plane {
            samples: &raw.planes[i],
            stride: raw.plane_widths[i],
            width: (width * across).div_ceil(most_across),
            height: (height * down).div_ceil(most_down),
            across: most_across / across,
            down: most_down / down,
        };
        let held = plane.width <= plane.stride && plane.height <= raw.plane_heights[i];
        match held && plane.samples.len() >= plane.stride * plane.height {
            true => Ok(plane),
            false => Err(Error::new(
                Kind::BadImage,
                "corrupt: the JPEG decodes to the wrong number of pixels",
            )),
        }
    };
    Ok(cmyk::to_rgb(&[plane(0)?, plane(1)?, plane(2)?, plane(3)?], width, height, ycck))
}

fn refusal(error: JpegError) -> Error {
    match error {
        JpegError::LimitExceeded { .. } => Error::limit(format!("JPEG: {error}")),
        JpegError::AllocationFailed { .. } => Error::limit(format!("JPEG: {error}")),
        JpegError::UnexpectedEof => {
            Error::new(Kind::BadImage, "cut off: the JPEG ends inside its data")
        }
        _ => Error::new(Kind::BadImage, format!("corrupt JPEG: {error}")),
    }
}

/// Whether the end-of-image marker is there. Pillow requires it; the decoder only checks that the pixels are
/// complete.
fn has_end(bytes: &[u8]) -> bool {
    if bytes.ends_with(&[0xff, 0xd9]) {
        return true;
    }
    // Something follows the image, or it is cut: walk the markers.
    let mut rest = &bytes[2..];
    while let Some(at) = rest.windows(2).position(|w| w[0] == 0xff && !matches!(w[1], 0 | 0xff)) {
        let marker = rest[at + 1];
        rest = &rest[at + 2..];
        match marker {
            0xd9 => return true,
            // Restart markers and TEM stand alone. What follows SOS is skipped by the search.
            0xd0..=0xd7 | 0x01 => {}
            _ => {
                let &[high, low, ..] = rest else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(after) = rest.get(length..) else { return false };
                rest = after;
            }
        }
    }
    false
}
