//! A part: what was collected so far, and of what.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::{Identity, PROGRAMS_KEY, differs_in_files_alone};
use super::shard;
use swa_base::{Result, Shard};
use swa_data::Batch;
use swa_tools::checkpoint::{Checkpoint, TensorInfo};

/// What a pass collects.
pub(crate) trait Content: Send + 'static {
    /// All of it, as tensors.
    fn tensors(&self) -> Vec<(TensorInfo, Vec<u8>)>;

    /// Adds what [`Content::tensors`] gave, from a file.
    fn merge(&mut self, file: &Checkpoint) -> Result<()>;
}

/// Which batch it was, apart from what was collected of it.
#[derive(Debug, Clone)]
pub(crate) struct BatchSummary {
    /// Its number in the order.
    pub(super) number: usize,
    pub(super) images: usize,
    /// Height, width and channels.
    pub(super) size: [usize; 3],
    pub(super) skipped: Vec<(usize, String)>,
}

impl BatchSummary {
    /// Of a batch.
    pub fn of(batch: &Batch) -> Self {
        BatchSummary {
            number: batch.number,
            images: batch.n,
            size: [batch.height, batch.width, batch.channels],
            skipped: batch.skipped.clone(),
        }
    }

    /// Of a point, where a pass goes over points in place of batches.
    pub fn of_point(number: usize) -> Self {
        BatchSummary { number, images: 1, size: [1; 3], skipped: vec![] }
    }
}

/// How far a part is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Which part it is.
    #[serde(with = "shard")]
    pub shard: Shard,
    /// How many of its own batches are done.
    pub done: usize,
    /// How many of those had an image left in them.
    pub filled: usize,
    /// Images in them.
    pub images: usize,
    /// Height, width and channels of the images.
    pub size: Option<[usize; 3]>,
    /// The images that were left out, each with its batch.
    pub skipped: Vec<(usize, String)>,
    /// Whether the pass once ended because an image could not be had. It may be mended before the pass goes on.
    #[serde(default)]
    pub broken: bool,
    /// How many may be left out.
    pub allow_bad: usize,
    /// For messages: a description of the data.
    pub data: String,
    /// For messages: the names of the models.
    pub models: Vec<String>,
    /// What else the tool needs for merging.
    pub notes: Value,
}

impl Progress {
    /// The images that were left out, one line each.
    pub fn lines(&self) -> Vec<String> {
        self.skipped.iter().map(|(_, line)| line.clone()).collect()
    }
}

/// What was collected so far, and of what.
#[derive(Debug)]
pub(crate) struct Part<C> {
    /// Which pass it belongs to.
    pub identity: Identity,
    /// How far it is.
    pub progress: Progress,
    /// What was collected.
    pub content: C,
}

impl<C> Part<C> {
    /// How many batches it has when it is finished.
    pub fn batches(&self) -> usize {
        self.progress.shard.share(self.identity.batches())
    }
}

/// How a part differs from what was expected: "`seed` is 1, not 0". `mended`: an image ended the pass, or a part of it, so the
/// files of the data may be others.
pub(super) fn differences(
    found: (&Identity, &Progress),
    expected: (&Identity, &Progress),
    mended: bool,
) -> Vec<String> {
    let mut list = found.0.differences(expected.0);
    if found.0.get(PROGRAMS_KEY) != expected.0.get(PROGRAMS_KEY) {
        list.push("it ran another program".into());
    }
    let mut other = |key: &str, a: &str, b: &str, what: &str| {
        if found.0.get(key) != expected.0.get(key) {
            list.push(match a == b {
                true => format!("{a} had other {what}"),
                false => format!("it is of {a}, not of {b}"),
            });
        }
    };
    let (a, b) = (found.1.models.join(", "), expected.1.models.join(", "));
    other("models", &a, &b, "weights");
    let data = (found.0.get("data"), expected.0.get("data"));
    if !(mended && differs_in_files_alone(data.0, data.1)) {
        other("data", &found.1.data, &expected.1.data, "names, labels or images");
    }
    list
}
