//! What every family of networks implements.

use tch::Tensor;

use super::fault::Result;
use super::pass::Pass;

/// A network: images in, logits out.
pub trait Network {
    /// `x`: [images, channels, height, width], normalised, of the weights' type. Returns
    /// [images, classes] of the same type.
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor>;
}
