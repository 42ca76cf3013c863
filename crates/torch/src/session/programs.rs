//! What a session does about programs: it tries each on the first images, and holds batches to what they take.

use std::rc::Rc;

use swa_data::loader::Portion;
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result, setting};

use super::models::check_classes;
use super::opened::{DEFAULT_BATCH, Purpose, Session};
use super::options::{Images, Networks};
use super::probe::{Probed, probe};
use crate::nn::input::Input;
use crate::nn::{Candidates, Freeze, Model, Recognised, Takes, UsedProgram};
use swa_base::text::marked;

/// How a program for any number of images is exported.
const EXPORT_AGAIN: &str = "export again with an example of two images and \
                            dynamic_shapes=({0: torch.export.Dim(\"batch\")},)";

impl Networks {
    /// What models may be recognised as.
    ///
    /// # Errors
    /// `Usage`, and those of opening programs; `Unsupported` for one that was exported in training mode, unless
    /// statistics are what it is for.
    pub(crate) fn candidates(&self, purpose: Purpose) -> Result<Candidates> {
        let candidates = Candidates::open(self.arch.as_deref(), &self.programs)?;
        if purpose != Purpose::Statistics {
            let mut programs = candidates.programs.iter().map(|prepared| prepared.program());
            if let Some(program) = programs.find(|program| program.is_training()) {
                let what = "was exported in training mode, in which a network gives other outputs";
                return Err(Error::new(Kind::Unsupported, what)
                    .at(program.path())
                    .remedy("export it after model.eval()"));
            }
        }
        Ok(candidates)
    }
}

impl Session {
    /// Tries the programs on the first images, once each: then it is known which outputs are logits, and whether a batch
    /// that was exported with a fixed size takes any. Notes what limits the pass.
    pub(super) fn try_programs(
        &mut self,
        images: &Images,
        checkpoints: &[Checkpoint],
        progress: &dyn Progress,
        purpose: Purpose,
    ) -> Result<()> {
        let mut tried: Vec<(Rc<UsedProgram>, Probed)> = vec![];
        for (i, checkpoint) in checkpoints.iter().enumerate() {
            let Some(program) = self.models[i].program.clone() else { continue };
            let known =
                tried.iter().position(|(other, _)| other.record.digest == program.record.digest);
            let number = match known {
                Some(number) => number,
                None => {
                    let probed = self.try_program(i, images, checkpoint)?;
                    if let Some(n) = probed.batch {
                        let file = &program.file;
                        progress
                            .note(&format!("note: `{file}` takes exactly {n} image(s) at a time"));
                    }
                    tried.push((program.clone(), probed));
                    tried.len() - 1
                }
            };
            let Probed { classes, outputs, alike, batch } = &tried[number].1;
            let model = &mut self.models[i];
            (model.classes, model.takes.batch) = (*classes, *batch);
            if classes.is_none() && purpose != Purpose::Statistics {
                return Err(no_logits(&program.file, outputs, *alike));
            }
            let (dataset, class_map) = (self.dataset.as_ref(), self.class_map.as_ref());
            match check_classes(images, dataset, class_map, &self.models[i]) {
                // Features have the form of logits.
                Err(error) if purpose == Purpose::Statistics => {
                    let why = error.cause(&marked);
                    progress.note(&format!("note: {why}; statistics do not depend on classes"));
                }
                checked => checked?,
            }
        }
        Ok(())
    }

    fn try_program(&self, i: usize, images: &Images, checkpoint: &Checkpoint) -> Result<Probed> {
        let loaded;
        let model = match self.at_once < self.models.len() {
            true => {
                loaded = self.load(i, checkpoint)?;
                &loaded
            }
            false => &self.models[i],
        };
        let Takes { batch, most, .. } = model.takes;
        let n = (batch.unwrap_or(1) + 1).min(most.unwrap_or(usize::MAX)).max(1);
        let order = images.order(self.dataset.as_ref(), false);
        let mut loader = self.loader(order, n, images.allow_bad, Portion::ALL)?;
        let first =
            loader.find(|batch| batch.as_ref().is_ok_and(|batch| batch.n > 0) || batch.is_err());
        let Some(first) = first.transpose()? else {
            return Err(Error::input("no image was left to try the program on"));
        };
        let x = Input::new(&self.transform, self.device)?.tensor(&first)?;
        probe(model, &x).map_err(|e| if e.file().is_none() { e.at(checkpoint.path()) } else { e })
    }

