//! Evaluating models: any number in one pass over the data, each image decoded once.
//!
//! A pass keeps each image's [`Outcome`] (24 bytes an image and model); every figure, table and diagram
//! is made of those afterwards.
//!
//! On a GPU the host runs ahead: while the network works on a batch, the next one's copy is queued
//! behind it, and the batch before it is scored.

mod classes;
mod collect;
mod forward;
mod logits;
mod metrics;
mod parts;
mod scores;
mod turns;

use tch::Tensor;

use crate::nn::input::Input;
use crate::nn::{Fault, Model};
pub use classes::ClassList;
pub use collect::Collector;
pub use forward::AtATime;
pub use logits::LogitsFile;
pub use metrics::{BINS, Bin, McNemar, Tally, wilson};
pub use scores::{Outcome, TOP};
use swa_base::{Error, Result};
use swa_data::Batch;
pub use turns::Turns;

/// What a pass is to keep beside each model's outcomes.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// An ensemble of these models (by position): their softmax outputs, averaged.
    pub ensemble: Option<Vec<usize>>,
    /// The best outputs of each image: 8 bytes for each.
    pub top: bool,
    /// The outputs that compete, by number; all of them if not given.
    pub competing: Option<Vec<u32>>,
}

/// The result of a pass.
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// The images in the order of the pass, by their place in the data set.
    pub images: Vec<u64>,
    /// The output that each image should have made the largest.
    pub labels: Vec<u32>,
    /// One a model, in their order.
    pub models: Vec<Record>,
    pub ensemble: Option<Record>,
}

/// What a model, or the ensemble, made of the images.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// One an image.
    pub outcomes: Vec<Outcome>,
    /// If wanted, each image's best outputs with their probabilities: [`TOP`], or as many as compete.
    pub top: Vec<(u32, f32)>,
}

impl Evaluation {
    /// The models, then the ensemble if there is one.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.models.iter().chain(&self.ensemble)
    }
}

/// Runs every model on every batch. `at_a_time` becomes what memory held; `progress` is told how many
/// images were done.
pub fn run(
    models: &[Model],
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    at_a_time: &mut AtATime,
    collector: &mut Collector,
    progress: &dyn Fn(usize),
) -> Result<()> {
    let _guard = tch::no_grad_guard();
    let mut uploaded = input.uploads(batches);
    let mut queued: Option<(Batch, Vec<Tensor>)> = None;
    loop {
        let next = uploaded.next().transpose()?;
        let done = match queued.take() {
            Some((batch, logits)) => Some((batch, fetch(models, logits)?)),
            None => None,
        };
        if let Some((batch, bytes)) = next {
            queued = Some((batch, forward::queue(models, input, &bytes, at_a_time)?));
        }
        if let Some((batch, logits)) = done {
            let first = collector.open(&batch);
            for (model, logits) in logits.into_iter().enumerate() {
                collector.add(model, first, logits)?;
            }
            collector.close()?;
            progress(batch.n);
        }
        if queued.is_none() {
            return Ok(());
        }
    }
}

/// Waits for the logits: of each model [images · classes].
fn fetch(models: &[Model], logits: Vec<Tensor>) -> Result<Vec<Vec<f32>>> {
    let one = |(model, logits): (&Model, Tensor)| {
        let logits = logits.f_flatten(0, 1).and_then(Vec::<f32>::try_from).map_err(Fault::from)?;
        if logits.iter().any(|x| !x.is_finite()) {
            return Err(Error::input("its logits are not finite")
                .at(&model.path)
                .remedy(model.precision.remedy_for_infinities()));
        }
        Ok(logits)
    };
    models.iter().zip(logits).map(one).collect()
}
