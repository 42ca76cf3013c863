//! The model families. A new one is a file here and a line in `FAMILIES`.

mod densenet;
mod mobilenet_v2;
mod pre_activation;
mod preresnet;
mod resnet;
mod shake_shake;
mod vgg;
mod vgg_cifar;
mod wide_resnet_cifar;

use super::Network;
use super::layers::{ConvShape, conv};
use super::weights::{Scope, Shapes};
use swa_base::Result;

/// A network's constructor: asks the scope for every tensor.
pub type Build = Box<dyn Fn(Scope) -> Result<Box<dyn Network>>>;

/// One architecture, its free dimensions read from the weights.
pub struct Arch {
    pub name: String,
    pub classes: usize,
    pub channels: usize,
    /// The preset that models of this family are published with, if there is one.
    pub preset: Option<&'static str>,
    pub build: Build,
}

struct Family {
    /// As `--list-archs` shows it: names and what is free.
    names: &'static [&'static str],
    /// The architecture of that name, with the dimensions that the weights give.
    named: fn(&str, &Shapes) -> Option<Arch>,
    /// The architectures of this family that the weights may be meant for; all are then compared
    /// with the file name by name.
    likely: fn(&Shapes) -> Vec<Arch>,
}

const FAMILIES: &[Family] = &[
    preresnet::FAMILY,
    resnet::FAMILY,
    densenet::FAMILY,
    vgg::FAMILY,
    mobilenet_v2::FAMILY,
    vgg_cifar::FAMILY,
    wide_resnet_cifar::FAMILY,
    shake_shake::FAMILY,
];

/// Names of all architectures, as `--arch` takes them.
pub fn list() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.names).copied().collect()
}

pub(super) fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    FAMILIES.iter().find_map(|family| (family.named)(name, shapes))
}

pub(super) fn likely(shapes: &Shapes) -> Vec<Arch> {
    FAMILIES.iter().flat_map(|family| (family.likely)(shapes)).collect()
}

/// How many blocks a stage has: the names `PREFIX.0.…`, `PREFIX.1.…` that occur.
fn count_blocks(shapes: &Shapes, prefix: &str, tensor: &str) -> usize {
    (0..).take_while(|i| shapes.has(&format!("{prefix}.{i}.{tensor}"))).count()
}

/// What a block of a residual network is made of.
struct ResidualBlock {
    /// `layer1.0`.
    name: String,
    /// Two of 3×3, or 1×1, 3×3, 1×1 (a bottleneck, four times as wide at its end); the first 3×3 has
    /// the stride.
    convs: Vec<ConvShape>,
    /// The projection of the shortcut, where the block changes size or width.
    shortcut: Option<ConvShape>,
    /// Channels that leave it.
    outputs: usize,
}

/// The blocks of stages of width `width`, twice that, …, each but the first halving the size;
/// `counts` blocks a stage. `inputs`: channels that enter the first.
fn residual_blocks(
    mut inputs: usize,
    width: usize,
    counts: &[usize],
    bottleneck: bool,
) -> Vec<ResidualBlock> {
    let mut blocks = Vec::new();
    for (stage, &count) in counts.iter().enumerate() {
        let width = width << stage;
        let outputs = if bottleneck { 4 * width } else { width };
        for i in 0..count {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let convs = if bottleneck {
                vec![
                    conv(inputs, width, 1, 1),
                    conv(width, width, 3, stride),
                    conv(width, outputs, 1, 1),
                ]
            } else {
                vec![conv(inputs, width, 3, stride), conv(width, width, 3, 1)]
            };
            let shortcut =
                (stride != 1 || inputs != outputs).then(|| conv(inputs, outputs, 1, stride));
            let name = format!("layer{}.{i}", stage + 1);
            blocks.push(ResidualBlock { name, convs, shortcut, outputs });
            inputs = outputs;
        }
    }
    blocks
}
