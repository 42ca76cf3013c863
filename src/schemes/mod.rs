//! Weighting schemes: which linear combination of the snapshots an output is.
//!
//! A scheme is nothing but a weight for each checkpoint, known before any tensor is read. So one pass makes the
//! outputs of many schemes, and each is the file that its weights, given as [`Weights::Each`], would make. Weights that
//! are not whole numbers are the nearest f64 of what the paper's formula gives (those of post-hoc EMA, which are the
//! solution of a linear system, are solved in f64). From there on nothing is lost: the sum is divided by the
//! exact sum of the weights, and rounded once.
//!
//! One scheme a file, with its paper and its equation.

mod ema;
mod lines;
mod mean;
mod name;
mod posthoc_ema;
mod prefix;
mod reals;
mod weights;
mod window;
mod wsm;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::Result;
use crate::average::Column;
use crate::select::Criteria;
pub use posthoc_ema::{Fit, Profiles};
pub use weights::Weights;
pub use wsm::Shape;

/// How much each snapshot counts in an output.
///
/// Its name (`ema:0.99`) is what [`Display`](std::fmt::Display) writes and [`FromStr`](std::str::FromStr) reads.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Scheme {
    /// `mean`: all count the same.
    #[default]
    Mean,
    /// Weights that are given. They have no name.
    Weights(Weights),
    /// `ema:DECAY`: an exponential moving average.
    Ema {
        /// Above 0 and below 1. What counts is the decimal number that it prints as: 0.99 is 99/100.
        decay: f64,
    },
    /// `window:N`: the mean of the last N.
    Window(NonZeroUsize),
    /// `wsm:SHAPE`: a merge that stands in for learning-rate decay.
    Wsm(Shape),
    /// `posthoc-ema:SIGMA`: a moving average of any width from stored moving averages.
    PosthocEma {
        /// The width, relative to the time trained: above 0 and below 1/√12 ≈ 0.2887.
        sigma: f64,
    },
    /// `swag:K`: the mean, with the variance of every weight and the deviations of the last K snapshots. See
    /// [`SwagLayout`](crate::average::SwagLayout).
    Swag(NonZeroUsize),
    /// `prefix`: the means of the first 1, 2, … N snapshots, an output each.
    Prefix,
}

/// What a scheme may look at.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a> {
    /// In natural order, oldest first.
    pub paths: &'a [PathBuf],
    /// How their numbers are found.
    pub criteria: &'a Criteria,
    /// What is known of snapshots that are averages already.
    pub profiles: &'a Profiles,
}

/// An output's weights.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// For each snapshot.
    pub column: Column,
    /// How well they do what the scheme asks for, if they cannot do it exactly.
    pub fit: Option<Fit>,
}

impl Scheme {
    /// Whether it depends on which checkpoint comes after which.
    pub fn is_ordered(&self) -> bool {
        match self {
            Scheme::Mean | Scheme::Weights(Weights::File(_)) => false,
            Scheme::Weights(Weights::Each(weights)) => weights.iter().any(|own| *own != weights[0]),
            _ => true,
        }
    }

    /// The weights of each output of the scheme: one, or for [`Scheme::Prefix`] as many as there are
    /// snapshots.
    ///
    /// # Errors
    /// `Usage` for parameters out of range, for fewer snapshots than the scheme takes, and where it lacks what it
    /// must know of them; `Input` and `Io` for files of weights or times.
    pub fn weights(&self, snapshots: &Snapshots) -> Result<Vec<Weighted>> {
        let n = snapshots.paths.len();
        let column = match self {
            Scheme::Mean | Scheme::Swag(_) => mean::column(n)?,
            Scheme::Weights(weights) => weights.column(snapshots.paths)?,
            Scheme::Ema { decay } => ema::column(*decay, n)?,
            Scheme::Window(size) => window::column(*size, n)?,
            Scheme::Wsm(shape) => wsm::column(*shape, n)?,
            Scheme::PosthocEma { sigma } => {
                let (column, fit) = posthoc_ema::column(*sigma, snapshots)?;
                return Ok(vec![Weighted { column, fit: Some(fit) }]);
            }
            Scheme::Prefix => {
                let columns = prefix::columns(n)?.into_iter();
                return Ok(columns.map(|column| Weighted { column, fit: None }).collect());
            }
        };
        Ok(vec![Weighted { column, fit: None }])
    }
}
