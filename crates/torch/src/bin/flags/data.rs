//! Flags of data, pixels and networks.

use std::path::PathBuf;

use swa_cli::{Common, TakeArgs, choice, positive, print};
use swa_data::{Format, Split};
use swa_tools::checkpoint::Take;
use swa_tools::{Error, Result, choices};
use swa_torch::jobs::architectures;
use swa_torch::nn::Precision;
use swa_torch::nn::device::DeviceChoice;
use swa_torch::session::{Augment, Images, Networks, Options};

use super::labels::LabelArgs;
use super::pixels::PixelArgs;
use super::program::ProgramArgs;

#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// The data: a folder with a sub-folder of images a class, or of another kind of --format
    #[arg(long, value_name = "DIR", required_unless_present_any = ["list_archs", "merge"], help_heading = "Data")]
    pub data: Option<PathBuf>,

    /// Which split to use, if the folder holds several [default: train; for swa-eval test, else val]
    #[arg(long, value_parser = choice::<Split>(), help_heading = "Data")]
    pub split: Option<Split>,

    /// What the folder holds [default: recognised from its files]
    #[arg(long, value_parser = choice::<Format>(), help_heading = "Data")]
    pub format: Option<Format>,

    /// The labels of images in one folder: lines of name and class [default: found beside them]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub labels: Option<PathBuf>,

    #[command(flatten)]
    pub label_form: LabelArgs,

    /// All classes, where --labels does not hold them all: a list, or a folder of class folders
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub classes: Option<PathBuf>,

    /// Use only N images, drawn by --seed [default: all]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Data")]
    pub samples: Option<usize>,

    /// Seed of the order in which images are drawn, and of --transform train
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub seed: u64,

    /// Images per batch [default: 128; for swa-eval on a GPU as many as its memory holds, up to 256 of
    /// 224 × 224]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Data")]
    pub batch_size: Option<usize>,

    /// Leave out up to N images that cannot be read, instead of stopping at the first
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub allow_bad: usize,

    /// Which output of the network stands for which class of the data, where these are some of its
    /// classes or in another order: JSON (`label2id`, `id2label`, a list) or text
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub class_map: Option<PathBuf>,

    #[command(flatten)]
    pub pixels: PixelArgs,

    /// The pixels of evaluation, or those of training: crops and flips as the preset's networks are
    /// trained with, drawn by --seed
    #[arg(long, value_parser = choice::<PixelsOf>(), default_value = "eval", help_heading = "Pixels")]
    pub transform: PixelsOf,

    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto, help_heading = "Network")]
    pub device: DeviceChoice,

    /// What the network computes in; tf32 on NVIDIA GPUs alone
    #[arg(long, value_parser = choice::<Precision>(), default_value = "fp32", help_heading = "Network")]
    pub precision: Precision,

    /// The architecture [default: recognised from names and shapes]
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub arch: Option<String>,

    /// What the names of the network's tensors begin with, where a file holds several networks [default: found]
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub network: Option<String>,

    #[command(flatten)]
    pub programs: ProgramArgs,

    /// Do not compare models with the digests written into them
    #[arg(long, help_heading = "Network")]
    pub no_verify: bool,

    /// List the architectures that are known
    #[arg(long, exclusive = true, help_heading = "Network")]
    pub list_archs: bool,
}

choices! {
    /// Which pixels of an image a network gets.
    pub enum PixelsOf {
        Eval = "eval": "Resize, crop of the centre",
        Train = "train":
            "imagenet presets: random resized crop, flip; cifar presets: padding, random crop, flip; MNIST family: as eval",
        Crop = "crop": "Padding by 4, random crop, flip, whatever the preset",
        Resized = "resized": "Random resized crop, flip, whatever the preset",
    }
}

impl PixelsOf {
    /// What is drawn for each image; None: nothing.
    pub fn augment(self) -> Option<Augment> {
        match self {
            PixelsOf::Eval => None,
            PixelsOf::Train => Some(Augment::Preset),
            PixelsOf::Crop => Some(Augment::Crop),
            PixelsOf::Resized => Some(Augment::Resized),
        }
    }
}

impl DataArgs {
    /// The options that they give.
    pub fn options(&self, common: &Common, take: &TakeArgs) -> Result<Options> {
        let dir = self.data.clone().ok_or_else(|| Error::usage("--data is missing"))?;
        Ok(Options {
            images: Images {
                dir,
                split: self.split,
                format: self.format,
                labels: self.labels.clone(),
                label_form: self.label_form.form(),
                classes: self.classes.clone(),
                class_map: self.class_map.clone(),
                samples: self.samples,
                seed: self.seed,
                batch_size: self.batch_size,
                allow_bad: self.allow_bad,
            },
            pixels: self.pixels.options(self.transform.augment()),
            networks: Networks {
                take: which(take),
                arch: self.arch.clone(),
                network: self.network.clone(),
                programs: self.programs.files(),
                no_verify: self.no_verify,
                device: self.device,
                precision: self.precision,
                threads: common.threads.map(usize::from),
            },
        })
    }
}

/// Which of the weights in a file to use.
pub fn which(take: &TakeArgs) -> Take {
    Take { ema: take.ema, key: take.weights_key.clone(), moments: false }
}

/// `--list-archs`.
pub fn list_archs() -> Result<()> {
    architectures().into_iter().try_for_each(print)?;
    print("any other network: --program (docs/programs.md)")
}
