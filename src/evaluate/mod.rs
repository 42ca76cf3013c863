//! Evaluating models: any number in one pass over the data, each image decoded once.
//!
//! On a GPU the host runs ahead: while the network works on a batch, the next one's copy is queued
//! behind it, and the batch before it is scored.

mod forward;
mod metrics;

use std::path::Path;

use rayon::prelude::*;
use tch::Tensor;

use crate::checkpoint::{Dtype, TensorInfo};
use crate::data::Batch;
use crate::nn::Model;
use crate::nn::input::Input;
use crate::output::write_safetensors;
use crate::{Error, Result};
use forward::AtATime;
pub use metrics::{Outcome, Tally, mcnemar, wilson};
use metrics::{log_add, log_softmax};

/// What a pass is to deliver beside each model's tally.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// An ensemble of these models (by position): their softmax outputs, averaged.
    pub ensemble: Option<Vec<usize>>,
    /// Every logit, for [`Evaluation::write_logits`]: 4 bytes an image, model and class, in memory.
    pub logits: bool,
    /// Where memory runs out, go on with fewer images at a time.
    pub shrink: bool,
}

/// The result of a pass.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// One a model, in their order.
    pub models: Vec<Tally>,
    pub ensemble: Option<Tally>,
    /// The images that went through the networks at a time, where memory held no batch.
    pub shrunk_to: Option<usize>,
    labels: Vec<i64>,
    /// Of each model, [images · classes].
    logits: Vec<Vec<f32>>,
    classes: usize,
}

/// Runs every model on every batch. `progress` is told how many images were done.
pub fn run(
    models: &[Model],
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    wanted: &Wanted,
    progress: &dyn Fn(usize),
) -> Result<Evaluation> {
    let _guard = tch::no_grad_guard();
    let classes = models.first().map_or(0, |m| m.classes);
    let mut evaluation = Evaluation {
        models: vec![Tally::default(); models.len()],
        ensemble: wanted.ensemble.as_ref().map(|_| Tally::default()),
        logits: vec![vec![]; models.len()],
        shrunk_to: None,
        labels: vec![],
        classes,
    };
    let mut uploaded = batches.map(|batch| {
        let mut batch = batch?;
        let bytes = input.upload(&batch)?;
        batch.pixels = vec![];
        Ok::<_, Error>((batch, bytes))
    });
    let mut at_a_time = AtATime { images: usize::MAX, may_shrink: wanted.shrink };
    let mut queued: Option<(Batch, Vec<Tensor>)> = None;
    loop {
        let next = uploaded.next().transpose()?;
        let done = match queued.take() {
            Some((batch, logits)) => Some((batch, fetch(models, logits)?)),
            None => None,
        };
        if let Some((batch, bytes)) = next {
            let logits = forward::queue(models, input, &bytes, &mut at_a_time)?;
            if at_a_time.images < batch.n {
                evaluation.shrunk_to = Some(at_a_time.images);
            }
            queued = Some((batch, logits));
        }
        if let Some((batch, logits)) = done {
            evaluation.score(&batch, &logits, wanted);
            progress(batch.n);
        }
        if queued.is_none() {
            break;
        }
    }
    if evaluation.labels.is_empty() {
        return Err(Error::input("no image was left to evaluate on"));
    }
    Ok(evaluation)
}

/// Waits for the logits: of each model [images · classes].
fn fetch(models: &[Model], logits: Vec<Tensor>) -> Result<Vec<Vec<f32>>> {
    let one = |(model, logits): (&Model, Tensor)| {
        let logits = Vec::<f32>::try_from(logits.f_flatten(0, 1)?)?;
        if logits.iter().any(|x| !x.is_finite()) {
            return Err(Error::input("its logits are not finite")
                .at(&model.path)
                .remedy(model.precision.remedy_for_infinities()));
        }
        Ok(logits)
    };
    models.iter().zip(logits).map(one).collect()
}

impl Evaluation {
    /// Adds a batch to the tallies. `logits`: of each model [images · classes].
    fn score(&mut self, batch: &Batch, logits: &[Vec<f32>], wanted: &Wanted) {
        let classes = self.classes;
        let members = wanted.ensemble.as_deref().unwrap_or_default();
        // Logarithms: a probability may be too small for a number.
        let cells = if members.is_empty() { 0 } else { batch.n * classes };
        let mut mixture = vec![f64::NEG_INFINITY; cells];
        for (i, logits) in logits.iter().enumerate() {
            let rows = logits.par_chunks_exact(classes).zip(&batch.labels);
            let outcomes: Vec<Outcome> =
                rows.map(|(row, &label)| Outcome::of_logits(row, label)).collect();
            outcomes.into_iter().for_each(|outcome| self.models[i].add(outcome));
            if members.contains(&i) {
                let rows = mixture.par_chunks_exact_mut(classes);
                rows.zip(logits.par_chunks_exact(classes)).for_each(|(sum, row)| {
                    let p = log_softmax(row);
                    sum.iter_mut().zip(p).for_each(|(sum, p)| *sum = log_add(*sum, p));
                });
            }
            if wanted.logits {
                self.logits[i].extend_from_slice(logits);
            }
        }
        if let Some(ensemble) = &mut self.ensemble {
            mixture.iter_mut().for_each(|p| *p -= (members.len() as f64).ln());
            for (row, &label) in mixture.chunks_exact(classes).zip(&batch.labels) {
                ensemble.add(Outcome::of_log_probabilities(row, label));
            }
        }
        self.labels.extend(batch.labels.iter().map(|&label| label as i64));
    }

    /// Writes `labels` `[images]`, I64, and `logits` `[models, images, classes]`, F32; the images in the
    /// order of the data set.
    pub fn write_logits(&self, path: &Path, force: bool) -> Result<()> {
        let n = self.labels.len();
        let info = |name: &str, dtype, shape| TensorInfo { name: name.into(), dtype, shape };
        let labels = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        let logits = self.logits.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        let shape = vec![self.logits.len(), n, self.classes];
        let tensors = [
            (info("labels", Dtype::I64, vec![n]), labels),
            (info("logits", Dtype::F32, shape), logits),
        ];
        write_safetensors(&tensors, path, force)
    }
}
