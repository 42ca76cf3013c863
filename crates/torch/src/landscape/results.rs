//! What was found at the points, as far as it is known.

use swa_base::{Error, Kind, Result};
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};

use crate::evaluate::Outcome;
use crate::parts::{Content, read_tensor};

/// What was found at a point. NaN where the network overflowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Values {
    /// The length of the weight vector.
    pub norm: f64,
    /// Mean cross entropy over the training images, in nats.
    pub train_nll: f64,
    /// The share of training images whose label did not rank first.
    pub train_error: f64,
    /// Mean cross entropy over the test images, in nats.
    pub test_nll: f64,
    /// The share of test images whose label did not rank first.
    pub test_error: f64,
}

/// Numbers that are kept of a point.
const KEPT: usize = 5;

/// What was found at a point.
pub(crate) struct Measured {
    pub values: Values,
    /// Of each test image; empty where the network overflowed.
    pub test: Vec<Outcome>,
}

/// What was found at the points of a picture; of its models, at each test image.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// By point.
    known: Vec<bool>,
    /// By point, [`KEPT`] of each.
    values: Vec<f64>,
    /// By model, of each test image.
    nll: Vec<Vec<f64>>,
    /// By model: whether the label of each test image did not rank first.
    wrong: Vec<Vec<bool>>,
}

impl Results {
    /// Nothing is known yet of so many points, of which the first are models, on so many test images.
    pub(crate) fn empty(points: usize, models: usize, images: usize) -> Self {
        Results {
            known: vec![false; points],
            values: vec![0.0; points * KEPT],
            nll: vec![vec![0.0; images]; models],
            wrong: vec![vec![false; images]; models],
        }
    }

    /// Notes what was found at a point.
    pub(crate) fn add(&mut self, point: usize, measured: &Measured) {
        let Values { norm, train_nll, train_error, test_nll, test_error } = measured.values;
        let own = [norm, train_nll, train_error, test_nll, test_error];
        self.known[point] = true;
        self.values[point * KEPT..][..KEPT].copy_from_slice(&own);
        if let Some(nll) = self.nll.get_mut(point) {
            *nll = measured.test.iter().map(|outcome| outcome.nll).collect();
            self.wrong[point] = measured.test.iter().map(|outcome| !outcome.top1).collect();
        }
    }

    /// How many points there are.
    pub fn points(&self) -> usize {
        self.known.len()
    }

    /// What was found at a point; None if that is not known.
    pub fn at(&self, point: usize) -> Option<Values> {
        let &[norm, train_nll, train_error, test_nll, test_error] =
            self.values.get(point * KEPT..(point + 1) * KEPT)?
        else {
            return None;
        };
        let values = Values { norm, train_nll, train_error, test_nll, test_error };
        self.known[point].then_some(values)
    }

    /// A model's test error and nll less those of the first model, each with its standard error, paired by image.
    pub fn differences(&self, model: usize) -> [[f64; 2]; 2] {
        let share = |wrong: bool| f64::from(u8::from(wrong));
        let errors = self.wrong[model].iter().zip(&self.wrong[0]);
        let nll = self.nll[model].iter().zip(&self.nll[0]);
        [
            mean_and_error(errors.map(|(&a, &b)| share(a) - share(b))),
            mean_and_error(nll.map(|(a, b)| a - b)),
        ]
    }
}

/// The mean of values, and its standard error; NaN of a single one.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
    [mean, (squares / (n - 1.0) / n).sqrt()]
}

const KNOWN: &str = "known";
const VALUES: &str = "values";
const NLL: &str = "nll";
const WRONG: &str = "wrong";

impl Content for Results {
    fn tensors(&self) -> Vec<(TensorInfo, Vec<u8>)> {
        let info = |name: &str, dtype, shape: &[usize]| TensorInfo {
            name: name.into(),
            dtype,
            shape: shape.into(),
        };
        let doubles = |values: &mut dyn Iterator<Item = &f64>| -> Vec<u8> {
            values.flat_map(|value| value.to_le_bytes()).collect()
        };
        let flags = |flags: &mut dyn Iterator<Item = &bool>| flags.map(|&f| u8::from(f)).collect();
        let images = [self.nll.len(), self.nll.first().map_or(0, Vec::len)];
        vec![
            (info(KNOWN, Dtype::U8, &[self.points()]), flags(&mut self.known.iter())),
            (info(VALUES, Dtype::F64, &[self.points(), KEPT]), doubles(&mut self.values.iter())),
            (info(NLL, Dtype::F64, &images), doubles(&mut self.nll.iter().flatten())),
            (info(WRONG, Dtype::U8, &images), flags(&mut self.wrong.iter().flatten())),
        ]
    }

    fn merge(&mut self, file: &Checkpoint) -> Result<()> {
        let points = self.points();
        let images = [self.nll.len(), self.nll.first().map_or(0, Vec::len)];
        let doubles = |name: &str, shape: &[usize]| -> Result<Vec<f64>> {
            let bytes = read_tensor(file, name, Dtype::F64, shape)?;
            let (all, _) = bytes.as_chunks::<8>();
            Ok(all.iter().map(|value| f64::from_le_bytes(*value)).collect())
        };
        let known = read_tensor(file, KNOWN, Dtype::U8, &[points])?;
        let values = doubles(VALUES, &[points, KEPT])?;
        let nll = doubles(NLL, &images)?;
        let wrong = read_tensor(file, WRONG, Dtype::U8, &images)?;
        for (point, _) in known.iter().enumerate().filter(|(_, known)| **known != 0) {
            if self.known[point] {
                let what = format!("has point {point}, as another part has");
                return Err(Error::new(Kind::Damaged, what).at(file.path()));
            }
            self.known[point] = true;
            let own = point * KEPT..(point + 1) * KEPT;
            self.values[own.clone()].copy_from_slice(&values[own]);
            if point < images[0] {
                let own = point * images[1]..(point + 1) * images[1];
                self.nll[point].copy_from_slice(&nll[own.clone()]);
                self.wrong[point] = wrong[own].iter().map(|wrong| *wrong != 0).collect();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_paired_by_image() {
        let results = Results {
            known: vec![true; 2],
            values: vec![0.0; 2 * KEPT],
            nll: vec![vec![1.0, 2.0, 3.0, 4.0], vec![1.5, 2.5, 2.0, 5.0]],
            wrong: vec![vec![true, true, false, false], vec![false, true, false, false]],
        };
        let [error, nll] = results.differences(1);
        // −1, 0, 0, 0: variance 0.25; 0.5, 0.5, −1, 1: mean 0.25, variance 2.25/3.
        assert_eq!(error, [-0.25, 0.25]);
        assert_eq!(nll, [0.25, (2.25f64 / 3.0 / 4.0).sqrt()]);
        assert_eq!(results.differences(0), [[0.0; 2]; 2]);
    }
}
