//! How a network gets its tensors: it asks a [`Scope`] for each by name and shape.

use std::collections::HashSet;

use tch::{Device, Kind, Tensor};

use super::fault::Result;
use super::freeze::Freeze;
use super::pass::Layer;
use super::precision::Precision;
use super::shapes::Shapes;
use swa_base::{Error, Kind as ErrorKind};
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};

/// What a model is loaded for.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Where its weights go.
    pub device: Device,
    /// What it computes in.
    pub precision: Precision,
    /// For evaluation only: a batchnorm layer becomes part of the convolution before it.
    pub folded: bool,
    /// For training: its tensors stay at hand by name.
    pub trainable: bool,
}

/// In fp32, with its batchnorm layers.
impl From<Device> for Setup {
    fn from(device: Device) -> Self {
        Setup { device, precision: Precision::Fp32, folded: false, trainable: false }
    }
}

/// Gives a network its tensors and notes every difference between what it asks for and what the file has.
pub(super) struct Weights<'a> {
    shapes: &'a Shapes<'a>,
    /// None: the network is only described.
    from: Option<(&'a Checkpoint, Setup)>,
    freeze: &'a Freeze,
    asked: HashSet<String>,
    /// Whether the network is to be without its head.
    headless: bool,
    /// Modules of the head.
    heads: Vec<String>,
    found: Found,
}

/// What a network turned out to consist of when it asked for its tensors.
#[derive(Default)]
pub(super) struct Found {
    /// Batchnorm layers that can be recomputed.
    pub batchnorms: Vec<Layer>,
    /// Batchnorm layers that keep their statistics.
    pub frozen: Vec<String>,
    /// Whether training noise reaches a batchnorm layer.
    pub noisy: bool,
    /// How the file differs from it, one line each.
    pub problems: Vec<String>,
    /// Those of them that are in the head.
    pub in_head: Vec<String>,
    /// Tensors that it did not ask for, outside its head: those of the problems that name no difference.
    pub extras: Vec<String>,
    /// The first components of the names that it asked for.
    modules: HashSet<String>,
    /// Everything that it asked for, in its order.
    pub tensors: Vec<Asked>,
}

impl Found {
    /// Whether all tensors that come before the head are there as they have to be, whatever else is there.
    pub fn is_whole_before_head(&self) -> bool {
        self.problems.len() == self.in_head.len() + self.extras.len()
    }

    /// Whether a tensor lies in one of the network's own modules.
    pub fn is_within(&self, name: &str) -> bool {
        self.modules.contains(first(name))
    }
}

/// The first component of a name.
fn first(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// A tensor that a network asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Without the prefix of the file's names.
    pub name: String,
    pub shape: Vec<usize>,
    pub role: Role,
    /// The network's own, if it is loaded to be trained: not a copy.
    pub tensor: Option<Tensor>,
}

/// What a tensor is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Learned by gradients.
    Parameter,
    /// A batchnorm layer's running mean or variance.
    Statistic,
    /// A batchnorm layer's count of batches.
    Counter,
}

