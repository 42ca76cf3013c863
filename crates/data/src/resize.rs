//! Pillow's resampling with antialias, bit for bit.
//!
//! Source: `libImaging/Resample.c`. A filter as wide as the scale (at least its own support) is
//! evaluated in f64, normalised, and turned into integers of `PRECISION_BITS` fractional bits. One
//! axis comes first and is rounded to 8 bits, then the other; see `vertical_first`.
//!
//! Only what the window (a crop that follows) needs is computed: an output pixel depends on its own
//! column's and row's weights alone, so the bytes are those of the whole.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use swa_base::choices;

use crate::image::Image;

/// 8 bits of pixel and 2 bits for overshoot and sign leave 22 of 32.
const PRECISION_BITS: u32 = 32 - 8 - 2;

choices! {
    /// The filter of a resize.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Interpolation {
        Bilinear = "bilinear": "Triangle, antialiased",
        Bicubic = "bicubic": "Cubic with a = -0.5, antialiased",
    }
}

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first column.
    pub left: usize,
    /// The first row.
    pub top: usize,
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
}

/// Resizes `image` (1 or 3 channels) to `width` x `height` pixels and returns the `window` of the result.
///
/// Panics if a size is zero or the window does not lie within the resized image.
pub fn resize(
    image: Image,
    width: usize,
    height: usize,
    window: Window,
    by: Interpolation,
) -> Image {
    assert!(width > 0 && height > 0 && image.width > 0 && image.height > 0, "an empty image");
    assert!(window.left + window.width <= width && window.top + window.height <= height);
    let columns = (image.width != width)
        .then(|| Weights::new(image.width, width, window.left, window.width, by));
    let rows = (image.height != height)
        .then(|| Weights::new(image.height, height, window.top, window.height, by));
    let axes = Axes { columns, rows, vertical_first: vertical_first(&image, width, height) };
    let pixels = run(&image, window, &axes);
    Image { width: window.width, height: window.height, pixels, ..image }
}

/// Pillow 13 starts with the vertical pass where the height loses more than twice as many pixels as
/// the width (found by trying every kind of size); before, it never did. With equal scales that is a
/// reduced image more than twice as high as wide.
fn vertical_first(image: &Image, width: usize, height: usize) -> bool {
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    lost(image.height, height) > (2 * lost(image.width, width)).max(0)
}

/// The weights of the two passes, none where the size along that axis stays.
struct Axes {
    columns: Option<Weights>,
    rows: Option<Weights>,
    vertical_first: bool,
}

fn run(image: &Image, window: Window, axes: &Axes) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { passes_avx2(image, window, axes) };
    }
    passes(image, window, axes, horizontal)
}

/// The same code compiled for wider registers; integers, so the same bytes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn passes_avx2(image: &Image, window: Window, axes: &Axes) -> Vec<u8> {
    passes(image, window, axes, |pixels, line, channels, first, columns| match channels {
        3 => avx2::horizontal_rgb(pixels, line, first, columns),
        _ => horizontal(pixels, line, channels, first, columns),
    })
}

/// `horizontal`: the function of that name, or one that gives the same bytes.
#[inline(always)]
fn passes(
    image: &Image,
    window: Window,
    axes: &Axes,
    horizontal: impl Fn(&[u8], usize, usize, usize, &Weights) -> Vec<u8>,
) -> Vec<u8> {
    let (pixels, channels) = (&image.pixels, image.channels);
    let line = image.width * channels;
    let part = window.left * channels..(window.left + window.width) * channels;
    let lines = window.top * line..(window.top + window.height) * line;
    match (&axes.columns, &axes.rows) {
        (None, None) => {
            pixels[lines].chunks_exact(line).flat_map(|row| &row[part.clone()]).copied().collect()
        }
        (Some(columns), None) => horizontal(&pixels[lines], line, channels, 0, columns),
        (None, Some(rows)) => vertical(pixels, line, part, 0, rows),
        (Some(columns), Some(rows)) if axes.vertical_first => {
            let (first, last) = columns.range();
            let low = vertical(pixels, line, first * channels..last * channels, 0, rows);
            horizontal(&low, (last - first) * channels, channels, first, columns)
        }
        (Some(columns), Some(rows)) => {
            let (first, last) = rows.range();
            let narrow = horizontal(&pixels[first * line..last * line], line, channels, 0, columns);
            vertical(&narrow, window.width * channels, 0..window.width * channels, first, rows)
        }
    }
}

/// For each output position of a window: where its inputs start and their integer weights.
struct Weights {
    starts: Vec<usize>,
    /// `taps` a position, zero where fewer are needed.
    weights: Vec<i32>,
    lengths: Vec<usize>,
    taps: usize,
}

