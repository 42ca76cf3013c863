//! A pass of models that are all on the device.

use tch::Tensor;

use super::collect::Collector;
use super::forward::{self, AtATime};
use crate::nn::input::Input;
use crate::nn::{Fault, Model};
use swa_base::{Error, Kind, Result};
use swa_data::Batch;

/// Runs every model on every batch. `at_a_time` shrinks to what fits in memory; `progress` is called with the number of
/// images of each batch that is done.
pub(crate) fn run(
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

/// Waits for the logits of each model, [images · classes].
fn fetch(models: &[Model], logits: Vec<Tensor>) -> Result<Vec<Vec<f32>>> {
    let one = |(model, logits): (&Model, Tensor)| {
        let logits = logits.f_flatten(0, 1).and_then(Vec::<f32>::try_from).map_err(Fault::from)?;
        if logits.iter().any(|x| !x.is_finite()) {
            return Err(Error::new(Kind::NotFinite, "its logits are not finite")
                .at(&model.path)
                .remedy(model.precision.remedy_for_infinities()));
        }
        Ok(logits)
    };
    models.iter().zip(logits).map(one).collect()
}
