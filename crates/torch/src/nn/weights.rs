//! From a checkpoint to a network: every tensor the model asks for, and no other.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::rc::Rc;

use tch::{Device, Kind, Tensor};

use super::batch_norm::Layer;
use super::freeze::Freeze;
use super::models::Arch;
use super::{Network, Pass, Precision, models};
use crate::nn::Result;
use swa_base::Error;
use swa_tools::checkpoint::{Checkpoint, Dtype, TensorInfo};

/// Parts of a common prefix that are tried.
const MAX_PREFIX: usize = 4;

/// Largest number of channels or classes that is taken for a network's.
const MAX_SIZE: usize = 1 << 20;

/// A checkpoint's names and shapes, seen without the prefix that all its names share, if any.
#[derive(Debug)]
pub struct Shapes<'a> {
    pub prefix: String,
    tensors: BTreeMap<&'a str, &'a TensorInfo>,
}

impl<'a> Shapes<'a> {
    /// The names as they are, and without each leading part that is common to all (`model.` in a
    /// Lightning checkpoint).
    pub fn views(checkpoint: &'a Checkpoint) -> Vec<Self> {
        let view = |prefix: &str| {
            let all = checkpoint.tensors().iter().enumerate();
            let tensors = all.filter(|(i, _)| !checkpoint.is_counter(*i)).map(|(_, t)| t);
            let stripped = tensors.map(|t| Some((t.name.strip_prefix(prefix)?, t)));
            Some(Shapes { prefix: prefix.to_string(), tensors: stripped.collect::<Option<_>>()? })
        };
        let first = checkpoint.tensors().iter().find(|t| t.name.contains('.'));
        let name = first.map_or("", |t| t.name.as_str());
        let prefixes = name.match_indices('.').map(|(at, _)| &name[..=at]).take(MAX_PREFIX);
        std::iter::once("").chain(prefixes).map_while(view).collect()
    }

    pub fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.tensors.get(name).map(|t| &t.shape[..])
    }

    /// Size of one dimension, if the tensor is there and the size is one that a network may have.
    pub fn dim(&self, name: &str, dim: usize) -> Option<usize> {
        self.shape(name)?.get(dim).copied().filter(|size| (1..=MAX_SIZE).contains(size))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    /// The first few names, for a message.
    fn examples(&self) -> String {
        let names: Vec<_> = self.tensors.keys().take(3).map(|name| format!("`{name}`")).collect();
        names.join(", ")
    }
}

/// What a model is loaded for.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub device: Device,
    pub precision: Precision,
    /// For evaluation alone: batchnorm becomes part of the convolution before it
    /// ([`super::layers::ConvBn`]).
    pub folded: bool,
}

/// As the file has it, in fp32.
impl From<Device> for Setup {
    fn from(device: Device) -> Self {
        Setup { device, precision: Precision::Fp32, folded: false }
    }
}

/// Gives a model its tensors and notes what does not fit.
pub struct Weights<'a> {
    shapes: &'a Shapes<'a>,
    /// None: the model is only described.
    from: Option<(&'a Checkpoint, Setup)>,
    freeze: &'a Freeze,
    asked: HashSet<String>,
    problems: Vec<String>,
    batchnorms: Vec<Layer>,
    frozen: Vec<String>,
    noisy: bool,
}

/// A part of a model, by the prefix of its names.
pub struct Scope<'w, 'a> {
    weights: &'w mut Weights<'a>,
    name: String,
    /// Tensors come in f64 and stay on the CPU.
    exact: bool,
}