impl Weights {
    /// Positions `first..first + count` of `to`, made from `from` inputs.
    fn new(from: usize, to: usize, first: usize, count: usize, by: Interpolation) -> Self {
        let scale = from as f64 / to as f64;
        let filter_scale = scale.max(1.0);
        let support = by.support() * filter_scale;
        let taps = support.ceil() as usize * 2 + 1;
        let mut all =
            Weights { starts: vec![], weights: vec![0; taps * count], lengths: vec![], taps };
        let mut values = vec![0f64; taps];
        for position in 0..count {
            let center = ((first + position) as f64 + 0.5) * scale;
            // Truncation is what C does; negative values become 0 either way.
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let mut sum = 0.0;
            for (i, value) in values[..end - start].iter_mut().enumerate() {
                let x = (i as f64 + start as f64 - center + 0.5) * (1.0 / filter_scale);
                *value = by.at(x);
                sum += *value;
            }
            let integers = &mut all.weights[position * taps..];
            for (integer, value) in integers.iter_mut().zip(&values[..end - start]) {
                let value = if sum != 0.0 { value / sum } else { *value };
                let scaled = value * f64::from(1 << PRECISION_BITS);
                *integer = (if value < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32;
            }
            all.starts.push(start);
            all.lengths.push(end - start);
        }
        all
    }

    /// The inputs that any position needs, from first to one past the last.
    fn range(&self) -> (usize, usize) {
        let mut ends = self.starts.iter().zip(&self.lengths).map(|(start, length)| start + length);
        (self.starts.first().copied().unwrap_or(0), ends.next_back().unwrap_or(0))
    }

    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.taps);
        let parts = weights.zip(&self.lengths).map(|(weights, &length)| &weights[..length]);
        self.starts.iter().copied().zip(parts)
    }
}

impl Interpolation {
    /// Half the filter's width, in pixels of the smaller scale.
    fn support(self) -> f64 {
        match self {
            Interpolation::Bilinear => 1.0,
            Interpolation::Bicubic => 2.0,
        }
    }

    /// The filter's value at distance `x`.
    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Interpolation::Bilinear if x < 1.0 => 1.0 - x,
            // Keys 1981 with a = -0.5, in Pillow's order of operations.
            Interpolation::Bicubic if x < 1.0 => ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1.0,
            Interpolation::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Wrapping, because an overflow check would keep the loops from being vectorised. Sums stay within 32 bits by
/// the choice of [`PRECISION_BITS`].
#[inline(always)]
fn add(sum: i32, value: u8, weight: i32) -> i32 {
    sum.wrapping_add(i32::from(value).wrapping_mul(weight))
}

/// `pixels` are rows of `line` bytes of which the first pixel is column `first` of the image.
#[inline(always)]
fn horizontal(
    pixels: &[u8],
    line: usize,
    channels: usize,
    first: usize,
    columns: &Weights,
) -> Vec<u8> {
    let mut out = vec![0; pixels.len() / line * columns.starts.len() * channels];
    let lines = out.chunks_exact_mut(columns.starts.len() * channels);
    for (row, out) in pixels.chunks_exact(line).zip(lines) {
        if channels == 1 {
            for ((start, weights), out) in columns.iter().zip(out) {
                let values = row[start - first..].iter().zip(weights);
                *out = clip(values.fold(HALF, |sum, (&value, &weight)| add(sum, value, weight)));
            }
            continue;
        }
        let row = row.as_chunks::<3>().0;
        for ((start, weights), out) in columns.iter().zip(out.as_chunks_mut::<3>().0) {
            let mut sums = [HALF; 4];
            for (&[r, g, b], &weight) in row[start - first..][..weights.len()].iter().zip(weights) {
                // The fourth is there to fill a register.
                for (sum, value) in sums.iter_mut().zip([r, g, b, 0]) {
                    *sum = add(*sum, value, weight);
                }
            }
            let [r, g, b, _] = sums.map(clip);
            *out = [r, g, b];
        }
    }
    out
}

/// The bytes `part` of each row; `pixels` are rows of `line` bytes, the first is row `first` of the
/// image.
#[inline(always)]
fn vertical(
    pixels: &[u8],
    line: usize,
    part: Range<usize>,
    first: usize,
    rows: &Weights,
) -> Vec<u8> {
    /// Sums that are kept in registers.
    const BLOCK: usize = 64;
    let mut out = vec![0; rows.starts.len() * part.len()];
    if part.is_empty() {
        return out;
    }
    for ((start, weights), out) in rows.iter().zip(out.chunks_exact_mut(part.len())) {
        let pixels = &pixels[(start - first) * line..][..weights.len() * line];
        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
        for (i, block) in blocks.iter_mut().enumerate() {
            let mut sums = [HALF; BLOCK];
            for (row, &weight) in pixels.chunks_exact(line).zip(weights) {
                let values = &row[part.start + i * BLOCK..][..BLOCK];
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum = add(*sum, value, weight);
                }
            }
            *block = sums.map(clip);
        }
        let done = part.end - rest.len();
        for (i, out) in rest.iter_mut().enumerate() {
            let values = pixels[done + i..].iter().step_by(line).zip(weights);
            *out = clip(values.fold(HALF, |sum, (&value, &weight)| add(sum, value, weight)));
        }
    }
    out
}

#[cfg(test)]
mod tests;
