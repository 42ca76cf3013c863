//! What every network implements.

use tch::{Kind, Tensor};

use super::fault::Result;
use super::outputs::Outputs;
use super::pass::Pass;
use super::precision::Precision;

/// A network: images in, logits out. Some programs give something else.
pub trait Network {
    /// `x`: [images, channels, height, width], normalised, of the type that it takes. Returns [images, classes]; none
    /// are classes where it is no classifier.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor>;

    /// The type of images that it takes: that of its weights, unless it casts itself.
    fn takes(&self, precision: Precision) -> Kind {
        precision.kind()
    }

    /// All outputs, logits or not, each with its name; that of an only one is empty.
    fn outputs(&self, x: &Tensor, pass: &mut Pass) -> Result<Outputs> {
        Ok(vec![(String::new(), self.forward(x, pass)?)])
    }
}
