//! From logits to outcomes, batch by batch.

use rayon::prelude::*;

use super::evaluation::{CollectOptions, Evaluation, Record};
use super::logits::LogitsFile;
use super::scores::{Outcome, Score, TOP, largest, log_add, log_softmax};
use crate::parts::BatchSummary;
use swa_base::{Error, Result};
use swa_data::Batch;

/// Takes each model's logits batch by batch ([`Collector::open`], [`Collector::add`], [`Collector::close`]) and keeps
/// the outcomes, and what the options ask for.
pub struct Collector<'a> {
    options: CollectOptions,
    logits: Option<LogitsFile>,
    evaluation: Evaluation,
    /// For the rows since the last [`Collector::close`], [rows · classes]: ln of the sum of the members'
    /// probabilities. Logarithms, as a probability may underflow.
    mixture: Vec<f64>,
    /// Rows before those.
    closed: usize,
    /// Where closed batches go.
    keep: Option<Keep<'a>>,
    /// Open batches.
    open: Vec<BatchSummary>,
    /// Rows that went to `keep`.
    kept: usize,
    group: Option<Group>,
    classes: usize,
    /// Whether each output competes.
    competes: Option<Vec<bool>>,
    /// How many outputs are kept of each image.
    top: usize,
}

/// How far a group of models is with a block of batches.
struct Group {
    /// The number of its first model.
    model: usize,
    /// The first row of its next batch.
    row: usize,
}

type Keep<'a> = Box<dyn FnMut(&[BatchSummary], Evaluation) -> Result<()> + 'a>;

impl<'a> Collector<'a> {
    /// For so many models, with heads of `classes` outputs. All logits also go to the file `logits`, if there is one.
    pub fn new(
        models: usize,
        classes: usize,
        options: CollectOptions,
        logits: Option<LogitsFile>,
    ) -> Self {
        let competes = options.competing.as_ref().map(|outputs| {
            let mut competes = vec![false; classes];
            outputs.iter().for_each(|&output| competes[output as usize] = true);
            competes
        });
        let outputs = options.competing.as_ref().map_or(classes, Vec::len);
        let evaluation = Evaluation::empty(models, options.ensemble.is_some());
        Collector {
            top: if options.top { TOP.min(outputs) } else { 0 },
            options,
            logits,
            evaluation,
            mixture: vec![],
            closed: 0,
            keep: None,
            open: vec![],
            kept: 0,
            group: None,
            classes,
            competes,
        }
    }

    /// Closed batches go to `keep`, with what was collected of them, and are not in the evaluation that
    /// [`Collector::finish`] gives.
    pub(crate) fn keep_with(
        self,
        keep: impl FnMut(&[BatchSummary], Evaluation) -> Result<()> + 'a,
    ) -> Self {
        Collector { keep: Some(Box::new(keep)), ..self }
    }

    /// Opens a batch: returns the number of its first row.
    pub fn open(&mut self, batch: &Batch) -> usize {
        if let Some(group) = &mut self.group {
            group.row += batch.n;
            return group.row - batch.n;
        }
        if self.keep.is_some() {
            self.open.push(BatchSummary::of(batch));
        }
        let first = self.evaluation.labels.len();
        self.evaluation.images.extend(batch.indices.iter().map(|&index| index as u64));
        self.evaluation.labels.extend(batch.labels.iter().map(|&label| label as u32));
        if self.options.ensemble.is_some() {
            let cells = self.mixture.len() + batch.n * self.classes;
            self.mixture.resize(cells, f64::NEG_INFINITY);
        }
        first
    }

    /// Takes a model's logits, [rows · classes], of an open batch, by its first row. The batches of a model come
    /// in order.
    ///
    /// # Errors
    /// Those of writing the file of logits.
    pub fn add(&mut self, model: usize, first: usize, mut logits: Vec<f32>) -> Result<()> {
        let model = model + self.group.as_ref().map_or(0, |group| group.model);
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
        if self.options.ensemble.as_ref().is_some_and(|members| members.contains(&model)) {
            let start = (first - self.closed) * self.classes;
            let mixture = &mut self.mixture[start..][..log_p.len()];
            let pairs = mixture.par_iter_mut().zip(&log_p).with_min_len(1024);
            pairs.for_each(|(sum, &p)| *sum = log_add(*sum, p));
        }
        Ok(())
    }

    /// Opens a block of batches, on which groups of models run in turn. For each group, the batches are
    /// opened and closed as if there were no other groups.
    pub(super) fn open_block(&mut self, block: &[Batch]) {
        for batch in block {
            self.open(batch);
        }
    }

    /// Begins with the group whose first model has this number.
    pub(super) fn begin_group(&mut self, model: usize) {
        self.group = Some(Group { model, row: self.closed });
    }

    /// Closes the block after the last group.
    pub(super) fn close_block(&mut self) -> Result<()> {
        self.group = None;
        self.close()
    }

    /// Closes the open batches, once the logits of every model were given.
    ///
    /// # Errors
    /// Those of keeping the state of the pass.
    pub fn close(&mut self) -> Result<()> {
        if self.group.is_some() {
            return Ok(());
        }
        if let (Some(members), Some(ensemble)) =
            (&self.options.ensemble, &mut self.evaluation.ensemble)
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
        let batches = std::mem::take(&mut self.open);
        keep(&batches, evaluation)
    }

    /// The evaluation, and the file of logits, still to be completed.
    ///
    /// # Errors
    /// `Input` if there was no image.
    pub fn finish(self) -> Result<(Evaluation, Option<LogitsFile>)> {
        if self.evaluation.labels.is_empty() {
            return Err(Error::input("no image was left to evaluate on"));
        }
        Ok((self.evaluation, self.logits))
    }

    /// The file of logits, still to be completed; the evaluation was kept elsewhere.
    pub(crate) fn into_logits(self) -> Option<LogitsFile> {
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
