//! What a pass keeps of each image.

use super::scores::Outcome;
use swa_base::{Error, Kind, Result};

/// What a pass keeps in addition to each model's outcomes, and which outputs compete.
#[derive(Debug, Clone, Default)]
pub struct CollectOptions {
    /// The ensemble of these models (by position): the mean of their softmax outputs.
    pub ensemble: Option<Vec<usize>>,
    /// Whether to keep the best outputs of each image ([`TOP`](super::TOP)), 8 bytes for each.
    pub top: bool,
    /// The outputs that compete, by number; None: all.
    pub competing: Option<Vec<u32>>,
}

/// The result of a pass.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// The images in the order of the pass, by their index in the data set.
    pub images: Vec<u64>,
    /// For each image, the output that should have been the largest.
    pub labels: Vec<u32>,
    /// One a model, in their order.
    pub models: Vec<Record>,
    /// The ensemble, if there is one.
    pub ensemble: Option<Record>,
}

/// The outcomes of a model, or of the ensemble.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// One an image.
    pub outcomes: Vec<Outcome>,
    /// If they are kept, each image's best outputs with their probabilities: [`TOP`](super::TOP), or as many as
    /// compete.
    pub top: Vec<(u32, f32)>,
}

impl Evaluation {
    /// Without images, for so many models.
    pub(crate) fn empty(models: usize, with_ensemble: bool) -> Self {
        Evaluation {
            models: vec![Record::default(); models],
            ensemble: with_ensemble.then(Record::default),
            ..Evaluation::default()
        }
    }

    /// Adds the images of another evaluation of the same models.
    pub(crate) fn append(&mut self, other: Evaluation) {
        self.images.extend(other.images);
        self.labels.extend(other.labels);
        let own = self.models.iter_mut().chain(&mut self.ensemble);
        for (own, other) in own.zip(other.models.into_iter().chain(other.ensemble)) {
            own.outcomes.extend(other.outcomes);
            own.top.extend(other.top);
        }
    }

    /// The models, then the ensemble if there is one.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.models.iter().chain(&self.ensemble)
    }
}

impl Evaluation {
    /// Sorts the images into the order of the data set, so that sums over them do not depend on how the
    /// pass was shared. The networks have so many `outputs`.
    ///
    /// # Errors
    /// `Input` if there is no image; `Damaged` for an image twice, or an output that the networks do not have.
    pub(crate) fn in_order(self, outputs: usize) -> Result<Self> {
        if self.labels.is_empty() {
            return Err(Error::input("no image was left to evaluate on"));
        }
        let is_known = |&output: &u32| (output as usize) < outputs;
        let predicted = self.records().flat_map(|r| &r.outcomes).map(|o| &o.predicted);
        let best = self.records().flat_map(|r| &r.top).map(|(output, _)| output);
        if !self.labels.iter().chain(predicted).chain(best).all(is_known) {
            let what = format!("a part has outputs beyond the {outputs} of the network");
            return Err(Error::new(Kind::Damaged, what));
        }
        if self.images.is_sorted_by(|a, b| a < b) {
            return Ok(self);
        }
        let mut order: Vec<usize> = (0..self.images.len()).collect();
        order.sort_by_key(|&i| self.images[i]);
        if let Some(pair) = order.windows(2).find(|w| self.images[w[0]] == self.images[w[1]]) {
            let image = self.images[pair[0]];
            return Err(Error::new(Kind::Damaged, format!("the parts have image {image} twice")));
        }
        let sorted = |record: &Record| {
            let best = record.top.len() / order.len();
            let top = order.iter().flat_map(|&i| &record.top[i * best..][..best]);
            Record {
                outcomes: order.iter().map(|&i| record.outcomes[i]).collect(),
                top: top.copied().collect(),
            }
        };
        Ok(Evaluation {
            images: order.iter().map(|&i| self.images[i]).collect(),
            labels: order.iter().map(|&i| self.labels[i]).collect(),
            models: self.models.iter().map(sorted).collect(),
            ensemble: self.ensemble.as_ref().map(sorted),
        })
    }
}
