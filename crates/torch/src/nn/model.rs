//! A network with its weights.

use std::path::PathBuf;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::fault::Result;
use super::network::Network;
use super::pass::{Layer, Pass};
use super::precision::Precision;
use swa_base::Error;

/// A network with its weights, on a device.
pub struct Model {
    /// The checkpoint.
    pub path: PathBuf,
    pub(crate) network: Rc<dyn Network>,
    /// `resnet50`, `preresnet-8`.
    pub arch: String,
    /// Outputs of the last layer.
    pub classes: usize,
    /// Channels of the images it takes.
    pub channels: usize,
    /// The preset that its family was published with.
    pub preset: Option<&'static str>,
    /// The batchnorm layers whose statistics can be recomputed, in the order in which the network defines them.
    pub batchnorms: Vec<Layer>,
    /// What it computes in.
    pub precision: Precision,
}

impl Model {
    /// `x`: [images, channels, height, width], normalised. Returns the logits, [images, classes], f32.
    ///
    /// # Errors
    /// Those of libtorch; `Input` for a batch of one value a channel whose moments are collected.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        Ok(self.network.forward(&self.input(x)?, pass)?.f_to_kind(Kind::Float)?)
    }

    /// The images in the type that the network takes.
    pub(crate) fn input(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_to_kind(self.network.takes(self.precision))?)
    }

    /// Frees the memory of its weights. Its description stays; to run, it must be loaded again.
    pub(crate) fn unload(&mut self) {
        self.network = Rc::new(Unloaded);
    }
}

struct Unloaded;

impl Network for Unloaded {
    fn forward(&self, _: &Tensor, _: &mut Pass) -> Result<Tensor> {
        Err(Error::limit("the model is not on the device").into())
    }
}
