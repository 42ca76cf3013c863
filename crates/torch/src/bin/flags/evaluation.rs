//! Flags of swa-eval only: the files it writes, and the comparison of statistics.

use std::path::{Path, PathBuf};

use swa_cli::{parse_size, positive};
use swa_tools::text::shell_word;
use swa_tools::{Choice, Error, Result};
use swa_torch::jobs::{CompareStats, Files};
use swa_torch::session;

use super::data::{DataArgs, PixelsOf};

#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// Write each class's top-1 with its interval
    #[arg(long, value_name = "FILE.csv", help_heading = "Files")]
    pub per_class: Option<PathBuf>,

    /// Write which class was taken for which: a matrix a model, true × predicted
    #[arg(long, value_name = "FILE.csv", help_heading = "Files")]
    pub confusion: Option<PathBuf>,

    /// Draw accuracy against confidence, a panel a model
    #[arg(long, value_name = "FILE.svg", help_heading = "Files")]
    pub reliability: Option<PathBuf>,

    /// Write each image's label and its five likeliest classes with their probabilities
    #[arg(long, value_name = "FILE.csv", help_heading = "Files")]
    pub predictions: Option<PathBuf>,

    /// Write `labels` (n) and `logits` (models × n × outputs), rows in the order of the data set
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Files")]
    pub logits: Option<PathBuf>,

    /// Overwrite those files if they exist
    #[arg(long, help_heading = "Files")]
    pub force: bool,
}

impl FileArgs {
    /// The options that they give.
    pub fn files(&self) -> Files {
        Files {
            per_class: self.per_class.clone(),
            confusion: self.confusion.clone(),
            reliability: self.reliability.clone(),
            predictions: self.predictions.clone(),
            logits: self.logits.clone(),
            force: self.force,
        }
    }

    /// The first flag that is given.
    pub fn first(&self) -> Option<&'static str> {
        let all = [
            ("--per-class", &self.per_class),
            ("--confusion", &self.confusion),
            ("--reliability", &self.reliability),
            ("--predictions", &self.predictions),
            ("--logits", &self.logits),
        ];
        all.into_iter().find(|(_, path)| path.is_some()).map(|(flag, _)| flag)
    }
}

#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Evaluate one model with the batchnorm statistics in it, with those of --last, and with those that
    /// each method of swa-bn-update computes from --bn-data
    #[arg(long, requires = "bn_data", group = "statistics", help_heading = "Statistics")]
    pub compare_stats: bool,

    /// The training data to compute statistics from; what it holds is recognised from its files
    #[arg(long, value_name = "DIR", requires = "statistics", help_heading = "Statistics")]
    pub bn_data: Option<PathBuf>,

    /// How many of its images, drawn by --seed
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = positive,
          requires = "statistics", help_heading = "Statistics")]
    pub bn_samples: usize,

    /// The last checkpoint, whose statistics might have been kept
    #[arg(long, value_name = "FILE", requires = "compare_stats", help_heading = "Statistics")]
    pub last: Option<PathBuf>,

    /// Host memory for the layerwise method, and for images kept for the next trial [default: half of
    /// what is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "statistics",
          help_heading = "Statistics")]
    pub memory: Option<u64>,
}

impl CompareArgs {
    /// The options that they give.
    pub fn options(
        &self,
        models: &[PathBuf],
        data: session::Options,
        class_map_restrict: bool,
    ) -> Result<CompareStats> {
        let [model] = models else {
            return Err(Error::usage("--compare-stats takes one model"));
        };
        Ok(CompareStats {
            model: model.clone(),
            data,
            class_map_restrict,
            bn_data: self.bn_data.clone().ok_or_else(|| Error::usage("--bn-data is missing"))?,
            bn_samples: self.bn_samples,
            last: self.last.clone(),
            memory: self.memory,
        })
    }

    /// The command that recomputes the statistics of a method.
    pub fn next(&self, model: &Path, data: &DataArgs, method: &str) -> String {
        let mut flags = data.programs.words();
        flags += &format!(" --samples {}", self.bn_samples);
        if data.seed != 0 {
            flags += &format!(" --seed {}", data.seed);
        }
        if let Some(n) = data.batch_size {
            flags += &format!(" --batch-size {n}");
        }
        if let Some(preset) = &data.pixels.preset {
            flags += &format!(" --preset {}", shell_word(Path::new(preset)));
        }
        if data.transform != PixelsOf::Eval {
            flags += &format!(" --transform {}", data.transform.name());
        }
        let dir = shell_word(self.bn_data.as_deref().unwrap_or(Path::new("DIR")));
        let model = shell_word(model);
        format!("swa-bn-update {model} --data {dir} --method {method}{flags} -o FILE")
    }
}
