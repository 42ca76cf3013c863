//! A network whose weights change: all parameters in one vector, which the layers' tensors are views of.

use tch::Tensor;

use swa_base::{Error, Kind, Result};
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};

use super::candidates::Candidates;
use super::fault::{self, Fault};
use super::freeze::Freeze;
use super::initial;
use super::model::Model;
use super::models;
use super::precision::Precision;
use super::recognised::Recognised;
use super::scope::{Asked, Role, Setup};
use super::shapes::Shapes;

/// A model on a device, and the tensors that it consists of.
pub(crate) struct Trainable {
    /// Its weights are the tensors of this; it can be evaluated at any time.
    pub model: Model,
    /// What a user should know of how it was recognised, a line each.
    pub notes: Vec<String>,
    /// By role, in the network's order.
    tensors: Vec<Asked>,
    /// All parameters one after the other, each as it lies in memory (convolutions with the channels innermost).
    parameters: Tensor,
    /// Of each batchnorm layer, as the family's code has it; empty where nothing is trained.
    momentum: Vec<f64>,
}

impl Trainable {
    /// Loads a checkpoint to train it. Its weights are f32; activations, and the weights that a step computes with, are of
    /// this precision.
    ///
    /// # Errors
    /// Those of recognising and loading; `Usage` if training this family is not known.
    pub fn load(
        checkpoint: &Checkpoint,
        arch: Option<&str>,
        device: tch::Device,
        precision: Precision,
    ) -> Result<Self> {
        let mut trainable = Self::of_any_family(checkpoint, arch, device)?;
        trainable.model.precision = precision;
        let known: Vec<TensorInfo> = trainable
            .tensors
            .iter()
            .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
            .map(|(name, shape)| TensorInfo { name, dtype: Dtype::F32, shape })
            .collect();
        let arch = &trainable.model.arch;
        let Some(recipe) = models::recipe(arch, &Shapes::of(&known)) else {
            let known = models::trained().join(", ");
            return Err(Error::usage(format!("training {arch} is not known"))
                .at(checkpoint.path())
                .remedy(format!("known: {known}")));
        };
        // In the network's own names, without the prefix that a file's names share. No layer is frozen.
        let names = trainable.tensors.iter().filter_map(|t| t.name.strip_suffix(".running_mean"));
        trainable.momentum = names.map(recipe.momentum).collect();
        Ok(trainable)
    }

    /// The same for weights that are set, not trained.
    ///
    /// # Errors
    /// Those of recognising and loading.
    pub fn of_any_family(
        checkpoint: &Checkpoint,
        arch: Option<&str>,
        device: tch::Device,
    ) -> Result<Self> {
        let setup = Setup { device, precision: Precision::Fp32, folded: false, trainable: true };
        let none = Freeze::default();
        let candidates = Candidates::open(arch, &[])?;
        let recognised = Recognised::of(checkpoint, &candidates, &none)?;
        let notes = recognised.notes.clone();
        let (model, tensors) = recognised.load_with_tensors(setup)?;
        let parameters = join(&tensors, Role::Parameter).map_err(Error::from)?;
        let mut trainable = Trainable { model, notes, tensors, parameters, momentum: vec![] };
        trainable.attach().map_err(Error::from)?;
        Ok(trainable)
    }

    /// Makes the layers' parameters views of the vector, with gradients of their own.
    fn attach(&mut self) -> fault::Result<()> {
        let mut start = 0;
        for tensor in self.tensors.iter_mut().filter(|t| t.role == Role::Parameter) {
            let Some(own) = &mut tensor.tensor else { continue };
            let shape: Vec<i64> = own.size();
            let length = shape.iter().product::<i64>();
            let part = self.parameters.f_narrow(0, start, length)?;
            let view = match shape[..] {
                [o, i, h, w] => part.f_view([o, h, w, i])?.f_permute([0, 3, 1, 2])?,
                _ => part.f_view(&shape[..])?,
            };
            own.f_set_data(&view)?;
            let _same = own.f_set_requires_grad(true)?;
            start += length;
        }
        Ok(())
    }

    /// All parameters, [number of values]. The network follows what is written to it.
    pub fn parameters(&self) -> &Tensor {
        &self.parameters
    }

    /// Fails if a weight or a statistic is not finite.
    ///
    /// # Errors
    /// `NotFinite` with the tensor; those of libtorch.
    pub fn check_finite(&self) -> Result<()> {
        for asked in &self.tensors {
            let Some(tensor) = &asked.tensor else { continue };
            let all = tensor.f_isfinite().and_then(|finite| finite.f_all()?.f_int64_value(&[]));
            if all.map_err(Fault::from)? == 0 {
                return Err(Error::new(Kind::NotFinite, "has values that are not finite")
                    .tensor(&asked.name));
            }
        }
        Ok(())
    }

