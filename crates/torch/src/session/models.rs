//! Loading a session's models, and checking them against the data and each other.

use std::path::Path;

use regex::Regex;
use swa_base::text::printable;
use swa_data::{ClassMap, Classes, Dataset};
use swa_tools::checkpoint::Checkpoint;
use swa_tools::{Error, Kind, Progress, Result, setting};

use super::options::Images;
use crate::nn::{Candidates, Freeze, Model, Recognised, Setup};

/// How models are loaded.
pub(super) struct Load<'a> {
    pub candidates: &'a Candidates,
    pub freeze: Option<&'a Regex>,
    pub setup: Setup,
    pub verify: bool,
}

impl Load<'_> {
    /// Loads and checks the models, and notes what is to be known of programs. Also returns how many fit on the device
    /// at a time.
    pub fn all(
        &self,
        checkpoints: &[Checkpoint],
        at_once: usize,
        progress: &dyn Progress,
        check: &dyn Fn(&Model) -> Result<()>,
    ) -> Result<(Vec<Model>, usize)> {
        let mut at_once = at_once.min(checkpoints.len());
        let mut models: Vec<Model> = Vec::with_capacity(checkpoints.len());
        let mut noted: Vec<String> = vec![];
        for checkpoint in checkpoints {
            if self.verify {
                checkpoint.verify(&|_| {})?;
            }
            let mut model = match self.one(checkpoint, &mut noted, progress) {
                // Half of those that fitted: images need memory as well.
                Err(error) if error.kind() == Kind::OutOfMemory && !models.is_empty() => {
                    at_once = (models.len() / 2).max(1);
                    models.iter_mut().for_each(Model::unload);
                    self.one(checkpoint, &mut noted, progress)?
                }
                loaded => loaded?,
            };
            if at_once < checkpoints.len() {
                model.unload();
            }
            checkpoint.check_unchanged()?;
            check(&model)?;
            models.push(model);
        }
        Ok((models, at_once))
    }

    /// A model loaded again, with what is known of it.
    pub fn again(&self, checkpoint: &Checkpoint, known: &Model) -> Result<Model> {
        let freeze = Freeze::new(checkpoint, self.freeze);
        let model = Recognised::of(checkpoint, self.candidates, &freeze)?.load(self.setup)?;
        let Model { classes, takes, gives_probabilities, .. } = *known;
        Ok(Model { classes, takes, gives_probabilities, ..model })
    }

    /// Recognises a model and loads its weights. Notes are given once.
    fn one(
        &self,
        checkpoint: &Checkpoint,
        noted: &mut Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Model> {
        let freeze = Freeze::new(checkpoint, self.freeze);
        let recognised = Recognised::of(checkpoint, self.candidates, &freeze)?;
        for note in &recognised.notes {
            if !noted.contains(note) {
                progress.note(note);
                noted.push(note.clone());
            }
        }
        recognised.load(self.setup)
    }
}

/// Fails if a model's head has not the classes of the data. A model without logits has no head.
pub(crate) fn check_classes(
    images: &Images,
    dataset: &dyn Dataset,
    class_map: Option<&ClassMap>,
    model: &Model,
) -> Result<()> {
    let Some(heads) = model.classes else { return Ok(()) };
    if let Some(map) = class_map {
        return map.check(heads, &model.path);
    }
    let (fits, found) = match dataset.classes() {
        Classes::Exactly(n) => (n == heads, n.to_string()),
        Classes::AtLeast(n) => (n <= heads, format!("at least {n}")),
    };
    if fits {
        return Ok(());
    }
    let path = model.path.display();
    let what = format!("the data has {found} classes, the head of `{path}` has {heads}");
    Err(Error::new(Kind::Mismatch, what).at(&images.dir).remedy(concat!(
        "give the data that the model was trained for, or say with ",
        setting!("class_map"),
        " which class is which output"
    )))
}

/// Fails if test images, which are at `at`, have other classes than training images: labels are positions among them.
/// `has_head`: a network is given, which may have classes that no training image is of.
pub(crate) fn same_classes(
    training: &dyn Dataset,
    test: &dyn Dataset,
    at: &Path,
    has_head: bool,
) -> Result<()> {
    let count = |dataset: &dyn Dataset| match dataset.classes() {
        Classes::Exactly(n) => (n, n.to_string(), true),
        Classes::AtLeast(n) => (n, format!("at least {n}"), false),
    };
    let ((trained, of_training, all), (tested, of_test, all_tested)) =
        (count(training), count(test));
    let names = training.class_names().zip(test.class_names()).filter(|_| all && all_tested);
    let other = names.and_then(|(a, b)| a.iter().zip(b).find(|(a, b)| a != b));
    let what = match other {
        _ if tested > trained && (all || !has_head) || all && all_tested && tested != trained => {
            format!(
                "classes differ: the test images have {of_test}, the training images {of_training}"
            )
        }
        Some((a, b)) => format!(
            "the class `{}` of the test images stands where the training images have `{}`",
            printable(b),
            printable(a)
        ),
        None => return Ok(()),
    };
    let remedy = "give test images of the same classes, in folders of the same names";
    Err(Error::new(Kind::Mismatch, what).at(at).remedy(remedy))
}

/// What all models must have in common to share a pass.
pub(super) fn same(
    checkpoints: &[Checkpoint],
    models: &[Model],
    what: &str,
    of: fn(&Model) -> usize,
) -> Result<usize> {
    let first = models.first().map_or(0, of);
    match models.iter().zip(checkpoints).find(|(model, _)| of(model) != first) {
        None => Ok(first),
        Some((model, checkpoint)) => {
            let other = checkpoints[0].path().display();
            let what = format!("has {} {what}, `{other}` has {first}", of(model));
            Err(Error::new(Kind::Mismatch, what)
                .at(checkpoint.path())
                .remedy("evaluate them one by one"))
        }
    }
}
