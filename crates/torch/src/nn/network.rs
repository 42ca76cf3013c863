//! What every family of networks implements.

use tch::{Kind, Tensor};

use super::fault::Result;
use super::pass::Pass;
use super::precision::Precision;

/// A network: images in, logits out.
pub trait Network {
    /// `x`: [images, channels, height, width], normalised, of the type that it takes. Returns [images, classes]; none
    /// are classes where it is no classifier.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor>;

    /// The type of images that it takes: that of its weights, unless it casts itself.
    fn takes(&self, precision: Precision) -> Kind {
        precision.kind()
    }
}
