//! From logits to outcomes, batch by batch.

use rayon::prelude::*;

use super::logits::LogitsFile;
use super::scores::{Outcome, Score, TOP, largest, log_add, log_softmax};
use super::{Evaluation, Record, Wanted};
use crate::parts::Seen;
use swa_base::{Error, Result};
use swa_data::Batch;

/// Takes each model's logits and keeps what is wanted of them.
pub struct Collector<'a> {
    wanted: Wanted,
    logits: Option<LogitsFile>,
    evaluation: Evaluation,
    /// Of the rows since the last [`Collector::close`], [rows · classes]: ln Σ of the members'
    /// probabilities. Logarithms: a probability may be too small for a number.
    mixture: Vec<f64>,
    /// Rows before those.
    closed: usize,
    /// Where closed batches go.
    keep: Option<Keep<'a>>,
    /// Open batches.
    seen: Vec<Seen>,
    /// Rows that went there.
    kept: usize,
    turn: Option<Turn>,
    classes: usize,
    /// Whether each output competes.
    competes: Option<Vec<bool>>,
    /// How many outputs are kept of each image.
    top: usize,
}

/// Where a group of models is that takes its turn on a block of batches.
struct Turn {
    /// The number of its first model.
    model: usize,
    /// The first row of its next batch.
    row: usize,
}

type Keep<'a> = Box<dyn FnMut(&[Seen], Evaluation) -> Result<()> + 'a>;

impl<'a> Collector<'a> {
    /// For so many models, with heads of `classes` outputs.
    pub fn new(models: usize, classes: usize, wanted: Wanted, logits: Option<LogitsFile>) -> Self {
        let competes = wanted.competing.as_ref().map(|outputs| {
            let mut competes = vec![false; classes];
            outputs.iter().for_each(|&output| competes[output as usize] = true);
            competes
        });
        let outputs = wanted.competing.as_ref().map_or(classes, Vec::len);
        let evaluation = Evaluation::empty(models, wanted.ensemble.is_some());
        Collector {
            top: if wanted.top { TOP.min(outputs) } else { 0 },
            wanted,
            logits,
            evaluation,
            mixture: vec![],
            closed: 0,
            keep: None,
            seen: vec![],
            kept: 0,
            turn: None,
            classes,
            competes,
        }
    }

    /// Closed batches go to `keep`, with what was collected of them, and are not in the evaluation that
    /// [`Collector::finish`] gives.
    pub fn keep_with(self, keep: impl FnMut(&[Seen], Evaluation) -> Result<()> + 'a) -> Self {
        Collector { keep: Some(Box::new(keep)), ..self }
    }

    /// Opens a batch: returns the number of its first row.
    pub fn open(&mut self, batch: &Batch) -> usize {
        if let Some(turn) = &mut self.turn {
            turn.row += batch.n;
            return turn.row - batch.n;
        }
        if self.keep.is_some() {
            self.seen.push(Seen::of(batch));
        }
        let first = self.evaluation.labels.len();
        self.evaluation.images.extend(batch.indices.iter().map(|&index| index as u64));
        self.evaluation.labels.extend(batch.labels.iter().map(|&label| label as u32));
        if self.wanted.ensemble.is_some() {
            let cells = self.mixture.len() + batch.n * self.classes;
            self.mixture.resize(cells, f64::NEG_INFINITY);
        }
        first
    }

    /// Takes a model's logits, [rows · classes], of an open batch, by its first row. A model's batches come
    /// in order.
    pub fn add(&mut self, model: usize, first: usize, mut logits: Vec<f32>) -> Result<()> {
        let model = model + self.turn.as_ref().map_or(0, |turn| turn.model);
        if let Some(file) = &self.logits {
            file.write(model, self.kept + first, &logits)?;
        }
        if let Some(competes) = &self.competes {
            for (output, logit) in logits.iter_mut().enumerate() {
                if !competes[output % self.classes] {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        let mut log_p = vec![0.0; logits.len()];
        let rows = logits.par_chunks_exact(self.classes);
        rows.zip(log_p.par_chunks_exact_mut(self.classes)).for_each(|(z, p)| log_softmax(z, p));
        let labels = &self.evaluation.labels[first..];
        self.evaluation.models[model].extend(self.classes, &logits, &log_p, labels, self.top);
        if self.wanted.ensemble.as_ref().is_some_and(|members| members.contains(&model)) {
            let start = (first - self.closed) * self.classes;
            let mixture = &mut self.mixture[start..][..log_p.len()];
            let pairs = mixture.par_iter_mut().zip(&log_p).with_min_len(1024);
            pairs.for_each(|(sum, &p)| *sum = log_add(*sum, p));
        }
        Ok(())
    }

    /// Opens a block of batches, on which groups of models take turns: of each group, the batches are
    /// opened and closed as if there were no others.
    pub(super) fn open_block(&mut self, block: &[Batch]) {
        for batch in block {
            self.open(batch);
        }
    }

    /// It is the turn of the group whose first model has this number.
    pub(super) fn turn_of(&mut self, model: usize) {
        self.turn = Some(Turn { model, row: self.closed });
    }

    /// All had their turn.
    pub(super) fn close_block(&mut self) -> Result<()> {
        self.turn = None;
        self.close()
    }

    /// Closes the open batches: every model's logits were given.
    pub fn close(&mut self) -> Result<()> {
        if self.turn.is_some() {
            return Ok(());
        }
        if let (Some(members), Some(ensemble)) =
            (&self.wanted.ensemble, &mut self.evaluation.ensemble)
        {
            let count = (members.len() as f64).ln();
            self.mixture.iter_mut().for_each(|p| *p -= count);
            let labels = &self.evaluation.labels[self.closed..];
            ensemble.extend(self.classes, &self.mixture, &self.mixture, labels, self.top);
            self.mixture.clear();
        }
        let Some(keep) = &mut self.keep else {
            self.closed = self.evaluation.labels.len();
            return Ok(());
        };
        let empty =
            Evaluation::empty(self.evaluation.models.len(), self.evaluation.ensemble.is_some());
        let evaluation = std::mem::replace(&mut self.evaluation, empty);
        self.kept += evaluation.labels.len();
        let seen = std::mem::take(&mut self.seen);
        keep(&seen, evaluation)
    }

    /// The evaluation, and the file of logits, to be finished.
    ///
    /// # Errors
    /// `Input` where there was no image.
    pub fn finish(self) -> Result<(Evaluation, Option<LogitsFile>)> {
        if self.evaluation.labels.is_empty() {
            return Err(Error::input("no image was left to evaluate on"));
        }
        Ok((self.evaluation, self.logits))
    }

    /// The file of logits, to be finished; the evaluation was kept elsewhere.
    pub fn into_logits(self) -> Option<LogitsFile> {
        self.logits
    }
}

impl Record {
    /// Adds the outcomes of rows of scores.
    fn extend<T: Score + Sync>(
        &mut self,
        classes: usize,
        scores: &[T],
        log_p: &[f64],
        labels: &[u32],
        top: usize,
    ) {
        let rows = scores.par_chunks_exact(classes).zip(log_p.par_chunks_exact(classes));
        let outcome = |((scores, p), &label): ((&[T], &[f64]), &u32)| Outcome::of(scores, p, label);
        self.outcomes.par_extend(rows.clone().zip(labels).map(outcome));
        if top > 0 {
            let best = |(scores, p): (&[T], &[f64])| {
                let best = largest(scores, top).into_iter();
                best.map(|output| (output, p[output as usize].exp() as f32)).collect::<Vec<_>>()
            };
            self.top.par_extend(rows.flat_map_iter(best));
        }
    }
}
