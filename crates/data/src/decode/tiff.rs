//! TIFF, the first image of a file, as Pillow and libtiff read it. Format: TIFF 6.0. No crate keeps palettes, planes and
//! greys of few bits as they are stored, so that Pillow's rules could be applied to them.
//!
//! | stored | becomes |
//! |---|---|
//! | grey of 1, 2, 4, 8 bits, black or white being zero | scaled to 0..255 |
//! | grey of 16 bits | clipped at 255 (Pillow's `I;16`), not scaled |
//! | palette of 1, 2, 4, 8 bits | the high bytes of its colours |
//! | RGB of 8 bits; of 16 bits | itself; the high bytes |
//! | further samples | dropped; colours that an alpha sample was multiplied into are divided by it |
//! | CMYK of 8 bits | as Pillow converts it, without a profile |
//!
//! In strips or tiles, one plane or one a sample, in any orientation (Pillow turns TIFF images, and no others). JPEG, fax and
//! other compressions, Lab, YCbCr, numbers with signs or fractions, and BigTIFF are refused by name.

mod directory;
mod unpack;

use super::{Image, check_pixels, grey_to_rgb};
use directory::{Directory, Tag};
use swa_base::{Error, Kind, Result};
use unpack::Compression;

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    let directory = Directory::read(bytes)?;
    let layout = Layout::of(&directory)?;
    let samples = layout.samples(bytes)?;
    let pixels = layout.colours(samples, &directory)?;
    let upright = Image { width: layout.width, height: layout.height, channels: 3, pixels };
    Ok(turned(upright, layout.orientation))
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(Kind::BadImage, what)
}

fn unsupported(what: impl Into<String>) -> Error {
    bad(what).remedy("convert it to PNG or JPEG")
}

/// What a pixel's samples mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Grey {
        inverted: bool,
    },
    Palette,
    Rgb,
    /// Red, green and blue were multiplied by the fourth sample.
    Multiplied,
    Cmyk,
}

struct Layout {
    width: usize,
    height: usize,
    bits: usize,
    /// Samples of a pixel as they are stored.
    count: usize,
    meaning: Meaning,
    /// Samples lie in planes of their own.
    planar: bool,
    compression: Compression,
    differences: bool,
    big_endian: bool,
    orientation: usize,
    part: [usize; 2],
    tiled: bool,
    offsets: Vec<usize>,
    lengths: Option<Vec<usize>>,
}

