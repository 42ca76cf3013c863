//! torchvision's ResNet (He et al. 2015; bottlenecks with the stride in the 3×3 convolution), ResNeXt
//! (Xie et al. 2017) and Wide ResNet (Zagoruyko & Komodakis 2016), with torchvision's tensor names, which
//! are timm's.
//!
//! Classes and input channels are read from the weights.

use tch::Tensor;

use super::family::{Arch, Conv as ConvInit, Family, Initial, Recipe, Sizes, usual_momentum};
use super::residual::residual_blocks;
use crate::nn::fault::Result;
use crate::nn::layers::{ConvBn, ConvShape, Head, conv, global_average_pool, relu};
use crate::nn::network::Network;
use crate::nn::pass::Pass;
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

pub(super) const FAMILY: Family = Family {
    names: &[
        "resnet18",
        "resnet26",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnet200",
        "resnext50_32x4d",
        "resnext101_32x4d",
        "resnext101_32x8d",
        "resnext101_32x16d",
        "resnext101_32x32d",
        "resnext101_64x4d",
        "wide_resnet50_2",
        "wide_resnet101_2",
    ],
    named,
    likely,
    recipe: Some(RECIPE),
};

/// torchvision's.
const RECIPE: Recipe = Recipe {
    sizes: |_, sizes: &Sizes| {
        vec![
            ("conv1.weight", vec![64, sizes.channels, 7, 7]),
            ("fc.weight", vec![sizes.classes, 0]),
        ]
    },
    initial: Initial { conv: ConvInit::HeByOutputs, zero_linear_bias: false },
    momentum: usual_momentum,
};

#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    /// Blocks of each stage.
    blocks: [usize; 4],
    bottleneck: bool,
    /// Groups of the 3×3 convolutions in bottlenecks.
    groups: usize,
    /// Channels of such a group in a stage of width 64.
    width_per_group: usize,
}

const fn basic(name: &'static str, blocks: [usize; 4]) -> Variant {
    Variant { name, blocks, bottleneck: false, groups: 1, width_per_group: 64 }
}

const fn bottlenecks(name: &'static str, blocks: [usize; 4], width_per_group: usize) -> Variant {
    Variant { name, blocks, bottleneck: true, groups: 1, width_per_group }
}

const fn resnext(
    name: &'static str,
    third: usize,
    groups: usize,
    width_per_group: usize,
) -> Variant {
    Variant { groups, ..bottlenecks(name, [3, 4, third, 3], width_per_group) }
}

const VARIANTS: &[Variant] = &[
    basic("resnet18", [2, 2, 2, 2]),
    basic("resnet34", [3, 4, 6, 3]),
    bottlenecks("resnet26", [2, 2, 2, 2], 64), // timm's, like the other ones torchvision lacks
    bottlenecks("resnet50", [3, 4, 6, 3], 64),
    bottlenecks("resnet101", [3, 4, 23, 3], 64),
    bottlenecks("resnet152", [3, 8, 36, 3], 64),
    bottlenecks("resnet200", [3, 24, 36, 3], 64),
    resnext("resnext50_32x4d", 6, 32, 4),
    resnext("resnext101_32x4d", 23, 32, 4),
    resnext("resnext101_32x8d", 23, 32, 8),
    resnext("resnext101_32x16d", 23, 32, 16),
    resnext("resnext101_32x32d", 23, 32, 32),
    resnext("resnext101_64x4d", 23, 64, 4),
    bottlenecks("wide_resnet50_2", [3, 4, 6, 3], 128),
    bottlenecks("wide_resnet101_2", [3, 4, 23, 3], 128),
];

impl Variant {
    /// Gives a bottleneck's 3×3 convolution its width and groups.
    fn widen(&self, convs: &mut [ConvShape]) {
        if let [first, middle, last] = convs {
            let width = middle.outputs * self.width_per_group / 64 * self.groups;
            first.outputs = width;
            *middle = ConvShape { inputs: width, outputs: width, groups: self.groups, ..*middle };
            last.inputs = width;
        }
    }
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    VARIANTS.iter().find(|variant| variant.name == name).map(|variant| arch(*variant, shapes))
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    // Four stages.
    if !shapes.has_any(&["layer4.0.conv1.weight", "layer4.0.conv2.weight"]) {
        return vec![];
    }
    VARIANTS.iter().map(|variant| arch(*variant, shapes)).collect()
}

fn arch(variant: Variant, shapes: &Shapes) -> Arch {
    let channels = shapes.dim("conv1.weight", 1).unwrap_or(3);
    let classes = shapes.dim("fc.weight", 0).unwrap_or(1000);
    Arch {
        name: variant.name.into(),
        classes,
        channels,
        preset: Some("imagenet"),
        build: Box::new(move |scope| {
            Ok(Box::new(ResNet::new(scope, &variant, channels, classes)?))
        }),
    }
}

struct ResNet {
    conv1: ConvBn,
    blocks: Vec<Block>,
    fc: Head,
}

/// Convolution → batchnorm, with ReLU between; the shortcut is added before the last ReLU.
struct Block {
    units: Vec<ConvBn>,
    downsample: Option<ConvBn>,
}

impl ResNet {
    fn new(mut scope: Scope, variant: &Variant, channels: usize, classes: usize) -> Result<Self> {
        let conv1 = ConvBn::new(&mut scope, "conv1", "bn1", conv(channels, 64, 7, 2))?;
        let (mut blocks, mut inputs) = (Vec::new(), 64);
        for mut block in residual_blocks(64, 64, &variant.blocks, variant.bottleneck) {
            variant.widen(&mut block.convs);
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
        Ok(ResNet { conv1, blocks, fc: Head::new(&mut scope, "fc", inputs, classes)? })
    }
}

impl Network for ResNet {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let x = self.conv1.forward(x, pass)?;
        let mut x = relu(x)?.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        self.fc.forward(global_average_pool(&x)?)
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
