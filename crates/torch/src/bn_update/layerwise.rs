//! Statistics layer by layer, all earlier layers normalising by their *new* statistics: what the
//! model sees in use. The other methods let every layer normalise by the batch, so that what a later
//! layer sees depends on the batch size.
//!
//! The forward pass of every batch waits in the first batchnorm layer whose statistics are not
//! known. When all have come there, what they saw gives the layer's statistics, and each goes on to
//! the next. A waiting pass is a coroutine: its stack holds the activations it still needs, whatever
//! the network looks like. Where the memory for them ends, a pass is dropped and runs from the
//! pixels again, through the layers known by then. So both ends are one algorithm, with the same
//! results: all activations cached, or one pass over the data a layer.

use std::cell::RefCell;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use tch::Tensor;

use super::{Accumulator, Method, Outcome, Stability, Statistics, checked};
use crate::nn::batch_norm::one_value;
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::moments::ChannelMoments;
use crate::nn::{self, Fault, Model, Network, Pass, with_smaller_batch};
use swa_base::text::megabytes;
use swa_base::{Error, Kind, Progress, Result, setting};
use swa_data::Batch;

/// Of a coroutine's stack, bytes of address space: memory is taken for what is touched.
const STACK: usize = 4 << 20;

/// What a layer saw of a batch.
struct Seen {
    layer: usize,
    moments: ChannelMoments,
}

/// A forward pass that hands over what the next unknown layer sees, and waits there.
type Forward = Coroutine<(), Seen, Result<()>>;

/// By layer, mean and variance on the network's device, once they are known. All passes look here.
type Known = Rc<RefCell<Vec<Option<[Tensor; 2]>>>>;

/// How far the work is, told after each batch.
pub struct Step<'a> {
    /// Of the layers, in the order in which the forward pass comes to them, from 1.
    pub step: usize,
    /// The layer's name.
    pub layer: &'a str,
    /// Images of the batch.
    pub images: usize,
}

impl Step<'_> {
    /// Tells it, with how many layers there are.
    pub fn say(&self, layers: usize, progress: &dyn Progress) {
        progress.detail(&format!("layer {} of {layers}, {}", self.step, self.layer));
        progress.advance(self.images as u64);
    }
}

/// Computes the statistics of all layers, and counts the forward passes that were begun: one a batch
/// where all had room. The pixels of all `images` stay in memory; forward passes stay as far as
/// `budget` allows.
///
/// # Errors
/// `Limit` where the pixels do not fit the budget, `Input` for a layer that is never reached.
pub fn run(
    model: &Model,
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    images: usize,
    budget: &Budget,
    progress: &dyn Fn(Step),
) -> Result<(Outcome, usize)> {
    of_batches(model, input, &hold(batches, images, budget)?, budget, progress)
}

/// The same for batches that are in memory.
pub fn of_batches(
    model: &Model,
    input: &Input,
    batches: &[Batch],
    budget: &Budget,
    progress: &dyn Fn(Step),
) -> Result<(Outcome, usize)> {
    let _guard = tch::no_grad_guard();
    let mut passes = Passes::new(model, input, batches, budget);
    let mut layers: Vec<Option<Statistics>> = vec![None; model.batchnorms.len()];
    for step in 1..=layers.len() {
        // None: all passes have come to their end.
        let Some((layer, statistics)) = passes.next_layer(step, progress)? else { break };
        layers[layer] = Some(statistics);
    }
    let images = batches.iter().map(|batch| batch.n).sum();
    let outcome = checked(&model.batchnorms, layers, Method::Layerwise, images, batches.len())?;
    let standard_error = passes.stability.largest();
    Ok((Outcome { standard_error, ..outcome }, passes.begun))
}

/// Keeps the batches, if their pixels fit.
pub fn hold(
    batches: impl Iterator<Item = Result<Batch>>,
    images: usize,
    budget: &Budget,
) -> Result<Vec<Batch>> {
    let mut held = Vec::new();
    for batch in batches {
        let batch = batch?;
        let pixels = (batch.pixels.len() / batch.n.max(1)) as u64 * images as u64;
        if held.is_empty() && pixels > budget.bytes() {
            return Err(Error::limit(format!(
                "the pixels of {images} images take {}, the memory allowed is {}",
                megabytes(pixels),
                megabytes(budget.bytes())
            ))
            .remedy(concat!(
                "some thousand images are enough: ",
                setting!("samples", "10000"),
                "; or allow more with ",
                setting!("memory")
            )));
        }
        held.push(batch);
    }
    Ok(held)
}

/// The forward passes of all batches.
struct Passes<'a> {
    model: &'a Model,
    input: &'a Input,
    batches: &'a [Batch],
    budget: &'a Budget,
    known: Known,
    /// By batch; None: to be run from the pixels.
    waiting: Vec<Option<Forward>>,
    /// How many may wait, since the device's memory ended at more.
    most: usize,
    /// Forward passes so far.
    begun: usize,
    stability: Stability,
}