impl Layout {
    fn of(directory: &Directory) -> Result<Self> {
        let one = |tag: Tag, default: usize| directory.one(tag, Some(default));
        let width = directory.one(Tag::Width, None)?;
        let height = directory.one(Tag::Height, None)?;
        if width == 0 || height == 0 {
            return Err(bad("a TIFF image of no pixels"));
        }
        check_pixels(width, height)?;
        let compression = Compression::of(one(Tag::Compression, 1)?)?;
        let photometric = one(Tag::Photometric, 0)?;
        let planar = match one(Tag::Planar, 1)? {
            1 => false,
            2 => true,
            other => return Err(unsupported(format!("a TIFF of planar configuration {other}"))),
        };
        if one(Tag::FillOrder, 1)? != 1 {
            return Err(unsupported("a TIFF whose bits are in reverse order"));
        }
        let count = one(Tag::SamplesPerPixel, 1)?;
        if !(1..=6).contains(&count) {
            return Err(unsupported(format!("a TIFF of {count} samples a pixel")));
        }
        let all = |tag: Tag| -> Result<usize> {
            let values = directory.many(tag)?.unwrap_or_else(|| vec![1]);
            let is_right = values.len() == count || values.len() == 1;
            match values.iter().all(|value| *value == values[0]) && is_right {
                true => Ok(values[0]),
                false => Err(unsupported(format!("a TIFF of {tag:?} {values:?}"))),
            }
        };
        let (bits, format) = (all(Tag::BitsPerSample)?, all(Tag::SampleFormat)?);
        if format != 1 {
            return Err(unsupported("a TIFF of numbers with signs or fractions"));
        }
        let extra = directory.many(Tag::ExtraSamples)?.unwrap_or_default();
        let meaning = meaning(photometric, bits, count, &extra).ok_or_else(|| {
            unsupported(format!(
                "a TIFF of {count} samples of {bits} bits, photometric interpretation {photometric}, extra samples {extra:?}"
            ))
        })?;
        if planar && count > 1 && (!extra.is_empty() || bits != 8) {
            return Err(unsupported("a TIFF with planes of 16 bits or of further samples"));
        }
        if bits == 16 && meaning == (Meaning::Grey { inverted: true }) {
            return Err(unsupported("a TIFF of 16 bits whose zero is white"));
        }
        let differences = match one(Tag::Predictor, 1)? {
            1 => false,
            2 if compression.predicts() && matches!(bits, 8 | 16) => true,
            other => return Err(unsupported(format!("a TIFF with predictor {other}"))),
        };
        let tiled = directory.has(Tag::TileOffsets);
        if tiled == directory.has(Tag::StripOffsets) {
            return Err(bad("corrupt: a TIFF without strips and tiles, or with both"));
        }
        let (part, offsets, lengths) = match tiled {
            true => (
                [directory.one(Tag::TileWidth, None)?, directory.one(Tag::TileHeight, None)?],
                Tag::TileOffsets,
                Tag::TileLengths,
            ),
            false => {
                let rows = one(Tag::RowsPerStrip, height)?.min(height);
                ([width, rows], Tag::StripOffsets, Tag::StripLengths)
            }
        };
        let layout = Layout {
            width,
            height,
            bits,
            count,
            meaning,
            planar: planar && count > 1,
            compression,
            differences,
            big_endian: directory.big_endian,
            orientation: one(Tag::Orientation, 1)?,
            part,
            tiled,
            offsets: directory.many(offsets)?.unwrap_or_default(),
            lengths: directory.many(lengths)?,
        };
        layout.check_parts()?;
        Ok(layout)
    }

    /// Fails if there are not as many strips or tiles as the image has.
    fn check_parts(&self) -> Result<()> {
        let [width, height] = self.part;
        let most = 1 << 16;
        if width == 0 || height == 0 || self.tiled && (width > most || height > most) {
            return Err(bad(format!("corrupt: a TIFF in parts of {width}x{height} pixels")));
        }
        if self.tiled && !(width * self.bits).is_multiple_of(8) {
            return Err(unsupported(format!(
                "a TIFF of tiles of {width} pixels of {} bits",
                self.bits
            )));
        }
        let expected = self.width.div_ceil(width) * self.height.div_ceil(height) * self.planes();
        let found = [Some(self.offsets.len()), self.lengths.as_ref().map(Vec::len)];
        match found.into_iter().flatten().all(|found| found == expected) {
            true => Ok(()),
            false => Err(bad(format!(
                "corrupt: a TIFF of {} parts, expected {expected}",
                self.offsets.len()
            ))),
        }
    }

    fn planes(&self) -> usize {
        if self.planar { self.count } else { 1 }
    }

    /// Samples of a pixel within a plane.
    fn within(&self) -> usize {
        if self.planar { 1 } else { self.count }
    }