impl<'a> Scope<'_, 'a> {
    /// A part of this part.
    pub fn sub(&mut self, name: impl std::fmt::Display) -> Scope<'_, 'a> {
        let name = self.full(&name.to_string());
        Scope { weights: self.weights, name, exact: self.exact }
    }

    /// This part in f64 on the CPU, to compute with before [`Scope::round`].
    pub fn exact(self) -> Self {
        Scope { exact: true, ..self }
    }

    /// Whether batchnorm is to be folded. Not while the model is only described.
    pub fn folds(&self) -> bool {
        self.weights.from.is_some_and(|(_, setup)| setup.folded)
    }

    /// The values in the network's type, on its device.
    pub fn round(&self, values: &Tensor) -> Result<Tensor> {
        let Some((_, setup)) = self.weights.from else { return Ok(values.shallow_clone()) };
        Ok(values.f_to_kind(setup.precision.kind())?.f_to(setup.device)?)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn full(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_string() } else { format!("{}.{name}", self.name) }
    }

    /// The tensor in the network's type on its device; an empty one where it is missing or the model
    /// is only described.
    pub fn get(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let kind = self.weights.from.map_or(Kind::Float, |(_, setup)| setup.precision.kind());
        self.get_as(name, shape, kind)
    }

    /// The same in f32, whatever the network's precision.
    pub fn get_wide(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.get_as(name, shape, Kind::Float)
    }

    fn get_as(&mut self, name: &str, shape: &[usize], kind: Kind) -> Result<Tensor> {
        let name = self.full(name);
        self.weights.asked.insert(name.clone());
        match self.weights.shapes.tensors.get(name.as_str()) {
            None => self.weights.problems.push(format!("tensor `{name}` {shape:?} is missing")),
            Some(info) if info.shape != shape => self
                .weights
                .problems
                .push(format!("tensor `{name}`: expected shape {shape:?}, found {:?}", info.shape)),
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

    /// A counter that old files (before PyTorch 0.4.1) lack and no forward pass needs.
    pub fn get_optional_count(&mut self, name: &str) {
        let name = self.full(name);
        if let Some(shape) = self.weights.shapes.shape(&name)
            && !shape.is_empty()
        {
            self.weights
                .problems
                .push(format!("tensor `{name}`: expected shape [], found {shape:?}"));
        }
        self.weights.asked.insert(name);
    }

    /// Counts this part among the batchnorm layers whose statistics can be recomputed and returns its
    /// number; None where it is frozen.
    pub fn register_batch_norm(&mut self, channels: usize) -> Option<usize> {
        let Weights { shapes, freeze, batchnorms, frozen, .. } = &mut *self.weights;
        let name = format!("{}{}", shapes.prefix, self.name);
        let counted = shapes.has(&format!("{}.num_batches_tracked", self.name));
        if freeze.holds(&name, counted) {
            frozen.push(name);
            return None;
        }
        batchnorms.push(Layer { name, channels });
        Some(batchnorms.len() - 1)
    }

    /// Notes that training noise reaches this part's batchnorm layers.
    pub fn register_noise(&mut self) {
        self.weights.noisy = true;
    }
}

fn load(checkpoint: &Checkpoint, info: &TensorInfo, kind: Kind, device: Device) -> Result<Tensor> {
    let stored = match info.dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        other => {
            return Err(Error::input(format!("type {other:?} is not one a network runs on"))
                .at(checkpoint.path())
                .tensor(&info.name)
                .into());
        }
    };
    let shape: Vec<i64> = info.shape.iter().map(|&n| n as i64).collect();
    let position = checkpoint.position(&info.name).expect("it is from there");
    let tensor = Tensor::f_from_data_size(&checkpoint.bytes(position)?, &shape, stored)?;
    Ok(tensor.f_to_device_(device, kind, false, false)?)
}

struct Built {
    network: Box<dyn Network>,
    batchnorms: Vec<Layer>,
    frozen: Vec<String>,
    noisy: bool,
    /// What in the file does not fit, one line each.
    problems: Vec<String>,
}

/// Builds the architecture, with weights or only described.
fn build(
    arch: &Arch,
    shapes: &Shapes,
    freeze: &Freeze,
    from: Option<(&Checkpoint, Setup)>,
) -> Result<Built> {
    let mut weights = Weights {
        shapes,
        from,
        freeze,
        asked: HashSet::new(),
        problems: vec![],
        batchnorms: vec![],
        frozen: vec![],
        noisy: false,
    };
    let scope = Scope { weights: &mut weights, name: String::new(), exact: false };
    let network = (arch.build)(scope)?;
    let Weights { asked, mut problems, batchnorms, frozen, noisy, .. } = weights;
    for name in shapes.tensors.keys().filter(|name| !asked.contains(**name)) {
        problems.push(format!("tensor `{name}` is not part of it"));
    }
    Ok(Built { network, batchnorms, frozen, noisy, problems })
}

/// A network with its weights, on a device.
pub struct Model {
    pub path: PathBuf,
    pub network: Rc<dyn Network>,
    /// `resnet50`, `preresnet-8`.
    pub arch: String,
    pub classes: usize,
    /// Of the images it takes.
    pub channels: usize,
    /// The preset that its family was published with.
    pub preset: Option<&'static str>,
    /// Those whose statistics can be recomputed, in the order of the forward pass's definition.
    pub batchnorms: Vec<Layer>,
    pub precision: Precision,
}

