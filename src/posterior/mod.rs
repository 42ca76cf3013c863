//! SWAG's Gaussian over a network's weights (Maddox et al. 2019, "A Simple Baseline for Bayesian Uncertainty in Deep
//! Learning"): read from what `average::SwagLayout` writes or from a state dict of the authors' code, and drawn from.
//!
//! A sample is θ̃ = m + √s·(√v ⊙ z₁ + D z₂ / √(K−1)), with standard normal z₁, one number a weight, and z₂, one a
//! deviation, the same for all weights. m is the mean, v the variance, at least 1e-30, the K columns of D the
//! deviations. In the paper (equation 1) s is ½. Batchnorm's running statistics are no weights: a sample has those of
//! the mean, which must be computed anew.

mod draws;

use std::path::Path;

use rayon::prelude::*;

use crate::average::{DEVIATIONS, Float, VARIANCE, round_to_float};
use crate::checkpoint::{Checkpoint, Take};
use crate::output::safetensors_bytes;
use crate::{Error, Kind, Result, setting};
use draws::Normals;

/// The least variance, as in the authors' code.
const LEAST: f64 = 1e-30;

/// A Gaussian over the weights of a network.
#[derive(Debug)]
pub struct Posterior {
    /// All tensors under the names that they have in the file.
    moments: Checkpoint,
    /// The same as a model: the mean.
    mean: Checkpoint,
    /// Of each tensor of the mean that is drawn: its number there, and where its moments are.
    weights: Vec<(usize, Moments)>,
    deviations: usize,
}

/// Numbers of tensors.
#[derive(Debug, Clone, Copy)]
struct Moments {
    spread: Spread,
    deviations: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Spread {
    Variance(usize),
    /// The mean of the squares, as the authors keep it.
    Square(usize),
}

/// Which sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// The seed of all samples.
    pub seed: u64,
    /// The number of this one.
    pub sample: u64,
    /// s: ½ in the paper, 0 for the mean itself.
    pub scale: f64,
}

impl Posterior {
    /// Opens a file with moments.
    ///
    /// # Errors
    /// `NoMatch` if it has none; `Mismatch` if they do not fit the means; those of opening.
    pub fn open(path: &Path, take: &Take) -> Result<Self> {
        let all = Take { moments: true, ..take.clone() };
        let moments = Checkpoint::open_with(path, &all)?;
        let is_ours = moments.tensors().iter().any(|tensor| tensor.name.starts_with(VARIANCE));
        let is_theirs = moments.tensors().iter().any(|tensor| tensor.name.ends_with("_sq_mean"));
        if !is_ours && !is_theirs {
            return Err(Error::new(Kind::NoMatch, "holds no moments to draw from")
                .at(path)
                .remedy(concat!("write them with swa-avg and ", setting!("scheme", "swag:20"))));
        }
        let mean = Take { ema: !is_ours, ..take.clone() };
        let mean = Checkpoint::open_with(path, &mean)?;
        let (mut weights, mut kept) = (vec![], None);
        for (number, tensor) in mean.tensors().iter().enumerate() {
            let name = mean.written_name(number);
            let find = |name: String| moments.position(&name);
            let (spread, deviations) = match is_ours {
                true => (
                    find(format!("{VARIANCE}{name}")).map(Spread::Variance),
                    find(format!("{DEVIATIONS}{name}")),
                ),
                false => (
                    find(format!("{}_sq_mean", tensor.name)).map(Spread::Square),
                    find(format!("{}_cov_mat_sqrt", tensor.name)),
                ),
            };
            let Some(spread) = spread else { continue };
            let wrong =
                |what: String| Error::new(Kind::Mismatch, what).at(path).tensor(&tensor.name);
            let (Spread::Variance(own) | Spread::Square(own)) = spread;
            let sizes = [own].into_iter().chain(deviations).map(|i| moments.tensors()[i].len());
            let sizes: Vec<usize> = sizes.collect();
            if sizes[0] != tensor.len() {
                return Err(wrong(format!("{} values, {} variances", tensor.len(), sizes[0])));
            }
            let count =
                deviations.map(|i| moments.tensors()[i].shape.first().copied().unwrap_or(0));
            if count.is_some_and(|count| sizes[1] != count * tensor.len()) {
                return Err(wrong(format!("{} values, {} deviations", tensor.len(), sizes[1])));
            }
            let count = count.unwrap_or(0);
            if *kept.get_or_insert(count) != count {
                return Err(wrong("has another number of deviations than the others".into()));
            }
            let floats = [own].into_iter().chain(deviations).map(|i| moments.tensors()[i].dtype);
            if !floats
                .chain([tensor.dtype])
                .all(|dtype| Float::of(dtype).is_some_and(Float::is_written))
            {
                return Err(wrong("its moments are not of a floating type".into()));
            }
            weights.push((number, Moments { spread, deviations }));
        }
        let deviations = kept.unwrap_or(0);
        if weights.is_empty() {
            return Err(Error::new(Kind::NoMatch, "holds no moments of its weights").at(path));
        }
        Ok(Posterior { moments, mean, weights, deviations })
    }

