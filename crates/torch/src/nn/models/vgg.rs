//! torchvision's VGG (Simonyan & Zisserman 2015), with and without batchnorm, with torchvision's tensor
//! names or timm's. They differ in the head: torchvision averages down (or repeats up) to 7×7 and has
//! three fully connected layers; timm's first is a 7×7 convolution, so that a larger image gives
//! several results, whose mean the last layer takes.
//!
//! Classes and input channels are read from the weights.

use tch::Tensor;

use super::family::{Arch, Family};
use crate::nn::fault::Result;
use crate::nn::layers::{Conv2d, ConvBn, ConvShape, Linear, conv, global_average_pool, relu};
use crate::nn::network::Network;
use crate::nn::pass::Pass;
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

pub(super) const FAMILY: Family = Family {
    names: &["vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"],
    named,
    likely,
    recipe: None,
};

/// Width of the head's two hidden layers.
const HIDDEN: usize = 4096;

/// Side of the image that the head takes.
const SIDE: usize = 7;

/// Channels of each stage.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// Depth, and convolutions of each stage.
const DEPTHS: [(usize, [usize; 5]); 4] =
    [(11, [1, 1, 2, 2, 2]), (13, [2, 2, 2, 2, 2]), (16, [2, 2, 3, 3, 3]), (19, [2, 2, 4, 4, 4])];

#[derive(Clone, Copy)]
struct Config {
    depth: usize,
    convs: [usize; 5],
    batchnorm: bool,
    channels: usize,
    classes: usize,
    /// With timm's head.
    timm: bool,
    preset: Option<&'static str>,
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    all(shapes).find(|arch| arch.name == name)
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    let first = ["features.0.weight", "features.0.bias"];
    if shapes.has_any(&first) { all(shapes).collect() } else { vec![] }
}

fn all(shapes: &Shapes) -> impl Iterator<Item = Arch> {
    let timm = shapes.has_any(&["pre_logits.fc1.weight", "pre_logits.fc1.bias"]);
    let head = if timm { "head.fc.weight" } else { "classifier.6.weight" };
    let channels = shapes.dim("features.0.weight", 1).unwrap_or(3);
    let classes = shapes.dim(head, 0).unwrap_or(1000);
    // The layers before the head are those of networks for small images, too.
    let preset = shapes.has(if timm { "pre_logits.fc1.weight" } else { "classifier.3.weight" });
    let preset = preset.then_some("imagenet");
    DEPTHS.into_iter().flat_map(move |(depth, convs)| {
        [false, true].map(|batchnorm| {
            arch(Config { depth, convs, batchnorm, channels, classes, timm, preset })
        })
    })
}

fn arch(config: Config) -> Arch {
    let suffix = if config.batchnorm { "_bn" } else { "" };
    Arch {
        name: format!("vgg{}{suffix}", config.depth),
        classes: config.classes,
        channels: config.channels,
        preset: config.preset,
        build: Box::new(move |scope| Ok(Box::new(Vgg::new(scope, config)?))),
    }
}

struct Vgg {
    features: Vec<Layer>,
    head: Head,
}

enum Layer {
    Conv(Conv2d),
    ConvBn(ConvBn),
    /// 2×2, stride 2.
    MaxPool,
}

enum Head {
    /// Another one: features come out.
    None,
    Torchvision([Linear; 3]),
    Timm {
        convs: [Conv2d; 2],
        fc: Linear,
    },
}

impl Vgg {
    fn new(mut scope: Scope, config: Config) -> Result<Self> {
        let mut names = scope.sub("features");
        // A layer's name is its place, ReLU and pooling counted.
        let (mut features, mut at, mut inputs) = (Vec::new(), 0, config.channels);
        for (width, count) in WIDTHS.into_iter().zip(config.convs) {
            for _ in 0..count {
                let shape = ConvShape { bias: true, ..conv(inputs, width, 3, 1) };
                if config.batchnorm {
                    let (conv, bn) = (at.to_string(), (at + 1).to_string());
                    features.push(Layer::ConvBn(ConvBn::new(&mut names, &conv, &bn, shape)?));
                    at += 3;
                } else {
                    features.push(Layer::Conv(Conv2d::new(names.sub(at), shape)?));
                    at += 2;
                }
                inputs = width;
            }
            features.push(Layer::MaxPool);
            at += 1;
        }
        Ok(Vgg { features, head: Head::new(scope, inputs, config)? })
    }
}

impl Head {
    fn new(mut scope: Scope, inputs: usize, config: Config) -> Result<Self> {
        if config.timm {
            let shape = |inputs, kernel| ConvShape {
                padding: 0,
                bias: true,
                ..conv(inputs, HIDDEN, kernel, 1)
            };
            let Some(mut hidden) = scope.head("pre_logits") else { return Ok(Head::None) };
            let convs = [
                Conv2d::new(hidden.sub("fc1"), shape(inputs, SIDE))?,
                Conv2d::new(hidden.sub("fc2"), shape(HIDDEN, 1))?,
            ];
            let Some(mut last) = scope.head("head") else { return Ok(Head::None) };
            return Ok(Head::Timm {
                convs,
                fc: Linear::new(last.sub("fc"), HIDDEN, config.classes)?,
            });
        }
        let Some(mut scope) = scope.head("classifier") else { return Ok(Head::None) };
        Ok(Head::Torchvision([
            Linear::new(scope.sub("0"), inputs * SIDE * SIDE, HIDDEN)?,
            Linear::new(scope.sub("3"), HIDDEN, HIDDEN)?,
            Linear::new(scope.sub("6"), HIDDEN, config.classes)?,
        ]))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let side = SIDE as i64;
        match self {
            Head::None => Ok(x.shallow_clone()),
            Head::Torchvision([first, second, last]) => {
                let x = x.f_adaptive_avg_pool2d([side, side])?.f_flatten(1, -1)?;
                let x = relu(second.forward(&relu(first.forward(&x)?)?)?)?;
                last.forward(&x)
            }
            Head::Timm { convs: [first, second], fc } => {
                // An image smaller than the kernel is repeated up to the kernel's size.
                let (height, width) = (x.size()[2].max(side), x.size()[3].max(side));
                let x = x.f_adaptive_avg_pool2d([height, width])?;
                let x = relu(second.forward(&relu(first.forward(&x)?)?)?)?;
                fc.forward(&global_average_pool(&x)?)
            }
        }
    }
}

impl Network for Vgg {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut x = x.shallow_clone();
        for layer in &self.features {
            x = match layer {
                Layer::Conv(conv) => relu(conv.forward(&x)?)?,
                Layer::ConvBn(unit) => relu(unit.forward(&x, pass)?)?,
                Layer::MaxPool => x.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?,
            };
        }
        self.head.forward(&x)
    }
}
