//! Statistics layer by layer, all earlier layers normalising by their *new* statistics, as they do at inference. The
//! other methods normalise every layer by the batch, so that the input of a later layer depends on the batch size.
//!
//! The forward pass of every batch waits in the first batchnorm layer whose statistics are not yet known. When all
//! have reached it, their moments give the layer's statistics, and each goes on to the next layer. A waiting pass is a
//! coroutine: its stack holds the activations it still needs, whatever the network looks like. When memory for them
//! runs out, a pass is dropped and later runs from the pixels again, through the layers known by then. All activations
//! cached and one pass over the data a layer are thus the two ends of one algorithm, with the same results.

use std::cell::RefCell;
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use tch::Tensor;

use super::methods::{Accumulator, Method, Statistics};
use super::outcome::{Outcome, checked};
use super::stability::Stability;
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{
    self, ChannelMoments, Fault, Layer, Model, Network, Pass, one_value, with_smaller_batch,
};
use swa_base::text::megabytes;
use swa_base::{Error, Kind, Progress, Result, setting};
use swa_data::Batch;

/// Address space of a coroutine's stack, in bytes. Only what is touched takes memory.
const STACK: usize = 4 << 20;

/// A layer without statistics that a forward pass has reached, and the moments of its input.
struct Reached {
    layer: usize,
    moments: ChannelMoments,
}

/// A forward pass that yields the moments at the next layer without statistics, and waits there. It ends in the logits.
type Forward = Coroutine<(), Reached, Result<Tensor>>;

/// How far a forward pass got.
enum Advanced {
    Waits(Forward, Reached),
    Ended(Tensor),
}

/// By layer, mean and variance on the network's device, once they are known. All passes share it.
type Known = Rc<RefCell<Vec<Option<[Tensor; 2]>>>>;

/// How far the work is, reported after each batch.
pub struct Step<'a> {
    /// The number of the layer in the order in which the forward pass reaches them, from 1.
    pub step: usize,
    /// The layer's name.
    pub layer: &'a str,
    /// Images of the batch.
    pub images: usize,
}

impl Step<'_> {
    /// Reports it; there are so many layers in all.
    pub(crate) fn say(&self, layers: usize, progress: &dyn Progress) {
        progress.detail(&format!("layer {} of {layers}, {}", self.step, self.layer));
        progress.advance(self.images as u64);
    }
}

/// Computes the statistics of all layers. Also returns how many forward passes were begun: one a batch if all fitted
/// in memory. The pixels of all `images` stay in memory; forward passes stay as far as `budget` allows.
///
/// # Errors
/// `Limit` if the pixels do not fit the budget; else as [`of_batches`].
pub(crate) fn run(
    model: &Model,
    input: &Input,
    batches: impl Iterator<Item = Result<Batch>>,
    images: usize,
    budget: &Budget,
    progress: &dyn Fn(Step),
) -> Result<(Outcome, usize)> {
    of_batches(model, input, &hold(batches, images, budget.bytes())?, budget, progress)
}

/// The statistics of all layers from batches that are in memory, and how many forward passes were begun: one a batch
/// if all fitted into `budget`.
///
/// # Errors
/// `Input` if there is no image, a layer is never reached or gets a single value a channel; `NotFinite`, `OutOfMemory`;
/// those of libtorch.
pub fn of_batches(
    model: &Model,
    input: &Input,
    batches: &[Batch],
    budget: &Budget,
    progress: &dyn Fn(Step),
) -> Result<(Outcome, usize)> {
    let _guard = tch::no_grad_guard();
    let (passes, outcome) = all(model, input, batches, budget, progress)?;
    Ok((outcome, passes.begun))
}

/// The same, and the logits of every batch, [images, classes], f32, with these statistics: from the same forward passes,
/// as far as memory holds them.
///
/// # Errors
/// Those of [`of_batches`]. A model without batchnorm layers has none of its own.
pub(crate) fn with_logits(
    model: &Model,
    input: &Input,
    batches: &[Batch],
    budget: &Budget,
) -> Result<(Outcome, Vec<Tensor>)> {
    let _guard = tch::no_grad_guard();
    let (mut passes, outcome) = all(model, input, batches, budget, &|_| {})?;
    let logits = (0..batches.len()).map(|i| passes.logits(i)).collect::<Result<_>>()?;
    Ok((outcome, logits))
}

/// Runs all forward passes to the last layer.
fn all<'a>(
    model: &'a Model,
    input: &'a Input,
    batches: &'a [Batch],
    budget: &'a Budget,
    progress: &dyn Fn(Step),
) -> Result<(Passes<'a>, Outcome)> {
    check(&model.batchnorms)?;
    let mut passes = Passes::new(model, input, batches, budget);
    let mut layers: Vec<Option<Statistics>> = vec![None; model.batchnorms.len()];
    for step in 1..=layers.len() {
        // None: all passes have ended.
        let Some((layer, statistics)) = passes.next_layer(step, progress)? else { break };
        layers[layer] = Some(statistics);
    }
    let images = batches.iter().map(|batch| batch.n).sum();
    let outcome = checked(&model.batchnorms, layers, Method::Layerwise, images, batches.len())?;
    let standard_error = passes.stability.largest();
    Ok((passes, Outcome { standard_error, ..outcome }))
}

