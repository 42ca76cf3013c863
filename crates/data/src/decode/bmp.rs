//! BMP as Pillow's `BmpImagePlugin` reads it, whose rules these are; no crate has them.
//!
//! | stored | becomes |
//! |---|---|
//! | 1, 4, 8 bits a pixel | its colour in the palette; black where the palette is too short |
//! | the same, with a palette of all greys in order | that grey |
//! | 16 bits: 5-5-5, or 5-6-5 by masks | scaled to 0..255, rounded down |
//! | 24 and 32 bits, with the masks in use | red, green and blue |
//! | runs of 4 and 8 bits (RLE) | as Pillow unpacks them |
//!
//! Refused as by Pillow: other headers, depths and masks, JPEG and PNG within a BMP, cut files.

use super::{Image, check_pixels, grey_to_rgb};
use swa_base::{Error, Kind, Result};

const RAW: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;

struct Header {
    width: usize,
    height: usize,
    top_down: bool,
    bits: usize,
    compression: u32,
    /// Entries of the palette.
    colours: usize,
    /// Bytes of such an entry.
    entry: usize,
    masks: Option<[u32; 4]>,
}

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    let mut reader = Reader { bytes, at: 10, header_end: 0 };
    let mut offset = reader.u32()? as usize;
    let header = Header::read(&mut reader)?;
    let Header { width, height, bits, .. } = header;
    if width == 0 || height == 0 {
        return Err(bad("a BMP image of no pixels"));
    }
    check_pixels(width, height)?;
    if bits <= 8 && offset == reader.header_end {
        offset += header.entry * header.colours;
    }
    let layout = header.layout()?;
    let palette = match bits {
        1 | 4 | 8 => Some(header.palette(&mut reader)?),
        _ => None,
    };
    let start = if offset == 0 { reader.at } else { offset };
    let data = bytes.get(start..).unwrap_or_default();
    let pixels = match &palette {
        Some(palette) => header.indexed(data, palette, start)?,
        None => header.direct(data, layout)?,
    };
    Ok(Image { width, height, channels: 3, pixels })
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(Kind::BadImage, what)
}

fn unsupported(what: String) -> Error {
    bad(what).remedy("convert it to PNG or JPEG")
}

/// Where a pixel's bytes of red, green and blue are, or how its bits are split.
#[derive(Clone, Copy)]
enum Layout {
    Bytes {
        each: usize,
        at: [usize; 3],
    },
    /// Bits of green: 5 or 6.
    Bits(u32),
}

/// What a palette makes of indices.
enum Palette {
    /// One bit a pixel, black and white, whatever the depth says.
    BlackAndWhite,
    Greys,
    Colours(Box<[[u8; 3]; 256]>),
}