    /// All samples, row by row, those of a pixel together; of fewer than 8 bits unpacked, of 16 with the high byte first.
    fn samples(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let each = if self.bits == 16 { 2 } else { 1 };
        let pixel = self.count * each;
        let mut samples = vec![0; self.width * self.height * pixel];
        let across = self.width.div_ceil(self.part[0]);
        let down = self.height.div_ceil(self.part[1]);
        for plane in 0..self.planes() {
            for y in 0..down {
                for x in 0..across {
                    let number = (plane * down + y) * across + x;
                    let (left, top) = (x * self.part[0], y * self.part[1]);
                    let width = if self.tiled { self.part[0] } else { self.width };
                    let height = match self.tiled {
                        true => self.part[1],
                        false => self.part[1].min(self.height - top),
                    };
                    let lines = self.unpacked(bytes, number, width, height)?;
                    let kept = [self.width - left, self.height - top];
                    for (row, line) in lines.chunks_exact(width * self.within() * each).enumerate()
                    {
                        if row >= kept[1] {
                            break;
                        }
                        let start = ((top + row) * self.width + left) * pixel;
                        let into = &mut samples[start..][..kept[0].min(width) * pixel];
                        match self.planar {
                            false => into.copy_from_slice(&line[..into.len()]),
                            // Planes have samples of 8 bits.
                            true => {
                                for (into, sample) in into.chunks_exact_mut(pixel).zip(line) {
                                    into[plane] = *sample;
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(samples)
    }

    /// A strip or a tile, in the same form.
    fn unpacked(
        &self,
        bytes: &[u8],
        number: usize,
        width: usize,
        height: usize,
    ) -> Result<Vec<u8>> {
        let line = (width * self.within() * self.bits).div_ceil(8);
        let start = self.offsets[number];
        let stored = match (self.compression, &self.lengths) {
            // What is not compressed has a length of its own.
            (Compression::None, _) => bytes.get(start..start.saturating_add(line * height)),
            (_, Some(lengths)) => bytes.get(start..start.saturating_add(lengths[number])),
            (_, None) => return Err(bad("corrupt: a compressed TIFF without the parts' lengths")),
        };
        let stored = stored.ok_or_else(|| {
            bad(format!("cut off: part {} of {} of the TIFF", number + 1, self.offsets.len()))
        })?;
        let mut data = self.compression.unpack(stored, line * height)?;
        if self.bits == 16 && !self.big_endian {
            data.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
        }
        if self.differences {
            let n = self.within();
            for line in data.chunks_exact_mut(line) {
                match self.bits {
                    8 => {
                        for i in n..line.len() {
                            line[i] = line[i].wrapping_add(line[i - n]);
                        }
                    }
                    _ => {
                        for i in n..line.len() / 2 {
                            let value =
                                |i: usize| u16::from_be_bytes([line[2 * i], line[2 * i + 1]]);
                            let sum = value(i).wrapping_add(value(i - n)).to_be_bytes();
                            line[2 * i..2 * i + 2].copy_from_slice(&sum);
                        }
                    }
                }
            }
        }
        if self.bits >= 8 {
            return Ok(data);
        }
        let mask = u8::MAX >> (8 - self.bits);
        let sample = |line: &[u8], i: usize| {
            let bit = i * self.bits;
            line[bit / 8] >> (8 - self.bits - bit % 8) & mask
        };
        let lines = data.chunks_exact(line);
        Ok(lines
            .flat_map(|line| (0..width * self.within()).map(move |i| sample(line, i)))
            .collect())
    }

    /// The RGB pixels.
    fn colours(&self, samples: Vec<u8>, directory: &Directory) -> Result<Vec<u8>> {
        let n = self.count;
        Ok(match (self.meaning, self.bits) {
            (Meaning::Grey { .. }, 16) => {
                let clipped = |pair: &[u8]| if pair[0] == 0 { pair[1] } else { 255 };
                grey_to_rgb(samples.chunks_exact(2 * n).map(clipped))
            }
            (Meaning::Grey { inverted }, bits) => {
                let scale = (255 / ((1u16 << bits) - 1)) as u8;
                let grey = |pixel: &[u8]| {
                    let value = pixel[0] * scale;
                    if inverted { 255 - value } else { value }
                };
                grey_to_rgb(samples.chunks_exact(n).map(grey))
            }
            (Meaning::Palette, bits) => {
                let map = directory.many(Tag::ColorMap)?.unwrap_or_default();
                // As many colours as there are, not as the bits could name: what has none is black. But libtiff, which
                // Pillow asks for what is compressed, takes only the whole palette of fewer than 8 bits.
                let size = map.len() / 3;
                let is_whole = map.len() == 3 << bits && directory.has(Tag::BitsPerSample);
                let is_known = is_whole || bits == 8 || self.compression == Compression::None;
                if !(1..=256).contains(&size) || !is_known {
                    let what = format!("corrupt: a TIFF with a palette of {size} colours");
                    return Err(bad(what));
                }
                let colour = |pixel: &[u8]| {
                    let index = usize::from(pixel[0]);
                    [0, 1, 2]
                        .map(|c| if index < size { (map[c * size + index] >> 8) as u8 } else { 0 })
                };
                samples.chunks_exact(n).flat_map(colour).collect()
            }
            (Meaning::Rgb, 8) if n == 3 => samples,
            (Meaning::Rgb, 8) => samples.chunks_exact(n).flat_map(|p| [p[0], p[1], p[2]]).collect(),
            (Meaning::Rgb, _) => {
                samples.chunks_exact(2 * n).flat_map(|p| [p[0], p[2], p[4]]).collect()
            }
            (Meaning::Multiplied, _) => {
                let divided = |p: &[u8]| {
                    [0, 1, 2].map(|c| match p[3] {
                        0 => 0,
                        255 => p[c],
                        alpha => (u32::from(p[c]) * 255 / u32::from(alpha)).min(255) as u8,
                    })
                };
                samples.chunks_exact(n).flat_map(divided).collect()
            }
            (Meaning::Cmyk, _) => samples.chunks_exact(n).flat_map(without_inks).collect(),
        })
    }
}

/// Pillow's formula: 255 - k less c (255 - k) / 255, rounded.
fn without_inks(pixel: &[u8]) -> [u8; 3] {
    let white = u32::from(255 - pixel[3]);
    [0, 1, 2].map(|c| {
        let product = u32::from(pixel[c]) * white + 128;
        (white - (((product >> 8) + product) >> 8)) as u8
    })
}

/// What is read, of what Pillow's table `OPEN_INFO` has.
fn meaning(photometric: usize, bits: usize, count: usize, extra: &[usize]) -> Option<Meaning> {
    let alone = extra.is_empty();
    Some(match (photometric, bits, count) {
        (0 | 1, 1 | 2 | 4 | 8 | 16, 1) if alone => Meaning::Grey { inverted: photometric == 0 },
        (1, 8, 2) if matches!(extra, [0 | 2]) => Meaning::Grey { inverted: false },
        (3, 1 | 2 | 4 | 8, 1) if alone => Meaning::Palette,
        (3, 8, 2) if matches!(extra, [0]) => Meaning::Palette,
        (2, 8 | 16, 3) if alone => Meaning::Rgb,
        (2, 8 | 16, 4) if matches!(extra, [] | [0 | 2]) => Meaning::Rgb,
        (2, 8, 5 | 6)
            if extra.len() == count - 3
                && matches!(extra, [0, 0] | [0, 0, 0] | [2, 0] | [2, 0, 0]) =>
        {
            Meaning::Rgb
        }
        (2, 8, 4) if extra == [1] => Meaning::Multiplied,
        (5, 8, 4) if alone => Meaning::Cmyk,
        (5, 8, 5 | 6) if extra.len() == count - 4 && extra.iter().all(|&e| e == 0) => Meaning::Cmyk,
        _ => return None,
    })
}

/// As Pillow's `exif_transpose` turns it.
fn turned(image: Image, orientation: usize) -> Image {
    if !(2..=8).contains(&orientation) {
        return image;
    }
    let (width, height) = (image.width, image.height);
    let (across, down) = if orientation >= 5 { (height, width) } else { (width, height) };
    let mut pixels = Vec::with_capacity(image.pixels.len());
    for y in 0..down {
        for x in 0..across {
            let (fx, fy) = match orientation {
                2 => (width - 1 - x, y),
                3 => (width - 1 - x, height - 1 - y),
                4 => (x, height - 1 - y),
                5 => (y, x),
                6 => (y, height - 1 - x),
                7 => (width - 1 - y, height - 1 - x),
                _ => (width - 1 - y, x),
            };
            let at = (fy * width + fx) * 3;
            pixels.extend_from_slice(&image.pixels[at..at + 3]);
        }
    }
    Image { width: across, height: down, channels: 3, pixels }
}
