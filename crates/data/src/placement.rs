//! Where the pixels of an image go: the one mechanism behind the evaluation transform and the
//! training augmentations.

use crate::image::Image;
use crate::resize::{Interpolation, Window, resize};

/// A part of an image, resized, seen through a frame that may reach beyond it, mirrored or not.
///
/// The same bytes as Pillow's `crop`, `resize`, padding with zeros, `crop` and `transpose` make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The part of the image that is resized, within the image.
    pub part: Window,
    /// The width that it is resized to, in pixels. Nothing is resized if both sizes are the part's own.
    pub width: usize,
    /// The height that it is resized to, in pixels.
    pub height: usize,
    /// The columns of that which are kept: the result's width.
    pub across: Span,
    /// The rows of that which are kept: the result's height.
    pub down: Span,
    /// Whether left and right are exchanged, at the end.
    pub flip: bool,
}

/// A run of pixels along one axis. Those outside the image are zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first pixel; negative if the run begins before the image.
    pub start: isize,
    /// Number of pixels.
    pub size: usize,
}

impl Span {
    /// The pixels 0 to `size`.
    pub fn whole(size: usize) -> Self {
        Span { start: 0, size }
    }

    /// `kept` pixels in the middle of `size`, as torchvision's `CenterCrop` finds it: the offset of a
    /// cut is rounded half to even; of the zeros around too few pixels the odd one comes after them.
    pub fn middle(size: usize, kept: usize) -> Self {
        if kept > size {
            return Span { start: -(((kept - size) / 2) as isize), size: kept };
        }
        let half = (size - kept) / 2;
        // Python's round of half + 0.5 goes to the even neighbour.
        let up = (size - kept) % 2 * (half % 2);
        Span { start: (half + up) as isize, size: kept }
    }

    /// What of it lies within 0 to `size`: the first pixel, the number of pixels, and the number of zeros before
    /// them.
    fn inside(self, size: usize) -> (usize, usize, usize) {
        let first = self.start.clamp(0, size as isize) as usize;
        let end = (self.start + self.size as isize).clamp(first as isize, size as isize) as usize;
        (first, end - first, self.start.min(0).unsigned_abs().min(self.size))
    }
}

impl Placement {
    /// Applies it to an image of 1 or 3 channels. Panics if the part does not lie within the image, or a size is zero.
    pub fn apply(&self, image: Image, by: Interpolation) -> Image {
        let channels = image.channels;
        let (left, width, before) = self.across.inside(self.width);
        let (top, height, above) = self.down.inside(self.height);
        let (across, down) = (self.across.size, self.down.size);
        let mut placed = Image { width: across, height: down, channels, pixels: vec![] };
        if width == 0 || height == 0 {
            placed.pixels = vec![0; down * across * channels];
            return placed;
        }
        let window = Window { left, top, width, height };
        let kept = resize(cut(image, self.part), self.width, self.height, window, by);
        if (width, height) == (across, down) {
            placed = kept;
        } else {
            placed.pixels = vec![0; down * across * channels];
            let rows = placed.pixels.chunks_exact_mut(across * channels).skip(above);
            for (row, from) in rows.zip(kept.pixels.chunks_exact(width * channels)) {
                row[before * channels..][..from.len()].copy_from_slice(from);
            }
        }
        if self.flip {
            mirror(&mut placed);
        }
        placed
    }
}

/// The part alone: Pillow resizes a crop without regard to its surroundings.
fn cut(image: Image, part: Window) -> Image {
    let Window { left, top, width, height } = part;
    assert!(left + width <= image.width && top + height <= image.height, "a part of the image");
    if (width, height) == (image.width, image.height) {
        return image;
    }
    let (line, channels) = (image.width * image.channels, image.channels);
    let rows = image.pixels[top * line..][..height * line].chunks_exact(line);
    let pixels = rows.flat_map(|row| &row[left * channels..][..width * channels]).copied();
    Image { width, height, channels, pixels: pixels.collect() }
}

fn mirror(image: &mut Image) {
    for row in image.pixels.chunks_exact_mut(image.width * image.channels) {
        match image.channels {
            3 => row.as_chunks_mut::<3>().0.reverse(),
            _ => row.reverse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels 1, 2, 3, … row by row.
    fn numbered(width: usize, height: usize) -> Image {
        let pixels = (1..=width * height).map(|i| i as u8).collect();
        Image { width, height, channels: 1, pixels }
    }

    fn placed(across: Span, down: Span, flip: bool) -> Vec<u8> {
        let part = Window { left: 0, top: 0, width: 2, height: 2 };
        Placement { part, width: 2, height: 2, across, down, flip }
            .apply(numbered(2, 2), Interpolation::Bilinear)
            .pixels
    }

    #[test]
    fn a_frame_may_reach_beyond_on_every_side() {
        let span = |start, size| Span { start, size };
        assert_eq!(placed(span(0, 2), span(0, 2), false), [1, 2, 3, 4]);
        assert_eq!(placed(span(-1, 2), span(1, 2), false), [0, 3, 0, 0]);
        assert_eq!(placed(span(1, 2), span(-1, 2), false), [0, 0, 2, 0]);
        assert_eq!(placed(span(-1, 4), span(0, 1), true), [0, 2, 1, 0]);
        assert_eq!(placed(span(-3, 2), span(0, 1), false), [0, 0]);
        assert_eq!(placed(span(7, 2), span(-9, 1), true), [0, 0]);
    }

    #[test]
    fn a_part_is_cut_before_it_is_resized() {
        let part = Window { left: 1, top: 1, width: 2, height: 1 };
        let kept = |width, flip| {
            let across = Span::whole(width);
            Placement { part, width, height: 1, across, down: Span::whole(1), flip }
                .apply(numbered(4, 3), Interpolation::Bilinear)
                .pixels
        };
        assert_eq!(kept(2, false), [6, 7]);
        assert_eq!(kept(2, true), [7, 6]);
        // Nothing of 5 and 8 beside it.
        assert_eq!(kept(1, false), [7]);
    }

    #[test]
    fn colours_stay_together_when_mirrored() {
        let mut image = Image { width: 2, height: 1, channels: 3, pixels: vec![1, 2, 3, 4, 5, 6] };
        mirror(&mut image);
        assert_eq!(image.pixels, [4, 5, 6, 1, 2, 3]);
    }
}
