//! Which checkpoints results chose, and why.

use schemars::JsonSchema;
use serde::Serialize;
use swa_base::Choice as _;

use crate::select::{Chosen, Reason, base_name};

/// What was chosen by results.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SelectionReport {
    /// The file of results.
    pub file: String,
    /// The name of those that decided.
    pub metric: String,
    /// The column by which rows and checkpoints found each other.
    pub column: String,
    /// How many results took part.
    pub results: usize,
    /// `top`: the best; `swad`: those of the loss's valley.
    pub rule: String,
    /// Of `top`: `max` or `min`, whichever is the best; else null.
    pub direction: Option<String>,
    /// Of `swad`: where it begins and ends; else null.
    pub valley: Option<ValleyReport>,
    /// The checkpoints that were taken, in natural order.
    pub taken: Vec<ChosenReport>,
}

/// A checkpoint that was chosen by results.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ChosenReport {
    /// A file, or the folder of a model.
    pub checkpoint: String,
    /// Its number; null where rows name files.
    pub number: Option<u64>,
    /// Its result; null where no row is of it, or the result is not finite.
    pub value: Option<f64>,
}

/// Where SWAD averages (Cha et al. 2021).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ValleyReport {
    /// The first row: its number, or the file that it names.
    pub start: String,
    /// The last one.
    pub end: String,
    /// The mean of the losses at the start.
    pub level: f64,
    /// The loss that the end is decided by.
    pub threshold: f64,
    /// Whether the loss left the valley; else the end is the last row.
    pub left: bool,
    /// How many losses in a row the start is the least of.
    pub converge: usize,
    /// How many losses in a row, all above the threshold, follow the end.
    pub overfit: usize,
    /// The threshold is 1 + this times the level.
    pub tolerance: f64,
}

impl SelectionReport {
    /// Of an outcome.
    pub fn of(chosen: &Chosen) -> Self {
        let (rule, direction, valley) = match &chosen.reason {
            Reason::Top(direction) => ("top", Some(direction.name().to_string()), None),
            Reason::Swad { settings, start, level, threshold, end, left } => {
                let (start, end) = (start.clone(), end.clone());
                let (level, threshold, left) = (*level, *threshold, *left);
                let crate::select::Swad { converge, overfit, tolerance } = *settings;
                let valley = ValleyReport {
                    start,
                    end,
                    level,
                    threshold,
                    left,
                    converge,
                    overfit,
                    tolerance,
                };
                ("swad", None, Some(valley))
            }
        };
        let taken = chosen.taken.iter().map(|checkpoint| ChosenReport {
            checkpoint: checkpoint.path.display().to_string(),
            number: checkpoint.number,
            value: checkpoint.value.filter(|value| value.is_finite()),
        });
        SelectionReport {
            file: chosen.file.display().to_string(),
            metric: chosen.metric.clone(),
            column: chosen.column.clone(),
            results: chosen.results,
            rule: rule.into(),
            direction,
            valley,
            taken: taken.collect(),
        }
    }

    /// For people: why these, and each with its result.
    pub fn text(&self) -> String {
        let (metric, n) = (&self.metric, self.taken.len());
        let mut lines = match &self.valley {
            None => {
                let most =
                    if self.direction.as_deref() == Some("max") { "largest" } else { "smallest" };
                vec![format!("  chosen by {metric}: the {n} {most} of {}", self.results)]
            }
            Some(valley) => {
                let ValleyReport {
                    start, end, level, threshold, converge, overfit, tolerance, ..
                } = valley;
                let why = match valley.left {
                    true => format!("the {overfit} losses after it are all above {threshold:.4}"),
                    false => {
                        format!("the last one: never were {overfit} in a row above {threshold:.4}")
                    }
                };
                vec![
                    format!("  chosen by SWAD on {metric}: {n} checkpoint(s)"),
                    format!(
                        "  start {start}: no larger than the {} after it; their mean is {level:.4}",
                        converge - 1
                    ),
                    format!("  end {end}: {why}, (1 + {tolerance}) times that mean"),
                ]
            }
        };
        let value =
            |c: &ChosenReport| c.value.map_or("no row".to_string(), |value| value.to_string());
        let name = |c: &ChosenReport| base_name(std::path::Path::new(&c.checkpoint));
        lines.extend(self.taken.iter().map(|c| format!("    {} {}", name(c), value(c))));
        lines.join("\n")
    }
}
