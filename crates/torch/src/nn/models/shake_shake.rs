//! Shake-Shake residual network for small images (Gastaldi 2017): two branches a block, mixed by random
//! shares in training, by halves otherwise. Of the ports to PyTorch, which differ in names and in a ReLU or
//! two, three are known ([`PORTS`]); the names tell which it is.
//!
//! Depth 6n+2; three stages of width w, 2w, 4w. Input channels, classes and widths are read from the
//! weights.

use tch::Tensor;

use super::family::{Arch, Conv as ConvInit, Family, Initial, Recipe, Sizes, usual_momentum};
use crate::nn::batch_norm::BatchNorm;
use crate::nn::fault::{Fault, Result};
use crate::nn::layers::{Conv2d, ConvBn, ConvShape, Head, conv, global_average_pool, relu};
use crate::nn::network::Network;
use crate::nn::pass::Pass;
use crate::nn::scope::Scope;
use crate::nn::shapes::Shapes;

pub(super) const FAMILY: Family = Family {
    names: &["shakeshake-DEPTH-2xWd (6n+2; 26-2x64d)"],
    named,
    likely,
    recipe: Some(RECIPE),
};

/// hysts' code.
const RECIPE: Recipe = Recipe {
    sizes: |_, sizes: &Sizes| {
        vec![
            ("conv.weight", vec![sizes.width.unwrap_or(16), sizes.channels, 3, 3]),
            ("fc.weight", vec![sizes.classes, 0]),
        ]
    },
    initial: Initial { conv: ConvInit::HeByOutputs, zero_linear_bias: true },
    momentum: usual_momentum,
};

/// Limits of what a name may ask for, far above what was published.
const MAX_DEPTH: usize = 10_000;
const MAX_WIDTH: usize = 10_000;