    /// Sets all parameters, given in their order.
    ///
    /// # Errors
    /// `Mismatch` in libtorch's words where they are not as many.
    pub fn set_parameters(&self, values: &[f32]) -> Result<()> {
        let _guard = tch::no_grad_guard();
        let mut own = self.parameters.shallow_clone();
        let set = Tensor::f_from_slice(values).and_then(|values| own.f_copy_(&values));
        Ok(set.map_err(Fault::from)?)
    }

    /// All parameters, in their order.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn values(&self) -> Result<Vec<f32>> {
        Ok(Vec::try_from(&self.parameters).map_err(Fault::from)?)
    }

    /// Names and shapes of the parameters, in their order; convolutions lie filter by filter.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let own = self.tensors.iter().filter(|t| t.role == Role::Parameter);
        own.map(|t| (t.name.clone(), t.shape.clone())).collect()
    }

    /// The gradient of a scalar by all parameters, in their order.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn gradient(&self, loss: &Tensor) -> fault::Result<Tensor> {
        let leaves: Vec<&Tensor> = self.of(Role::Parameter).collect();
        let gradients = Tensor::f_run_backward(&[loss], &leaves, false, false)?;
        let flat: Vec<Tensor> = gradients.iter().map(flatten).collect::<fault::Result<_>>()?;
        Ok(Tensor::f_cat(&flat, 0)?)
    }

    /// Of each batchnorm layer, as the family's code has it.
    pub fn momentum(&self) -> Vec<f64> {
        self.momentum.clone()
    }

    /// The running statistics of all batchnorm layers one after the other, [number of values].
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn statistics(&self) -> fault::Result<Tensor> {
        join(&self.tensors, Role::Statistic)
    }

    /// Sets parameters and statistics to values of before.
    ///
    /// # Errors
    /// `Mismatch` in libtorch's words where they are not as many.
    pub fn restore(&mut self, parameters: &Tensor, statistics: &Tensor) -> fault::Result<()> {
        let _guard = tch::no_grad_guard();
        self.parameters.f_copy_(parameters)?;
        let mut start = 0;
        for own in self.of(Role::Statistic) {
            let length = own.numel() as i64;
            let mut own = own.shallow_clone();
            own.f_copy_(&statistics.f_narrow(0, start, length)?)?;
            start += length;
        }
        Ok(())
    }

    /// All tensors as a file has them, with `batches` for every count of batches.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn snapshot(&self, batches: i64) -> Result<Vec<initial::Tensor>> {
        let one = |asked: &Asked| {
            let (name, shape) = (asked.name.clone(), asked.shape.clone());
            let Some(tensor) = &asked.tensor else {
                let info = TensorInfo { name, dtype: Dtype::I64, shape };
                return Ok((info, batches.to_le_bytes().to_vec()));
            };
            Ok((TensorInfo { name, dtype: Dtype::F32, shape }, bytes(tensor)?))
        };
        self.tensors.iter().map(one).collect()
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter().filter(move |t| t.role == role).filter_map(|t| t.tensor.as_ref())
    }
}

/// The values row by row, little-endian, f32.
pub(crate) fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let values = tensor.f_detach().and_then(|t| t.f_contiguous()?.f_flatten(0, -1));
    let values: Vec<f32> = values.and_then(Vec::try_from).map_err(Fault::from)?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn join(tensors: &[Asked], role: Role) -> fault::Result<Tensor> {
    let _guard = tch::no_grad_guard();
    let own = tensors.iter().filter(|t| t.role == role).filter_map(|t| t.tensor.as_ref());
    let flat: Vec<Tensor> = own.map(flatten).collect::<fault::Result<_>>()?;
    if flat.is_empty() {
        return Ok(Tensor::f_zeros([0i64], (tch::Kind::Float, tch::Device::Cpu))?);
    }
    Ok(Tensor::f_cat(&flat, 0)?)
}

/// As it lies in memory: convolutions with the channels innermost.
fn flatten(tensor: &Tensor) -> fault::Result<Tensor> {
    match tensor.dim() {
        4 => Ok(tensor.f_permute([0, 2, 3, 1])?.f_reshape([-1])?),
        _ => Ok(tensor.f_reshape([-1])?),
    }
}
