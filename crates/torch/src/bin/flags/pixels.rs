//! Flags of pixels.

use swa_cli::choice;
use swa_data::Interpolation;
use swa_torch::session::{Augment, Pixels};

/// How an image becomes pixels.
#[derive(Debug, clap::Args)]
pub struct PixelArgs {
    /// How images are resized, cropped and normalised, in one word: imagenet, cifar10, cifar100,
    /// fashion-mnist, … [default: the one recorded in the model, else `imagenet` for torchvision's
    /// families and for programs of 64 pixels or more]
    #[arg(long, value_name = "NAME", help_heading = "Pixels")]
    pub preset: Option<String>,

    /// Resize the short side to N pixels (0: not at all)
    #[arg(long, value_name = "N", help_heading = "Pixels")]
    pub resize: Option<usize>,

    /// Crop the centre to N × N pixels (0: not at all). With --transform train of imagenet presets: the
    /// size of the random crop, and evaluation keeps its own
    #[arg(long, value_name = "N", help_heading = "Pixels")]
    pub crop: Option<usize>,

    /// Mean of each channel, of values from 0 to 1
    #[arg(long, value_name = "M,…", value_delimiter = ',', help_heading = "Pixels")]
    pub mean: Option<Vec<f32>>,

    /// Standard deviation of each channel
    #[arg(long, value_name = "S,…", value_delimiter = ',', help_heading = "Pixels")]
    pub std: Option<Vec<f32>>,

    /// How resizing interpolates
    #[arg(long, value_parser = choice::<Interpolation>(), help_heading = "Pixels")]
    pub interpolation: Option<Interpolation>,
}

impl PixelArgs {
    /// The options that these flags give; `augment`: what is drawn for each image.
    pub fn options(&self, augment: Option<Augment>) -> Pixels {
        Pixels {
            preset: self.preset.clone(),
            resize: self.resize,
            crop: self.crop,
            mean: self.mean.clone(),
            std: self.std.clone(),
            interpolation: self.interpolation,
            augment,
        }
    }
}