impl Model {
    /// Recognises the architecture and loads the weights.
    pub fn load(
        checkpoint: &Checkpoint,
        arch: Option<&str>,
        setup: impl Into<Setup>,
    ) -> swa_base::Result<Self> {
        Recognised::of(checkpoint, arch, &Freeze::default())?.load(setup)
    }

    /// `x`: [images, channels, height, width], normalised. Returns the logits, [images, classes], f32.
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let x = x.f_to_kind(self.precision.kind())?;
        Ok(self.network.forward(&x, pass)?.f_to_kind(Kind::Float)?)
    }

    /// Gives its weights' memory back. What is known of it stays; to run, it must be loaded again.
    pub fn unload(&mut self) {
        self.network = Rc::new(Unloaded);
    }
}

struct Unloaded;

impl Network for Unloaded {
    fn forward(&self, _: &Tensor, _: &mut Pass) -> Result<Tensor> {
        Err(Error::limit("the model is not on the device").into())
    }
}

/// A checkpoint whose architecture is known; of its tensors only names and shapes were looked at.
pub struct Recognised<'a> {
    checkpoint: &'a Checkpoint,
    shapes: Shapes<'a>,
    freeze: &'a Freeze,
    pub arch: Arch,
    /// As in [`Model`].
    pub batchnorms: Vec<Layer>,
    /// Batchnorm layers that keep their statistics.
    pub frozen: Vec<String>,
    /// Whether training noise reaches a batchnorm layer.
    pub noisy: bool,
}

impl<'a> Recognised<'a> {
    /// Recognises the architecture from the names and shapes, or takes the one named: no tensor
    /// missing, none left over, every shape as expected.
    pub fn of(
        checkpoint: &'a Checkpoint,
        arch: Option<&str>,
        freeze: &'a Freeze,
    ) -> swa_base::Result<Recognised<'a>> {
        let at = |e: Error| e.at(checkpoint.path());
        let mut closest: Option<(Arch, Vec<String>)> = None;
        for shapes in Shapes::views(checkpoint) {
            let candidates = match arch {
                Some(name) => models::named(name, &shapes).into_iter().collect(),
                None => models::likely(&shapes),
            };
            for arch in candidates {
                let Built { problems, batchnorms, frozen, noisy, .. } =
                    build(&arch, &shapes, freeze, None).map_err(|e| at(e.into()))?;
                if problems.is_empty() {
                    freeze.check(&frozen, &batchnorms).map_err(at)?;
                    return Ok(Recognised {
                        checkpoint,
                        shapes,
                        freeze,
                        arch,
                        batchnorms,
                        frozen,
                        noisy,
                    });
                }
                if closest.as_ref().is_none_or(|(_, best)| problems.len() < best.len()) {
                    closest = Some((arch, problems));
                }
            }
        }
        let known = models::list().join(", ");
        Err(at(match (arch, closest) {
            (Some(name), None) => Error::usage(format!("--arch {name} is not known"))
                .remedy(format!("known: {known}")),
            (Some(name), Some((_, problems))) => {
                Error::input(format!("does not fit {name} in {} place(s)", problems.len()))
                    .list(problems)
            }
            (None, None) => Error::input(format!(
                "architecture not recognised; no known one has names like {}, with or without a \
                 prefix that all names share",
                Shapes::views(checkpoint)[0].examples()
            ))
            .remedy(format!("known: {known}")),
            (None, Some((arch, problems))) => Error::input(format!(
                "architecture not recognised; the closest, {}, differs in {} place(s)",
                arch.name,
                problems.len()
            ))
            .remedy(format!("known: {known}"))
            .list(problems),
        }))
    }

    /// The network with its weights.
    pub fn load(self, setup: impl Into<Setup>) -> swa_base::Result<Model> {
        let setup = setup.into();
        let Recognised { checkpoint, shapes, freeze, arch, .. } = self;
        let path = checkpoint.path().to_path_buf();
        let from = Some((checkpoint, setup));
        let built = build(&arch, &shapes, freeze, from).map_err(|e| Error::from(e).at(&path))?;
        let Built { network, batchnorms, .. } = built;
        let Arch { name: arch, classes, channels, preset, .. } = arch;
        let (network, precision) = (network.into(), setup.precision);
        Ok(Model { path, network, arch, classes, channels, preset, batchnorms, precision })
    }
}

#[cfg(test)]
mod tests;