impl Header {
    fn read(reader: &mut Reader) -> Result<Self> {
        let size = reader.u32()? as usize;
        if !matches!(size, 12 | 40 | 52 | 56 | 64 | 108 | 124) {
            return Err(unsupported(format!("a BMP with a header of {size} bytes")));
        }
        let fields = reader.take(size - 4)?;
        let u16_at = |at: usize| usize::from(u16::from_le_bytes([fields[at], fields[at + 1]]));
        let u32_at = |at: usize| {
            u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]])
        };
        reader.header_end = reader.at;
        if size == 12 {
            let (width, height, bits) = (u16_at(0), u16_at(2), u16_at(6));
            let colours = 1usize.checked_shl(bits as u32).unwrap_or(0);
            let (compression, entry, masks) = (RAW, 3, None);
            return Ok(Header {
                width,
                height,
                top_down: false,
                bits,
                compression,
                colours,
                entry,
                masks,
            });
        }
        let top_down = fields[7] == 0xff;
        let height = match top_down {
            true => u32_at(4).wrapping_neg() as usize,
            false => u32_at(4) as usize,
        };
        let (bits, compression) = (u16_at(10), u32_at(12));
        let colours = match u32_at(28) {
            0 => 1usize.checked_shl(bits as u32).unwrap_or(0),
            n => n as usize,
        };
        let masks = match (compression, size) {
            (BITFIELDS, 40) => Some([reader.u32()?, reader.u32()?, reader.u32()?, 0]),
            (BITFIELDS, 52) => Some([u32_at(36), u32_at(40), u32_at(44), 0]),
            (BITFIELDS, _) => Some([36, 40, 44, 48].map(u32_at)),
            _ => None,
        };
        let width = u32_at(0) as usize;
        Ok(Header { width, height, top_down, bits, compression, colours, entry: 4, masks })
    }

    /// Fails for what is not read; the layout is of no use for palettes.
    fn layout(&self) -> Result<Layout> {
        let bytes = |each, at| Ok(Layout::Bytes { each, at });
        let masks = |masks: [u32; 4]| {
            unsupported(format!(
                "a BMP of {} bits with the masks {:08x} {:08x} {:08x} {:08x}",
                self.bits, masks[0], masks[1], masks[2], masks[3]
            ))
        };
        match (self.compression, self.bits, self.masks) {
            (RAW | RLE8 | RLE4, 1 | 4 | 8, _) => bytes(1, [0; 3]),
            (RAW, 16, _) => Ok(Layout::Bits(5)),
            (RAW, 24, _) => bytes(3, [2, 1, 0]),
            (RAW, 32, _) => bytes(4, [2, 1, 0]),
            (BITFIELDS, 16, Some([0xf800, 0x7e0, 0x1f, _])) => Ok(Layout::Bits(6)),
            (BITFIELDS, 16, Some([0x7c00, 0x3e0, 0x1f, _])) => Ok(Layout::Bits(5)),
            (BITFIELDS, 24, Some([0xff0000, 0xff00, 0xff, _])) => bytes(3, [2, 1, 0]),
            (BITFIELDS, 32, Some(all)) => match all {
                [0xff0000, 0xff00, 0xff, 0 | 0xff000000] | [0, 0, 0, 0] => bytes(4, [2, 1, 0]),
                [0xff000000, 0xff0000, 0xff00, 0 | 0xff] => bytes(4, [3, 2, 1]),
                [0xff000000, 0xff00, 0xff, 0 | 0xff0000] => bytes(4, [3, 1, 0]),
                [0xff, 0xff00, 0xff0000, 0xff000000] => bytes(4, [0, 1, 2]),
                _ => Err(masks(all)),
            },
            (BITFIELDS, _, Some(all)) => Err(masks(all)),
            (compression, bits, _) => {
                Err(unsupported(format!("a BMP of {bits} bits with compression {compression}")))
            }
        }
    }

    fn palette(&self, reader: &mut Reader) -> Result<Palette> {
        if !(1..=65_536).contains(&self.colours) {
            return Err(unsupported(format!("a BMP with a palette of {} colours", self.colours)));
        }
        let stored = reader.rest(self.entry * self.colours);
        let grey = |i: usize| if self.colours == 2 { i * 255 } else { i } as u8;
        let is_grey =
            |i: usize| stored.get(i * self.entry..i * self.entry + 3) == Some(&[grey(i); 3][..]);
        if (0..self.colours).all(is_grey) {
            return Ok(if self.colours <= 2 { Palette::BlackAndWhite } else { Palette::Greys });
        }
        if stored.len() / self.entry > 256 {
            return Err(unsupported(format!("a BMP with a palette of {} colours", self.colours)));
        }
        let mut colours = Box::new([[0; 3]; 256]);
        for (colour, entry) in colours.iter_mut().zip(stored.chunks_exact(self.entry)) {
            *colour = [entry[2], entry[1], entry[0]];
        }
        Ok(Palette::Colours(colours))
    }

    /// The lines of pixels from the top, of `bits` bits a pixel each. Lines end at multiples of four bytes.
    fn lines<'a>(&self, data: &'a [u8], bits: usize) -> Result<Vec<&'a [u8]>> {
        let stride = (self.width * self.bits).div_ceil(32) * 4;
        let length = (self.width * bits).div_ceil(8);
        if length > stride {
            return Err(bad("corrupt: the BMP's palette and depth contradict each other"));
        }
        let line = |i: usize| {
            data.get(i * stride..i * stride + length).ok_or_else(|| {
                bad(format!("cut off: the BMP ends in line {} of {}", i + 1, self.height))
            })
        };
        let mut lines: Vec<&[u8]> = (0..self.height).map(line).collect::<Result<_>>()?;
        if !self.top_down {
            lines.reverse();
        }
        Ok(lines)
    }

    fn direct(&self, data: &[u8], layout: Layout) -> Result<Vec<u8>> {
        let lines = self.lines(data, self.bits)?;
        let mut pixels = Vec::with_capacity(self.width * self.height * 3);
        for line in lines {
            match layout {
                Layout::Bytes { each, at } => {
                    let all = line.chunks_exact(each);
                    pixels.extend(all.flat_map(|pixel| at.map(|i| pixel[i])));
                }
                Layout::Bits(green) => {
                    for &pair in line.as_chunks::<2>().0 {
                        let value = u32::from(u16::from_le_bytes(pair));
                        let part = |from: u32, bits: u32| {
                            let most = (1 << bits) - 1;
                            ((value >> from & most) * 255 / most) as u8
                        };
                        pixels.extend([part(5 + green, 5), part(5, green), part(0, 5)]);
                    }
                }
            }
        }
        Ok(pixels)
    }

    fn indexed(&self, data: &[u8], palette: &Palette, start: usize) -> Result<Vec<u8>> {
        let rle = matches!(self.compression, RLE8 | RLE4);
        let indices: Vec<u8> = match (palette, rle) {
            (Palette::BlackAndWhite, true) => {
                return Err(unsupported("a BMP of runs in black and white".into()));
            }
            (_, true) => self.runs(data, start)?,
            // Pillow reads these as one bit and one byte a pixel.
            (Palette::BlackAndWhite, _) => self.unpacked(data, 1)?,
            (Palette::Greys, _) => self.unpacked(data, 8)?,
            _ => self.unpacked(data, self.bits)?,
        };
        Ok(match palette {
            Palette::BlackAndWhite => grey_to_rgb(indices.into_iter().map(|bit| 255 * bit)),
            Palette::Greys => grey_to_rgb(indices.into_iter()),
            Palette::Colours(colours) => {
                indices.into_iter().flat_map(|index| colours[usize::from(index)]).collect()
            }
        })
    }

    fn unpacked(&self, data: &[u8], bits: usize) -> Result<Vec<u8>> {
        let mask = u8::MAX >> (8 - bits);
        let mut indices = Vec::with_capacity(self.width * self.height);
        for line in self.lines(data, bits)? {
            indices.extend((0..self.width).map(|x| {
                let bit = x * bits;
                line[bit / 8] >> (8 - bits - bit % 8) & mask
            }));
        }
        Ok(indices)
    }

    /// The indices in runs, from the top. Pillow's decoder, step by step. `start`: where the data are in the file.
    fn runs(&self, data: &[u8], start: usize) -> Result<Vec<u8>> {
        let rle4 = self.compression == RLE4;
        let (width, length) = (self.width, self.width * self.height);
        let mut out: Vec<u8> = Vec::with_capacity(length);
        let (mut at, mut x) = (0, 0);
        while out.len() < length {
            let Some(&[run, byte]) = data.get(at..at + 2).and_then(|pair| pair.first_chunk())
            else {
                break;
            };
            at += 2;
            match (run, byte) {
                (0, 0) => {
                    out.resize(out.len().next_multiple_of(width), 0);
                    x = 0;
                }
                (0, 1) => break,
                (0, 2) => {
                    let Some(&[right, up]) = data.get(at..at + 2).and_then(|p| p.first_chunk())
                    else {
                        break;
                    };
                    at += 2;
                    let skipped = usize::from(right) + usize::from(up) * width;
                    out.resize(out.len() + skipped.min(length - out.len()), 0);
                    x = out.len() % width;
                }
                (0, n) => {
                    let count = usize::from(n).min(length - out.len());
                    let stored = if rle4 { count.div_ceil(2) } else { count };
                    let read = &data[at.min(data.len())..(at + stored).min(data.len())];
                    at += read.len();
                    for (i, &byte) in read.iter().enumerate() {
                        match rle4 {
                            false => out.push(byte),
                            true => {
                                out.push(byte >> 4);
                                if i * 2 + 1 < count {
                                    out.push(byte & 15);
                                }
                            }
                        }
                    }
                    if read.len() < stored || out.len() == length {
                        break;
                    }
                    x += usize::from(n);
                    // Padded to an even place in the file.
                    at += (start + at) % 2;
                }
                (n, byte) => {
                    let n = usize::from(n).min(width.saturating_sub(x));
                    match rle4 {
                        false => out.extend(std::iter::repeat_n(byte, n)),
                        true => {
                            let pair = [byte >> 4, byte & 15];
                            out.extend(pair.into_iter().cycle().take(n));
                        }
                    }
                    x += n;
                }
            }
        }
        if out.len() < length {
            return Err(bad(format!("cut off: {} of {length} pixels of the BMP", out.len())));
        }
        out.truncate(length);
        let mut lines: Vec<&[u8]> = out.chunks_exact(width).collect();
        if !self.top_down {
            lines.reverse();
        }
        Ok(lines.concat())
    }
}

/// Reads from the file's start.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the header ends, masks after it not counted.
    header_end: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + n);
        self.at += n;
        taken.ok_or_else(|| bad("cut off: a BMP image that ends inside its header"))
    }

    fn u32(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Up to `n` bytes, as many as there are.
    fn rest(&mut self, n: usize) -> &'a [u8] {
        let start = self.at.min(self.bytes.len());
        let end = self.bytes.len().min(start + n);
        self.at = end;
        &self.bytes[start..end]
    }
}
