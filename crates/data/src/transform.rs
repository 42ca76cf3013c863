//! What is done to the bytes of an image before a network sees it: torchvision's evaluation transform, or one of
//! its training augmentations ([`crate::augment`]) instead.
//!
//! Short-side resize, then centre crop, with torchvision's rounding; see [`Transform::apply`]. The
//! mean and the standard deviation are only carried along: (pixel / 255 − mean) / std is computed
//! on the device.

use serde::{Deserialize, Serialize};
use swa_base::{Error, Result, setting};

use crate::augment::Training;
use crate::decode;
use crate::image::{Image, MAX_PIXELS};
use crate::placement::{Placement, Span};
use crate::resize::{Interpolation, Window};

/// The evaluation transform, and the augmentation that replaces its geometry in training. Serialised in this
/// order, without the augmentation, in the metadata of models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// The short side after the resize, in pixels; the long side follows, truncated.
    pub resize: Option<usize>,
    /// The side of the square that is cut out of the centre, in pixels.
    pub crop: Option<usize>,
    /// The filter of the resize.
    pub interpolation: Interpolation,
    /// The mean, one value a channel, of pixels scaled to 0..1.
    pub mean: Vec<f32>,
    /// The standard deviation, one value a channel, of pixels scaled to 0..1; above zero.
    pub std: Vec<f32>,
    /// Channels that the network takes, 1 or 3.
    pub channels: usize,
    /// The augmentation; None: the pixels of evaluation.
    #[serde(skip)]
    pub training: Option<Training>,
}

impl Transform {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// `Usage`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::usage(what));
        if !matches!(self.channels, 1 | 3) {
            return refuse(format!("expected 1 or 3 channels, found {}", self.channels));
        }
        for (setting, values) in [(setting!("mean"), &self.mean), (setting!("std"), &self.std)] {
            if values.len() != self.channels {
                let (expected, found) = (self.channels, values.len());
                return refuse(format!("{setting}: expected {expected} values, found {found}"));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return refuse(format!("{setting}: expected finite values, found {value}"));
            }
        }
        if self.std.iter().any(|&value| value <= 0.0) {
            let setting = setting!("std");
            return refuse(format!("{setting}: expected values above 0, found {:?}", self.std));
        }
        // Of pixels from 0 to 255 (mmcv): each image would become a constant.
        for (setting, values, most) in
            [(setting!("mean"), &self.mean, 1.0), (setting!("std"), &self.std, 16.0)]
        {
            if let Some(value) = values.iter().find(|value| value.abs() > most) {
                let what = format!(
                    "{setting}: {value} is for pixels from 0 to 255; here they go from 0 to 1"
                );
                return Err(Error::usage(what).remedy("divide the values by 255"));
            }
        }
        let random = self.training.and_then(|training| training.size);
        let crop = setting!("crop");
        for (setting, side) in
            [(setting!("resize"), self.resize), (crop, self.crop), (crop, random)]
        {
            match side {
                Some(0) => return refuse(format!("{setting}: expected at least 1 pixel, found 0")),
                Some(side) if (side as u128).pow(2) > MAX_PIXELS.into() => {
                    return refuse(format!(
                        "{setting}: {side}x{side} is above {MAX_PIXELS} pixels"
                    ));
                }
                _ => {}
            }
        }
        self.training.map_or(Ok(()), |training| training.validate(self.crop))
    }

    /// Converts image `index` to the wanted channels, then resizes and crops it, or augments it.
    ///
    /// As torchvision does on Pillow images: nothing is resized if the short side already fits; the
    /// long side is truncated; the crop's offset is rounded half to even; an image smaller than the
    /// crop is padded with zeros, the odd one after it. Grey is made before the resize
    /// (`Grayscale` before `Resize`).
    ///
    /// # Errors
    /// `Limit` where the resized image would have more than [`MAX_PIXELS`] pixels; those of
    /// [`Training::placement`].
    pub fn apply(&self, image: Image, index: usize) -> Result<Image> {
        let image = decode::to_channels(image, self.channels);
        let placement = self.placement(image.width, image.height, index)?;
        Ok(placement.apply(image, self.interpolation))
    }

    /// What happens to image `index`, of `width` x `height` pixels.
    fn placement(&self, width: usize, height: usize, index: usize) -> Result<Placement> {
        let plain = || -> Result<Placement> {
            let part = Window { left: 0, top: 0, width, height };
            let (width, height) = self.resized(width, height)?;
            let span = |size| Span::middle(size, self.crop.unwrap_or(size));
            let (across, down) = (span(width), span(height));
            Ok(Placement { part, width, height, across, down, flip: false })
        };
        match &self.training {
            None => plain(),
            Some(training) => training.placement(index, (width, height), self.crop, plain),
        }
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

#[cfg(test)]
mod tests;
