//! torchvision's ResNet (He et al. 2015; bottlenecks with the stride in the 3×3 convolution), with
//! torchvision's tensor names.
//!
//! Classes and input channels are read from the weights.

use tch::Tensor;

use super::{Arch, Family, count_blocks, residual_blocks};
use crate::Result;
use crate::nn::Network;
use crate::nn::batch_norm::Pass;
use crate::nn::layers::{ConvBn, Linear, conv, global_average_pool, relu};
use crate::nn::weights::{Scope, Shapes};

pub(super) const FAMILY: Family = Family {
    names: &["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
    named,
    likely,
};

#[derive(Clone, Copy)]
struct Depth {
    name: &'static str,
    blocks: [usize; 4],
    bottleneck: bool,
}

const DEPTHS: [Depth; 5] = [
    Depth { name: "resnet18", blocks: [2, 2, 2, 2], bottleneck: false },
    Depth { name: "resnet34", blocks: [3, 4, 6, 3], bottleneck: false },
    Depth { name: "resnet50", blocks: [3, 4, 6, 3], bottleneck: true },
    Depth { name: "resnet101", blocks: [3, 4, 23, 3], bottleneck: true },
    Depth { name: "resnet152", blocks: [3, 8, 36, 3], bottleneck: true },
];

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    DEPTHS.iter().find(|depth| depth.name == name).map(|depth| arch(*depth, shapes))
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    let blocks = |i| count_blocks(shapes, &format!("layer{i}"), "conv1.weight");
    if blocks(1) == 0 || blocks(4) == 0 {
        return vec![];
    }
    DEPTHS.iter().map(|depth| arch(*depth, shapes)).collect()
}

fn arch(depth: Depth, shapes: &Shapes) -> Arch {
    let channels = shapes.dim("conv1.weight", 1).unwrap_or(3);
    let classes = shapes.dim("fc.weight", 0).unwrap_or(1000);
    Arch {
        name: depth.name.into(),
        classes,
        channels,
        preset: Some("imagenet"),
        build: Box::new(move |scope| Ok(Box::new(ResNet::new(scope, depth, channels, classes)?))),
    }
}

struct ResNet {
    conv1: ConvBn,
    blocks: Vec<Block>,
    fc: Linear,
}

/// Convolution → batchnorm, with ReLU between; the shortcut is added before the last ReLU.
struct Block {
    units: Vec<ConvBn>,
    downsample: Option<ConvBn>,
}

impl ResNet {
    fn new(mut scope: Scope, depth: Depth, channels: usize, classes: usize) -> Result<Self> {
        let conv1 = ConvBn::new(&mut scope, "conv1", "bn1", conv(channels, 64, 7, 2))?;
        let (mut blocks, mut inputs) = (Vec::new(), 64);
        for block in residual_blocks(64, 64, &depth.blocks, depth.bottleneck) {
            let mut scope = scope.sub(&block.name);
            let mut units = Vec::new();
            for (shape, i) in block.convs.into_iter().zip(1..) {
                let (conv, bn) = (format!("conv{i}"), format!("bn{i}"));
                units.push(ConvBn::new(&mut scope, &conv, &bn, shape)?);
            }
            let downsample = block
                .shortcut
                .map(|shape| ConvBn::new(&mut scope, "downsample.0", "downsample.1", shape))
                .transpose()?;
            blocks.push(Block { units, downsample });
            inputs = block.outputs;
        }
        Ok(ResNet { conv1, blocks, fc: Linear::new(scope.sub("fc"), inputs, classes)? })
    }
}

impl Network for ResNet {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let x = relu(self.conv1.forward(x, pass)?)?;
        let mut x = x.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.fc.forward(&global_average_pool(&x)?)
    }
}

impl Block {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut y = x.shallow_clone();
        for (i, unit) in self.units.iter().enumerate() {
            y = unit.forward(&y, pass)?;
            if i + 1 < self.units.len() {
                y = relu(y)?;
            }
        }
        let shortcut = match &self.downsample {
            Some(unit) => unit.forward(x, pass)?,
            None => x.shallow_clone(),
        };
        relu(y.f_add_(&shortcut)?)
    }
}
