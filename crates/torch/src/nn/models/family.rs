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
}

/// How many blocks a stage has: the names `PREFIX.0.…`, `PREFIX.1.…` that occur.
pub(super) fn count_blocks(shapes: &Shapes, prefix: &str, tensor: &str) -> usize {
    (0..).take_while(|i| shapes.has(&format!("{prefix}.{i}.{tensor}"))).count()
}
