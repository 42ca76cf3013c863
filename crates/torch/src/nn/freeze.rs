//! Which batchnorm layers keep their statistics.

use regex::Regex;

use super::pass::Layer;
use swa_base::{Error, Result, setting};
use swa_tools::checkpoint::Checkpoint;

/// The counter of training batches that every `BatchNorm2d` has since PyTorch 0.4.1, and torchvision's
/// `FrozenBatchNorm2d` has not.
const COUNTER: &str = ".num_batches_tracked";

/// Frozen are the layers that the user names and, in a file that has counters, the layers without one; or exactly the
/// layers of a list.
#[derive(Debug, Default)]
pub struct Freeze {
    named: Option<Regex>,
    listed: Vec<String>,
    /// Whether any layer has a counter. If none has, the file may simply be old.
    counters: bool,
}

impl Freeze {
    /// Layers whose name matches `named`, or that lack a counter in a file with counters.
    pub fn new(checkpoint: &Checkpoint, named: Option<&Regex>) -> Self {
        let counters = checkpoint.tensors().iter().any(|t| t.name.ends_with(COUNTER));
        Freeze { named: named.cloned(), listed: vec![], counters }
    }

    /// The layers of these names, and no other.
    pub fn listed(listed: Vec<String>) -> Self {
        Freeze { listed, ..Freeze::default() }
    }

    pub(super) fn holds(&self, layer: &str, counted: bool) -> bool {
        let listed = self.listed.iter().any(|name| name == layer);
        listed || self.counters && !counted || self.names(layer)
    }

    fn names(&self, layer: &str) -> bool {
        self.named.as_ref().is_some_and(|named| named.is_match(layer))
    }

    /// # Errors
    /// `Usage` if the pattern matches no layer.
    pub(super) fn check(&self, frozen: &[String], others: &[Layer]) -> Result<()> {
        let Some(named) = &self.named else { return Ok(()) };
        if frozen.iter().any(|layer| self.names(layer)) {
            return Ok(());
        }
        let layers = others.iter().map(|l| &l.name).chain(frozen);
        let some: Vec<String> = layers.take(3).map(|name| format!("`{name}`")).collect();
        let freeze = setting!("freeze");
        let error = Error::usage(format!("{freeze} {named}: no batchnorm layer has such a name"));
        Err(match some.is_empty() {
            true => error.remedy("the network has none: leave it out"),
            false => error.remedy(format!("they are named like {}", some.join(", "))),
        })
    }
}

/// A note for the user if the counters suggest that some layers were frozen in a way that leaves no certain trace.
pub fn doubt(checkpoint: &Checkpoint, layers: &[Layer]) -> Option<String> {
    let count = |layer: &Layer| {
        let position = layer.stored.counter.iter().find_map(|name| checkpoint.position(name))?;
        let bytes = checkpoint.bytes(position).ok()?;
        Some(i64::from_le_bytes(bytes.as_ref().try_into().ok()?))
    };
    let counts: Vec<(&Layer, i64)> = layers.iter().filter_map(|l| Some((l, count(l)?))).collect();
    let Some(most) = counts.iter().map(|(_, n)| *n).max() else {
        return (!layers.is_empty()).then(|| {
            concat!(
                "no batchnorm layer has `num_batches_tracked`: the file is older than PyTorch 0.4.1, or all layers were \
                 frozen, which ",
                setting!("freeze"),
                " keeps"
            )
            .to_string()
        });
    };
    let fewer: Vec<&(&Layer, i64)> = counts.iter().filter(|(_, n)| *n < most).collect();
    let (layer, least) = fewer.iter().min_by_key(|(_, n)| *n)?;
    Some(format!(
        "{} of {} batchnorm layers, such as `{}`, saw fewer batches in training mode than the others \
         ({least} and {most}): if the trainer kept them frozen, {} keeps them",
        fewer.len(),
        layers.len(),
        layer.name,
        setting!("freeze")
    ))
}