/// The tensor names of a port, and where it applies ReLU.
struct Port {
    stem: &'static str,
    /// The batchnorm after it; without one the convolution has a bias.
    stem_bn: Option<&'static str>,
    stem_relu: bool,
    /// Before the stage's number, before the block's, and the first block's number.
    stage: &'static str,
    block: &'static str,
    first: usize,
    /// Before the branch's number, and twice convolution and batchnorm within it.
    branch: &'static str,
    convs: [[&'static str; 2]; 2],
    shortcut: &'static str,
    last_relu: bool,
    head: &'static str,
}

static PORTS: [Port; 3] = [HYSTS, HYSTS_2018, OWRUBY];

/// github.com/hysts/pytorch_shake_shake and pytorch_image_classification: Gastaldi's network.
const HYSTS: Port = Port {
    stem: "conv",
    stem_bn: Some("bn"),
    stem_relu: false,
    stage: "stage",
    block: "block",
    first: 1,
    branch: "residual_path",
    convs: [["conv1", "bn1"], ["conv2", "bn2"]],
    shortcut: "shortcut.skip",
    last_relu: true,
    head: "fc",
};

/// Its versions of 2018: ReLU after the first batchnorm, none after the last block.
const HYSTS_2018: Port =
    Port { stem_relu: true, shortcut: "shortcut.downsample", last_relu: false, ..HYSTS };

/// github.com/owruby/shake-shake_pytorch, and Fast AutoAugment's.
const OWRUBY: Port = Port {
    stem: "c_in",
    stem_bn: None,
    stem_relu: false,
    stage: "layer",
    block: "",
    first: 0,
    branch: "branch",
    convs: [["1", "2"], ["4", "5"]],
    shortcut: "shortcut",
    last_relu: true,
    head: "fc_out",
};

impl Port {
    /// `stage` from 1, `i` from 0.
    fn block(&self, stage: usize, i: usize) -> String {
        format!("{}{stage}.{}{}", self.stage, self.block, self.first + i)
    }

    /// The convolution that every block of the first stage has.
    fn first_conv(&self, i: usize) -> String {
        format!("{}.{}1.{}.weight", self.block(1, i), self.branch, self.convs[0][0])
    }

    /// Whether the file has the tensors that tell this port from the others.
    fn is_in(&self, shapes: &Shapes) -> bool {
        let shortcut = format!("{}.{}.conv1.weight", self.block(2, 0), self.shortcut);
        shapes.has(&self.first_conv(0)) && shapes.has(&shortcut)
    }
}

#[derive(Clone, Copy)]
struct Config {
    port: &'static Port,
    /// Blocks a stage.
    blocks: usize,
    /// Channels of the first convolution and of the first stage.
    stem: usize,
    width: usize,
    channels: usize,
    classes: usize,
}

/// Dimensions the weights give; what they do not give is the default of the ports.
fn config(port: &'static Port, shapes: &Shapes) -> Config {
    let stem = format!("{}.weight", port.stem);
    Config {
        port,
        blocks: (0..).take_while(|&i| shapes.has(&port.first_conv(i))).count(),
        stem: shapes.dim(&stem, 0).unwrap_or(16),
        width: shapes.dim(&port.first_conv(0), 0).unwrap_or(64),
        channels: shapes.dim(&stem, 1).unwrap_or(3),
        classes: shapes.dim(&format!("{}.weight", port.head), 0).unwrap_or(10),
    }
}

fn likely(shapes: &Shapes) -> Vec<Arch> {
    let configs = PORTS.iter().map(|port| config(port, shapes));
    configs.filter(|config| config.blocks > 0).map(arch).collect()
}

fn named(name: &str, shapes: &Shapes) -> Option<Arch> {
    let (depth, width) = name.strip_prefix("shakeshake-")?.split_once("-2x")?;
    let depth: usize = depth.parse().ok()?;
    let width = width.strip_suffix('d')?.parse().ok();
    let width = width.filter(|width| (1..=MAX_WIDTH).contains(width))?;
    let layers = depth.checked_sub(2).filter(|n| (1..=MAX_DEPTH).contains(n))?;
    let blocks = layers.is_multiple_of(6).then_some(layers / 6)?;
    let port = PORTS.iter().find(|port| port.is_in(shapes)).unwrap_or(&PORTS[0]);
    Some(arch(Config { blocks, width, ..config(port, shapes) }))
}

fn arch(config: Config) -> Arch {
    Arch {
        name: format!("shakeshake-{}-2x{}d", 6 * config.blocks + 2, config.width),
        classes: config.classes,
        channels: config.channels,
        preset: None,
        build: Box::new(move |scope| Ok(Box::new(ShakeShake::new(scope, config)?))),
    }
}

struct ShakeShake {
    stem: Stem,
    stem_relu: bool,
    blocks: Vec<Block>,
    last_relu: bool,
    head: Head,
}

enum Stem {
    Plain(Conv2d),
    Normalised(ConvBn),
}

struct Block {
    branches: [Branch; 2],
    shortcut: Option<Shortcut>,
}

/// Twice ReLU → convolution → batchnorm.
struct Branch([ConvBn; 2]);

/// Half of the channels from the pixels at even places, half from those one to the right and below.
struct Shortcut {
    convs: [Conv2d; 2],
    bn: BatchNorm,
    stride: i64,
}

impl ShakeShake {
    fn new(mut scope: Scope, config: Config) -> Result<Self> {
        let Config { port, blocks: count, stem: mut inputs, width, channels, classes } = config;
        let shape = conv(channels, inputs, 3, 1);
        let stem = match port.stem_bn {
            Some(bn) => Stem::Normalised(ConvBn::new(&mut scope, port.stem, bn, shape)?),
            None => {
                let shape = ConvShape { bias: true, ..shape };
                Stem::Plain(Conv2d::new(scope.sub(port.stem), shape)?)
            }
        };
        scope.register_noise();
        let mut blocks = Vec::new();
        for stage in 1..=3 {
            let outputs = width << (stage - 1);
            for i in 0..count {
                let stride = if stage > 1 && i == 0 { 2 } else { 1 };
                let scope = scope.sub(port.block(stage, i));
                blocks.push(Block::new(scope, port, inputs, outputs, stride)?);
                inputs = outputs;
            }
        }
        let Port { stem_relu, last_relu, head, .. } = *port;
        let head = Head::new(&mut scope, head, inputs, classes)?;
        Ok(ShakeShake { stem, stem_relu, blocks, last_relu, head })
    }
}

impl Block {
    fn new(
        mut scope: Scope,
        port: &Port,
        inputs: usize,
        outputs: usize,
        stride: usize,
    ) -> Result<Self> {
        let mut branch = |number: usize| {
            let mut scope = scope.sub(format!("{}{number}", port.branch));
            let [[conv1, bn1], [conv2, bn2]] = port.convs;
            Ok::<_, Fault>(Branch([
                ConvBn::new(&mut scope, conv1, bn1, conv(inputs, outputs, 3, stride))?,
                ConvBn::new(&mut scope, conv2, bn2, conv(outputs, outputs, 3, 1))?,
            ]))
        };
        let branches = [branch(1)?, branch(2)?];
        let shortcut = (inputs != outputs).then(|| {
            let mut scope = scope.sub(port.shortcut);
            let half = conv(inputs, outputs / 2, 1, 1);
            Ok::<_, Fault>(Shortcut {
                convs: [
                    Conv2d::new(scope.sub("conv1"), half)?,
                    Conv2d::new(scope.sub("conv2"), half)?,
                ],
                bn: BatchNorm::new(scope.sub("bn"), outputs)?,
                stride: stride as i64,
            })
        });
        Ok(Block { branches, shortcut: shortcut.transpose()? })
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let rectified = x.f_relu()?;
        let [first, second] = &self.branches;
        let a = first.forward(&rectified, pass)?;
        let b = second.forward(&rectified, pass)?;
        let mut y = mix(a, b, pass)?;
        Ok(match &self.shortcut {
            Some(shortcut) => y.f_add_(&shortcut.forward(&rectified, pass)?)?,
            None => y.f_add_(x)?,
        })
    }
}

impl Branch {
    fn forward(&self, rectified: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let Branch([first, second]) = self;
        second.forward(&relu(first.forward(rectified, pass)?)?, pass)
    }
}

impl Shortcut {
    fn forward(&self, rectified: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let every =
            |x: &Tensor| x.f_slice(2, None, None, self.stride)?.f_slice(3, None, None, self.stride);
        // One column and one row off the left and the top, zeros at the right and the bottom.
        let shifted = rectified.f_constant_pad_nd([-1, 1, -1, 1])?;
        let [first, second] = &self.convs;
        let halves = [first.forward(&every(rectified)?)?, second.forward(&every(&shifted)?)?];
        self.bn.forward(&Tensor::f_cat(&halves, 1)?, pass)
    }
}

/// α·a + (1 − α)·b with α = ½, or with training noise one of [0, 1) for each image. The gradient of a training step
/// is mixed by a share of its own: that of β·a + (1 − β)·b.
fn mix(mut a: Tensor, mut b: Tensor, pass: &mut Pass) -> Result<Tensor> {
    let backward = matches!(pass, Pass::Train(_));
    match pass.noise() {
        None => Ok(a.f_add_(&b)?.f_mul_scalar_(0.5)?),
        Some(noise) => {
            let share = noise.shares(&a)?;
            let rest = |share: &Tensor| share.f_neg()?.f_add_scalar(1.0);
            if backward {
                let gradient = noise.shares(&a)?;
                let y = a.f_mul(&gradient)?.f_add(&b.f_mul(&rest(&gradient)?)?)?;
                let change = a.f_sub(&b)?.f_detach()?.f_mul(&share.f_sub(&gradient)?)?;
                return Ok(y.f_add(&change)?);
            }
            Ok(a.f_mul_(&share)?.f_add_(&b.f_mul_(&rest(&share)?)?)?)
        }
    }
}

impl Network for ShakeShake {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut x = match &self.stem {
            Stem::Plain(conv) => conv.forward(x)?,
            Stem::Normalised(unit) => unit.forward(x, pass)?,
        };
        if self.stem_relu {
            x = relu(x)?;
        }
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        if self.last_relu {
            x = relu(x)?;
        }
        self.head.forward(global_average_pool(&x)?)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::nn::noise::Noise;
    use crate::nn::pass::Collected;

    /// Branches that are independent, of mean 0 and variance 1: E[α² + (1 − α)²] is ½ for α = ½ and ⅔
    /// for an α that is uniform.
    #[test]
    fn noise_makes_the_variance_a_third_larger() {
        let images = 20_000;
        tch::manual_seed(0);
        let branch = || Tensor::randn([images, 2, 4, 4], (Kind::Float, Device::Cpu));
        let variance = |noise: Option<Noise>| {
            let mut pass = Pass::Collect(Collected { moments: vec![], noise });
            let y = mix(branch(), branch(), &mut pass).unwrap();
            assert!(y.mean(Kind::Double).double_value(&[]).abs() < 0.01);
            y.var(true).double_value(&[])
        };
        let numbers: Vec<usize> = (0..images as usize).collect();
        let (off, on) = (variance(None), variance(Some(Noise::new(0, &numbers))));
        // Standard error by the images' shares: 0.149 / √20,000 = 0.001.
        assert!((off - 0.5).abs() < 0.005 && (on - 2.0 / 3.0).abs() < 0.006, "{off} {on}");
    }

    #[test]
    fn evaluation_mixes_by_halves() {
        let of = |values: &[f32]| Tensor::from_slice(values).view([1, 2, 1, 1]);
        let y = mix(of(&[1.0, -2.0]), of(&[3.0, 4.0]), &mut Pass::Eval).unwrap();
        assert_eq!(Vec::<f32>::try_from(y.flatten(0, -1)).unwrap(), [2.0, 1.0]);
    }
}
