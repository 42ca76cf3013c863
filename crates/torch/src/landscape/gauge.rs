//! Finding loss and error of a network whose weights change from point to point. They stay in memory: each weight vector
//! is copied over the one before, and batchnorm's statistics are handed to the layers.

use tch::Tensor;

use super::results::{Measured, Values};
use super::vectors::norm;
pub use crate::bn_update::Statistics;
use crate::bn_update::layerwise;
use crate::evaluate::{self, AtATime, CollectOptions, Collector, Outcome};
use crate::nn::input::Input;
use crate::nn::memory::Budget;
use crate::nn::{Fault, Model, Trainable};
use swa_base::{Error, Kind, Result};
use swa_data::Batch;

/// A network, and the images that it is evaluated on at every point.
pub(crate) struct Gauge {
    pub network: Trainable,
    pub input: Input,
    pub images: Pixels,
    pub batch_size: usize,
    pub budget: Budget,
}

/// The images, in memory: the same ones in the same order at every point.
pub(crate) struct Pixels {
    /// For statistics; empty where none are recomputed.
    pub bn: Vec<Batch>,
    /// Of the training loss; None: those of the statistics.
    pub train: Option<Vec<Batch>>,
    pub test: Vec<Batch>,
}

impl Pixels {
    /// How many images pass the network at a point.
    pub fn a_point(&self) -> usize {
        let count = |batches: &[Batch]| batches.iter().map(|batch| batch.n).sum::<usize>();
        count(&self.bn) + self.train.as_deref().map_or(0, count) + count(&self.test)
    }
}

impl Gauge {
    /// Loss and error at these weights. `kept`: batchnorm's statistics there; None: they are recomputed, layer by layer,
    /// so that each layer gets what it gets in use.
    ///
    /// # Errors
    /// `NotFinite` where the network overflows; `Input` if a layer gets a single value a channel; `OutOfMemory`; those
    /// of libtorch.
    pub fn measure(&self, weights: &[f32], kept: Option<&[Statistics]>) -> Result<Measured> {
        self.network.set_parameters(weights)?;
        let model = &self.network.model;
        let (model, train) = match kept {
            Some(statistics) => (self.with(statistics)?, None),
            None if self.images.bn.is_empty() => (self.with(&[])?, None),
            None => {
                let Gauge { input, images, budget, .. } = self;
                let (outcome, logits) = layerwise::with_logits(model, input, &images.bn, budget)?;
                let is_loss_of_these = images.train.is_none();
                let train = is_loss_of_these.then(|| outcomes(model, &images.bn, &logits));
                (self.with(&outcome.layers)?, train.transpose()?)
            }
        };
        let train = match (train, &self.images.train) {
            (Some(train), _) => train,
            (None, Some(batches)) => self.evaluate(&model, batches)?,
            (None, None) => self.evaluate(&model, &self.images.bn)?,
        };
        let test = self.evaluate(&model, &self.images.test)?;
        let ([train_nll, train_error], [test_nll, test_error]) = (means(&train), means(&test));
        let norm = norm(weights);
        let values = Values { norm, train_nll, train_error, test_nll, test_error };
        Ok(Measured { values, test })
    }

    /// The same, with NaN where the network overflows.
    pub fn try_measure(&self, weights: &[f32], kept: Option<&[Statistics]>) -> Result<Measured> {
        match self.measure(weights, kept) {
            Err(error) if error.kind() == Kind::NotFinite => {
                let [train_nll, train_error, test_nll, test_error] = [f64::NAN; 4];
                let norm = norm(weights);
                let values = Values { norm, train_nll, train_error, test_nll, test_error };
                Ok(Measured { values, test: vec![] })
            }
            other => other,
        }
    }

    /// The network with these statistics; without any, with its own.
    fn with(&self, statistics: &[Statistics]) -> Result<Model> {
        let device = self.input.device();
        let tensors = statistics.iter().map(|statistics| statistics.tensors(device));
        Ok(self.network.model.with_statistics(tensors.collect::<Result<_>>()?))
    }

