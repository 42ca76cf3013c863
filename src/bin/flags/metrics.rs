//! Flags that choose checkpoints by a trainer's results.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use swa_cli::at_least_one;
use swa_tools::Choice as _;
use swa_tools::select::{ByResults, Choice, Direction, Swad};
use swa_tools::{Error, Result};

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct MetricsArgs {
    /// A trainer's results, by which --by or --swad choose: CSV (Lightning's metrics.csv, timm's summary.csv), JSON
    /// lines, trainer_state.json, the JSON of swa-eval
    #[arg(long, value_name = "FILE", help_heading = "By results")]
    pub metrics: Option<PathBuf>,

    /// What decides, and whether the largest or the smallest is the best: val_acc:max, val_loss:min
    #[arg(
        long,
        value_name = "NAME:max|min",
        value_parser = by,
        requires_all = ["metrics", "top"],
        help_heading = "By results"
    )]
    pub by: Option<By>,

    /// Take the K best of those that all else leaves
    #[arg(long, value_name = "K", value_parser = at_least_one::<NonZeroUsize>, requires = "by", help_heading = "By results")]
    pub top: Option<NonZeroUsize>,

    /// Take those of the valley of a validation loss, as SWAD does: from its first minimum until it has
    /// risen for good
    #[arg(
        long,
        value_name = "NAME",
        requires = "metrics",
        conflicts_with = "by",
        help_heading = "By results"
    )]
    pub swad: Option<String>,

    /// The minimum is the least of N losses in a row, itself the first
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, default_value = "3", requires = "swad", help_heading = "By results")]
    pub swad_converge: NonZeroUsize,

    /// The loss has risen for good before N in a row that are above the threshold
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, default_value = "6", requires = "swad", help_heading = "By results")]
    pub swad_overfit: NonZeroUsize,

    /// The threshold: 1 + R times the mean of the losses at the minimum
    #[arg(long, value_name = "R", value_parser = not_negative, allow_negative_numbers = true, default_value = "0.3", requires = "swad", help_heading = "By results")]
    pub swad_tolerance: f64,

    /// The column with the numbers that the checkpoints' names have, or one less: epoch+1 [default: epoch, step or the like]
    #[arg(long, value_name = "COLUMN", requires = "metrics", help_heading = "By results")]
    pub metrics_number: Option<String>,
}

/// What decides, and how.
#[derive(Debug, Clone)]
pub struct By {
    name: String,
    direction: Direction,
}

fn by(text: &str) -> Result<By, String> {
    let parts = text.rsplit_once(':').filter(|(name, _)| !name.is_empty());
    let by = parts.and_then(|(name, direction)| {
        Some(By { name: name.into(), direction: Direction::named(direction)? })
    });
    by.ok_or_else(|| {
        let name = parts.map_or(text, |(name, _)| name);
        format!("is the largest or the smallest the best? {name}:max or {name}:min")
    })
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    number.ok_or_else(|| "expected a number of at least 0".into())
}

impl MetricsArgs {
    /// The options that they give.
    pub fn results(&self) -> Result<Option<ByResults>> {
        let Some(file) = self.metrics.clone() else { return Ok(None) };
        let (metric, choice) = match (&self.by, &self.swad) {
            (Some(By { name, direction }), _) => {
                (name, Choice::Top(*direction, self.top.map_or(1, NonZeroUsize::get)))
            }
            (None, Some(name)) => {
                let swad = Swad {
                    converge: self.swad_converge.get(),
                    overfit: self.swad_overfit.get(),
                    tolerance: self.swad_tolerance,
                };
                (name, Choice::Swad(swad))
            }
            (None, None) => {
                return Err(Error::usage("--metrics chooses nothing by itself")
                    .remedy("say what decides with --by or --swad"));
            }
        };
        let (metric, number_column) = (metric.clone(), self.metrics_number.clone());
        Ok(Some(ByResults { file, metric, choice, number_column }))
    }
}
