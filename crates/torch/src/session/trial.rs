//! A session tries each program on the first images.

use std::rc::Rc;
use std::sync::Arc;

use swa_base::text::marked;
use swa_data::loader::Portion;
use swa_data::{ClassMap, Dataset, Loader, Transform};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result};

use super::models::{Load, check_classes};
use super::options::Images;
use super::probe::{LOOKED_AT, Probed, probe};
use super::purpose::Purpose;
use crate::nn::input::Input;
use crate::nn::{Model, Takes, UsedProgram};

/// What programs are tried with.
pub(super) struct Trial<'a> {
    pub images: &'a Images,
    pub dataset: &'a Arc<dyn Dataset>,
    pub class_map: Option<&'a ClassMap>,
    pub transform: &'a Transform,
    /// Of models that are not on the device.
    pub load: &'a Load<'a>,
    /// Whether none of the models is.
    pub unloaded: bool,
    pub purpose: Purpose,
    pub progress: &'a dyn Progress,
}

impl Trial<'_> {
    /// Tries the programs, once each, on images that are the same for every part of a pass: then it is known which outputs
    /// are logits, whether they are probabilities, and whether a batch that was exported with a fixed size takes any. Notes
    /// what limits the pass.
    pub fn of(&self, models: &mut [Model], checkpoints: &[Checkpoint]) -> Result<()> {
        let mut tried: Vec<(Rc<UsedProgram>, Probed)> = vec![];
        for (model, checkpoint) in models.iter_mut().zip(checkpoints) {
            let Some(program) = model.program.clone() else { continue };
            let digest = &program.record.digest;
            let number = match tried.iter().position(|(other, _)| other.record.digest == *digest) {
                Some(number) => number,
                None => {
                    let probed = self.run(model, checkpoint)?;
                    if let Some(n) = probed.batch {
                        let note = format!(
                            "note: `{}` takes exactly {n} image(s) at a time",
                            program.file
                        );
                        self.progress.note(&note);
                    }
                    if probed.probabilities {
                        self.progress.note(&format!(
                            "note: the outputs of `{}` are probabilities, as after a softmax: their logarithms count as logits",
                            program.file
                        ));
                    }
                    tried.push((program.clone(), probed));
                    tried.len() - 1
                }
            };
            let Probed { classes, outputs, alike, probabilities, batch } = &tried[number].1;
            (model.classes, model.takes.batch) = (*classes, *batch);
            model.gives_probabilities = *probabilities;
            let statistics = self.purpose == Purpose::Statistics;
            if classes.is_none() && !statistics {
                return Err(no_logits(&program.file, outputs, *alike));
            }
            match check_classes(self.images, self.dataset.as_ref(), self.class_map, model) {
                // Features have the form of logits.
                Err(error) if statistics => self.progress.note(&format!(
                    "note: {}; statistics do not depend on classes",
                    error.cause(&marked)
                )),
                checked => checked?,
            }
        }
        Ok(())
    }

    fn run(&self, model: &Model, checkpoint: &Checkpoint) -> Result<Probed> {
        let loaded;
        let model = match self.unloaded {
            true => {
                loaded = self.load.again(checkpoint, model)?;
                &loaded
            }
            false => model,
        };
        let Takes { batch, most, .. } = model.takes;
        let evaluated = self.purpose != Purpose::Statistics;
        let least = if evaluated { LOOKED_AT } else { 1 };
        let n = (batch.unwrap_or(1) + 1).max(least).min(most.unwrap_or(usize::MAX)).max(1);
        let order = self.images.order(self.dataset.as_ref(), false);
        let (dataset, transform) = (Arc::clone(self.dataset), self.transform.clone());
        let allow_bad = self.images.allow_bad;
        let mut loader = Loader::of_portion(dataset, order, transform, n, allow_bad, Portion::ALL)?;
        let first =
            loader.find(|batch| batch.as_ref().is_ok_and(|batch| batch.n > 0) || batch.is_err());
        let Some(first) = first.transpose()? else {
            return Err(Error::input("no image was left to try the program on"));
        };
        let x = Input::new(self.transform, self.load.setup.device)?.tensor(&first)?;
        probe(model, &x, evaluated)
            .map_err(|e| if e.file().is_none() { e.at(checkpoint.path()) } else { e })
    }
}

/// The error of an evaluation by a program whose outputs are these.
fn no_logits(file: &str, outputs: &str, alike: usize) -> Error {
    let what = match alike {
        0 => format!("`{file}` gives no logits of [images, classes]: its outputs are {outputs}"),
        _ => format!("which outputs of `{file}` are the logits? it gives {outputs}"),
    };
    Error::new(Kind::Mismatch, what)
        .remedy("export a module that returns the logits alone; recomputing statistics needs none")
}

/// What all models of a pass demand of their images.
///
/// # Errors
/// `Mismatch` if no size will do for all, or some take bytes and others do not.
pub(super) fn common(checkpoints: &[Checkpoint], models: &[Model]) -> Result<Takes> {
    let mut common = Takes::default();
    let mut first = None;
    for (model, checkpoint) in models.iter().zip(checkpoints) {
        let Takes { height, width, integers, .. } = model.takes;
        let differs = |a: Option<usize>, b: Option<usize>| a.is_some() && b.is_some() && a != b;
        if differs(common.height, height) || differs(common.width, width) {
            let other: &Checkpoint = first.unwrap_or(&checkpoints[0]);
            let what = format!(
                "takes images of {}, `{}` of {}",
                model.takes.describe(model.channels),
                other.path().display(),
                common.describe(model.channels)
            );
            return Err(Error::new(Kind::Mismatch, what)
                .at(checkpoint.path())
                .remedy("evaluate them one by one"));
        }
        if integers.is_some() != models[0].takes.integers.is_some() {
            let other = checkpoints[0].path().display();
            let what = match integers.is_some() {
                true => format!("takes bytes, `{other}` normalised pixels"),
                false => format!("takes normalised pixels, `{other}` bytes"),
            };
            return Err(Error::new(Kind::Mismatch, what)
                .at(checkpoint.path())
                .remedy("evaluate them one by one"));
        }
        common.integers = integers;
        if height.is_some() || width.is_some() {
            first.get_or_insert(checkpoint);
        }
        (common.height, common.width) = (common.height.or(height), common.width.or(width));
    }
    Ok(common)
}