impl<'a> Passes<'a> {
    fn new(model: &'a Model, input: &'a Input, batches: &'a [Batch], budget: &'a Budget) -> Self {
        Passes {
            model,
            input,
            batches,
            budget,
            known: Rc::new(RefCell::new(model.batchnorms.iter().map(|_| None).collect())),
            waiting: batches.iter().map(|_| None).collect(),
            most: usize::MAX,
            begun: 0,
            stability: Stability::new(&model.batchnorms),
        }
    }

    /// Brings all passes to the next layer and computes its statistics, by which it then normalises.
    fn next_layer(
        &mut self,
        step: usize,
        progress: &dyn Fn(Step),
    ) -> Result<Option<(usize, Statistics)>> {
        let mut sums: Option<(usize, Accumulator)> = None;
        let mut total = 0;
        for (i, batch) in self.batches.iter().enumerate() {
            let Some((forward, seen)) = self.advance(i)? else { continue };
            let description = &self.model.batchnorms[seen.layer];
            let (layer, sums) = sums.get_or_insert_with(|| {
                (seen.layer, Accumulator::new(Method::Layerwise, &[description.channels]))
            });
            assert_eq!(*layer, seen.layer, "the layers' order does not depend on the images");
            let ChannelMoments { values, mean, squares } = seen.moments;
            // One value has no variance, and adds none.
            let divisor = (values - 1).max(1) as f64;
            let variance: Vec<f64> = squares.into_iter().map(|s| s / divisor).collect();
            sums.add(0, batch.n, values, &mean, &variance);
            self.stability.add(*layer, values, &mean, &variance);
            total += values;
            if self.budget.has_room() && self.waiting() < self.most {
                self.waiting[i] = Some(forward);
            }
            progress(Step { step, layer: &description.name, images: batch.n });
        }
        let Some((layer, sums)) = sums else { return Ok(None) };
        if total < 2 {
            return Err(one_value(&self.model.batchnorms[layer].name));
        }
        let Some(statistics) = sums.finish().remove(0) else { return Ok(None) };
        self.known.borrow_mut()[layer] = Some(statistics.tensors(self.input.device())?);
        Ok(Some((layer, statistics)))
    }

    /// Runs the pass of batch `i` to the next layer. None: it has come to its end.
    fn advance(&mut self, i: usize) -> Result<Option<(Forward, Seen)>> {
        loop {
            let forward = match self.waiting[i].take() {
                Some(forward) => Ok(forward),
                None => self.start(&self.batches[i]),
            };
            let error = match forward {
                Err(error) => error,
                Ok(mut forward) => match forward.resume(()) {
                    CoroutineResult::Yield(seen) => return Ok(Some((forward, seen))),
                    CoroutineResult::Return(Ok(())) => return Ok(None),
                    CoroutineResult::Return(Err(error)) => error,
                },
            };
            // A GPU's memory cannot be asked for: where it ends, waiting passes make room.
            if error.kind() != Kind::OutOfMemory || !self.make_room() {
                return Err(with_smaller_batch(error, self.batches[i].n));
            }
        }
    }

    fn start(&mut self, batch: &Batch) -> Result<Forward> {
        self.begun += 1;
        let x = self.input.tensor(batch)?;
        let x = x.f_to_kind(self.model.precision.kind()).map_err(Fault::from)?;
        let (network, known) = (Rc::clone(&self.model.network), Rc::clone(&self.known));
        let stack = DefaultStack::new(STACK)
            .map_err(|e| Error::limit(format!("no memory for a coroutine's stack: {e}")))?;
        Ok(Coroutine::with_stack(stack, move |yielder, ()| forward(&*network, &x, &known, yielder)))
    }

    fn waiting(&self) -> usize {
        self.waiting.iter().flatten().count()
    }

    /// Drops every other waiting pass; false if there was none.
    fn make_room(&mut self) -> bool {
        let before = self.waiting();
        self.waiting
            .iter_mut()
            .filter(|pass| pass.is_some())
            .step_by(2)
            .for_each(|pass| *pass = None);
        self.most = self.waiting();
        before > 0
    }
}

/// The coroutine: a forward pass that normalises by what is known and waits where nothing is.
fn forward(
    network: &dyn Network,
    x: &Tensor,
    known: &Known,
    yielder: &Yielder<(), Seen>,
) -> Result<()> {
    let given = |layer: usize, x: &Tensor| -> nn::Result<[Tensor; 2]> {
        if known.borrow()[layer].is_none() {
            yielder.suspend(Seen { layer, moments: ChannelMoments::of(x)? });
        }
        let known = known.borrow();
        let statistics = known[layer].as_ref().expect("it goes on when they are known");
        Ok(statistics.each_ref().map(Tensor::shallow_clone))
    };
    Ok(network.forward(x, &mut Pass::Given(&given)).map(drop)?)
}

#[cfg(test)]
mod tests;
