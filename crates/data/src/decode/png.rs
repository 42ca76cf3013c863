//! PNG through the `png` crate, which unpacks; samples become RGB here, as Pillow does it.
//!
//! | stored | becomes |
//! |---|---|
//! | grey of 1, 2, 4 bits | scaled to 0..255 (· 255, 85, 17) |
//! | grey of 16 bits | clipped at 255 (Pillow's `I;16`), not scaled |
//! | RGB, grey-alpha, RGBA of 16 bits | the high byte |
//! | palette | its colour; black where the palette is too short |
//! | alpha, transparent colours | dropped, not blended |

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError};

use super::{Image, check_pixels, grey_to_rgb};
use swa_base::{Error, Kind, Result};

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    check_chunks(bytes)?;
    let mut decoder = Decoder::new(Cursor::new(bytes));
    // Pillow looks at the sum of the pixels as well as at those of the chunks.
    decoder.ignore_checksums(false);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let info = decoder.read_header_info().map_err(refusal)?;
    let (width, height) = (info.width as usize, info.height as usize);
    check_pixels(width, height)?;
    let mut reader = decoder.read_info().map_err(refusal)?;
    let palette: Vec<u8> = reader.info().palette.as_deref().unwrap_or_default().to_vec();
    let size = reader.output_buffer_size().ok_or_else(|| Error::limit("PNG: too large"))?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(refusal)?;
    if (frame.width as usize, frame.height as usize) != (width, height) {
        return Err(Error::new(Kind::BadImage, "the PNG's first frame is not of its size"));
    }
    let row = frame.line_size;
    samples.truncate(row * height);
    let pixels = match (frame.color_type, frame.bit_depth) {
        (ColorType::Rgb, BitDepth::Eight) => samples,
        (ColorType::Rgba, BitDepth::Eight) => take::<4, 3>(&samples, [0, 1, 2]),
        (ColorType::Rgb, BitDepth::Sixteen) => take::<6, 3>(&samples, [0, 2, 4]),
        (ColorType::Rgba, BitDepth::Sixteen) => take::<8, 3>(&samples, [0, 2, 4]),
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => take::<2, 3>(&samples, [0, 0, 0]),
        (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => take::<4, 3>(&samples, [0, 0, 0]),
        (ColorType::Grayscale, BitDepth::Eight) => grey_to_rgb(samples.into_iter()),
        (ColorType::Grayscale, BitDepth::Sixteen) => {
            let clipped = |&[high, low]: &[u8; 2]| if high == 0 { low } else { 255 };
            grey_to_rgb(samples.as_chunks::<2>().0.iter().map(clipped))
        }
        (ColorType::Grayscale, depth) => {
            let scale = 255 / ((1u16 << depth as u8) - 1) as u8;
            let values = unpack(&samples, row, width, depth as usize);
            grey_to_rgb(values.into_iter().map(|value| value * scale))
        }
        (ColorType::Indexed, depth) => {
            let mut colours = [[0u8; 3]; 256];
            for (colour, stored) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
                *colour = *stored;
            }
            let values = unpack(&samples, row, width, depth as usize);
            values.into_iter().flat_map(|value| colours[usize::from(value)]).collect()
        }
        (kind, depth) => {
            return Err(Error::new(
                Kind::BadImage,
                format!("a PNG of {kind:?} with {depth:?} bits"),
            ));
        }
    };
    if pixels.len() != width * height * 3 {
        return Err(Error::new(
            Kind::BadImage,
            "corrupt: the PNG decodes to the wrong number of pixels",
        ));
    }
    Ok(Image { width, height, channels: 3, pixels })
}

/// Fails if a chunk before the pixels has a wrong checksum: Pillow looks at all of them, the crate at those that it needs.
fn check_chunks(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((&head, after)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // A cut file is the decoder's to refuse.
        let Some((data, after)) = after.split_at_checked(length) else { break };
        let Some((&stored, after)) = after.split_first_chunk::<4>() else { break };
        if &kind == b"IDAT" {
            break;
        }
        let mut crc = flate2::Crc::new();
        crc.update(&kind);
        crc.update(data);
        if crc.sum() != u32::from_be_bytes(stored) {
            let what = format!("corrupt PNG: a wrong checksum of `{}`", kind.escape_ascii());
            return Err(Error::new(Kind::BadImage, what));
        }
        rest = after;
    }
    Ok(())
}

/// The `which` bytes of each group of `FROM`.
fn take<const FROM: usize, const TO: usize>(samples: &[u8], which: [usize; TO]) -> Vec<u8> {
    samples.as_chunks::<FROM>().0.iter().flat_map(|pixel| which.map(|i| pixel[i])).collect()
}

/// Samples of `bits` bits, the first in the highest bits; each row starts at a byte.
fn unpack(samples: &[u8], row: usize, width: usize, bits: usize) -> Vec<u8> {
    let mask = u8::MAX >> (8 - bits);
    let sample = |line: &[u8], x: usize| {
        let bit = x * bits;
        line[bit / 8] >> (8 - bits - bit % 8) & mask
    };
    let lines = samples.chunks_exact(row);
    lines.flat_map(|line| (0..width).map(move |x| sample(line, x))).collect()
}

fn refusal(error: DecodingError) -> Error {
    match error {
        DecodingError::LimitsExceeded => Error::limit("PNG: it needs too much memory"),
        DecodingError::IoError(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::new(Kind::BadImage, "cut off: the PNG ends inside its data")
        }
        _ => Error::new(Kind::BadImage, format!("corrupt PNG: {error}")),
    }
}
