//! 8-bit pixels in memory.

use std::fmt;

/// The most pixels that an image, or what a transform would make of it, may have: twice 89,478,485, the number
/// above which Pillow raises `DecompressionBombError`.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;

/// 8-bit pixels: `height` rows of `width` pixels of `channels` bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// height · width · channels bytes, row by row, channels innermost.
    pub pixels: Vec<u8>,
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image {}x{}x{}", self.width, self.height, self.channels)
    }
}
