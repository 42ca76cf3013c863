//! Pre-activation ResNet for small images (He et al. 2016, "Identity Mappings in Deep Residual
//! Networks"), with the tensor names of the SWA authors' code.
//!
//! Depth 6n+2 with basic blocks, 9n+2 with bottlenecks; three stages of width w, 2w, 4w. Input
//! channels, classes and w are read from the weights.

use super::family::{
    Arch, Conv as ConvInit, Family, Initial, Recipe, Sizes, count_blocks, usual_momentum,
};
use super::pre_activation::{Block, PreActivation};
use super::residual::residual_blocks;
use crate::nn::batch_norm::BatchNorm;
use crate::nn::fault::Result;
use crate::nn::layers::{Conv2d, ConvBn, Head, conv};
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

pub(super) const FAMILY: Family =
    Family { names: &["preresnet-DEPTH (6n+2 or 9n+2)"], named, likely, recipe: Some(RECIPE) };

/// The SWA authors' `preresnet.py`; bottlenecks from 44 layers on.
const RECIPE: Recipe = Recipe {
    sizes: |name, sizes: &Sizes| {
        let mut known = vec![
            ("conv1.weight", vec![sizes.width.unwrap_or(16), sizes.channels, 3, 3]),
            ("fc.weight", vec![sizes.classes, 0]),
        ];
        let depth = name.rsplit('-').next().and_then(|depth| depth.parse().ok());
        if depth.is_some_and(|depth: usize| depth >= 44) {
            known.push(("layer1.0.conv3.weight", vec![]));
        }
        known
    },
    initial: Initial { conv: ConvInit::HeByOutputs, zero_linear_bias: false },
    momentum: usual_momentum,
};

/// The deepest that a name may ask for; the deepest published has 1,001 layers.
const MAX_DEPTH: usize = 10_000;

#[derive(Clone, Copy)]
struct Config {
    /// Blocks a stage.
    blocks: usize,
    bottleneck: bool,
    width: usize,
    channels: usize,
    classes: usize,
}

/// Dimensions the weights give; what they do not give is the authors' default.
fn config(shapes: &Shapes) -> Config {
    Config {
        blocks: count_blocks(shapes, "layer1", "conv1.weight"),
        bottleneck: shapes.has("layer1.0.conv3.weight"),
        width: shapes.dim("conv1.weight", 0).unwrap_or(16),
        channels: shapes.dim("conv1.weight", 1).unwrap_or(3),
        classes: shapes.dim("fc.weight", 0).unwrap_or(10),
    }
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    let config = config(shapes);
    if config.blocks == 0 { vec![] } else { vec![arch(config)] }
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    let depth: usize = name.strip_prefix("preresnet-")?.parse().ok()?;
    let config = config(shapes);
    // 20 is 6·3+2 and 9·2+2: then the weights decide.
    let blocks = |convs: usize| {
        let layers = depth.checked_sub(2).filter(|n| (1..=MAX_DEPTH).contains(n))?;
        layers.is_multiple_of(convs).then_some(layers / convs)
    };
    let (basic, bottleneck) = (blocks(6), blocks(9));
    let (blocks, bottleneck) = match (basic, bottleneck) {
        (Some(_), Some(n)) if config.bottleneck => (n, true),
        (Some(n), _) => (n, false),
        (None, Some(n)) => (n, true),
        (None, None) => return None,
    };
    Some(arch(Config { blocks, bottleneck, ..config }))
}

fn arch(config: Config) -> Arch {
    let depth = config.blocks * if config.bottleneck { 9 } else { 6 } + 2;
    Arch {
        name: format!("preresnet-{depth}"),
        classes: config.classes,
        channels: config.channels,
        preset: None,
        build: Box::new(move |scope| Ok(Box::new(self::build(scope, config)?))),
    }
}

fn build(mut scope: Scope, config: Config) -> Result<PreActivation> {
    let Config { blocks, bottleneck, width, channels, classes } = config;
    let stem = Conv2d::new(scope.sub("conv1"), conv(channels, width, 3, 1))?;
    let (mut built, mut inputs) = (Vec::new(), width);
    for block in residual_blocks(width, width, &[blocks; 3], bottleneck) {
        let mut scope = scope.sub(&block.name);
        let bn = BatchNorm::new(scope.sub("bn1"), inputs)?;
        let mut convs = Vec::new();
        let (last, first) = block.convs.split_last().expect("two or three");
        for (&shape, i) in first.iter().zip(1..) {
            let (conv, bn) = (format!("conv{i}"), format!("bn{}", i + 1));
            convs.push(ConvBn::new(&mut scope, &conv, &bn, shape)?);
        }
        let last = Conv2d::new(scope.sub(format!("conv{}", first.len() + 1)), *last)?;
        let shortcut = block.shortcut.map(|shape| Conv2d::new(scope.sub("downsample.0"), shape));
        built.push(Block { bn, convs, last, shortcut: shortcut.transpose()? });
        inputs = block.outputs;
    }
    let bn = BatchNorm::new(scope.sub("bn"), inputs)?;
    Ok(PreActivation {
        stem,
        blocks: built,
        bn,
        head: Head::new(&mut scope, "fc", inputs, classes)?,
    })
}