    /// The mean, as a model.
    pub fn mean(&self) -> &Checkpoint {
        &self.mean
    }

    /// K: how many deviations there are of each weight. With fewer than two a sample has independent weights.
    pub fn deviations(&self) -> usize {
        self.deviations
    }

    /// How many tensors are drawn; the others are the mean's.
    pub fn tensors(&self) -> usize {
        self.weights.len()
    }

    /// Compares the file with the checksums in it.
    ///
    /// # Errors
    /// `Damaged`; those of reading.
    pub fn verify(&self) -> Result<()> {
        self.moments.verify(&|_| {})
    }

    /// Draws a sample: the mean's tensors, those with moments drawn, each value rounded once to its type. In memory, as
    /// a model of the mean's path.
    ///
    /// # Errors
    /// Those of reading; `NotFinite` if a value is.
    pub fn sample(&self, draw: &Draw) -> Result<Checkpoint> {
        let shared = Normals::new(draw.seed, draw.sample, "");
        let columns: Vec<f64> = match self.deviations {
            0 | 1 => vec![],
            k => (0..k).map(|i| shared.get(i) / ((k - 1) as f64).sqrt()).collect(),
        };
        let mut moments = self.weights.iter().peekable();
        let mut tensors = Vec::with_capacity(self.mean.tensors().len());
        for (number, info) in self.mean.tensors().iter().enumerate() {
            let bytes = match moments.next_if(|(own, _)| *own == number) {
                Some((_, moments)) => self.drawn(number, *moments, draw, &columns)?,
                None => self.mean.bytes(number)?.into_owned(),
            };
            tensors.push((info.clone(), bytes));
        }
        let bytes = safetensors_bytes(&tensors, self.mean.metadata())?;
        Checkpoint::of_bytes(self.mean.path(), bytes)
    }

    fn drawn(
        &self,
        number: usize,
        moments: Moments,
        draw: &Draw,
        columns: &[f64],
    ) -> Result<Vec<u8>> {
        let info = &self.mean.tensors()[number];
        let float =
            |i: usize| Float::of(self.moments.tensors()[i].dtype).expect("checked when opened");
        let to = Float::of(info.dtype).expect("checked when opened");
        let (Spread::Variance(spread) | Spread::Square(spread)) = moments.spread;
        let (means, spreads) = (self.mean.bytes(number)?, self.moments.bytes(spread)?);
        let deviations = match moments.deviations.filter(|_| !columns.is_empty()) {
            Some(i) => Some((float(i), self.moments.bytes(i)?)),
            None => None,
        };
        let at = |bytes: &[u8], float: Float, i: usize| {
            float.decode(&bytes[i * float.size()..][..float.size()])
        };
        let normals = Normals::new(draw.seed, draw.sample, &info.name);
        let (n, root) = (info.len(), draw.scale.sqrt());
        let value = |i: usize| {
            let mean = at(&means, to, i);
            let spread = at(&spreads, float(spread), i);
            let variance = match moments.spread {
                Spread::Variance(_) => spread,
                Spread::Square(_) => spread - mean * mean,
            };
            let own = variance.max(LEAST).sqrt() * normals.get(i);
            let shared = deviations.as_ref().map_or(0.0, |(float, bytes)| {
                let columns = columns.iter().enumerate();
                columns.map(|(k, z)| at(bytes, *float, k * n + i) * z).sum::<f64>()
            });
            mean + root * (own + shared)
        };
        let values: Vec<f64> = (0..n).into_par_iter().map(value).collect();
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::new(Kind::NotFinite, "a sample of it is not finite")
                .at(self.mean.path())
                .tensor(&info.name));
        }
        Ok(round_to_float(&values, to))
    }
}

#[cfg(test)]
mod tests;
