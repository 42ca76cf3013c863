//! An epoch of training, and validation.

use std::time::Instant;

use tch::{Kind, Reduction, Tensor};

use swa_base::{Error, Kind as ErrorKind, Progress, Result};
use swa_data::Loader;

use super::data::Data;
use super::log::Score;
use super::schedule::Schedule;
use super::seeds;
use super::sgd::Sgd;
use crate::evaluate::{self, AtATime, CollectOptions, Collector, Tally};
use crate::nn::input::Input;
use crate::nn::{self, Model, Noise, Pass, Step, Trainable, with_smaller_batch};

/// What changes in the course of a run.
pub(crate) struct Trainer {
    pub network: Trainable,
    pub sgd: Sgd,
    pub input: Input,
    pub seed: u64,
}

/// What an epoch of training came to.
pub(crate) struct Trained {
    pub score: Score,
    /// Of the last step.
    pub rate: f64,
    pub images_per_second: f64,
}

impl Trainer {
    /// Trains for an epoch, counted from 0.
    ///
    /// # Errors
    /// `NotFinite` if the loss is not; those of the images and of libtorch.
    pub fn epoch(
        &mut self,
        data: &Data,
        schedule: &Schedule,
        epoch: usize,
        progress: &dyn Progress,
    ) -> Result<Trained> {
        let (seed, steps, started) =
            (seeds::of_epoch(self.seed, epoch), data.steps(), Instant::now());
        let momentum = self.network.momentum();
        let (mut loss_sum, mut correct, mut images, mut rate) = (0.0, 0, 0, 0.0);
        let loader = data.training(seed)?;
        for (number, batch) in self.input.uploads(loader).enumerate() {
            let (batch, bytes) = batch?;
            rate = schedule.rate(epoch, number, steps);
            let labels: Vec<i64> = batch.labels.iter().map(|&label| label as i64).collect();
            let noise = Noise::new(seed, &batch.indices);
            let mut step = Step { momentum: momentum.clone(), noise };
            let (network, sgd) = (&self.network, &mut self.sgd);
            let (loss, right) = self
                .input
                .normalise(&bytes)
                .and_then(|x| descend(network, sgd, &x, &labels, &mut step, rate))
                .map_err(|error| with_smaller_batch(error, batch.n))?;
            if !loss.is_finite() {
                let what = format!(
                    "the loss is {loss} in step {} of epoch {}, at a rate of {rate}",
                    number + 1,
                    epoch + 1
                );
                return Err(Error::new(ErrorKind::NotFinite, what)
                    .remedy("train with a lower rate; what was written before stays"));
            }
            loss_sum += loss * batch.n as f64;
            correct += right as usize;
            images += batch.n;
            progress.advance(batch.n as u64);
        }
        let n = images.max(1) as f64;
        Ok(Trained {
            score: Score { loss: loss_sum / n, accuracy: correct as f64 / n },
            rate,
            images_per_second: images as f64 / started.elapsed().as_secs_f64().max(1e-9),
        })
    }
}

/// One step: returns the loss before it, and how many images the network got right.
fn descend(
    network: &Trainable,
    sgd: &mut Sgd,
    x: &Tensor,
    labels: &[i64],
    step: &mut Step,
    rate: f64,
) -> nn::Result<(f64, i64)> {
    let labels = Tensor::f_from_slice(labels)?.f_to(x.device())?;
    let logits = network.model.forward(x, &mut Pass::Train(step))?;
    let weights = None::<Tensor>;
    let loss = logits.f_cross_entropy_loss(&labels, weights, Reduction::Mean, -100, 0.0)?;
    let gradient = network.gradient(&loss)?;
    sgd.step(network.parameters(), gradient, rate)?;
    let right = logits.f_argmax(1, false)?.f_eq_tensor(&labels)?.f_sum(Kind::Int64)?;
    Ok((loss.f_double_value(&[])?, right.f_int64_value(&[])?))
}

/// Loss and accuracy of a model.
///
/// # Errors
/// `NotFinite`, those of the images and of libtorch.
pub(crate) fn validate(model: &Model, input: &Input, batches: Loader) -> Result<Score> {
    let classes = model.classes.expect("a family's network has logits");
    let mut collector = Collector::new(1, classes, CollectOptions::default(), None);
    let mut at_a_time = AtATime { images: usize::MAX, may_shrink: false };
    let models = std::slice::from_ref(model);
    evaluate::run(models, input, batches, &mut at_a_time, &mut collector, &|_| {})?;
    let (evaluation, _) = collector.finish()?;
    let tally = Tally::of(&evaluation.models[0].outcomes);
    Ok(Score { loss: tally.nll(), accuracy: tally.top1() })
}

#[cfg(test)]
mod tests;
