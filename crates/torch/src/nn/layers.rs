//! The layers that are not batchnorm. Tensors are [images, channels, height, width], of the type of
//! the weights.

use tch::Tensor;

use super::batch_norm::BatchNorm;
use super::fault::Result;
use super::pass::Pass;
use super::scope::{Scope, channels_last};
use swa_base::Error;

/// Convolution with a square kernel. It computes in the type of its input: a network that is trained in a narrower type
/// keeps its weights in f32.
#[derive(Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
    groups: i64,
}

/// What a convolution is made with; [`conv`] gives the usual ones.
#[derive(Debug, Clone, Copy)]
pub struct ConvShape {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
    pub bias: bool,
}

/// A convolution that keeps the size at stride 1 (padding kernel / 2), as residual networks use it.
pub fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> ConvShape {
    ConvShape { inputs, outputs, kernel, stride, padding: kernel / 2, groups: 1, bias: false }
}

impl Conv2d {
    pub fn new(mut scope: Scope, shape: ConvShape) -> Result<Self> {
        let ConvShape { inputs, outputs, kernel, stride, padding, groups, bias } = shape;
        Ok(Conv2d {
            weight: scope.get_filters("weight", &[outputs, inputs / groups, kernel, kernel])?,
            bias: if bias { Some(scope.get("bias", &[outputs])?) } else { None },
            stride: stride as i64,
            padding: padding as i64,
            groups: groups as i64,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        let weight = self.weight.f_to_kind(x.kind())?;
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(x.kind())).transpose()?;
        Ok(x.f_conv2d(&weight, bias, stride, padding, [1, 1], self.groups)?)
    }
}

/// Convolution → batchnorm with nothing between, which evaluation can compute as one convolution.
#[derive(Debug)]
pub enum ConvBn {
    Apart { conv: Conv2d, bn: BatchNorm },
    Folded(Conv2d),
}

impl ConvBn {
    /// `conv` and `bn`: the names of the two in `scope`.
    pub fn new(scope: &mut Scope, conv: &str, bn: &str, shape: ConvShape) -> Result<Self> {
        if scope.folds() {
            let conv = Conv2d::new(scope.sub(conv).exact(), shape)?;
            let bn = BatchNorm::new(scope.sub(bn).exact(), shape.outputs)?;
            return Ok(ConvBn::Folded(Self::fold(scope, conv, &bn)?));
        }
        let conv = Conv2d::new(scope.sub(conv), shape)?;
        let bn = BatchNorm::new(scope.sub(bn), shape.outputs)?;
        Ok(ConvBn::Apart { conv, bn })
    }

    /// scale · (w ∗ x + b) + shift = (scale · w) ∗ x + (scale · b + shift), in f64 and then rounded
    /// once.
    fn fold(scope: &Scope, conv: Conv2d, bn: &BatchNorm) -> Result<Conv2d> {
        let (scale, shift) = bn.scale_and_shift()?;
        let weight = conv.weight.f_mul(&scale.f_view([-1, 1, 1, 1])?)?;
        let bias = match &conv.bias {
            Some(bias) => bias.f_mul(&scale)?.f_add(&shift)?,
            None => shift,
        };
        let weight = channels_last(&scope.round(&weight)?)?;
        Ok(Conv2d { weight, bias: Some(scope.round(&bias)?), ..conv })
    }

    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        match self {
            ConvBn::Apart { conv, bn } => bn.forward(&conv.forward(x)?, pass),
            ConvBn::Folded(conv) => match pass {
                Pass::Eval => conv.forward(x),
                Pass::Collect(_) | Pass::Given(_) | Pass::Train(_) => Err(Error::usage(
                    "a model that was loaded for evaluation has no batchnorm layers",
                )
                .into()),
            },
        }
    }
}

/// Fully connected layer, with bias.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub fn new(mut scope: Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let weight = scope.get("weight", &[outputs, inputs])?;
        Ok(Linear { weight, bias: scope.get("bias", &[outputs])? })
    }

    /// `x`: [images, inputs].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.f_to_kind(x.kind())?, self.bias.f_to_kind(x.kind())?);
        Ok(x.f_linear(&weight, Some(&bias))?)
    }
}

/// The last layer, or nothing where the checkpoint's head is another one: then the features come out. No batchnorm layer
/// comes after it.
#[derive(Debug)]
pub struct Head(Option<Linear>);

impl Head {
    /// `name`: the module's, within the scope's.
    pub fn new(scope: &mut Scope, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        let head = scope.head(name).map(|scope| Linear::new(scope, inputs, outputs));
        Ok(Head(head.transpose()?))
    }

    /// `x`: [images, inputs].
    pub fn forward(&self, x: Tensor) -> Result<Tensor> {
        match &self.0 {
            Some(linear) => linear.forward(&x),
            None => Ok(x),
        }
    }
}

/// max(x, 0), in place.
pub fn relu(mut x: Tensor) -> Result<Tensor> {
    Ok(x.f_relu_()?)
}

/// min(max(x, 0), 6), in place.
pub fn relu6(mut x: Tensor) -> Result<Tensor> {
    Ok(x.f_clamp_(0.0, 6.0)?)
}

/// Mean over height and width: [images, channels].
pub fn global_average_pool(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_mean_dim([2i64, 3].as_slice(), false, None)?)
}
