//! Transforms by name.

use swa_base::{Error, Result, setting};

use crate::augment::Augmentation;
use crate::resize::Interpolation;
use crate::transform::Transform;

/// An evaluation transform that many models share, and the augmentation that they were trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preset {
    /// What the setting `preset` calls it.
    pub name: &'static str,
    /// The short side after the resize, in pixels; None: not resized.
    pub resize: Option<usize>,
    /// The side of the centre crop, in pixels; None: not cropped.
    pub crop: Option<usize>,
    /// One value a channel, of pixels scaled to 0..1; a single one where any number of channels fits.
    pub mean: &'static [f32],
    /// As `mean`: the standard deviation.
    pub std: &'static [f32],
    /// How networks of this preset are trained; None: not known.
    pub augmentation: Option<Augmentation>,
}

/// `none` fits any number of channels.
const NONE: &str = "none";

const IMAGENET: Preset = Preset {
    name: "imagenet",
    resize: Some(256),
    crop: Some(224),
    mean: &[0.485, 0.456, 0.406],
    std: &[0.229, 0.224, 0.225],
    augmentation: Some(Augmentation::ResizedCrop),
};

const CIFAR10: Preset = Preset {
    name: "cifar10",
    resize: None,
    crop: None,
    mean: &[0.4914, 0.4822, 0.4465],
    // Not the pixels' own (.2470, .2435, .2616), but the values in the SWA authors' and most other code.
    std: &[0.2023, 0.1994, 0.2010],
    augmentation: Some(Augmentation::PaddedCrop),
};

const MNIST: Preset = Preset {
    name: "mnist",
    resize: None,
    crop: None,
    mean: &[0.1307],
    std: &[0.3081],
    augmentation: Some(Augmentation::Plain),
};

/// All presets, in the order in which help and errors list them.
pub const PRESETS: &[Preset] = &[
    // torchvision's V1 weights resize to 256, its V2 weights to 232.
    IMAGENET,
    Preset { name: "imagenet-v2", resize: Some(232), ..IMAGENET },
    CIFAR10,
    Preset {
        name: "cifar100",
        mean: &[0.5071, 0.4865, 0.4409],
        std: &[0.2673, 0.2564, 0.2762],
        ..CIFAR10
    },
    // The SWA authors' VGG16 alone takes ImageNet's mean and deviation at CIFAR's size.
    Preset { name: "cifar-vgg16", mean: IMAGENET.mean, std: IMAGENET.std, ..CIFAR10 },
    Preset { name: "fashion-mnist", mean: &[0.2860], std: &[0.3530], ..MNIST },
    MNIST,
    Preset { name: NONE, resize: None, crop: None, mean: &[0.0], std: &[1.0], augmentation: None },
];

impl Preset {
    /// Finds a preset.
    ///
    /// # Errors
    /// `Usage`, listing the names.
    pub fn named(name: &str) -> Result<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
            let names: Vec<String> = Self::names().map(|name| format!("`{name}`")).collect();
            Error::usage(format!("unknown preset `{name}`"))
                .remedy(format!("use one of {}", names.join(", ")))
        })
    }

    /// All names, in the order of [`PRESETS`].
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|preset| preset.name)
    }

    /// The evaluation transform for a network that takes `channels` channels.
    ///
    /// # Errors
    /// `Usage` where the preset is for another number of channels.
    pub fn transform(&self, channels: usize) -> Result<Transform> {
        let any = self.name == NONE;
        if ![1, 3].contains(&channels) {
            let what =
                format!("the network takes {channels} channels, and images are read as 1 or 3");
            return Err(Error::usage(what).remedy("evaluate it with a program of your own"));
        }
        if !any && self.mean.len() != channels {
            let (name, found) = (self.name, self.mean.len());
            let what =
                format!("preset `{name}` has {found} channels, the network takes {channels}");
            return Err(Error::usage(what).remedy(concat!(
                "give ",
                setting!("mean"),
                " and ",
                setting!("std"),
                " with ",
                setting!("preset", "none")
            )));
        }
        let each = |values: &[f32]| if any { vec![values[0]; channels] } else { values.to_vec() };
        Ok(Transform {
            resize: self.resize,
            crop: self.crop,
            interpolation: Interpolation::Bilinear,
            mean: each(self.mean),
            std: each(self.std),
            channels,
            training: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_makes_a_valid_transform() {
        for preset in PRESETS {
            preset.transform(preset.mean.len()).unwrap().validate().unwrap();
        }
        assert_eq!(Preset::named("none").unwrap().transform(3).unwrap().std, [1.0; 3]);
    }

    #[test]
    fn an_unknown_preset_lists_the_known_ones() {
        let error = Preset::named("imagnet").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown preset `imagnet`; use one of `imagenet`, `imagenet-v2`, `cifar10`, \
             `cifar100`, `cifar-vgg16`, `fashion-mnist`, `mnist`, `none`"
        );
    }

    #[test]
    fn channels_must_fit() {
        let error = Preset::named("fashion-mnist").unwrap().transform(3).unwrap_err().to_string();
        assert!(error.contains("has 1 channels, the network takes 3"), "{error}");
        let error = Preset::named("none").unwrap().transform(4).unwrap_err().to_string();
        assert!(error.starts_with("the network takes 4 channels, and images are read as 1 or 3"));
    }
}
