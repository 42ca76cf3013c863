//! Evaluating models: any number in one pass over the data, each image decoded once.

mod metrics;

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use crate::checkpoint::{Dtype, TensorInfo};
use crate::data::Batch;
use crate::nn::input::Input;
use crate::nn::{Model, Pass};
use crate::output::write_safetensors;
use crate::{Error, Result};
pub use metrics::{Outcome, Tally, mcnemar, wilson};
use metrics::{log_add, log_softmax};

/// What a pass is to deliver beside each model's tally.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// An ensemble of these models (by position): their softmax outputs, averaged.
    pub ensemble: Option<Vec<usize>>,
    /// Every logit, for [`Evaluation::write_logits`]: 4 bytes an image, model and class, in memory.
    pub logits: bool,
}

/// The result of a pass.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// One a model, in their order.
    pub models: Vec<Tally>,
    pub ensemble: Option<Tally>,
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
        labels: vec![],
        classes,
    };
    for batch in batches {
        let batch = batch?;
        let x = input.tensor(&batch)?;
        let members = wanted.ensemble.as_deref().unwrap_or_default();
        // Logarithms: a probability may be too small for a number.
        let cells = if members.is_empty() { 0 } else { batch.n * classes };
        let mut mixture = vec![f64::NEG_INFINITY; cells];
        for (i, model) in models.iter().enumerate() {
            let logits = model.network.forward(&x, &mut Pass::Eval)?.f_flatten(0, 1)?;
            let logits = Vec::<f32>::try_from(logits)?;
            if logits.iter().any(|x| !x.is_finite()) {
                return Err(Error::input("its logits are not finite")
                    .at(&model.path)
                    .remedy("recompute its statistics with swa-bn-update, or leave it out"));
            }
            let rows = logits.par_chunks_exact(classes).zip(&batch.labels);
            let outcomes: Vec<Outcome> =
                rows.map(|(row, &label)| Outcome::of_logits(row, label)).collect();
            outcomes.into_iter().for_each(|outcome| evaluation.models[i].add(outcome));
            if members.contains(&i) {
                let rows = mixture.par_chunks_exact_mut(classes);
                rows.zip(logits.par_chunks_exact(classes)).for_each(|(sum, row)| {
                    let p = log_softmax(row);
                    sum.iter_mut().zip(p).for_each(|(sum, p)| *sum = log_add(*sum, p));
                });
            }
            if wanted.logits {
                evaluation.logits[i].extend_from_slice(&logits);
            }
        }
        if let Some(ensemble) = &mut evaluation.ensemble {
            mixture.iter_mut().for_each(|p| *p -= (members.len() as f64).ln());
            for (row, &label) in mixture.chunks_exact(classes).zip(&batch.labels) {
                ensemble.add(Outcome::of_log_probabilities(row, label));
            }
        }
        evaluation.labels.extend(batch.labels.iter().map(|&label| label as i64));
        progress(batch.n);
    }
    if evaluation.labels.is_empty() {
        return Err(Error::input("no image was left to evaluate on"));
    }
    Ok(evaluation)
}

impl Evaluation {
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
        write_safetensors(&tensors, &BTreeMap::new(), path, force)
    }
}
