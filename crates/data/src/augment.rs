//! The augmentations of training: torchvision's crops and flips, and no others.
//!
//! What is drawn for an image depends on the seed and on the image's index in the data set alone:
//! neither threads nor batches nor the order of the images change a pixel. The
//! distribution is PyTorch's; the numbers are not, since those depend on the workers of its DataLoader.

use std::fmt;

use serde_json::{Value, json};

use crate::placement::{Placement, Span};
use crate::random::SplitMix64;
use crate::resize::Window;
use swa_base::{Error, Result, setting};

/// `RandomResizedCrop`'s defaults: the share of the image's area, and width by height.
const SCALE: [f64; 2] = [0.08, 1.0];
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
const TRIES: usize = 10;

/// Zeros on every side before a [`Augmentation::PaddedCrop`].
const PADDING: usize = 4;

/// The probability of a flip.
const FLIP: f64 = 0.5;

/// What is drawn for each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Augmentation {
    /// `RandomResizedCrop(crop)`, `RandomHorizontalFlip()`: ImageNet's.
    ResizedCrop,
    /// `RandomCrop(size, padding=4)`, `RandomHorizontalFlip()`: CIFAR's. The size is the crop's, or
    /// the image's own.
    PaddedCrop,
    /// Nothing: the pixels of evaluation. The MNIST family has no customary augmentation, and a mirrored digit
    /// is no digit.
    Plain,
}

/// An augmentation with its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Training {
    /// What is drawn.
    pub augmentation: Augmentation,
    /// The seed of all draws.
    pub seed: u64,
    /// The side of a resized crop in pixels, where it is not that of the evaluation's crop: many networks are
    /// trained on smaller images than they are evaluated on.
    pub size: Option<usize>,
}

impl Training {
    /// What happens to image `index`, of `width` x `height` pixels. `plain` is what evaluation does to it, `crop`
    /// the side of the evaluation's crop.
    ///
    /// # Errors
    /// `Usage` where a resized crop has no size, `Input` where an image is smaller than its crop; those
    /// of `plain`.
    pub fn placement(
        &self,
        index: usize,
        (width, height): (usize, usize),
        crop: Option<usize>,
        plain: impl FnOnce() -> Result<Placement>,
    ) -> Result<Placement> {
        let mut random = SplitMix64::of_image(self.seed, index);
        let placement = match self.augmentation {
            Augmentation::Plain => return plain(),
            Augmentation::ResizedCrop => {
                let size = self.size.or(crop).ok_or_else(|| self.without_size())?;
                let part = resized_crop(&mut random, width, height);
                let span = Span::whole(size);
                Placement { part, width: size, height: size, across: span, down: span, flip: false }
            }
            Augmentation::PaddedCrop => {
                let plain = plain()?;
                let (width, height) = (plain.width, plain.height);
                let down = padded_crop(&mut random, height, crop);
                let across = padded_crop(&mut random, width, crop);
                let (Some(across), Some(down)) = (across, down) else {
                    let what = format!("{width}x{height} pixels, padded by {PADDING}, are smaller");
                    return Err(Error::input(format!("{what} than the crop")).remedy(concat!(
                        "resize the images with ",
                        setting!("resize"),
                        ", or give a smaller ",
                        setting!("crop")
                    )));
                };
                Placement { across, down, ..plain }
            }
        };
        Ok(Placement { flip: random.within(0.0..1.0) < FLIP, ..placement })
    }

    /// Checks it against the side of the evaluation's crop, in pixels.
    ///
    /// # Errors
    /// `Usage` where a resized crop has no size.
    pub fn validate(&self, crop: Option<usize>) -> Result<()> {
        match self.augmentation {
            Augmentation::ResizedCrop if self.size.or(crop).is_none() => Err(self.without_size()),
            _ => Ok(()),
        }
    }

    fn without_size(&self) -> Error {
        let what =
            concat!(setting!("transform", "train"), ": the size of the random crop is not known");
        Error::usage(what).remedy(concat!("give ", setting!("crop")))
    }

    /// What the metadata of a model records of it; `crop` is the side of the evaluation's crop, in pixels.
    pub fn record(&self, crop: Option<usize>) -> Value {
        match self.augmentation {
            Augmentation::Plain => json!({}),
            Augmentation::ResizedCrop => json!({
                "random_resized_crop": { "size": self.size.or(crop), "scale": SCALE, "ratio": RATIO },
                "flip": FLIP,
                "seed": self.seed,
            }),
            Augmentation::PaddedCrop => json!({
                "random_crop": { "size": crop, "padding": PADDING },
                "flip": FLIP,
                "seed": self.seed,
            }),
        }
    }
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed;
        match self.augmentation {
            Augmentation::ResizedCrop => write!(f, "random resized crop and flip, seed {seed}"),
            Augmentation::PaddedCrop => write!(f, "padding, random crop and flip, seed {seed}"),
            Augmentation::Plain => write!(f, "no augmentation, which is this preset's"),
        }
    }
}

/// `RandomResizedCrop.get_params`: ten tries for a box that fits; then the middle, as large as the
/// ratios let it be.
fn resized_crop(random: &mut SplitMix64, width: usize, height: usize) -> Window {
    let area = width as f64 * height as f64;
    for _ in 0..TRIES {
        let target = area * random.within(SCALE[0]..SCALE[1]);
        let ratio = random.within(RATIO[0].ln()..RATIO[1].ln()).exp();
        // Python's `round` goes to the even neighbour too.
        let w = (target * ratio).sqrt().round_ties_even() as usize;
        let h = (target / ratio).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = random.below((height - h + 1) as u64) as usize;
            let left = random.below((width - w + 1) as u64) as usize;
            return Window { left, top, width: w, height: h };
        }
    }
    let ratio = width as f64 / height as f64;
    let (w, h) = if ratio < RATIO[0] {
        (width, (width as f64 / RATIO[0]).round_ties_even() as usize)
    } else if ratio > RATIO[1] {
        ((height as f64 * RATIO[1]).round_ties_even() as usize, height)
    } else {
        (width, height)
    };
    Window { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
}

/// Where a random crop of `size` pixels with padding lies, along one axis; its own size by default.
/// None where there are too few pixels.
fn padded_crop(random: &mut SplitMix64, size: usize, crop: Option<usize>) -> Option<Span> {
    let kept = crop.unwrap_or(size);
    let room = (size + 2 * PADDING).checked_sub(kept)?;
    let start = random.below(room as u64 + 1) as isize - PADDING as isize;
    Some(Span { start, size: kept })
}
