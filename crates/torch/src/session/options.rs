//! What a pass over data is to use.

use std::path::PathBuf;

use swa_data::{Format, Interpolation, LabelForm, Split};
use swa_tools::checkpoint::Take;
use swa_tools::choices;

use crate::nn::Precision;
use crate::nn::device::DeviceChoice;

/// Data, pixels and networks of a pass.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which images.
    pub images: Images,
    /// How they become the pixels that networks take.
    pub pixels: Pixels,
    /// What runs on them, and where.
    pub networks: Networks,
}

/// Which images, and in what order they are drawn.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// The folder that holds them.
    pub dir: PathBuf,
    /// Which part, of a folder that holds several; None: training images for statistics, held-out ones for
    /// evaluation.
    pub split: Option<Split>,
    /// The convention of the folder; None: recognised from its files.
    pub format: Option<Format>,
    /// The labels of images in one folder; None: found beside them.
    pub labels: Option<PathBuf>,
    /// How that file is read, where its form leaves a question.
    pub label_form: LabelForm,
    /// All classes, where `labels` does not hold them all.
    pub classes: Option<PathBuf>,
    /// Which output of the network stands for which class of the data, where they do not agree.
    pub class_map: Option<PathBuf>,
    /// Use only so many images, drawn by the seed; None: all.
    pub samples: Option<usize>,
    /// The seed of the order of the images, of augmentation and of noise.
    pub seed: u64,
    /// Images per batch; None: 128, or more for an evaluation on a GPU.
    pub batch_size: Option<usize>,
    /// How many images that cannot be read may be left out.
    pub allow_bad: usize,
}

impl Images {
    /// The files that say what the images are, which no output may replace.
    pub fn files(&self) -> Vec<PathBuf> {
        [&self.labels, &self.classes, &self.class_map].into_iter().flatten().cloned().collect()
    }
}

choices! {
    /// What is drawn for each image.
    #[derive(Default)]
    pub enum Augment {
        #[default]
        Preset = "preset": "As networks of the preset are trained",
        Crop = "crop": "Padding by 4, random crop, flip",
        Resized = "resized": "Random resized crop, flip",
        None = "none": "Nothing: the pixels of evaluation",
    }
}

/// How images become the pixels that networks take. None takes the value of the preset.
#[derive(Debug, Clone, Default)]
pub struct Pixels {
    /// A preset by name; None: what is recorded in the models, else the family's.
    pub preset: Option<String>,
    /// The short side after the resize, in pixels; 0: no resize.
    pub resize: Option<usize>,
    /// The side of the crop, in pixels; 0: no crop.
    pub crop: Option<usize>,
    /// One value a channel, of pixels scaled to 0..1.
    pub mean: Option<Vec<f32>>,
    /// One value a channel, of pixels scaled to 0..1.
    pub std: Option<Vec<f32>>,
    /// The filter of the resize.
    pub interpolation: Option<Interpolation>,
    /// Random crops and flips as in training, drawn by the seed; None: the pixels of evaluation.
    pub augment: Option<Augment>,
}

/// What runs, and where.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    /// Which of the weights in a file are meant.
    pub take: Take,
    /// The architecture by name; None: recognised from the tensors' names and shapes.
    pub arch: Option<String>,
    /// What the names of the network's tensors begin with, where a checkpoint holds several networks; None: found.
    pub network: Option<String>,
    /// Exported programs (`.pt2`): a model runs the one that has its tensors, in place of an architecture that is known.
    pub programs: Vec<PathBuf>,
    /// Do not compare models with the checksums in them.
    pub no_verify: bool,
    /// The device.
    pub device: DeviceChoice,
    /// What networks compute in.
    pub precision: Precision,
    /// Threads of libtorch on the CPU; None: as many as it chooses.
    pub threads: Option<usize>,
}
