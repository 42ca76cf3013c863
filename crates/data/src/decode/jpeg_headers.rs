//! What stands before a JPEG's pixels, held to libjpeg's and Pillow's rules: the decoder passes over much of it.

use swa_base::{Error, Kind, Result};

/// Fails if a header before the first scan is not what they read.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    // Anything may stand between two headers.
    while let Some(start) = rest.iter().position(|&byte| byte == 0xff) {
        let fill = rest[start..].iter().take_while(|&&byte| byte == 0xff).count();
        let Some((&marker, after)) = rest[start + fill..].split_first() else { return Ok(()) };
        rest = after;
        match marker {
            // An escaped byte; markers that stand alone.
            0 | 0xd0..=0xd7 | 0xd9 => continue,
            0x01..=0xbf | 0xc8 | 0xd8 | 0xde | 0xdf | 0xf0..=0xfd => {
                return Err(corrupt("a marker that no JPEG has there"));
            }
            _ => {}
        }
        let Some((length, after)) = rest.split_first_chunk() else { return Ok(()) };
        let length = usize::from(u16::from_be_bytes(*length));
        let content = length.checked_sub(2).and_then(|length| after.get(..length));
        let Some(content) = content else { return Err(corrupt("a header that is cut")) };
        let is_whole = match marker {
            0xc4 => are_codes(content),
            0xdb => are_divisors(content),
            0xdd => content.len() == 2,
            // Of arithmetic coding: 32 pairs at most, each by its number.
            0xcc => content.chunks(2).all(|pair| pair.len() == 2 && pair[0] < 32),
            0xc0..=0xcf => content.get(5).is_some_and(|&n| content.len() == 6 + 3 * usize::from(n)),
            0xda => content.first().is_some_and(|&n| content.len() == 4 + 2 * usize::from(n)),
            _ => true,
        };
        match (is_whole, marker) {
            (false, _) => return Err(corrupt(&format!("its header {marker:#04x}"))),
            (true, 0xda) => return Ok(()),
            _ => rest = &after[content.len()..],
        }
    }
    Ok(())
}

fn corrupt(what: &str) -> Error {
    Error::new(Kind::BadImage, format!("corrupt JPEG: {what}"))
}

/// Tables of Huffman codes. Those of differences have 16 symbols.
fn are_codes(mut rest: &[u8]) -> bool {
    while let Some((&[table, ref counts @ ..], after)) = rest.split_first_chunk::<17>() {
        let n: usize = counts.iter().map(|&count| usize::from(count)).sum();
        let Some(symbols) = after.get(..n) else { return false };
        let is_difference = table & 0x10 == 0;
        if table & 0xef > 3 || n > 256 || is_difference && symbols.iter().any(|&s| s > 15) {
            return false;
        }
        // As many codes of each length as there are.
        let mut code = 0;
        for (length, &count) in (1..).zip(counts) {
            code = (code << 1) + u32::from(count);
            if code > 1 << length {
                return false;
            }
        }
        rest = &after[n..];
    }
    rest.is_empty()
}

/// Tables of 64 divisors, of one byte or two.
fn are_divisors(mut rest: &[u8]) -> bool {
    while let Some(&table) = rest.first() {
        let size = 1 + 64 * (1 + usize::from(table >> 4 != 0));
        match rest.get(size..) {
            Some(after) if table & 0x0f <= 3 => rest = after,
            _ => return false,
        }
    }
    true
}
