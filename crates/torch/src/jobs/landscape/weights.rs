//! The models as weight vectors.

use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Result};
use tch::Device;

use crate::landscape::{Span, Statistics};
use crate::nn::Trainable;
use crate::session;

/// The models' files, all of one network.
pub(super) struct Models<'a> {
    pub checkpoints: &'a [Checkpoint],
    pub options: &'a session::Options,
    pub device: Device,
    /// Of the first model: architecture, and names and shapes of the parameters.
    arch: String,
    shapes: Vec<(String, Vec<usize>)>,
}

/// A model's weights, and its own batchnorm statistics.
pub(super) struct Vector {
    pub weights: Vec<f32>,
    pub statistics: Vec<Statistics>,
}

impl<'a> Models<'a> {
    /// Loads the first model: the network that stands at all points in turn.
    pub fn open(
        checkpoints: &'a [Checkpoint],
        options: &'a session::Options,
        device: Device,
    ) -> Result<(Self, Trainable)> {
        let network = load(&checkpoints[0], options, device)?;
        let (arch, shapes) = (network.model.arch.clone(), network.shapes());
        Ok((Models { checkpoints, options, device, arch, shapes }, network))
    }

    /// How many parameters the network has.
    pub fn parameters(&self) -> usize {
        self.shapes().map(|shape| shape.iter().product::<usize>()).sum()
    }

    /// Shapes of the parameters.
    pub fn shapes(&self) -> impl Iterator<Item = &Vec<usize>> {
        self.shapes.iter().map(|(_, shape)| shape)
    }

    /// A model by its number.
    ///
    /// # Errors
    /// `Mismatch` if it is of another network than the first; those of loading.
    pub fn vector(&self, number: usize) -> Result<Vector> {
        let checkpoint = &self.checkpoints[number];
        let network = load(checkpoint, self.options, self.device)?;
        self.check(&network).map_err(|error| error.at(checkpoint.path()))?;
        let layers = &network.model.batchnorms;
        let statistics = layers.iter().filter_map(|layer| Statistics::of(checkpoint, layer));
        let vector = Vector { weights: network.values()?, statistics: statistics.collect() };
        checkpoint.check_unchanged()?;
        if vector.weights.iter().any(|value| !value.is_finite()) {
            return Err(Error::new(Kind::NotFinite, "has weights that are not finite")
                .at(checkpoint.path())
                .remedy("leave it out"));
        }
        Ok(vector)
    }

    fn check(&self, network: &Trainable) -> Result<()> {
        let first = self.checkpoints[0].path().display();
        let remedy = "a picture is of the weights of one network";
        let other = |what: String| Err(Error::new(Kind::Mismatch, what).remedy(remedy));
        let (arch, shapes) = (&network.model.arch, network.shapes());
        let differing = shapes.iter().zip(&self.shapes).find(|(a, b)| a.1 != b.1);
        if let Some(((name, found), (_, expected))) = differing {
            return other(format!("is {arch} with `{name}` {found:?}; `{first}` has {expected:?}"));
        }
        match *arch == self.arch && shapes.len() == self.shapes.len() {
            true => Ok(()),
            false => other(format!("is {arch}; `{first}` is {}", self.arch)),
        }
    }

    /// The plane or line through the first models.
    ///
    /// # Errors
    /// `Input` if two are equal, or three lie on a line.
    pub fn span(&self, points: &[&[f32]]) -> Result<Span> {
        Span::of(points).map_err(|which| {
            let [first, second] = [0, 1].map(|i| self.checkpoints[i].path().display());
            let (what, remedy) = match which {
                1 => (format!("has the weights of `{first}`"), "give models that differ"),
                _ => (
                    format!("lies on the line through `{first}` and `{second}`: that is no plane"),
                    "draw the line, or give a model that is not between the others",
                ),
            };
            Error::input(what).at(self.checkpoints[which].path()).remedy(remedy)
        })
    }
}

fn load(checkpoint: &Checkpoint, options: &session::Options, device: Device) -> Result<Trainable> {
    let networks = &options.networks;
    if !networks.no_verify {
        checkpoint.verify(&|_| {})?;
    }
    Trainable::of_any_family(checkpoint, networks.arch.as_deref(), device)
}
