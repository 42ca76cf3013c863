//! Stochastic gradient descent with momentum and weight decay, as PyTorch's `SGD` has it (no dampening, no Nesterov):
//! g ← g + λ·w; m ← μ·m + g; w ← w − α·m.

use tch::Tensor;

use crate::nn;

/// The optimiser of one vector of parameters.
#[derive(Debug)]
pub(crate) struct Sgd {
    /// μ.
    pub momentum: f64,
    /// λ, on every parameter.
    pub weight_decay: f64,
    /// m, [number of parameters]; zeros at first.
    pub velocity: Tensor,
}

impl Sgd {
    pub fn new(parameters: &Tensor, momentum: f64, weight_decay: f64) -> nn::Result<Self> {
        let velocity = parameters.f_zeros_like()?;
        Ok(Sgd { momentum, weight_decay, velocity })
    }

    /// A step with the rate α.
    pub fn step(&mut self, parameters: &Tensor, gradient: Tensor, rate: f64) -> nn::Result<()> {
        let _guard = tch::no_grad_guard();
        let (mut gradient, mut parameters) = (gradient, parameters.shallow_clone());
        if self.weight_decay != 0.0 {
            let _ = gradient.f_add_(&parameters.f_mul_scalar(self.weight_decay)?)?;
        }
        let _ = self.velocity.f_mul_scalar_(self.momentum)?;
        let _ = self.velocity.f_add_(&gradient)?;
        let _ = parameters.f_sub_(&self.velocity.f_mul_scalar(rate)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    /// By hand: w = 1, g = 0.5, λ = 0.1, μ = 0.9, α = 0.1.
    #[test]
    fn two_steps_by_hand() {
        let parameters = Tensor::from_slice(&[1f64, -2.0]);
        let mut sgd = Sgd::new(&parameters, 0.9, 0.1).unwrap();
        let gradient = || Tensor::full([2], 0.5, (Kind::Double, Device::Cpu));
        sgd.step(&parameters, gradient(), 0.1).unwrap();
        // m = 0.6, 0.3; w = 0.94, −2.03.
        sgd.step(&parameters, gradient(), 0.1).unwrap();
        // g = 0.594, 0.297; m = 1.134, 0.567; w = 0.8266, −2.0867.
        let found = Vec::<f64>::try_from(&parameters).unwrap();
        assert!(
            (found[0] - 0.8266).abs() < 1e-12 && (found[1] + 2.0867).abs() < 1e-12,
            "{found:?}"
        );
    }
}
