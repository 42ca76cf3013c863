//! Which network a checkpoint holds, found from names and shapes alone; then loaded, every tensor that the network
//! asks for and no other.

use super::fault::Result;
use super::freeze::Freeze;
use super::model::Model;
use super::models::{self, Arch};
use super::network::Network;
use super::pass::Layer;
use super::scope::{Found, Setup, Weights};
use super::shapes::Shapes;
use swa_base::{Error, Kind, setting};
use swa_tools::checkpoint::Checkpoint;

/// Builds the architecture, with weights or only described.
fn build(
    arch: &Arch,
    shapes: &Shapes,
    freeze: &Freeze,
    from: Option<(&Checkpoint, Setup)>,
) -> Result<(Box<dyn Network>, Found)> {
    let mut weights = Weights::new(shapes, freeze, from);
    let network = (arch.build)(weights.scope())?;
    Ok((network, weights.finish()))
}

impl Model {
    /// Recognises the architecture, or takes the one named `arch`, and loads the weights.
    ///
    /// # Errors
    /// `UnknownNetwork` if no known network has these tensors, `Mismatch` if the one named has not, `Usage` for an
    /// unknown name, `Unsupported` for weights of a type that networks do not compute in; those of reading and of
    /// libtorch.
    pub fn load(
        checkpoint: &Checkpoint,
        arch: Option<&str>,
        setup: impl Into<Setup>,
    ) -> swa_base::Result<Self> {
        Recognised::of(checkpoint, arch, &Freeze::default())?.load(setup)
    }
}

/// A checkpoint whose architecture is known. Only the names and shapes of its tensors were read.
pub struct Recognised<'a> {
    checkpoint: &'a Checkpoint,
    shapes: Shapes<'a>,
    freeze: &'a Freeze,
    /// The architecture, with the dimensions that the weights give.
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
                let (_, Found { problems, batchnorms, frozen, noisy }) =
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
        Err(at(refused(checkpoint, arch, closest)))
    }

    /// The network with its weights.
    pub fn load(self, setup: impl Into<Setup>) -> swa_base::Result<Model> {
        let setup = setup.into();
        let Recognised { checkpoint, shapes, freeze, arch, .. } = self;
        let path = checkpoint.path().to_path_buf();
        let from = Some((checkpoint, setup));
        let built = build(&arch, &shapes, freeze, from).map_err(|e| Error::from(e).at(&path))?;
        let (network, Found { batchnorms, .. }) = built;
        let Arch { name: arch, classes, channels, preset, .. } = arch;
        let (network, precision) = (network.into(), setup.precision);
        Ok(Model { path, network, arch, classes, channels, preset, batchnorms, precision })
    }
}

/// Why nothing was recognised: `arch` is the architecture that was asked for, `closest` the one that differs least.
fn refused(
    checkpoint: &Checkpoint,
    arch: Option<&str>,
    closest: Option<(Arch, Vec<String>)>,
) -> Error {
    let known = format!("known: {}", models::list().join(", "));
    let unknown = |what: String| {
        let what = format!("architecture not recognised; {what}");
        Error::new(Kind::UnknownNetwork, what).remedy(known.clone())
    };
    match (arch, closest) {
        (Some(name), None) => {
            Error::usage(format!("{} {name} is not known", setting!("arch"))).remedy(known)
        }
        (Some(name), Some((_, problems))) => {
            let what = format!("does not fit {name} in {} place(s)", problems.len());
            Error::new(Kind::Mismatch, what).list(problems)
        }
        (None, None) => unknown(format!(
            "no known one has names like {}, with or without a prefix that all names share",
            Shapes::views(checkpoint)[0].examples()
        )),
        (None, Some((arch, problems))) => {
            let (name, n) = (&arch.name, problems.len());
            unknown(format!("the closest, {name}, differs in {n} place(s)")).list(problems)
        }
    }
}

#[cfg(test)]
mod tests;
