//! Wide residual network for small images (Zagoruyko & Komodakis 2016) with the tensor names of the
//! SWA authors' code; every convolution has a bias.
//!
//! Depth 6n+4; three stages of k, 2k and 4k times the first convolution's width. All but the layout
//! is read from the weights. Dropout within the blocks, which the weights do not tell of, is taken
//! for absent, as in the authors' WideResNet-28-10.

use super::family::{Arch, Conv as ConvInit, Family, Initial, Recipe, Sizes, count_blocks};
use super::pre_activation::{Block, PreActivation};
use crate::nn::batch_norm::BatchNorm;
use crate::nn::fault::Result;
use crate::nn::layers::{Conv2d, ConvBn, ConvShape, Head, conv};
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

pub(super) const FAMILY: Family =
    Family { names: &["wideresnet-DEPTH-K (6n+4; 28-10)"], named, likely, recipe: Some(RECIPE) };

/// The SWA authors' `wide_resnet.py`: PyTorch's own initialisation, since its `conv_init` is never applied. The last
/// batchnorm layer has momentum 0.9.
const RECIPE: Recipe = Recipe {
    sizes: |_, sizes: &Sizes| {
        vec![
            ("conv1.weight", vec![sizes.width.unwrap_or(16), sizes.channels, 3, 3]),
            ("linear.weight", vec![sizes.classes, 0]),
        ]
    },
    initial: Initial { conv: ConvInit::Default, zero_linear_bias: false },
    momentum: |layer| if layer == "bn1" { 0.9 } else { 0.1 },
};

/// Limits of what a name may ask for, far above what was published.
const MAX_DEPTH: usize = 10_000;
const MAX_FACTOR: f64 = 1_000.0;

#[derive(Clone, Copy)]
struct Config {
    /// Blocks a stage.
    blocks: usize,
    /// Channels of the first convolution and of the first stage.
    stem: usize,
    width: usize,
    channels: usize,
    classes: usize,
}

/// Dimensions the weights give; what they do not give is the authors' default.
fn config(shapes: &Shapes) -> Config {
    Config {
        blocks: count_blocks(shapes, "layer1", "conv1.weight"),
        stem: shapes.dim("conv1.weight", 0).unwrap_or(16),
        width: shapes.dim("layer1.0.conv1.weight", 0).unwrap_or(160),
        channels: shapes.dim("conv1.weight", 1).unwrap_or(3),
        classes: shapes.dim("linear.weight", 0).unwrap_or(10),
    }
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    let own = shapes.has("layer1.0.conv1.bias") || shapes.has("linear.weight");
    let config = config(shapes);
    if own && config.blocks > 0 { vec![arch(config)] } else { vec![] }
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    let (depth, factor) = name.strip_prefix("wideresnet-")?.split_once('-')?;
    let depth: usize = depth.parse().ok()?;
    let factor: f64 = factor.parse().ok().filter(|k| (0.0..=MAX_FACTOR).contains(k))?;
    let layers = depth.checked_sub(4).filter(|n| (1..=MAX_DEPTH).contains(n))?;
    let config = config(shapes);
    let width = (factor * config.stem as f64).round() as usize;
    let blocks = layers.is_multiple_of(6).then_some(layers / 6)?;
    (width > 0).then(|| arch(Config { blocks, width, ..config }))
}

fn arch(config: Config) -> Arch {
    let factor = config.width as f64 / config.stem as f64;
    Arch {
        name: format!("wideresnet-{}-{factor}", 6 * config.blocks + 4),
        classes: config.classes,
        channels: config.channels,
        preset: None,
        build: Box::new(move |scope| Ok(Box::new(self::build(scope, config)?))),
    }
}

fn build(mut scope: Scope, config: Config) -> Result<PreActivation> {
    let Config { blocks: count, stem, width, channels, classes } = config;
    let biased = |inputs, outputs, kernel, stride| ConvShape {
        bias: true,
        ..conv(inputs, outputs, kernel, stride)
    };
    let conv1 = Conv2d::new(scope.sub("conv1"), biased(channels, stem, 3, 1))?;
    let (mut blocks, mut inputs) = (Vec::new(), stem);
    for stage in 0..3 {
        let width = width << stage;
        for i in 0..count {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let mut scope = scope.sub(format!("layer{}.{i}", stage + 1));
            let bn = BatchNorm::new(scope.sub("bn1"), inputs)?;
            let first = biased(inputs, width, 3, 1);
            let unit = ConvBn::new(&mut scope, "conv1", "bn2", first)?;
            let last = Conv2d::new(scope.sub("conv2"), biased(width, width, 3, stride))?;
            let shortcut = (stride != 1 || inputs != width)
                .then(|| Conv2d::new(scope.sub("shortcut.0"), biased(inputs, width, 1, stride)));
            blocks.push(Block { bn, convs: vec![unit], last, shortcut: shortcut.transpose()? });
            inputs = width;
        }
    }
    let bn = BatchNorm::new(scope.sub("bn1"), inputs)?;
    Ok(PreActivation {
        stem: conv1,
        blocks,
        bn,
        head: Head::new(&mut scope, "linear", inputs, classes)?,
    })
}
