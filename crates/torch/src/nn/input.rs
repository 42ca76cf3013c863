//! From decoded bytes to the input of a network.

use tch::{Device, Kind, Tensor};

use super::fault::Result;
use swa_data::{Batch, Transform};

/// Moves batches to the device as bytes and normalises them there: (x / 255 − mean) / std, in f32
/// and in this order, as torchvision's `ToTensor` and `Normalize` do.
pub struct Input {
    /// [1, channels, 1, 1].
    mean: Tensor,
    std: Tensor,
    device: Device,
}

impl Input {
    /// For batches of the transform's channels.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn new(transform: &Transform, device: Device) -> Result<Self> {
        let column = |values: &[f32]| -> Result<Tensor> {
            let shape = [1, values.len() as i64, 1, 1];
            Ok(Tensor::f_from_slice(values)?.f_view(shape)?.f_to(device)?)
        };
        Ok(Input { mean: column(&transform.mean)?, std: column(&transform.std)?, device })
    }

    /// Where its tensors are.
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    /// The batch's bytes on the device, [images, height, width, channels]. On a GPU the copy is queued
    /// from pinned memory, behind the work already queued there, and not waited for.
    pub(crate) fn upload(&self, batch: &Batch) -> Result<Tensor> {
        let shape = [batch.n, batch.height, batch.width, batch.channels].map(|n| n as i64);
        let bytes = Tensor::f_from_data_size(&batch.pixels, &shape, Kind::Uint8)?;
        if !self.device.is_cuda() {
            return Ok(bytes);
        }
        // If no memory can be pinned, an ordinary copy will do.
        let bytes = bytes.f_internal_pin_memory(self.device).unwrap_or(bytes);
        Ok(bytes.f_internal_to_copy((Kind::Uint8, self.device), true)?)
    }

    /// The batches, each with its bytes on the device and no longer on the host.
    pub(crate) fn uploads(
        &self,
        batches: impl Iterator<Item = swa_base::Result<Batch>>,
    ) -> impl Iterator<Item = swa_base::Result<(Batch, Tensor)>> {
        batches.map(|batch| {
            let mut batch = batch?;
            let bytes = self.upload(&batch)?;
            batch.pixels = vec![];
            Ok((batch, bytes))
        })
    }

    /// From uploaded bytes to [images, channels, height, width], f32, channels innermost in memory.
    pub(crate) fn normalise(&self, bytes: &Tensor) -> Result<Tensor> {
        let bytes = bytes.f_permute([0, 3, 1, 2])?;
        let mut x = bytes.f_to_kind(Kind::Float)?.f_div_scalar_(255.0)?;
        Ok(x.f_sub_(&self.mean)?.f_div_(&self.std)?)
    }

    /// The normalised pixels of a batch on the device, [images, channels, height, width], f32.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn tensor(&self, batch: &Batch) -> Result<Tensor> {
        self.normalise(&self.upload(batch)?)
    }
}
