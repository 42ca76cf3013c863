//! What each family provides, and what several of them need.

use crate::nn::fault::Result;
use crate::nn::network::Network;
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

/// A network's constructor: asks the scope for every tensor.
pub type Build = Box<dyn Fn(Scope) -> Result<Box<dyn Network>>>;

/// One architecture, its free dimensions read from the weights.
pub struct Arch {
    /// `resnet50`, `preresnet-8`.
    pub name: String,
    /// Outputs of the last layer.
    pub classes: usize,
    /// Channels of the images it takes.
    pub channels: usize,
    /// The preset that models of this family are published with, if there is one.
    pub preset: Option<&'static str>,
    /// Its constructor.
    pub build: Build,
}

pub(super) struct Family {
    /// Names as they are listed, and what is free in them.
    pub names: &'static [&'static str],
    /// The architecture of that name, with the dimensions that the weights give.
    pub named: fn(&str, &Shapes) -> Option<Arch>,
    /// The architectures of this family that the weights could belong to. Each is then compared with the file, tensor
    /// by tensor.
    pub likely: fn(&Shapes) -> Vec<Arch>,
    /// How networks of it are trained; None: not by these tools.
    pub recipe: Option<Recipe>,
}

/// How a family's code fills its tensors. Batchnorm always begins with weight 1, bias 0, mean 0 and variance 1.
#[derive(Debug, Clone, Copy)]
pub struct Initial {
    /// The convolutions.
    pub conv: Conv,
    /// Whether the last layer's bias is 0, and not PyTorch's default, which its weight has.
    pub zero_linear_bias: bool,
}

/// How the weights of a convolution are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conv {
    /// Normal, of variance 2 / (outputs · kernel area) (He et al. 2015, equation 14); bias 0.
    HeByOutputs,
    /// Normal, of variance 2 / (inputs · kernel area) (He et al. 2015, equation 10); bias 0.
    HeByInputs,
    /// PyTorch's default: uniform within ±1 / √(inputs · kernel area), the bias too.
    Default,
}

/// Names and shapes of tensors.
pub type Known = Vec<(&'static str, Vec<usize>)>;

/// What a family's training takes from its authors' code.
#[derive(Clone, Copy)]
pub struct Recipe {
    /// A few tensors, by name and shape, from which `named` reads these sizes for the architecture of that name.
    pub sizes: fn(&str, &Sizes) -> Known,
    /// The weights that it begins with.
    pub initial: Initial,
    /// The momentum of a batchnorm layer, by the layer's name.
    pub momentum: fn(&str) -> f64,
}

/// PyTorch's default momentum of batchnorm, for every layer.
pub(super) fn usual_momentum(_layer: &str) -> f64 {
    0.1
}

/// The sizes of a network that no file gives.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Channels of the first stage; None: the authors'.
    pub width: Option<usize>,
    /// Channels of the images.
    pub channels: usize,
    /// Outputs of the last layer.
    pub classes: usize,
}

/// How many blocks a stage has: the names `PREFIX.0.…`, `PREFIX.1.…` that occur.
pub(super) fn count_blocks(shapes: &Shapes, prefix: &str, tensor: &str) -> usize {
    (0..).take_while(|i| shapes.has(&format!("{prefix}.{i}.{tensor}"))).count()
}
