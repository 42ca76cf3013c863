//! A line an epoch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EpochLine {
    /// Its number, from 1.
    pub epoch: usize,
    /// The rate of its last step.
    pub lr: f64,
    /// While the weights changed: loss and accuracy of the batches, each before its step.
    pub train: Score,
    /// The model's at the end of the epoch; null where it was not validated.
    pub model: Option<Score>,
    /// The average's, with its batchnorm statistics recomputed; null where it was not validated.
    pub swa: Option<SwaScore>,
    /// Training images a second.
    pub images_per_second: f64,
}

/// Mean cross entropy in nats, and the share of images whose label ranks first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    /// In nats an image.
    pub loss: f64,
    /// From 0 to 1.
    pub accuracy: f64,
}

/// Whether the models are validated after an epoch (from 1): the first, every so many, and the last.
pub(crate) fn validates(epoch: usize, epochs: usize, every: usize) -> bool {
    epoch == 1 || epoch == epochs || epoch.is_multiple_of(every.max(1))
}

/// The running average's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SwaScore {
    /// How many snapshots it is of.
    pub snapshots: usize,
    /// In nats an image.
    pub loss: f64,
    /// From 0 to 1.
    pub accuracy: f64,
}

impl EpochLine {
    /// For people, in a line; `left`: seconds to the end of the run.
    pub fn text(&self, epochs: usize, left: f64) -> String {
        let width = epochs.to_string().len();
        let score = |name: &str, loss: f64, accuracy: f64| {
            format!("  {name} {:.2} % ({loss:.4})", 100.0 * accuracy)
        };
        let mut line = format!("epoch {:width$}/{epochs}  lr {:.4}", self.epoch, self.lr);
        line += &score("train", self.train.loss, self.train.accuracy);
        if let Some(Score { loss, accuracy }) = self.model {
            line += &score("model", loss, accuracy);
        }
        if let Some(SwaScore { snapshots, loss, accuracy }) = self.swa {
            line += &score(&format!("swa of {snapshots}"), loss, accuracy);
        }
        let minutes = (left / 60.0).ceil() as u64;
        let left =
            if minutes < 120 { format!("{minutes} min") } else { format!("{} h", minutes / 60) };
        line + &format!("  {:.0} images/s, {left} left", self.images_per_second)
    }
}
