//! Netpbm's binary files: PBM (P4), PGM (P5) and PPM (P6), of up to 8 bits.
//!
//! Format: netpbm's pages pbm(5), pgm(5), ppm(5). A maximum below 255 is scaled as Pillow does it,
//! rounded half to even. Files of 16 bits are refused, because what Pillow makes of them is of no
//! use, and so are those written as text.

use super::{Image, check_pixels, grey_to_rgb};
use swa_base::{Error, Kind, Result};

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    let mut header = Header { bytes, at: 0 };
    if header.word().len() != 2 {
        return Err(Error::new(
            Kind::BadImage,
            "corrupt: no white space after the Netpbm image's kind",
        ));
    }
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
    let samples = &bytes[header.at..];
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

/// The words at the start, as Pillow takes them: white space ends one, a comment does not.
struct Header<'a> {
    bytes: &'a [u8],
    /// After the white space that ended the last word.
    at: usize,
}

impl Header<'_> {
    fn word(&mut self) -> Vec<u8> {
        let mut word = vec![];
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'#' => {
                    let rest = &self.bytes[self.at..];
                    let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    self.at += end.map_or(rest.len(), |end| end + 1);
                }
                _ if byte.is_ascii_whitespace() || byte == 0x0b => match word.is_empty() {
                    true => {}
                    false => break,
                },
                _ if word.len() > MAX_DIGITS => break,
                _ => word.push(byte),
            }
        }
        word
    }

    fn number(&mut self) -> Result<usize> {
        let word = self.word();
        let digits = word.len() <= MAX_DIGITS && word.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(&word).ok().and_then(|n| n.parse().ok());
        number.filter(|_| digits).ok_or_else(|| {
            Error::new(Kind::BadImage, "corrupt: the Netpbm image's header does not hold its size")
        })
    }
}

/// More digits are beyond every limit, and a product could overflow.
const MAX_DIGITS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    /// What Pillow 12 makes of them.
    #[test]
    fn headers_are_split_as_pillow_splits_them() {
        let pixels = |file: &[u8]| decode(file).map(|image| (image.width, image.pixels[0]));
        // A comment within a number; one after the last, which ends with the next white space.
        assert_eq!(pixels(b"P5 1#x\n2 1 255\n0123456789ab").unwrap(), (12, b'0'));
        assert_eq!(pixels(b"P5 2 1 25#x\n5 \x07a").unwrap(), (2, 7));
        assert_eq!(pixels(b"P5 2 1 255#x\n\n\x07a").unwrap(), (2, 7));
        assert_eq!(pixels(b"P5\x0b2\r1\t255 \x07a").unwrap(), (2, 7));
        for file in
            [&b"P52 1 255 ab"[..], b"P5 2 1 255a ab", b"P5#x\n2 1 255 ab", b"P5 2 1 255ab", b"P5"]
        {
            assert!(pixels(file).is_err(), "{}", file.escape_ascii());
        }
    }
}
