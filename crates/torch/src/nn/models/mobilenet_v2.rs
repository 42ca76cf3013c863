//! MobileNetV2 (Sandler et al. 2018) with torchvision's tensor names or timm's.
//!
//! The width of each stage, which the width multiplier and its rounding make, is read from the
//! weights; so are classes, input channels and, with timm's names, the blocks of each stage.

use tch::Tensor;

use super::family::{Arch, Family, count_blocks};
use crate::nn::fault::Result;
use crate::nn::layers::{ConvBn, ConvShape, Head, conv, global_average_pool, relu6};
use crate::nn::network::Network;
use crate::nn::pass::Pass;
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

pub(super) const FAMILY: Family = Family { names: &[NAME], named, likely, recipe: None };

const NAME: &str = "mobilenet_v2";

/// A stage as the paper has it.
struct Stage {
    width: usize,
    blocks: usize,
    stride: usize,
}

const STAGES: [Stage; 7] = [
    Stage { width: 16, blocks: 1, stride: 1 },
    Stage { width: 24, blocks: 2, stride: 2 },
    Stage { width: 32, blocks: 3, stride: 2 },
    Stage { width: 64, blocks: 4, stride: 2 },
    Stage { width: 96, blocks: 3, stride: 1 },
    Stage { width: 160, blocks: 3, stride: 2 },
    Stage { width: 320, blocks: 1, stride: 1 },
];

/// Channels inside a block for each that enters it; in the first stage 1.
const EXPANSION: usize = 6;

/// Blocks that timm's names may show, of one stage: far more than any published network has.
const MAX_BLOCKS: usize = 100;

#[derive(Clone, Copy)]
struct Config {
    names: Names,
    channels: usize,
    classes: usize,
    stem: usize,
    widths: [usize; 7],
    blocks: [usize; 7],
    /// Channels that the classifier takes.
    last: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Names {
    Torchvision,
    Timm,
}

impl Names {
    /// Convolution and batchnorm, of the stem and of the last convolution.
    fn ends(self) -> [[&'static str; 2]; 2] {
        match self {
            Names::Torchvision => {
                [["features.0.0", "features.0.1"], ["features.18.0", "features.18.1"]]
            }
            Names::Timm => [["conv_stem", "bn1"], ["conv_head", "bn2"]],
        }
    }

    fn classifier(self) -> &'static str {
        match self {
            Names::Torchvision => "classifier.1",
            Names::Timm => "classifier",
        }
    }

    /// A block by its stage, its place there and its place among all.
    fn block(self, stage: usize, at: usize, of_all: usize) -> String {
        match self {
            Names::Torchvision => format!("features.{}", of_all + 1),
            Names::Timm => format!("blocks.{stage}.{at}"),
        }
    }

