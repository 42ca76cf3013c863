//! The first frame of a GIF as Pillow's `GifImagePlugin` reads it: its blocks here, its codes by the `weezl` crate.
//!
//! The image is as large as the screen, or larger where the frame reaches beyond it. What the frame leaves free has the
//! colour that stands for transparency, else the first one. Transparency itself is dropped. A palette whose colours are
//! the greys in order counts as none, and without a palette indices are greys.

use weezl::{BitOrder, LzwStatus, decode::Decoder};

use super::{Image, check_pixels, grey_to_rgb};
use swa_base::{Error, Kind, Result};

/// Where the rows of an interlaced frame begin, and their steps.
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    let mut blocks = Blocks { rest: bytes };
    let head = blocks.take(13)?;
    let screen = [6, 8].map(|at| usize::from(u16::from_le_bytes([head[at], head[at + 1]])));
    let global = blocks.palette(head[10]);
    let (frame, transparent) = blocks.frame()?;
    let [left, top, across, down] =
        [0, 2, 4, 6].map(|at| usize::from(u16::from_le_bytes([frame[at], frame[at + 1]])));
    let (width, height) = (screen[0].max(left + across), screen[1].max(top + down));
    if across == 0 || down == 0 {
        return Err(bad("a GIF of no pixels"));
    }
    check_pixels(width, height)?;
    let flags = frame[8];
    let local = blocks.palette(flags);
    let indices = blocks.indices(across * down)?;
    let mut placed = vec![transparent.unwrap_or(0); width * height];
    let rows: Vec<usize> = match flags & 64 {
        0 => (0..down).collect(),
        _ => PASSES.iter().flat_map(|&(start, step)| (start..down).step_by(step)).collect(),
    };
    for (row, from) in rows.into_iter().zip(indices.chunks_exact(across)) {
        placed[(top + row) * width + left..][..across].copy_from_slice(from);
    }
    // Pillow passes over a local palette of greys where there is a global one.
    let pixels = match local.or(global) {
        None => grey_to_rgb(placed.into_iter()),
        Some(palette) => {
            let mut colours = [[0; 3]; 256];
            for (colour, stored) in colours.iter_mut().zip(palette.as_chunks::<3>().0) {
                *colour = *stored;
            }
            placed.into_iter().flat_map(|index| colours[usize::from(index)]).collect()
        }
    };
    Ok(Image { width, height, channels: 3, pixels })
}

fn bad(what: impl Into<String>) -> Error {
    Error::new(Kind::BadImage, what)
}

fn cut() -> Error {
    bad("cut off: a GIF image that ends inside its data")
}

/// Reads from the start on.
struct Blocks<'a> {
    rest: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(cut)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The palette that the flags announce, unless it is of greys in order.
    fn palette(&mut self, flags: u8) -> Option<&'a [u8]> {
        if flags & 128 == 0 {
            return None;
        }
        let size = (3 << ((flags & 7) + 1)).min(self.rest.len());
        let (palette, rest) = self.rest.split_at(size);
        self.rest = rest;
        let is_grey = |(i, colour): (usize, &[u8])| colour == &[i as u8; 3][..colour.len()];
        (!palette.chunks(3).enumerate().all(is_grey)).then_some(palette)
    }

    /// A sub-block; None at the end of a run of them.
    fn block(&mut self) -> Option<&'a [u8]> {
        let (&size, rest) = self.rest.split_first()?;
        let (block, rest) = rest.split_at(usize::from(size).min(rest.len()));
        self.rest = rest;
        (size > 0).then_some(block)
    }

    /// The first frame's header, and the index that stands for transparency. Bytes that begin no block are passed over.
    fn frame(&mut self) -> Result<(&'a [u8], Option<u8>)> {
        let mut transparent = None;
        loop {
            match self.take(1)?[0] {
                b';' => return Err(bad("a GIF without an image")),
                b',' => return Ok((self.take(9)?, transparent)),
                b'!' => {
                    let kind = self.take(1)?[0];
                    let block = self.block();
                    if let (249, Some(block)) = (kind, block) {
                        match *block {
                            [flags, _, _, index, ..] if flags & 1 == 1 => transparent = Some(index),
                            [flags, _, _, ..] if flags & 1 == 0 => {}
                            _ => return Err(bad("corrupt: a GIF with a short control block")),
                        }
                    }
                    // A comment that is empty has no further blocks.
                    if kind != 254 || block.is_some() {
                        while self.block().is_some() {}
                    }
                }
                _ => {}
            }
        }
    }

    /// So many indices, from the blocks that follow.
    fn indices(&mut self, count: usize) -> Result<Vec<u8>> {
        let bits = self.take(1)?[0];
        if !(1..=8).contains(&bits) {
            return Err(bad(format!("corrupt: a GIF with codes of {bits} bits")));
        }
        let mut decoder = Decoder::new(BitOrder::Lsb, bits);
        let mut indices = vec![];
        let mut buffer = [0; 1 << 12];
        while indices.len() < count {
            let size = usize::from(self.take(1)?[0]);
            if size == 0 {
                return Err(cut());
            }
            let mut block = self.take(size)?;
            // What is left in the decoder comes out without further bytes.
            loop {
                let result = decoder.decode_bytes(block, &mut buffer);
                block = &block[result.consumed_in..];
                indices.extend_from_slice(&buffer[..result.consumed_out]);
                match result.status {
                    _ if indices.len() >= count => break,
                    Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
                    Ok(LzwStatus::Done) => return Err(cut()),
                    Ok(_) => break,
                    Err(_) => return Err(bad("corrupt GIF: invalid code")),
                }
            }
        }
        indices.truncate(count);
        Ok(indices)
    }
}
