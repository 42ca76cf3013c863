//! What surrounds an optimum: losses and errors on planes, lines and rays through weight vectors (Izmailov et al. 2018,
//! figures 1 and 3 to 5; Garipov et al. 2018, "Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs"; Li et
//! al. 2018, "Visualizing the Loss Landscape of Neural Nets").
//!
//! A weight vector holds all parameters of a network one after the other, in its own order; buffers, such as batchnorm's
//! statistics, are no part of it. Distances are Euclidean over all of them.
//!
//! | file | holds |
//! |---|---|
//! | `vectors` | sums over weight vectors |
//! | `span` | planes and lines through weight vectors |
//! | `directions` | random directions, and in which units they are walked |
//! | `about` | which points a picture consists of |
//! | `results` | what was found at them, as far as it is known |
//! | `gauge` | finding it |

mod about;
mod directions;
mod gauge;
mod results;
mod span;
mod vectors;

pub(crate) use about::axis;
pub use about::{About, Form, Located, Place};
pub(crate) use directions::Directions;
pub use directions::Units;
pub use gauge::Statistics;
pub(crate) use gauge::{Gauge, Pixels, mixed};
pub(crate) use results::Measured;
pub use results::{Results, Values};
pub(crate) use span::Span;
pub(crate) use vectors::{combined, norm};