    /// A model of the session loaded again, with what is known of it.
    pub(crate) fn load(&self, i: usize, checkpoint: &Checkpoint) -> Result<Model> {
        let (candidates, setup) = (&self.candidates, self.setup);
        let freeze = Freeze::new(checkpoint, None);
        let model = Recognised::of(checkpoint, candidates, &freeze)?.load(setup)?;
        let known = &self.models[i];
        Ok(Model { classes: known.classes, takes: known.takes, ..model })
    }

    /// Images per batch for an evaluation, whose result does not depend on it: those asked for, else as many as keep the
    /// device busy.
    ///
    /// # Errors
    /// `Usage` for more than a program takes.
    pub fn evaluation_batch(&self, asked: Option<usize>) -> Result<usize> {
        self.at_most(asked, self.largest_batch())
    }

    /// Images per batch for a pass that collects statistics from so many images. The batch size changes the result, so
    /// it never depends on the memory there is.
    ///
    /// # Errors
    /// `Usage` for more than a program takes, or other batches than it takes; `Unsupported` for one that takes single
    /// images.
    pub fn statistics_batch(&self, asked: Option<usize>, images: usize) -> Result<usize> {
        let size = self.at_most(asked, DEFAULT_BATCH)?;
        for model in &self.models {
            let (Some(program), Some(fixed)) = (&model.program, model.takes.batch) else {
                continue;
            };
            let file = &program.file;
            if fixed == 1 {
                let what = format!("`{file}` was exported for batches of one image");
                return Err(Error::new(Kind::Unsupported, what).remedy(EXPORT_AGAIN));
            }
            let batch_size = setting!("batch_size");
            if size != fixed {
                let what = format!("`{file}` takes exactly {fixed} images at a time");
                return Err(Error::usage(what)
                    .remedy(format!("give {batch_size} {fixed}, or {EXPORT_AGAIN}")));
            }
            if !images.is_multiple_of(fixed) {
                let whole = images / fixed * fixed;
                let what = format!(
                    "`{file}` takes exactly {fixed} images at a time, and {images} are no whole number of such batches"
                );
                let samples = setting!("samples");
                return Err(Error::usage(what).remedy(match whole {
                    0 => EXPORT_AGAIN.to_string(),
                    _ => format!("give {samples} {whole}, or {EXPORT_AGAIN}"),
                }));
            }
        }
        Ok(size)
    }

    /// The batch size that was asked for or the usual one, as far as the programs take it.
    fn at_most(&self, asked: Option<usize>, usual: usize) -> Result<usize> {
        let most = |model: &&Model| model.takes.most.unwrap_or(usize::MAX);
        let Some(model) = self.models.iter().min_by_key(most) else { return Ok(usual) };
        match (asked, most(&model)) {
            (Some(n), most) if n > most => {
                let what = format!("{} takes at most {most} images at a time", model.arch);
                let batch_size = setting!("batch_size");
                Err(Error::usage(what).remedy(format!("give {batch_size} {most} or less")))
            }
            (asked, most) => Ok(asked.unwrap_or(usual.min(most))),
        }
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
/// `Mismatch` if no size will do for all.
pub(super) fn common(checkpoints: &[Checkpoint], models: &[Model]) -> Result<Takes> {
    let mut common = Takes::default();
    let mut first = None;
    for (model, checkpoint) in models.iter().zip(checkpoints) {
        let Takes { height, width, .. } = model.takes;
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
        if height.is_some() || width.is_some() {
            first.get_or_insert(checkpoint);
        }
        (common.height, common.width) = (common.height.or(height), common.width.or(width));
    }
    Ok(common)
}
