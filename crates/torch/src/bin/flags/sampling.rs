//! Flags of swa-eval that draw models, or choose among them: SWAG and the greedy soup.

use std::path::PathBuf;

use swa_cli::positive;
use swa_tools::{Error, Result};
use swa_torch::jobs::{SampleSwag, Soup};
use swa_torch::session;

use super::evaluation::CompareArgs;

#[derive(Debug, clap::Args)]
pub struct SamplingArgs {
    /// Draw N models from the moments that swa-avg --scheme swag:K has written, recompute the batchnorm
    /// statistics of each from --bn-data, and average their softmax outputs
    #[arg(long, value_name = "N", value_parser = positive, group = "statistics", help_heading = "SWAG and soups")]
    pub swag_samples: Option<usize>,

    /// What the covariance is multiplied by (0: the mean itself)
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = scale, requires = "swag_samples",
          allow_negative_numbers = true, help_heading = "SWAG and soups")]
    pub swag_scale: f64,

    /// Write the mean of those models that do not make it worse on --data, tried one after the other, the
    /// best first; batchnorm statistics are recomputed from --bn-data for each trial
    #[arg(long, value_name = "FILE", group = "statistics", help_heading = "SWAG and soups")]
    pub soup: Option<PathBuf>,
}

fn scale(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    number.ok_or_else(|| "expected a number of at least 0".into())
}

impl SamplingArgs {
    /// The options that --swag-samples gives.
    pub fn swag(
        &self,
        samples: usize,
        models: &[PathBuf],
        data: session::Options,
        class_map_restrict: bool,
        compare: &CompareArgs,
    ) -> Result<SampleSwag> {
        let [model] = models else {
            return Err(Error::usage("--swag-samples takes one model"));
        };
        Ok(SampleSwag {
            model: model.clone(),
            data,
            class_map_restrict,
            bn_data: compare.bn_data.clone(),
            bn_samples: compare.bn_samples,
            samples,
            scale: self.swag_scale,
            memory: compare.memory,
        })
    }

    /// The options that --soup gives.
    pub fn soup(
        &self,
        output: PathBuf,
        models: &[PathBuf],
        data: session::Options,
        class_map_restrict: bool,
        compare: &CompareArgs,
        force: bool,
    ) -> Soup {
        Soup {
            candidates: models.to_vec(),
            data,
            class_map_restrict,
            bn_data: compare.bn_data.clone(),
            bn_samples: compare.bn_samples,
            memory: compare.memory,
            output,
            force,
        }
    }
}