impl<'a> Weights<'a> {
    /// `from`: where the values are; None describes the network without them.
    pub fn new(
        shapes: &'a Shapes<'a>,
        freeze: &'a Freeze,
        from: Option<(&'a Checkpoint, Setup)>,
    ) -> Self {
        let (asked, found) = (HashSet::new(), Found::default());
        Weights { shapes, from, freeze, asked, headless: false, heads: vec![], found }
    }

    /// The network without its head.
    pub fn headless(self, headless: bool) -> Self {
        Weights { headless, ..self }
    }

    /// All of the network.
    pub fn scope(&mut self) -> Scope<'_, 'a> {
        Scope { weights: self, name: String::new(), exact: false, in_head: false }
    }

    /// What was found, once the network has asked for everything.
    pub fn finish(self) -> Found {
        let Weights { shapes, asked, heads, mut found, .. } = self;
        let of_head = |name: &str| {
            let mut rests = heads.iter().filter_map(|head| name.strip_prefix(head.as_str()));
            rests.any(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        for name in shapes.names().filter(|name| !asked.contains(*name)) {
            let problem = format!("tensor `{name}` is not part of it");
            match of_head(name) {
                true => found.in_head.push(problem.clone()),
                false => found.extras.push(name.to_string()),
            }
            found.problems.push(problem);
        }
        let own = asked.iter().filter(|name| !of_head(name));
        found.modules = own.map(|name| first(name).to_string()).collect();
        found
    }
}

/// A module of a network: the tensors whose names begin with its own.
pub struct Scope<'w, 'a> {
    weights: &'w mut Weights<'a>,
    name: String,
    /// Tensors come in f64 and stay on the CPU.
    exact: bool,
    /// Whether it belongs to the head.
    in_head: bool,
}

impl<'a> Scope<'_, 'a> {
    /// A module of this module.
    pub fn sub(&mut self, name: impl std::fmt::Display) -> Scope<'_, 'a> {
        let name = self.full(&name.to_string());
        Scope { weights: self.weights, name, exact: self.exact, in_head: self.in_head }
    }

    /// A module of the head, after which no batchnorm layer comes; None if the network is to be without it.
    pub fn head(&mut self, name: &str) -> Option<Scope<'_, 'a>> {
        let name = self.full(name);
        self.weights.heads.push(name.clone());
        let exact = self.exact;
        (!self.weights.headless).then_some(Scope {
            weights: self.weights,
            name,
            exact,
            in_head: true,
        })
    }

    fn note_problem(&mut self, problem: String) {
        let found = &mut self.weights.found;
        if self.in_head {
            found.in_head.push(problem.clone());
        }
        found.problems.push(problem);
    }

    /// This module in f64 on the CPU, to compute with before [`Scope::round`].
    pub fn exact(self) -> Self {
        Scope { exact: true, ..self }
    }

    /// The same module, for tensors in f64 on the CPU.
    pub fn sub_exact(&mut self) -> Scope<'_, 'a> {
        let name = self.name.clone();
        Scope { weights: self.weights, name, exact: true, in_head: self.in_head }
    }

    /// Whether batchnorm is to be folded; never while the network is only described.
    pub fn folds(&self) -> bool {
        self.weights.from.is_some_and(|(_, setup)| setup.folded)
    }

    /// The values in the network's type, on its device.
    pub fn round(&self, values: &Tensor) -> Result<Tensor> {
        let Some((_, setup)) = self.weights.from else { return Ok(values.shallow_clone()) };
        Ok(values.f_to_kind(setup.precision.kind())?.f_to(setup.device)?)
    }

    /// The prefix of its tensors' names.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn full(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_string() } else { format!("{}.{name}", self.name) }
    }

    /// The tensor in the network's type on its device. An empty one if it is missing or the network is only
    /// described.
    pub fn get(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let kind = self.weights.from.map_or(Kind::Float, |(_, setup)| setup.precision.kind());
        self.get_as(name, shape, kind)
    }

    /// The same for the weight of a convolution, with the channels innermost in memory.
    pub fn get_filters(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let kind = self.weights.from.map_or(Kind::Float, |(_, setup)| setup.precision.kind());
        let filters = channels_last(&self.find(&self.full(name), shape, kind)?)?;
        self.keep(name, shape, filters)
    }

    /// The same in f32, whatever the network's precision.
    pub fn get_wide(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.get_as(name, shape, Kind::Float)
    }

    fn get_as(&mut self, name: &str, shape: &[usize], kind: Kind) -> Result<Tensor> {
        let tensor = self.find(&self.full(name), shape, kind)?;
        self.keep(name, shape, tensor)
    }

    /// Notes that the network has asked for this tensor.
    fn keep(&mut self, name: &str, shape: &[usize], tensor: Tensor) -> Result<Tensor> {
        let name = self.full(name);
        self.weights.asked.insert(name.clone());
        let keeps = self.weights.from.is_some_and(|(_, setup)| setup.trainable);
        let role = match name.ends_with("running_mean") || name.ends_with("running_var") {
            true => Role::Statistic,
            false => Role::Parameter,
        };
        let kept = keeps.then(|| tensor.shallow_clone());
        self.weights.found.tensors.push(Asked { name, shape: shape.into(), role, tensor: kept });
        Ok(tensor)
    }

    fn find(&mut self, name: &str, shape: &[usize], kind: Kind) -> Result<Tensor> {
        match self.weights.shapes.get(name) {
            None => self.note_problem(format!("tensor `{name}` {shape:?} is missing")),
            Some(info) if info.shape != shape => self.note_problem(format!(
                "tensor `{name}`: expected shape {shape:?}, found {:?}",
                info.shape
            )),
            Some(info) => {
                if let Some((checkpoint, setup)) = self.weights.from {
                    let (kind, device) = match self.exact {
                        true => (Kind::Double, Device::Cpu),
                        false => (kind, setup.device),
                    };
                    return load(checkpoint, info, kind, device);
                }
            }
        }
        Ok(Tensor::f_zeros([0i64], (Kind::Float, Device::Cpu))?)
    }

    /// The tensor in this type, on its device.
    pub fn get_kind(&mut self, name: &str, shape: &[usize], kind: Kind) -> Result<Tensor> {
        self.get_as(name, shape, kind)
    }

    /// A tensor that the file may lack, since no forward pass needs it.
    pub fn get_optional(&mut self, name: &str, shape: &[usize]) {
        let name = self.full(name);
        if let Some(found) = self.weights.shapes.shape(&name)
            && found != shape
        {
            let problem = format!("tensor `{name}`: expected shape {shape:?}, found {found:?}");
            self.note_problem(problem);
        }
        self.weights.asked.insert(name.clone());
        let counter = Asked { name, shape: vec![], role: Role::Counter, tensor: None };
        self.weights.found.tensors.push(counter);
    }

    /// Whether the file has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.weights.shapes.has(&self.full(name))
    }

