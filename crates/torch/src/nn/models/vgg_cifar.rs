//! VGG for small images (Simonyan & Zisserman 2014) with the tensor names of the SWA authors' code:
//! torchvision's `features`, and a `classifier` of three layers that begins with dropout.
//!
//! Convolutions, their widths and the places of pooling follow from names and shapes, as do input
//! channels, classes and widths of the classifier. Dropout stands after the last batchnorm, where it
//! cannot change statistics: only training draws it.

use tch::Tensor;

use super::family::{Arch, Conv as ConvInit, Family, Initial, Recipe, Sizes, usual_momentum};
use crate::nn::fault::Result;
use crate::nn::layers::{Conv2d, ConvBn, ConvShape, Linear, conv, relu};
use crate::nn::network::Network;
use crate::nn::pass::Pass;
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;
use swa_base::{Error, Kind, setting};

pub(super) const FAMILY: Family = Family {
    names: &["vgg-cifar-DEPTH, vgg-cifar-DEPTH-bn (16, 19, or as the weights have it)"],
    named,
    likely,
    recipe: Some(RECIPE),
};

/// The SWA authors' `vgg.py`, for images of 32 × 32; the classifier is as wide as the last convolution.
const RECIPE: Recipe = Recipe {
    sizes: |_, sizes: &Sizes| {
        let (width, last) = (sizes.width.unwrap_or(64), 8 * sizes.width.unwrap_or(64));
        vec![
            ("features.0.weight", vec![width, sizes.channels, 3, 3]),
            ("classifier.1.weight", vec![last, last]),
            ("classifier.4.weight", vec![last, last]),
            ("classifier.6.weight", vec![sizes.classes, last]),
        ]
    },
    initial: Initial { conv: ConvInit::HeByOutputs, zero_linear_bias: false },
    momentum: usual_momentum,
};

/// Convolutions before each pooling, by depth; widths w, 2w, 4w, 8w, 8w.
const PUBLISHED: [(usize, [usize; 5]); 4] =
    [(11, [1, 1, 2, 2, 2]), (13, [2, 2, 2, 2, 2]), (16, [2, 2, 3, 3, 3]), (19, [2, 2, 4, 4, 4])];

/// Layers with weights in the classifier.
const LINEAR: usize = 3;

#[derive(Clone)]
struct Config {
    batchnorm: bool,
    channels: usize,
    convs: Vec<Conv>,
    /// Values an image that enter the classifier.
    flat: usize,
    hidden: [usize; 2],
    classes: usize,
}

#[derive(Clone, Copy)]
struct Conv {
    outputs: usize,
    /// Whether 2 × 2 max pooling follows it.
    pooled: bool,
}

impl Config {
    /// Dimensions the weights give; what they do not give is the authors' default.
    fn of(shapes: &Shapes) -> Self {
        let batchnorm = shapes.shape("features.1.weight").is_some_and(|shape| shape.len() == 1);
        let mut config = Config {
            batchnorm,
            channels: shapes.dim("features.0.weight", 1).unwrap_or(3),
            convs: vec![],
            flat: shapes.dim("classifier.1.weight", 1).unwrap_or(512),
            hidden: ["classifier.1.weight", "classifier.4.weight"]
                .map(|name| shapes.dim(name, 0).unwrap_or(512)),
            classes: shapes.dim("classifier.6.weight", 0).unwrap_or(10),
        };
        let outputs = |at: usize| {
            let name = format!("features.{at}");
            shapes
                .dim(&format!("{name}.weight"), 0)
                .or_else(|| shapes.dim(&format!("{name}.bias"), 0))
        };
        let mut next = outputs(0).map(|n| (0, n));
        while let Some((at, outputs_here)) = next {
            let after = at + config.step();
            next = outputs(after).map(|n| (after, n));
            // Nothing with weights there: pooling, the last one included.
            let pooled = next.is_none();
            next = next.or_else(|| outputs(after + 1).map(|n| (after + 1, n)));
            config.convs.push(Conv { outputs: outputs_here, pooled });
        }
        config
    }

    /// Indices in `features` that a convolution and what follows it take, without pooling.
    fn step(&self) -> usize {
        if self.batchnorm { 3 } else { 2 }
    }

