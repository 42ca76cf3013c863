//! Flags about how much each checkpoint counts, and outputs with schemes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use swa_tools::jobs::Output;
use swa_tools::schemes::{Profiles, Scheme, Weights};
use swa_tools::{Error, Result};

#[derive(Args)]
pub struct SchemeArgs {
    // clap takes an n in braces for a line break.
    /// How much each checkpoint counts: mean; ema:DECAY (0.99: a moving average); window:N (the mean of the last N);
    /// wsm:linear, wsm:1-sqrt or wsm:cosine (in place of learning-rate decay); posthoc-ema:SIGMA (from stored moving
    /// averages); swag:K (the mean, variances and the last K deviations, for SWAG); prefix (the means of the first 1,
    /// 2, …: an n in braces stands for the number in PATH). Write it before a PATH, as in `-o ema:0.99=ema.pth`, where
    /// there are several outputs [default: mean]
    #[arg(long, value_name = "SCHEME", conflicts_with_all = ["weights", "weights_file"], help_heading = "How to average")]
    scheme: Option<String>,

    /// One weight for each checkpoint in natural order, or that of --number, of any scale; they are divided by their sum
    #[arg(
        long,
        value_name = "W,...",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with = "weights_file",
        help_heading = "How to average"
    )]
    weights: Option<Vec<f64>>,

    /// Read the weights from a file: one number a line, or `NAME NUMBER` by file name; # begins a comment
    #[arg(long, value_name = "FILE", help_heading = "How to average")]
    weights_file: Option<PathBuf>,

    /// For posthoc-ema: the widths of the moving averages that the checkpoints are, such as 0.05,0.10. If there are
    /// several, each name has its own
    #[arg(long, value_name = "S,...", value_delimiter = ',', help_heading = "How to average")]
    snapshot_sigma: Vec<f64>,

    /// For posthoc-ema: read from a file when the checkpoints were stored, if the numbers in their names do not say
    /// it: one number a line, or `NAME NUMBER`, or `NAME NUMBER WIDTH`
    #[arg(long, value_name = "FILE", help_heading = "How to average")]
    times: Option<PathBuf>,

    /// Show what each checkpoint counts for, with a bar for each
    #[arg(long, conflicts_with_all = ["list", "verify"], help_heading = "How to average")]
    pub explain: bool,
}

impl SchemeArgs {
    pub fn profiles(&self) -> Profiles {
        Profiles { sigmas: self.snapshot_sigma.clone(), times: self.times.clone() }
    }

    /// The scheme of a path without one; and the flag, if any.
    fn scheme(&self) -> Result<(Scheme, Option<&str>)> {
        Ok(match (&self.scheme, &self.weights, &self.weights_file) {
            (Some(scheme), ..) => (scheme.parse()?, Some("--scheme")),
            (_, Some(weights), _) => {
                (Scheme::Weights(Weights::Each(weights.clone())), Some("--weights"))
            }
            (.., Some(file)) => {
                (Scheme::Weights(Weights::File(file.clone())), Some("--weights-file"))
            }
            _ => (Scheme::Mean, None),
        })
    }

    /// What the arguments of `--output` ask for; `like`: what they have in common.
    pub fn outputs(&self, arguments: &[OsString], like: &Output) -> Result<Vec<Output>> {
        let (general, flag) = self.scheme()?;
        let mut is_used = false;
        let mut outputs = vec![];
        for argument in arguments {
            // What is no Unicode has no scheme.
            let split = match argument.to_str() {
                Some(text) => Scheme::before_path(text)?,
                None => None,
            };
            let (scheme, path) = match split {
                Some((scheme, path)) => (scheme, PathBuf::from(path)),
                None => {
                    is_used = true;
                    (general.clone(), PathBuf::from(argument))
                }
            };
            if path.as_os_str().is_empty() {
                let what = format!("--output {}: the path is missing", argument.display());
                return Err(Error::usage(what).remedy(format!("such as {scheme}=swa.safetensors")));
            }
            outputs.push(Output { path, scheme, ..like.clone() });
        }
        if let (Some(flag), false) = (flag, is_used) {
            return Err(Error::usage(format!("{flag}: every output has a scheme of its own"))
                .remedy("leave it out, or name an output without a scheme"));
        }
        let is_posthoc = |output: &Output| matches!(output.scheme, Scheme::PosthocEma { .. });
        let has_profiles = self.times.is_some() || !self.snapshot_sigma.is_empty();
        if has_profiles && !outputs.iter().any(is_posthoc) {
            let what = "--snapshot-sigma and --times are for posthoc-ema, which no output is";
            return Err(Error::usage(what).remedy("choose it, as in --scheme posthoc-ema:0.1"));
        }
        Ok(outputs)
    }
}