    /// What the network is loaded for; None while it is only described.
    pub fn setup(&self) -> Option<Setup> {
        self.weights.from.map(|(_, setup)| setup)
    }

    /// A counter that old files (before PyTorch 0.4.1) lack and no forward pass needs.
    pub fn get_optional_count(&mut self, name: &str) {
        self.get_optional(name, &[]);
    }

    /// Counts this module among the batchnorm layers whose statistics can be recomputed and returns its
    /// number; None if it is frozen.
    pub fn register_batch_norm(&mut self, channels: usize) -> Option<usize> {
        let layer = Layer::named(&self.name, channels);
        let counted = self.weights.shapes.has(&layer.stored.counter[0]);
        self.register_layer(layer, counted)
    }

    /// The same for a layer whose tensors' names are given in full. `counted`: whether it has a counter of batches,
    /// without which it is frozen in a file where others have one.
    pub fn register_layer(&mut self, layer: Layer, counted: bool) -> Option<usize> {
        let Weights { shapes, freeze, found: Found { batchnorms, frozen, .. }, .. } =
            &mut *self.weights;
        let layer = layer.renamed(|name| shapes.in_file(name));
        if freeze.holds(&layer.name, counted) {
            frozen.push(layer.name);
            return None;
        }
        batchnorms.push(layer);
        Some(batchnorms.len() - 1)
    }

    /// Counts a layer among those that keep their statistics, whatever the file says.
    pub fn register_frozen(&mut self, name: &str) {
        let Weights { shapes, found, .. } = &mut *self.weights;
        found.frozen.push(shapes.in_file(name));
    }

    /// Notes that training noise reaches this module's batchnorm layers.
    pub fn register_noise(&mut self) {
        self.weights.found.noisy = true;
    }
}

/// libtorch's name for a type, if it computes in it.
pub fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        Dtype::C64 => Kind::ComplexFloat,
        _ => return None,
    })
}

/// Whether values of this type are real numbers with a fraction.
pub fn is_float(kind: Kind) -> bool {
    matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16)
}

fn load(checkpoint: &Checkpoint, info: &TensorInfo, kind: Kind, device: Device) -> Result<Tensor> {
    // Numbers with a fraction become others of that kind alone.
    let stored = kind_of(info.dtype).filter(|&stored| is_float(stored) || stored == kind);
    let Some(stored) = stored else {
        let other = info.dtype;
        let what = format!("type {other:?} is not one a network runs on");
        return Err(Error::new(ErrorKind::Unsupported, what)
            .at(checkpoint.path())
            .tensor(&info.name)
            .into());
    };
    let shape: Vec<i64> = info.shape.iter().map(|&n| n as i64).collect();
    let position = checkpoint.position(&info.name).expect("it is from there");
    let tensor = Tensor::f_from_data_size(&checkpoint.bytes(position)?, &shape, stored)?;
    Ok(tensor.f_to_device_(device, kind, false, false)?)
}

/// The same values with the channels innermost in memory, the layout that convolutions run fastest in on CPUs and
/// tensor cores alike.
pub(super) fn channels_last(x: &Tensor) -> Result<Tensor> {
    if x.dim() != 4 {
        return Ok(x.shallow_clone());
    }
    Ok(x.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_permute([0, 3, 1, 2])?)
}
