//! Flags of swa-landscape, and the options that they give.

use std::path::PathBuf;

use swa_cli::{Common, ShardArg, TakeArgs, choice, one_of, parse_size, positive};
use swa_data::Format;
use swa_tools::output::check_targets;
use swa_tools::{Error, Result, setting};
use swa_torch::jobs::{Bn, DrawLandscape, Points};
use swa_torch::nn::Precision;
use swa_torch::nn::device::DeviceChoice;
use swa_torch::report::{LandscapeFiles, LandscapeReport};
use swa_torch::session::{Images, Networks, Options};

use super::data::{PixelsOf, which};
use super::pixels::PixelArgs;
use super::sharing::PartArgs;

/// Of a picture whose points are evaluated.
#[derive(Debug, clap::Args)]
pub struct DrawArgs {
    /// The folder of training images, and of test images below it or beside them
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub data: PathBuf,

    /// The folder of test images, if they are elsewhere
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub test: Option<PathBuf>,

    /// What the folders hold [default: recognised from their files]
    #[arg(long, value_parser = choice::<Format>(), help_heading = "Data")]
    pub format: Option<Format>,

    /// Which output of the network stands for which class of the data, where they do not agree
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    pub class_map: Option<PathBuf>,

    /// Training images of the training loss, the same at every point
    #[arg(long, value_name = "N", value_parser = positive, default_value = "2000", help_heading = "Data")]
    pub train_samples: usize,

    /// Test images of the test error, the same at every point
    #[arg(long, value_name = "N", value_parser = positive, default_value = "2000", help_heading = "Data")]
    pub test_samples: usize,

    /// Seed of which images these are, and of directions
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Data")]
    pub seed: u64,

    /// Images per batch [default: 128]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Data")]
    pub batch_size: Option<usize>,

    /// Where batchnorm's statistics come from
    #[arg(long, value_parser = choice::<Bn>(), default_value = "recompute", help_heading = "Batchnorm")]
    pub bn: Bn,

    /// Training images that statistics are recomputed from at each point; as many as --train-samples are the same
    /// ones, and need no pass of their own
    #[arg(long, value_name = "N", value_parser = positive, default_value = "2000", help_heading = "Batchnorm")]
    pub bn_samples: usize,

    /// Memory for images and forward passes, such as 4GB [default: half of what is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Batchnorm")]
    pub memory: Option<u64>,

    /// Show the training loss with its weight decay, nll + W/2 · ‖w‖² [default: nll alone]
    #[arg(long, value_name = "W")]
    pub wd: Option<f64>,

    #[command(flatten)]
    pub pixels: PixelArgs,

    /// The pixels of training images: those of evaluation, or crops and flips drawn by --seed, the same at every point
    #[arg(long, value_parser = choice::<PixelsOf>(), default_value = "eval", help_heading = "Pixels")]
    pub transform: PixelsOf,

    /// The architecture [default: recognised from names and shapes]
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub arch: Option<String>,

    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto, help_heading = "Network")]
    pub device: DeviceChoice,

    /// fp32, or tf32 on NVIDIA GPUs
    #[arg(long, value_parser = one_of(&DrawLandscape::PRECISIONS), default_value = "fp32", help_heading = "Network")]
    pub precision: Precision,

    /// Do not compare models with the digests written into them
    #[arg(long, help_heading = "Network")]
    pub no_verify: bool,

    #[command(flatten)]
    pub take: TakeArgs,

    #[command(flatten)]
    pub files: OutputArgs,

    /// Evaluate part I of N of the points, counted from 0: I, I + N, …
    #[arg(
        long,
        value_name = "I/N",
        requires = "save_points",
        help_heading = "Sharing and interruption"
    )]
    pub shard: Option<ShardArg>,

    /// Write the points to PART, in place of the picture
    #[arg(long, value_name = "PART", conflicts_with_all = ["output", "svg", "csv"], help_heading = "Sharing and interruption")]
    pub save_points: Option<PathBuf>,

    /// Keep the points in STATE while they are evaluated, and go on from there if that was interrupted; removed when
    /// all is done
    #[arg(long, value_name = "STATE", help_heading = "Sharing and interruption")]
    pub resume: Option<PathBuf>,

    #[command(flatten)]
    pub common: Common,
}

/// Files that a picture is written to.
#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Write everything that was found as JSON; `swa-landscape draw` makes pictures of it
    #[arg(long, short, value_name = "FILE", help_heading = "Output")]
    pub output: Option<PathBuf>,

    /// Write the picture
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub svg: Option<PathBuf>,

    /// Write a table, a row a point
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub csv: Option<PathBuf>,

    /// Replace files that exist
    #[arg(long, help_heading = "Output")]
    pub force: bool,
}

impl OutputArgs {
    /// Fails if a file cannot be written, or none is asked for although nothing else would keep what was found.
    pub fn check(&self, common: &Common, inputs: &[PathBuf]) -> Result<()> {
        let all = [
            (setting!("output"), &self.output),
            (setting!("svg"), &self.svg),
            (setting!("csv"), &self.csv),
        ];
        let given: Vec<_> =
            all.into_iter().filter_map(|(name, path)| Some((name, path.as_deref()?))).collect();
        if given.is_empty() && !common.json {
            return Err(Error::usage("nothing would keep what is found")
                .remedy("give -o FILE, --svg FILE or --csv FILE"));
        }
        check_targets(&given, self.force, inputs)
    }

    /// Prints and writes a report.
    pub fn write(&self, common: &Common, report: &LandscapeReport) -> Result<()> {
        common.json(report)?;
        common.say(report.text())?;
        let files = LandscapeFiles {
            json: self.output.as_deref(),
            svg: self.svg.as_deref(),
            csv: self.csv.as_deref(),
            force: self.force,
        };
        let lasting = LandscapeReport { seconds: None, ..report.clone() };
        report.write(&swa_cli::json(&lasting)?, &files)?;
        let written = [&self.output, &self.svg, &self.csv].into_iter().flatten();
        let mut written = written.map(|path| swa_tools::text::shell_word(path));
        written.try_for_each(|path| common.say(format!("wrote {path}")))
    }
}

impl DrawArgs {
    /// The options that they give, for these models and points.
    pub fn options(&self, models: &[PathBuf], points: Points) -> Result<DrawLandscape> {
        Ok(DrawLandscape {
            models: models.to_vec(),
            points,
            data: Options {
                images: Images {
                    dir: self.data.clone(),
                    format: self.format,
                    class_map: self.class_map.clone(),
                    seed: self.seed,
                    batch_size: self.batch_size,
                    ..Images::default()
                },
                pixels: self.pixels.options(self.transform.augment()),
                networks: Networks {
                    take: which(&self.take),
                    arch: self.arch.clone(),
                    device: self.device,
                    precision: self.precision,
                    no_verify: self.no_verify,
                    threads: self.common.threads.map(usize::from),
                    ..Networks::default()
                },
            },
            test: self.test.clone(),
            bn: self.bn,
            bn_samples: self.bn_samples,
            train_samples: self.train_samples,
            test_samples: self.test_samples,
            weight_decay: self.wd,
            memory: self.memory,
            sharing: PartArgs { shard: self.shard, resume: self.resume.clone() }.sharing(
                &self.common,
                self.save_points.as_deref(),
                self.files.force,
            )?,
        })
    }
}
