//! What can be known of a program only by running it: which output are the logits, whether they are probabilities, and
//! whether a batch that was exported with a fixed size takes any.

use tch::{Kind, Tensor};

use crate::nn::outputs::{self, Outputs};
use crate::nn::{Fault, Model, Pass, Precision};
use swa_tools::{Error, Result};

/// How far a row may move when other images share its batch, relative to the largest value of its output, if the
/// program treats images one by one. What mixes them moves by the order of the values.
const ROWS_AGREE: f64 = 1e-4;
/// The same where values have eight or eleven significant bits.
const NARROW_ROWS_AGREE: f64 = 5e-2;

/// On so many images it is looked whether outputs are probabilities.
pub(super) const LOOKED_AT: usize = 8;

/// How far probabilities may sum to something else than one.
const SUMS_AGREE: f64 = 1e-3;
/// The same where values have eight or eleven significant bits.
const NARROW_SUMS_AGREE: f64 = 2e-2;

/// What a run on the first images showed.
pub(super) struct Probed {
    /// Outputs of the logits; None if there are none, or it is not certain which they are.
    pub classes: Option<usize>,
    /// All outputs, for a message.
    pub outputs: String,
    /// How many of them have the form of logits.
    pub alike: usize,
    /// Whether the logits are probabilities, though no softmax ends the program.
    pub probabilities: bool,
    /// Exactly so many images at a time.
    pub batch: Option<usize>,
}

/// Runs a model on some images, `x`: [images, channels, height, width], normalised. `evaluated`: whether its logits are to
/// be, so that it matters what they are.
pub(super) fn probe(model: &Model, x: &Tensor, evaluated: bool) -> Result<Probed> {
    let _guard = tch::no_grad_guard();
    let images = x;
    let x = model.input(x)?;
    // Two, since a dimension of one may be taken for another.
    let most = model.takes.most.unwrap_or(2).min(2);
    let n = model.takes.batch.unwrap_or(most) as i64;
    let run = |n: i64| -> Result<Outputs> {
        let x = repeated(&x, n)?;
        Ok(model.network.outputs(&x, &mut Pass::Eval)?)
    };
    let found = run(n)?;
    let batch = match model.takes.batch {
        None => None,
        Some(fixed) => {
            let tolerance = match model.precision {
                Precision::Fp32 => ROWS_AGREE,
                _ => NARROW_ROWS_AGREE,
            };
            let is_free = [n + 1, 1].into_iter().filter(|&other| other != n).all(|other| {
                run(other).is_ok_and(|others| agree(&found, &others, n, other, tolerance))
            });
            (!is_free).then_some(fixed)
        }
    };
    let alike = found.iter().filter(|(_, x)| x.dim() == 2 && x.size()[0] == n).count();
    let logits = outputs::logits(&found, n).map(|i| &found[i].1);
    let probabilities = match logits {
        Some(logits) if evaluated => {
            let rounding = match (model.precision, logits.kind()) {
                (Precision::Fp32, Kind::Float | Kind::Double) => SUMS_AGREE,
                _ => NARROW_SUMS_AGREE,
            };
            gives_probabilities(model, images, n, rounding)?
        }
        _ => false,
    };
    let classes = logits.map(|logits| logits.size()[1] as usize);
    Ok(Probed { classes, outputs: outputs::describe(&found), alike, probabilities, batch })
}

/// Whether what counts as logits are probabilities, on the first images, `n` at a time.
fn gives_probabilities(model: &Model, x: &Tensor, n: i64, rounding: f64) -> Result<bool> {
    let images = x.size()[0].min(LOOKED_AT as i64);
    let whole = if images > n { images - images % n } else { images };
    let parts = x.f_narrow(0, 0, whole).and_then(|x| x.f_split(n, 0)).map_err(Fault::from)?;
    let mut values: Vec<f32> = vec![];
    let mut classes = 0;
    for part in parts {
        let logits = model.forward(&part, &mut Pass::Eval)?;
        classes = logits.size()[1] as usize;
        let flat = logits.f_flatten(0, 1).and_then(Vec::<f32>::try_from).map_err(Fault::from)?;
        values.extend(flat);
    }
    Ok(outputs::are_probabilities(&values, classes, rounding))
}

/// So many images, beginning again where there are fewer.
fn repeated(x: &Tensor, n: i64) -> Result<Tensor> {
    let images = x.size()[0];
    if images == 0 {
        return Err(Error::input("no image was left to try the program on"));
    }
    let times = (n + images - 1) / images;
    let all = x.f_repeat([times, 1, 1, 1]).and_then(|all| all.f_narrow(0, 0, n));
    Ok(all.map_err(Fault::from)?)
}

/// Whether the outputs of the first `n` and of the first `other` images are those of images taken one by one.
fn agree(a: &Outputs, b: &Outputs, n: i64, other: i64, tolerance: f64) -> bool {
    let rows = n.min(other);
    let close = |((_, a), (_, b)): (&(String, Tensor), &(String, Tensor))| -> Option<bool> {
        let (mut expected, found) = (a.size(), b.size());
        if expected.first() != Some(&n) {
            return Some(false);
        }
        expected[0] = other;
        if found != expected {
            return Some(false);
        }
        let [a, b] =
            [a, b].map(|x| x.f_narrow(0, 0, rows).and_then(|x| x.f_to_kind(tch::Kind::Double)));
        let (a, b) = (a.ok()?, b.ok()?);
        let largest = f64::try_from(a.f_abs().ok()?.f_max().ok()?).ok()?;
        let moved = f64::try_from(a.f_sub(&b).ok()?.f_abs().ok()?.f_max().ok()?).ok()?;
        Some(moved <= tolerance * largest.max(1e-6))
    };
    a.len() == b.len() && !a.is_empty() && a.iter().zip(b).all(|pair| close(pair) == Some(true))
}
