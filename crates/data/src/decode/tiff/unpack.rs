//! The compressions of strips and tiles.

use flate2::{Decompress, FlushDecompress};
use weezl::{BitOrder, LzwStatus, decode::Decoder};

use super::{bad, unsupported};
use swa_base::Result;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

impl Compression {
    pub fn of(number: usize) -> Result<Self> {
        let name = match number {
            1 => return Ok(Compression::None),
            5 => return Ok(Compression::Lzw),
            8 | 32_946 => return Ok(Compression::Deflate),
            32_773 => return Ok(Compression::PackBits),
            2..=4 => "fax compression",
            6 | 7 => "JPEG compression",
            34_712 => "JPEG 2000 compression",
            34_925 => "LZMA compression",
            50_000 => "zstd compression",
            50_001 => "WebP compression",
            _ => return Err(unsupported(format!("a TIFF with compression {number}"))),
        };
        Err(unsupported(format!("a TIFF with {name}")))
    }

    /// Whether samples may be stored as differences.
    pub fn predicts(self) -> bool {
        matches!(self, Compression::Lzw | Compression::Deflate)
    }

    /// Exactly `size` bytes.
    pub fn unpack(self, stored: &[u8], size: usize) -> Result<Vec<u8>> {
        let mut data = match self {
            Compression::None => stored.to_vec(),
            Compression::Lzw => lzw(stored, size)?,
            Compression::Deflate => {
                // As much as there may be at most, whatever the sizes say. At once: in parts, distances beyond the
                // beginning would not be noticed.
                let most = size.min(stored.len().saturating_mul(1040));
                let mut data = Vec::with_capacity(most);
                Decompress::new(true)
                    .decompress_vec(stored, &mut data, FlushDecompress::Finish)
                    .map_err(|error| bad(format!("corrupt TIFF: {error}")))?;
                data
            }
            Compression::PackBits => pack_bits(stored, size),
        };
        data.truncate(size);
        match data.len() == size {
            true => Ok(data),
            false => {
                Err(bad(format!("cut off: {} of {size} bytes of a part of the TIFF", data.len())))
            }
        }
    }
}

/// Codes from the high bits on, which grow one code early.
fn lzw(stored: &[u8], size: usize) -> Result<Vec<u8>> {
    if stored.starts_with(&[0, 1]) {
        return Err(unsupported("a TIFF with LZW of before 1989"));
    }
    // The first code empties the table; libtiff knows no other beginning.
    let first = stored.first_chunk().map_or(0, |&two| u16::from_be_bytes(two) >> 7);
    if first != 256 {
        return Err(bad("corrupt TIFF: its LZW data do not begin with a clear code"));
    }
    let mut decoder = Decoder::with_tiff_size_switch(BitOrder::Msb, 8);
    let (mut data, mut read) = (vec![], 0);
    let mut buffer = [0; 1 << 14];
    while data.len() < size {
        let result = decoder.decode_bytes(&stored[read..], &mut buffer);
        read += result.consumed_in;
        data.extend_from_slice(&buffer[..result.consumed_out]);
        match result.status {
            Ok(LzwStatus::Ok) if result.consumed_in + result.consumed_out > 0 => {}
            Ok(_) => break,
            Err(_) if data.len() >= size => break,
            Err(error) => return Err(bad(format!("corrupt TIFF: {error}"))),
        }
    }
    Ok(data)
}

/// A byte n below 128: n + 1 bytes follow; above 128: the next byte 257 - n times.
fn pack_bits(stored: &[u8], size: usize) -> Vec<u8> {
    let (mut data, mut rest) = (vec![], stored);
    while data.len() < size {
        let [n, after @ ..] = rest else { break };
        match (*n, after) {
            (128, _) => rest = after,
            (n @ 0..128, _) => {
                let count = (usize::from(n) + 1).min(after.len());
                data.extend_from_slice(&after[..count]);
                rest = &after[count..];
            }
            (n, [byte, after @ ..]) => {
                data.extend(std::iter::repeat_n(*byte, 257 - usize::from(n)));
                rest = after;
            }
            _ => break,
        }
    }
    data
}
