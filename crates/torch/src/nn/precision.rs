//! The arithmetic of a forward pass.

use tch::{Device, Kind};

use swa_base::{Error, Result, choices, setting};

choices! {
    /// What convolutions and the last layer compute in. Normalisation of pixels, batchnorm that is not
    /// folded and everything after the logits stay in f32 or wider.
    #[derive(Default)]
    pub enum Precision {
        #[default]
        Fp32 = "fp32": "24 bits of mantissa throughout",
        Tf32 = "tf32":
            "f32 whose products are rounded to 11 bits of mantissa (NVIDIA, from Ampere on)",
        Bf16 = "bf16": "Weights and activations with 8 bits of mantissa and the range of f32",
        Fp16 = "fp16": "Weights and activations with 11 bits of mantissa, up to 65,504",
    }
}

impl Precision {
    /// The type of weights and activations.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Precision::Fp32 | Precision::Tf32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp16 => Kind::Half,
        }
    }

    /// What to do about logits that are not finite.
    pub(crate) fn remedy_for_infinities(self) -> &'static str {
        match self {
            Precision::Fp16 => {
                concat!("fp16 ends at 65,504: use ", setting!("precision", "bf16"), " or fp32")
            }
            _ => "recompute its statistics with swa-bn-update, or leave it out",
        }
    }

    /// Fails if the device cannot compute in it.
    ///
    /// # Errors
    /// `Usage`, for TF32 outside a GPU.
    pub(crate) fn check(self, device: Device) -> Result<()> {
        if self == Precision::Tf32 && !device.is_cuda() {
            let precision = setting!("precision", "tf32");
            let what = format!("{precision}: only NVIDIA GPUs have it, this is a CPU");
            return Err(Error::usage(what).remedy(concat!(
                "leave it out (fp32), or choose a GPU with ",
                setting!("device", "cuda")
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_is_for_gpus_alone() {
        for precision in [Precision::Fp32, Precision::Bf16, Precision::Fp16] {
            precision.check(Device::Cpu).unwrap();
        }
        Precision::Tf32.check(Device::Cuda(0)).unwrap();
        let error = Precision::Tf32.check(Device::Cpu).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.to_string().contains("fp32"), "{error}");
    }
}
