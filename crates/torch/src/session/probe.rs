//! What can be known of a program only by running it: which output are the logits, and whether a batch that was
//! exported with a fixed size takes any.

use tch::Tensor;

use crate::nn::outputs::{self, Outputs};
use crate::nn::{Fault, Model, Pass, Precision};
use swa_tools::{Error, Result};

/// How far a row may move when other images share its batch, relative to the largest value of its output, if the
/// program treats images one by one. What mixes them moves by the order of the values.
const ROWS_AGREE: f64 = 1e-4;
/// The same where values have eight or eleven significant bits.
const NARROW_ROWS_AGREE: f64 = 5e-2;

/// What a run on the first images showed.
pub(super) struct Probed {
    /// Outputs of the logits; None if there are none, or it is not certain which they are.
    pub classes: Option<usize>,
    /// All outputs, for a message.
    pub outputs: String,
    /// How many of them have the form of logits.
    pub alike: usize,
    /// Exactly so many images at a time.
    pub batch: Option<usize>,
}

/// Runs a model on some images, `x`: [images, channels, height, width], normalised.
pub(super) fn probe(model: &Model, x: &Tensor) -> Result<Probed> {
    let _guard = tch::no_grad_guard();
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
    let classes = outputs::logits(&found, n).map(|i| found[i].1.size()[1] as usize);
    Ok(Probed { classes, outputs: outputs::describe(&found), alike, batch })
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
