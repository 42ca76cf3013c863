//! How a model did on labelled images.

use schemars::JsonSchema;
use serde::Serialize;

use crate::jobs::Row;

/// How a model did. Percentages are of the images.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Scores {
    /// Images whose label ranked first, in percent.
    pub top1: f64,
    /// Images whose label was among the first five, in percent.
    pub top5: f64,
    /// Negative log-likelihood of the label: mean over the images, in nats.
    pub nll: f64,
    /// Expected calibration error over 15 bins of confidence, from 0 to 1.
    pub ece: f64,
    /// How many images.
    pub n: usize,
    /// How many had their label ranked first.
    pub correct: usize,
    /// 95 % interval of `top1` (Wilson), in percent.
    pub interval: [f64; 2],
    /// `top1` less that of the first row, in percentage points; not of the first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// McNemar's exact p of that difference, paired by image; not of the first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcnemar_p: Option<f64>,
    /// Images that only the first row got right; not of the first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_first_right: Option<u64>,
    /// Images that only this row got right; not of the first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_this_right: Option<u64>,
}

/// Of a table of [`Scores`], behind the names.
pub(super) const HEADER: [&str; 7] =
    ["top-1 %", "95 % interval", "top-5 %", "nll", "ece", "vs first", "McNemar p"];

impl Scores {
    pub(super) fn of(row: &Row) -> Self {
        let Row { tally, difference, .. } = row;
        let (low, high) = tally.interval();
        let test = difference.as_ref().map(|(_, test)| test);
        Scores {
            top1: 100.0 * tally.top1(),
            top5: 100.0 * tally.top5(),
            nll: tally.nll(),
            ece: tally.ece(),
            n: tally.n(),
            correct: tally.correct(),
            interval: [100.0 * low, 100.0 * high],
            difference: difference.as_ref().map(|(difference, _)| 100.0 * difference),
            mcnemar_p: test.map(|test| test.p()),
            only_first_right: test.map(|test| test.first),
            only_this_right: test.map(|test| test.second),
        }
    }

    /// As [`HEADER`] says, under a name.
    pub(super) fn row(&self, name: String) -> Vec<String> {
        let [low, high] = self.interval;
        let p = self.mcnemar_p.map(|p| match p < 1e-4 {
            true => "<0.0001".into(),
            false => format!("{p:.4}"),
        });
        vec![
            name,
            format!("{:.2}", self.top1),
            format!("{low:.2}–{high:.2}"),
            format!("{:.2}", self.top5),
            format!("{:.4}", self.nll),
            format!("{:.4}", self.ece),
            self.difference.map_or(String::new(), |difference| format!("{difference:+.2}")),
            p.unwrap_or_default(),
        ]
    }
}