    /// Convolution and batchnorm of a block: expansion (if it has one), 3×3, projection.
    fn units(self, expands: bool) -> &'static [[&'static str; 2]] {
        match (self, expands) {
            (Names::Torchvision, false) => &[["conv.0.0", "conv.0.1"], ["conv.1", "conv.2"]],
            (Names::Torchvision, true) => {
                &[["conv.0.0", "conv.0.1"], ["conv.1.0", "conv.1.1"], ["conv.2", "conv.3"]]
            }
            (Names::Timm, false) => &[["conv_dw", "bn1"], ["conv_pw", "bn2"]],
            (Names::Timm, true) => &[["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
        }
    }
}

/// Channels that a convolution puts out. Of its own tensors and its batchnorm's the one that
/// differs is in the minority, so that the error names it and no other.
fn outputs(shapes: &Shapes, conv: &str, bn: &str) -> Option<usize> {
    let tensors = [(conv, "weight"), (bn, "weight"), (bn, "bias")];
    let [a, b, c] = tensors.map(|(layer, part)| shapes.dim(&format!("{layer}.{part}"), 0));
    if a == b || a == c { a } else { b.or(c).or(a) }
}

/// Names that only timm's files have.
const TIMM: [&str; 2] = ["conv_stem.weight", "conv_head.weight"];

fn config(shapes: &Shapes) -> Config {
    let names = match shapes.has_any(&TIMM) {
        true => Names::Timm,
        false => Names::Torchvision,
    };
    let [[stem, stem_bn], [last, last_bn]] = names.ends();
    let (mut widths, mut blocks, mut of_all) = ([0; 7], [0; 7], 0);
    for (s, stage) in STAGES.iter().enumerate() {
        let [conv, bn] = *names.units(s > 0).last().expect("two or three");
        let block = names.block(s, 0, of_all);
        let width = outputs(shapes, &format!("{block}.{conv}"), &format!("{block}.{bn}"));
        widths[s] = width.unwrap_or(stage.width);
        blocks[s] = match names {
            Names::Torchvision => stage.blocks,
            Names::Timm => {
                // By two tensors: one may be missing.
                let count = |tensor| count_blocks(shapes, &format!("blocks.{s}"), tensor);
                count("conv_dw.weight").max(count("bn1.weight")).clamp(1, MAX_BLOCKS)
            }
        };
        of_all += blocks[s];
    }
    Config {
        names,
        channels: shapes.dim(&format!("{stem}.weight"), 1).unwrap_or(3),
        classes: shapes.dim(&format!("{}.weight", names.classifier()), 0).unwrap_or(1000),
        stem: outputs(shapes, stem, stem_bn).unwrap_or(32),
        widths,
        blocks,
        last: outputs(shapes, last, last_bn).unwrap_or(1280),
    }
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    (name == NAME).then(|| arch(config(shapes)))
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    let torchvision = ["features.0.0.weight", "features.0.1.weight"];
    if shapes.has_any(&TIMM) || shapes.has_any(&torchvision) {
        vec![arch(config(shapes))]
    } else {
        vec![]
    }
}

fn arch(config: Config) -> Arch {
    Arch {
        name: NAME.into(),
        classes: config.classes,
        channels: config.channels,
        preset: Some("imagenet"),
        build: Box::new(move |scope| Ok(Box::new(MobileNetV2::new(scope, &config)?))),
    }
}

struct MobileNetV2 {
    stem: ConvBn,
    blocks: Vec<Block>,
    last: ConvBn,
    classifier: Head,
}

/// ReLU6 follows each unit but the last.
struct Block {
    units: Vec<ConvBn>,
    /// Whether the input is added to the output: both have the same size and channels.
    shortcut: bool,
}

impl MobileNetV2 {
    fn new(mut scope: Scope, config: &Config) -> Result<Self> {
        let Config { names, channels, classes, stem, widths, .. } = *config;
        let [first, last] = names.ends();
        let mut inputs = stem;
        let stem = ConvBn::new(&mut scope, first[0], first[1], conv(channels, stem, 3, 2))?;
        let mut blocks = Vec::new();
        for (s, stage) in STAGES.iter().enumerate() {
            for i in 0..config.blocks[s] {
                let scope = scope.sub(names.block(s, i, blocks.len()));
                let stride = if i == 0 { stage.stride } else { 1 };
                blocks.push(Block::new(scope, names, [inputs, widths[s]], stride, s > 0)?);
                inputs = widths[s];
            }
        }
        let last = ConvBn::new(&mut scope, last[0], last[1], conv(inputs, config.last, 1, 1))?;
        let classifier = Head::new(&mut scope, names.classifier(), config.last, classes)?;
        Ok(MobileNetV2 { stem, blocks, last, classifier })
    }
}

impl Block {
    fn new(
        mut scope: Scope,
        names: Names,
        [inputs, outputs]: [usize; 2],
        stride: usize,
        expands: bool,
    ) -> Result<Self> {
        let hidden = if expands { EXPANSION * inputs } else { inputs };
        let depthwise = ConvShape { groups: hidden, ..conv(hidden, hidden, 3, stride) };
        let mut shapes = vec![depthwise, conv(hidden, outputs, 1, 1)];
        if expands {
            shapes.insert(0, conv(inputs, hidden, 1, 1));
        }
        let units = names.units(expands).iter().zip(shapes);
        let units = units.map(|([conv, bn], shape)| ConvBn::new(&mut scope, conv, bn, shape));
        let shortcut = stride == 1 && inputs == outputs;
        Ok(Block { units: units.collect::<Result<_>>()?, shortcut })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut y = x.shallow_clone();
        for (i, unit) in self.units.iter().enumerate() {
            y = unit.forward(&y, pass)?;
            if i + 1 < self.units.len() {
                y = relu6(y)?;
            }
        }
        Ok(if self.shortcut { y.f_add_(x)? } else { y })
    }
}

impl Network for MobileNetV2 {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut x = relu6(self.stem.forward(x, pass)?)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        let x = relu6(self.last.forward(&x, pass)?)?;
        self.classifier.forward(global_average_pool(&x)?)
    }
}
