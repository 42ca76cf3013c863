//! torchvision's DenseNet-BC (Huang et al. 2017), with torchvision's tensor names, which are timm's.
//!
//! Files from before PyTorch 0.4.1, torchvision's own downloads among them, have `norm.1` and `conv.1`
//! for `norm1` and `conv1`; both are read and keep their names. Classes and input channels are read
//! from the weights.

use tch::Tensor;

use super::family::{Arch, Conv as ConvInit, Family, Initial, Recipe, Sizes, usual_momentum};
use crate::nn::batch_norm::BatchNorm;
use crate::nn::fault::Result;
use crate::nn::layers::{Conv2d, ConvBn, Head, conv, global_average_pool, relu};
use crate::nn::network::Network;
use crate::nn::pass::Pass;
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

pub(super) const FAMILY: Family = Family {
    names: &["densenet121", "densenet161", "densenet169", "densenet201"],
    named,
    likely,
    recipe: Some(RECIPE),
};

/// torchvision's.
const RECIPE: Recipe = Recipe {
    sizes: |_, sizes: &Sizes| {
        vec![
            ("features.conv0.weight", vec![0, sizes.channels, 7, 7]),
            ("classifier.weight", vec![sizes.classes, 0]),
        ]
    },
    initial: Initial { conv: ConvInit::HeByInputs, zero_linear_bias: true },
    momentum: usual_momentum,
};

/// Channels of a dense layer's bottleneck, in growth rates.
const BOTTLENECK: usize = 4;

#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    /// Channels that a dense layer adds; the stem has twice that.
    growth: usize,
    /// Dense layers of each block.
    layers: [usize; 4],
}

const VARIANTS: &[Variant] = &[
    Variant { name: "densenet121", growth: 32, layers: [6, 12, 24, 16] },
    Variant { name: "densenet161", growth: 48, layers: [6, 12, 36, 24] },
    Variant { name: "densenet169", growth: 32, layers: [6, 12, 32, 32] },
    Variant { name: "densenet201", growth: 32, layers: [6, 12, 48, 32] },
];

#[derive(Clone, Copy)]
struct Config {
    variant: Variant,
    channels: usize,
    classes: usize,
    /// `norm.1` for `norm1`.
    dotted: bool,
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    VARIANTS.iter().find(|variant| variant.name == name).map(|variant| arch(*variant, shapes))
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    if !shapes.has_any(&["features.conv0.weight", "features.norm0.weight"]) {
        return vec![];
    }
    VARIANTS.iter().map(|variant| arch(*variant, shapes)).collect()
}

fn arch(variant: Variant, shapes: &Shapes) -> Arch {
    let config = Config {
        variant,
        channels: shapes.dim("features.conv0.weight", 1).unwrap_or(3),
        classes: shapes.dim("classifier.weight", 0).unwrap_or(1000),
        dotted: shapes.has_any(&[
            "features.denseblock1.denselayer1.norm.1.weight",
            "features.denseblock1.denselayer1.norm.2.weight",
        ]),
    };
    Arch {
        name: variant.name.into(),
        classes: config.classes,
        channels: config.channels,
        preset: Some("imagenet"),
        build: Box::new(move |scope| Ok(Box::new(DenseNet::new(scope, config)?))),
    }
}

struct DenseNet {
    stem: ConvBn,
    blocks: Vec<Block>,
    norm5: BatchNorm,
    classifier: Head,
}

struct Block {
    layers: Vec<Layer>,
    /// Halves channels and size; the last block has none.
    transition: Option<(BatchNorm, Conv2d)>,
}

/// Batchnorm → ReLU → 1×1 → batchnorm → ReLU → 3×3: the channels it adds.
struct Layer {
    norm1: BatchNorm,
    /// With `norm2`.
    conv1: ConvBn,
    conv2: Conv2d,
}

impl DenseNet {
    fn new(mut scope: Scope, config: Config) -> Result<Self> {
        let Config { variant: Variant { growth, layers, .. }, channels, classes, dotted } = config;
        let mut inputs = 2 * growth;
        let mut features = scope.sub("features");
        let stem = ConvBn::new(&mut features, "conv0", "norm0", conv(channels, inputs, 7, 2))?;
        let mut blocks = Vec::new();
        for (b, &count) in (1..).zip(&layers) {
            let mut scope = features.sub(format!("denseblock{b}"));
            let mut layers = Vec::new();
            for i in 1..=count {
                layers.push(Layer::new(
                    scope.sub(format!("denselayer{i}")),
                    inputs,
                    growth,
                    dotted,
                )?);
                inputs += growth;
            }
            let transition = if b < config.variant.layers.len() {
                let mut scope = features.sub(format!("transition{b}"));
                let norm = BatchNorm::new(scope.sub("norm"), inputs)?;
                let conv = Conv2d::new(scope.sub("conv"), conv(inputs, inputs / 2, 1, 1))?;
                inputs /= 2;
                Some((norm, conv))
            } else {
                None
            };
            blocks.push(Block { layers, transition });
        }
        let norm5 = BatchNorm::new(features.sub("norm5"), inputs)?;
        let classifier = Head::new(&mut scope, "classifier", inputs, classes)?;
        Ok(DenseNet { stem, blocks, norm5, classifier })
    }
}

impl Layer {
    fn new(mut scope: Scope, inputs: usize, growth: usize, dotted: bool) -> Result<Self> {
        let [norm1, conv1, norm2, conv2] = match dotted {
            false => ["norm1", "conv1", "norm2", "conv2"],
            true => ["norm.1", "conv.1", "norm.2", "conv.2"],
        };
        let middle = BOTTLENECK * growth;
        Ok(Layer {
            norm1: BatchNorm::new(scope.sub(norm1), inputs)?,
            conv1: ConvBn::new(&mut scope, conv1, norm2, conv(inputs, middle, 1, 1))?,
            conv2: Conv2d::new(scope.sub(conv2), conv(middle, growth, 3, 1))?,
        })
    }

    fn forward(&self, x: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let y = self.norm1.forward(&x, pass)?;
        drop(x);
        let y = self.conv1.forward(&relu(y)?, pass)?;
        self.conv2.forward(&relu(y)?)
    }
}

impl Block {
    /// Each layer sees what entered and what all layers before it added. Together they lie in memory
    /// only until its first batchnorm is done.
    fn forward(&self, x: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut parts = vec![x];
        for layer in &self.layers {
            let added = layer.forward(Tensor::f_cat(&parts, 1)?, pass)?;
            parts.push(added);
        }
        let all = Tensor::f_cat(&parts, 1)?;
        drop(parts);
        let Some((norm, conv)) = &self.transition else { return Ok(all) };
        let y = norm.forward(&all, pass)?;
        drop(all);
        let y = conv.forward(&relu(y)?)?;
        Ok(y.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)?)
    }
}

impl Network for DenseNet {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let x = self.stem.forward(x, pass)?;
        let mut x = relu(x)?.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        for block in &self.blocks {
            x = block.forward(x, pass)?;
        }
        let x = relu(self.norm5.forward(&x, pass)?)?;
        self.classifier.forward(global_average_pool(&x)?)
    }
}