    fn depth(&self) -> usize {
        self.convs.len() + LINEAR
    }
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    let own = ["classifier.1.weight", "classifier.4.weight"].iter().any(|name| shapes.has(name));
    if own && shapes.has("features.0.weight") { vec![arch(Config::of(shapes))] } else { vec![] }
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    let depth = name.strip_prefix("vgg-cifar-")?;
    let (depth, batchnorm) = match depth.strip_suffix("-bn") {
        Some(depth) => (depth, true),
        None => (depth, false),
    };
    let depth: usize = depth.parse().ok()?;
    let config = Config::of(shapes);
    if (config.depth(), config.batchnorm) == (depth, batchnorm) {
        return Some(arch(config));
    }
    let (_, stages) = PUBLISHED.iter().find(|(published, _)| *published == depth)?;
    let width = config.convs.first().map_or(64, |conv| conv.outputs);
    let convs = stages.iter().zip([1, 2, 4, 8, 8]).flat_map(|(&count, factor)| {
        (1..=count).map(move |i| Conv { outputs: width * factor, pooled: i == count })
    });
    Some(arch(Config { batchnorm, convs: convs.collect(), ..config }))
}

fn arch(config: Config) -> Arch {
    let suffix = if config.batchnorm { "-bn" } else { "" };
    Arch {
        name: format!("vgg-cifar-{}{suffix}", config.depth()),
        classes: config.classes,
        channels: config.channels,
        preset: None,
        build: Box::new(move |scope| Ok(Box::new(Vgg::new(scope, &config)?))),
    }
}

struct Vgg {
    features: Vec<(Unit, bool)>,
    /// Values an image that the classifier takes, and channels they come in.
    flat: usize,
    outputs: usize,
    /// None: the head is another one.
    classifier: Option<[Linear; LINEAR]>,
}

/// A convolution, with batchnorm or without.
enum Unit {
    Plain(Conv2d),
    Normalised(ConvBn),
}

impl Vgg {
    fn new(mut scope: Scope, config: &Config) -> Result<Self> {
        let (mut features, mut at, mut inputs) = (Vec::new(), 0, config.channels);
        for &Conv { outputs, pooled } in &config.convs {
            let shape = ConvShape { bias: true, ..conv(inputs, outputs, 3, 1) };
            let name = format!("features.{at}");
            let unit = if config.batchnorm {
                let bn = format!("features.{}", at + 1);
                Unit::Normalised(ConvBn::new(&mut scope, &name, &bn, shape)?)
            } else {
                Unit::Plain(Conv2d::new(scope.sub(name), shape)?)
            };
            features.push((unit, pooled));
            at += config.step() + usize::from(pooled);
            inputs = outputs;
        }
        let [a, b] = config.hidden;
        let classifier = match scope.head("classifier") {
            None => None,
            Some(mut head) => Some([
                Linear::new(head.sub("1"), config.flat, a)?,
                Linear::new(head.sub("4"), a, b)?,
                Linear::new(head.sub("6"), b, config.classes)?,
            ]),
        };
        Ok(Vgg { features, flat: config.flat, outputs: inputs, classifier })
    }

    /// Pooling halves the image, the classifier takes what is left: the size is fixed.
    fn check_size(&self, x: &Tensor) -> Result<()> {
        let poolings = self.features.iter().filter(|(_, pooled)| *pooled).count() as u32;
        let size = x.size();
        let left = |side: i64| side.checked_shr(poolings).unwrap_or(0);
        let flat = left(size[2]) * left(size[3]) * self.outputs as i64;
        if flat == self.flat as i64 {
            return Ok(());
        }
        let (height, width, expected) = (size[2], size[3], self.flat);
        let what = format!(
            "images of {height} × {width} pixels leave {flat} values for the classifier, which takes {expected}"
        );
        let remedy = concat!(
            "give the size that the model was trained on: ",
            setting!("resize"),
            ", ",
            setting!("crop")
        );
        Err(Error::new(Kind::Mismatch, what).remedy(remedy).into())
    }
}

impl Network for Vgg {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        if self.classifier.is_some() {
            self.check_size(x)?;
        }
        let mut x = x.shallow_clone();
        for (unit, pooled) in &self.features {
            x = relu(match unit {
                Unit::Plain(conv) => conv.forward(&x)?,
                Unit::Normalised(unit) => unit.forward(&x, pass)?,
            })?;
            if *pooled {
                x = x.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?;
            }
        }
        let Some([first, second, last]) = &self.classifier else { return Ok(x) };
        let x = pass.dropout(x.f_flatten(1, -1)?)?;
        let x = pass.dropout(relu(first.forward(&x)?)?)?;
        last.forward(&relu(second.forward(&x)?)?)
    }
}
