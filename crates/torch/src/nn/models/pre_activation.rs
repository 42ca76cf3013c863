//! What the networks with batchnorm and ReLU before each convolution share (He et al. 2016, "Identity
//! Mappings in Deep Residual Networks"): the arithmetic; names and shapes are the families'.

use tch::Tensor;

use crate::nn::batch_norm::BatchNorm;
use crate::nn::fault::Result;
use crate::nn::layers::{Conv2d, ConvBn, Head, global_average_pool, relu};
use crate::nn::network::Network;
use crate::nn::pass::Pass;

pub(super) struct PreActivation {
    pub stem: Conv2d,
    pub blocks: Vec<Block>,
    pub bn: BatchNorm,
    pub head: Head,
}

/// Two or three times batchnorm → ReLU → convolution, and the shortcut. A convolution is kept with
/// the batchnorm after it.
pub(super) struct Block {
    pub bn: BatchNorm,
    pub convs: Vec<ConvBn>,
    pub last: Conv2d,
    pub shortcut: Option<Conv2d>,
}

impl Network for PreActivation {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut x = self.stem.forward(x)?;
        for block in &self.blocks {
            x = block.forward(&x, pass)?;
        }
        let x = relu(self.bn.forward(&x, pass)?)?;
        self.head.forward(global_average_pool(&x)?)
    }
}

impl Block {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let mut y = relu(self.bn.forward(x, pass)?)?;
        for unit in &self.convs {
            y = relu(unit.forward(&y, pass)?)?;
        }
        let mut y = self.last.forward(&y)?;
        Ok(match &self.shortcut {
            Some(conv) => y.f_add_(&conv.forward(x)?)?,
            None => y.f_add_(x)?,
        })
    }
}