    fn evaluate(&self, model: &Model, batches: &[Batch]) -> Result<Vec<Outcome>> {
        let mut collector = collector(model);
        let mut at_a_time = AtATime { images: self.batch_size, may_shrink: true };
        let batches = batches.iter().cloned().map(Ok);
        let models = std::slice::from_ref(model);
        evaluate::run(models, &self.input, batches, &mut at_a_time, &mut collector, &|_| {})?;
        finished(collector)
    }
}

fn collector(model: &Model) -> Collector<'static> {
    let classes = model.classes.expect("a family's network has logits");
    Collector::new(1, classes, CollectOptions::default(), None)
}

fn finished(collector: Collector) -> Result<Vec<Outcome>> {
    let (mut evaluation, _) = collector.finish()?;
    Ok(evaluation.models.remove(0).outcomes)
}

/// The outcomes of images whose logits are known.
fn outcomes(model: &Model, batches: &[Batch], logits: &[Tensor]) -> Result<Vec<Outcome>> {
    let mut collector = collector(model);
    for (batch, logits) in batches.iter().zip(logits) {
        let first = collector.open(batch);
        let logits = logits.f_flatten(0, 1).and_then(Vec::<f32>::try_from).map_err(Fault::from)?;
        if logits.iter().any(|x| !x.is_finite()) {
            return Err(Error::new(Kind::NotFinite, "its logits are not finite").at(&model.path));
        }
        collector.add(0, first, logits)?;
        collector.close()?;
    }
    finished(collector)
}

/// Mean nll, and the share of images whose label did not rank first.
fn means(outcomes: &[Outcome]) -> [f64; 2] {
    let n = outcomes.len() as f64;
    let wrong = outcomes.iter().filter(|outcome| !outcome.top1).count();
    [outcomes.iter().map(|outcome| outcome.nll).sum::<f64>() / n, wrong as f64 / n]
}

/// What keeps ln(variance + ε) finite; batchnorm's own.
const EPS: f64 = 1e-5;

/// Statistics between those of several models, by the coefficients that the weights are combined with: means linearly,
/// variances geometrically, so that they stay positive beyond the models (Li et al. 2018 interpolate both linearly).
pub(crate) fn mixed(models: &[(f64, &[Statistics])]) -> Vec<Statistics> {
    if let Some((_, own)) = models.iter().find(|(share, _)| *share == 1.0)
        && models.iter().all(|(share, _)| *share == 1.0 || *share == 0.0)
    {
        return own.to_vec();
    }
    let layers = models.first().map_or(0, |(_, layers)| layers.len());
    let layer = |layer: usize| {
        let channels = models[0].1[layer].mean.len();
        let sum = |of: &dyn Fn(&Statistics) -> f64| {
            models.iter().map(|(share, layers)| share * of(&layers[layer])).sum::<f64>()
        };
        let variance = |c: usize| (sum(&|s| (s.variance[c] + EPS).ln()).exp() - EPS).max(0.0);
        Statistics {
            mean: (0..channels).map(|c| sum(&|s| s.mean[c])).collect(),
            variance: (0..channels).map(variance).collect(),
        }
    };
    (0..layers).map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_between_models_are_positive_and_theirs_at_the_ends() {
        let of = |mean: f64, variance: f64| {
            vec![Statistics { mean: vec![mean], variance: vec![variance] }]
        };
        let (a, b) = (of(1.0, 0.5), of(3.0, 2.0));
        assert_eq!(mixed(&[(0.0, &a[..]), (1.0, &b[..])]), b);
        let middle = mixed(&[(0.5, &a[..]), (0.5, &b[..])]);
        assert!((middle[0].variance[0] - 1.0).abs() < 1e-5 && middle[0].mean[0] == 2.0);
        let beyond = mixed(&[(3.0, &a[..]), (-2.0, &b[..])]);
        assert!((beyond[0].variance[0] - 0.125 / 4.0).abs() < 1e-5 && beyond[0].mean[0] == -3.0);
        let dead = mixed(&[(0.5, &of(0.0, 0.0)[..]), (0.5, &a[..])]);
        assert!((0.0..0.01).contains(&dead[0].variance[0]));
    }
}
