//! From decoded bytes to what a network takes.

use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::data::{Batch, Transform};

/// Moves batches to the device as bytes and normalises them there: (x / 255 − mean) / std, in f32
/// and in this order, as torchvision's `ToTensor` and `Normalize` do.
pub struct Input {
    /// [1, channels, 1, 1].
    mean: Tensor,
    std: Tensor,
    device: Device,
}

impl Input {
    pub fn new(transform: &Transform, device: Device) -> Result<Self> {
        let column = |values: &[f32]| -> Result<Tensor> {
            let shape = [1, values.len() as i64, 1, 1];
            Ok(Tensor::f_from_slice(values)?.f_view(shape)?.f_to(device)?)
        };
        Ok(Input { mean: column(&transform.mean)?, std: column(&transform.std)?, device })
    }

    /// Where its tensors are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// [images, channels, height, width], f32, channels innermost in memory.
    pub fn tensor(&self, batch: &Batch) -> Result<Tensor> {
        let shape = [batch.n, batch.height, batch.width, batch.channels].map(|n| n as i64);
        let bytes = Tensor::f_from_data_size(&batch.pixels, &shape, Kind::Uint8)?;
        let bytes = bytes.f_to(self.device)?.f_permute([0, 3, 1, 2])?;
        let mut x = bytes.f_to_kind(Kind::Float)?.f_div_scalar_(255.0)?;
        Ok(x.f_sub_(&self.mean)?.f_div_(&self.std)?)
    }
}