/// Fails if a layer stands at several places of the network: between them its statistics would depend on themselves.
///
/// # Errors
/// `Usage`.
pub(crate) fn check(layers: &[Layer]) -> Result<()> {
    let Some(layer) = layers.iter().find(|layer| layer.calls > 1) else { return Ok(()) };
    let (name, calls) = (&layer.name, layer.calls);
    let layerwise = setting!("method", "layerwise");
    Err(Error::usage(format!(
        "batchnorm layer `{name}` stands at {calls} places of the network: {layerwise} would need its statistics to \
         compute them"
    ))
    .remedy(concat!("use ", setting!("method", "pooled"))))
}

/// Loads the batches, if their pixels take no more than the bytes allowed.
///
/// # Errors
/// `Limit` if they do not; those of the batches.
pub(crate) fn hold(
    batches: impl Iterator<Item = Result<Batch>>,
    images: usize,
    allowed: u64,
) -> Result<Vec<Batch>> {
    let mut held = Vec::new();
    for batch in batches {
        let batch = batch?;
        let pixels = (batch.pixels.len() / batch.n.max(1)) as u64 * images as u64;
        if held.is_empty() && pixels > allowed {
            return Err(Error::limit(format!(
                "the pixels of {images} images take {}, the memory allowed for them is {}",
                megabytes(pixels),
                megabytes(allowed)
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
    /// By batch; None: to run from the pixels.
    waiting: Vec<Option<Forward>>,
    /// How many may wait: with more, the device ran out of memory.
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

    /// Runs all passes to the next layer and computes its statistics, by which it normalises from then on.
    fn next_layer(
        &mut self,
        step: usize,
        progress: &dyn Fn(Step),
    ) -> Result<Option<(usize, Statistics)>> {
        let mut sums: Option<(usize, Accumulator)> = None;
        let mut total = 0;
        for (i, batch) in self.batches.iter().enumerate() {
            let Advanced::Waits(forward, reached) = self.advance(i)? else { continue };
            let description = &self.model.batchnorms[reached.layer];
            let (layer, sums) = sums.get_or_insert_with(|| {
                (reached.layer, Accumulator::new(Method::Layerwise, &[description.channels]))
            });
            assert_eq!(*layer, reached.layer, "the layers' order does not depend on the images");
            let ChannelMoments { values, mean, squares } = reached.moments;
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

    /// Runs the pass of batch `i` to its end, once all layers have statistics.
    fn logits(&mut self, i: usize) -> Result<Tensor> {
        match self.advance(i)? {
            Advanced::Ended(logits) => {
                Ok(logits.f_to_kind(tch::Kind::Float).map_err(Fault::from)?)
            }
            Advanced::Waits(..) => unreachable!("all layers have statistics"),
        }
    }

    /// Runs the pass of batch `i` to the next layer, or to its end.
    fn advance(&mut self, i: usize) -> Result<Advanced> {
        loop {
            let forward = match self.waiting[i].take() {
                Some(forward) => Ok(forward),
                None => self.start(&self.batches[i]),
            };
            let error = match forward {
                Err(error) => error,
                Ok(mut forward) => match forward.resume(()) {
                    CoroutineResult::Yield(reached) => {
                        return Ok(Advanced::Waits(forward, reached));
                    }
                    CoroutineResult::Return(Ok(logits)) => return Ok(Advanced::Ended(logits)),
                    CoroutineResult::Return(Err(error)) => error,
                },
            };
            // How much memory a GPU has left is unknown. When it runs out, waiting passes make room.
            if error.kind() != Kind::OutOfMemory || !self.make_room() {
                return Err(with_smaller_batch(error, self.batches[i].n));
            }
        }
    }

    fn start(&mut self, batch: &Batch) -> Result<Forward> {
        self.begun += 1;
        let x = self.model.input(&self.input.tensor(batch)?)?;
        self.model.check_whole(&x)?;
        let (network, known) = (Rc::clone(&self.model.network), Rc::clone(&self.known));
        let stack = DefaultStack::new(STACK).map_err(|e| {
            Error::new(Kind::OutOfMemory, format!("no memory for a coroutine's stack: {e}"))
        })?;
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

/// The coroutine: a forward pass that normalises by the statistics that are known, and waits at a layer without.
fn forward(
    network: &dyn Network,
    x: &Tensor,
    known: &Known,
    yielder: &Yielder<(), Reached>,
) -> Result<Tensor> {
    let given = |layer: usize, x: &Tensor| -> nn::Result<[Tensor; 2]> {
        if known.borrow()[layer].is_none() {
            yielder.suspend(Reached { layer, moments: ChannelMoments::of(x)? });
        }
        let known = known.borrow();
        let statistics = known[layer].as_ref().expect("it resumes when they are known");
        Ok(statistics.each_ref().map(Tensor::shallow_clone))
    };
    Ok(network.forward(x, &mut Pass::Given(&given))?)
}

#[cfg(test)]
mod tests;
