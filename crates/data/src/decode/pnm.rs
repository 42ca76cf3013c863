//! Netpbm's binary files: PBM (P4), PGM (P5) and PPM (P6), of up to 8 bits.
//!
//! Format: netpbm's pages pbm(5), pgm(5), ppm(5). A maximum below 255 is scaled as Pillow does it,
//! rounded half to even. Files of 16 bits are refused, because what Pillow makes of them is of no
//! use, and so are those written as text.

use super::{Image, check_pixels, grey_to_rgb};
use swa_base::{Error, Kind, Result};

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    let mut header = Header { bytes, at: 2 };
    let (width, height) = (header.number()?, header.number()?);
    let maximum = if bytes[1] == b'4' { 1 } else { header.number()? };
    if width == 0 || height == 0 {
        return Err(Error::new(Kind::BadImage, "a Netpbm image of no pixels"));
    }
    check_pixels(width, height)?;
    if !(1..=255).contains(&maximum) {
        return Err(Error::new(
            Kind::BadImage,
            format!("a Netpbm image with the maximum {maximum}, expected 1 to 255"),
        )
        .remedy("convert it to PNG of 8 bits"));
    }
    // One white space after the header.
    let samples = &bytes[(header.at + 1).min(bytes.len())..];
    let line = match bytes[1] {
        b'4' => width.div_ceil(8),
        b'5' => width,
        _ => 3 * width,
    };
    let Some(samples) = samples.get(..line * height) else {
        let what = format!("{} of {} bytes of pixels", samples.len(), line * height);
        return Err(Error::new(Kind::BadImage, format!("cut off: {what} in the Netpbm image")));
    };
    let scaled = |&value: &u8| match maximum {
        255 => value,
        _ => (f64::from(value) / maximum as f64 * 255.0).round_ties_even().min(255.0) as u8,
    };
    let pixels = match bytes[1] {
        b'4' => {
            // A set bit is black.
            let bit = |row: &[u8], x: usize| 255 * u8::from(row[x / 8] << (x % 8) & 0x80 == 0);
            let rows = samples.chunks_exact(line);
            let grey: Vec<u8> = rows.flat_map(|row| (0..width).map(move |x| bit(row, x))).collect();
            grey_to_rgb(grey.into_iter())
        }
        b'5' => grey_to_rgb(samples.iter().map(scaled)),
        _ => samples.iter().map(scaled).collect(),
    };
    Ok(Image { width, height, channels: 3, pixels })
}

/// The numbers at the start, between white space and comments.
struct Header<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Header<'_> {
    fn number(&mut self) -> Result<usize> {
        let mut rest = &self.bytes[self.at..];
        loop {
            match rest {
                [b'#', ..] => {
                    let line = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    rest = &rest[line.unwrap_or(rest.len())..];
                }
                [byte, after @ ..] if byte.is_ascii_whitespace() || *byte == 0x0b => rest = after,
                _ => break,
            }
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at = self.bytes.len() - rest.len() + digits;
        // More digits are beyond every limit, and a product could overflow.
        let number = std::str::from_utf8(&rest[..digits.min(9)]).ok().and_then(|n| n.parse().ok());
        number.filter(|_| digits <= 9).ok_or_else(|| {
            Error::new(Kind::BadImage, "corrupt: the Netpbm image's header does not hold its size")
        })
    }
}
