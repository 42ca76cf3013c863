//! JPEGs of four components, from the decoder's planes: upsampling, YCCK to CMYK, CMYK to RGB.
//!
//! libjpeg-turbo-rs 0.9.0 upsamples such files including the padding of their last blocks, which changes
//! pixels at the right and lower edges, and does not upsample black at all. So this is done here, as libjpeg
//! does it.
//!
//! Source: libjpeg-turbo, `jdsample.c` ("fancy" upsampling), `jdmainct.c` (the row beyond an edge is
//! the edge again), `jdcolor.c` (YCCK); Pillow, `Convert.c` (CMYK to RGB).

/// A component as it is stored: fewer samples than pixels where it is subsampled.
pub(super) struct Plane<'a> {
    /// Rows of `stride` samples, of which `width` x `height` are part of the image.
    pub samples: &'a [u8],
    pub stride: usize,
    pub width: usize,
    pub height: usize,
    /// Pixels a sample stands for, across and down.
    pub across: usize,
    pub down: usize,
}

impl Plane<'_> {
    /// Row `y`; beyond the edges, the edge.
    fn row(&self, y: isize) -> &[u8] {
        let y = y.clamp(0, self.height as isize - 1) as usize;
        &self.samples[y * self.stride..][..self.width]
    }

    /// The samples of the pixel row `y`, at least `pixels` of them.
    fn upsampled(&self, y: usize, pixels: usize) -> Vec<u8> {
        let near = (y / self.down) as isize;
        // The farther of the two rows around a pixel row.
        let far = if y.is_multiple_of(self.down) { near - 1 } else { near + 1 };
        let weighted = || self.row(near).iter().zip(self.row(far)).map(|(&n, &f)| mix(n, f));
        let mut row = match (self.across, self.down) {
            // The triangle filter; its roundings alternate so that they do not drift.
            (2, 1) if self.width > 2 => {
                let row: Vec<u32> = self.row(near).iter().map(|&sample| sample.into()).collect();
                interleave(
                    &row,
                    |near, far| (3 * near + far + 1) >> 2,
                    |near, far| (3 * near + far + 2) >> 2,
                )
            }
            (1, 2) => {
                let bias = if y.is_multiple_of(2) { 1 } else { 2 };
                weighted().map(|sum| ((sum + bias) >> 2) as u8).collect()
            }
            (2, 2) if self.width > 2 => {
                let sums: Vec<u32> = weighted().collect();
                interleave(
                    &sums,
                    |near, far| (3 * near + far + 8) >> 4,
                    |near, far| (3 * near + far + 7) >> 4,
                )
            }
            (across, _) => self
                .row(near)
                .iter()
                .flat_map(|&sample| std::iter::repeat_n(sample, across))
                .collect(),
        };
        // There are too many where the last sample stands for fewer pixels.
        row.truncate(pixels);
        row
    }
}

/// Three quarters of the nearer and one of the farther, times four.
fn mix(near: u8, far: u8) -> u32 {
    3 * u32::from(near) + u32::from(far)
}

/// Two values for each: the first leans to the left neighbour, the second to the right one; an edge
/// is its own neighbour.
fn interleave(
    values: &[u32],
    left: impl Fn(u32, u32) -> u32,
    right: impl Fn(u32, u32) -> u32,
) -> Vec<u8> {
    let last = values.len() - 1;
    let pair = |(i, &near): (usize, &u32)| {
        let (before, after) = (values[i.saturating_sub(1)], values[(i + 1).min(last)]);
        [left(near, before) as u8, right(near, after) as u8]
    };
    values.iter().enumerate().flat_map(pair).collect()
}

/// The RGB pixels of an image of four planes.
pub(super) fn to_rgb(planes: &[Plane; 4], width: usize, height: usize, ycck: bool) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let [a, b, c, k] = [0, 1, 2, 3].map(|i| planes[i].upsampled(y, width));
        for x in 0..width {
            let stored = [a[x], b[x], c[x]];
            let inks = if ycck { ycc_to_cmy(stored) } else { stored };
            pixels.extend(inks.map(|ink| without_ink(ink, k[x])));
        }
    }
    pixels
}

/// JFIF's conversion to RGB in 16-bit fixed point, then the complement.
fn ycc_to_cmy([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91881 * cr + HALF) >> 16);
    let green = y + ((-22554 * cb - 46802 * cr + HALF) >> 16);
    let blue = y + ((116130 * cb + HALF) >> 16);
    [red, green, blue].map(|value| (255 - value).clamp(0, 255) as u8)
}

/// Pillow takes every CMYK JPEG as inverted (Adobe's habit) and uses no profile. With what is stored,
/// K' and C', that makes K' - (255 - C') K' / 255.
fn without_ink(stored: u8, black: u8) -> u8 {
    let black = u32::from(black);
    // Division by 255, rounded; the product is at most 255 * 255.
    let product = u32::from(255 - stored) * black + 128;
    (black - (((product >> 8) + product) >> 8)) as u8
}
