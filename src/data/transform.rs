//! What is done to an image before a network sees it: torchvision's evaluation transform, on bytes.
//!
//! Short-side resize, then centre crop, with torchvision's rounding; see [`Transform::apply`]. The
//! mean and the standard deviation are only carried along: (pixel / 255 − mean) / std is computed
//! on the device.

use serde::{Deserialize, Serialize};

use super::resize::{Window, resize};
use super::{Image, MAX_PIXELS, decode};
use crate::error::{Error, Result};

/// The filter of a resize, as `--interpolation` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle, antialiased
    Bilinear,
    /// Cubic with a = -0.5, antialiased
    Bicubic,
}

/// Settings of the evaluation transform. Serialised in this order: it is recorded in the metadata of
/// a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// The short side after the resize, in pixels; the long side follows, truncated.
    pub resize: Option<usize>,
    /// The side of the square that is cut out of the centre, in pixels.
    pub crop: Option<usize>,
    pub interpolation: Interpolation,
    /// One a channel, of pixels scaled to 0..1.
    pub mean: Vec<f32>,
    /// One a channel, of pixels scaled to 0..1; not zero.
    pub std: Vec<f32>,
    /// Channels that the network takes, 1 or 3.
    pub channels: usize,
}

impl Transform {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// `Usage`, naming the flag.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::usage(what));
        if !matches!(self.channels, 1 | 3) {
            return refuse(format!("expected 1 or 3 channels, found {}", self.channels));
        }
        for (flag, values) in [("--mean", &self.mean), ("--std", &self.std)] {
            if values.len() != self.channels {
                let (expected, found) = (self.channels, values.len());
                return refuse(format!("`{flag}`: expected {expected} values, found {found}"));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return refuse(format!("`{flag}`: expected finite values, found {value}"));
            }
        }
        if self.std.iter().any(|&value| value <= 0.0) {
            return refuse(format!("`--std`: expected values above 0, found {:?}", self.std));
        }
        for (flag, side) in [("--resize", self.resize), ("--crop", self.crop)] {
            match side {
                Some(0) => return refuse(format!("`{flag}`: expected at least 1 pixel, found 0")),
                Some(side) if (side as u128).pow(2) > MAX_PIXELS.into() => {
                    return refuse(format!("`{flag}`: {side}x{side} is above {MAX_PIXELS} pixels"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Converts to the wanted channels, resizes, crops.
    ///
    /// As torchvision does on Pillow images: nothing is resized if the short side already fits; the
    /// long side is truncated; the crop's offset is rounded half to even; an image smaller than the
    /// crop is padded with zeros, the odd one after it. Grey is made before the resize
    /// (`Grayscale` before `Resize`).
    ///
    /// # Errors
    /// `Limit` where the resized image would have more than [`MAX_PIXELS`] pixels.
    pub fn apply(&self, image: Image) -> Result<Image> {
        let image = decode::to_channels(image, self.channels);
        let (width, height) = self.resized(image.width, image.height)?;
        let across = Cut::new(width, self.crop);
        let down = Cut::new(height, self.crop);
        let window =
            Window { left: across.start, top: down.start, width: across.kept, height: down.kept };
        let kept = resize(image, width, height, window, self.interpolation);
        if (kept.width, kept.height) == (across.size, down.size) {
            return Ok(kept);
        }
        let channels = kept.channels;
        let mut pixels = vec![0; down.size * across.size * channels];
        let rows = pixels.chunks_exact_mut(across.size * channels).skip(down.before);
        for (row, from) in rows.zip(kept.pixels.chunks_exact(kept.width * channels)) {
            row[across.before * channels..][..from.len()].copy_from_slice(from);
        }
        Ok(Image { width: across.size, height: down.size, channels, pixels })
    }

    /// Width and height after the resize.
    fn resized(&self, width: usize, height: usize) -> Result<(usize, usize)> {
        let Some(short) = self.resize else { return Ok((width, height)) };
        let (from_short, from_long) = (width.min(height), width.max(height));
        let long = short as u128 * from_long as u128 / from_short as u128;
        if short as u128 * long > MAX_PIXELS.into() {
            let what = format!("{width}x{height} pixels resized to a short side of {short}");
            return Err(Error::limit(format!("{what} are above {MAX_PIXELS} pixels")));
        }
        let long = long as usize;
        Ok(if width <= height { (short, long) } else { (long, short) })
    }
}

/// A centre crop along one axis.
struct Cut {
    /// First pixel that is kept, and how many are.
    start: usize,
    kept: usize,
    /// Zeros before them, and the size after the crop.
    before: usize,
    size: usize,
}

impl Cut {
    fn new(size: usize, crop: Option<usize>) -> Self {
        match crop {
            None => Cut { start: 0, kept: size, before: 0, size },
            Some(crop) if crop > size => {
                Cut { start: 0, kept: size, before: (crop - size) / 2, size: crop }
            }
            Some(crop) => {
                let half = (size - crop) / 2;
                // Python's round of half + 0.5 goes to the even neighbour.
                let up = (size - crop) % 2 * (half % 2);
                Cut { start: half + up, kept: crop, before: 0, size: crop }
            }
        }
    }
}

#[cfg(test)]
mod tests;
