//! A network with its weights.

use std::path::PathBuf;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::fault::Result;
use super::network::Network;
use super::outputs;
use super::pass::{Layer, Pass};
use super::precision::Precision;
use super::takes::Takes;
use super::used_program::UsedProgram;
use swa_base::{Error, Kind as ErrorKind, setting};
use swa_tools::checkpoint::Dtype;

/// A network with its weights, on a device.
pub struct Model {
    /// The checkpoint.
    pub path: PathBuf,
    pub(crate) network: Rc<dyn Network>,
    /// `resnet50`, `preresnet-8`.
    pub arch: String,
    /// Outputs of the last layer; None of a program that gives no logits, or has not run yet.
    pub classes: Option<usize>,
    /// Channels of the images it takes.
    pub channels: usize,
    /// The preset that its family was published with.
    pub preset: Option<&'static str>,
    /// The batchnorm layers whose statistics can be recomputed, in the order in which the network defines them.
    pub batchnorms: Vec<Layer>,
    /// What it computes in.
    pub precision: Precision,
    /// The program that it runs, if it is one.
    pub program: Option<Rc<UsedProgram>>,
    /// What else it demands of its images.
    pub(crate) takes: Takes,
    /// Whether what its program gives are probabilities, whose logarithms are logits.
    pub(crate) gives_probabilities: bool,
}

impl Model {
    /// `x`: [images, channels, height, width], normalised. Returns the logits, [images, classes], f32; no classes
    /// of a program without logits.
    ///
    /// # Errors
    /// Those of libtorch; `Input` for a batch of one value a channel whose moments are collected; `Mismatch` for
    /// images of another size than a program takes.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let x = self.input(x)?;
        let logits = match (self.takes.batch, &pass) {
            (Some(batch), Pass::Eval) => self.in_batches(&x, batch as i64)?,
            _ => {
                self.check_whole(&x)?;
                self.network.forward(&x, pass)?
            }
        };
        let (found, images) = (logits.size(), x.size()[0]);
        if let Some(classes) = self.classes
            && !matches!(pass, Pass::Collect(_))
            && found != [images, classes as i64]
        {
            let what = format!("gave {found:?} where logits are [{images}, {classes}]");
            return Err(Error::new(ErrorKind::Mismatch, what)
                .at(&self.path)
                .remedy("export a module that returns the logits alone")
                .into());
        }
        match self.gives_probabilities {
            true => outputs::logarithms(&logits),
            false => Ok(logits.f_to_kind(Kind::Float)?),
        }
    }

    /// Fails for fewer images than the network takes at a time: their moments would not be the batch's.
    pub(crate) fn check_whole(&self, x: &Tensor) -> Result<()> {
        let (images, Some(batch)) = (x.size()[0], self.takes.batch) else { return Ok(()) };
        if images as usize == batch {
            return Ok(());
        }
        let what =
            format!("the program takes exactly {batch} images at a time, a batch has {images}");
        Err(Error::input(what)
            .at(&self.path)
            .remedy("mend or remove the images that cannot be read, so that every batch is whole")
            .into())
    }

    /// The images in the type that the network takes.
    ///
    /// # Errors
    /// `Mismatch` for images of another size than the network takes.
    pub(crate) fn input(&self, x: &Tensor) -> Result<Tensor> {
        let size: Vec<usize> = x.size().iter().map(|&n| n as usize).collect();
        if let [_, channels, height, width] = size[..]
            && !self.takes.fits(height, width)
        {
            let takes = self.takes.describe(self.channels);
            let what = format!(
                "the program takes images of {takes}, these are of {channels} × {height} × {width}"
            );
            let (crop, resize) = (setting!("crop"), setting!("resize"));
            return Err(Error::new(ErrorKind::Mismatch, what)
                .at(&self.path)
                .remedy(format!("bring them to that size with {resize} and {crop}"))
                .into());
        }
        // From 0 to 1 and back they are integers but for their last bits.
        let Some(integers) = self.takes.integers else {
            return Ok(x.f_to_kind(self.network.takes(self.precision))?);
        };
        let kind = match integers {
            Dtype::U8 => Kind::Uint8,
            Dtype::I16 => Kind::Int16,
            Dtype::I32 => Kind::Int,
            _ => Kind::Int64,
        };
        Ok(x.f_round()?.f_to_kind(kind)?)
    }

    /// The logits of a network that takes exactly so many images at a time: the last batch is filled with copies of its
    /// last image.
    fn in_batches(&self, x: &Tensor, batch: i64) -> Result<Tensor> {
        let images = x.size()[0];
        let mut logits = vec![];
        for first in (0..images).step_by(batch as usize) {
            let n = batch.min(images - first);
            let mut part = x.f_narrow(0, first, n)?;
            if n < batch {
                let last = part.f_narrow(0, n - 1, 1)?;
                let copies = last.f_expand([batch - n, -1, -1, -1], false)?;
                part = Tensor::f_cat(&[&part, &copies], 0)?;
            }
            logits.push(self.network.forward(&part, &mut Pass::Eval)?.f_narrow(0, 0, n)?);
        }
        Ok(Tensor::f_cat(&logits, 0)?)
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
