//! The outcome of an evaluation.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use swa_data::{ClassMap, Dataset};
use swa_tools::{Result, TRANSFORM_KEY};

use super::sharing::State;
use crate::evaluate::{self, ClassList, LogitsFile, McNemar, Record, Tally};
use crate::nn::ProgramRecord;
use crate::parts::Part;
use crate::session::{Session, Speed};

/// The outcome of a whole pass: what every model did on every image.
pub struct Evaluated {
    /// The names of the models, the classes and the ensemble.
    pub about: About,
    /// Each model's outcome on each image.
    pub evaluation: evaluate::Evaluation,
    /// From an image to the pixels that the models took, as it is recorded in models.
    pub transform: Value,
    /// The training augmentation; null: the pixels of evaluation.
    pub augmentation: Value,
    /// What the networks computed in, by name.
    pub precision: Value,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// How many images went through the networks at a time; None of merged parts.
    pub batch_size: Option<usize>,
    /// How fast the pass was; None of merged parts.
    pub speed: Option<Speed>,
    /// From the beginning of the job to its end.
    pub seconds: f64,
    /// The data, which know the names of the images; None of merged parts.
    pub dataset: Option<Arc<dyn Dataset>>,
    /// The file of logits, still to be completed (`report::write_files`).
    pub logits: Option<LogitsFile>,
    /// The state file of the pass.
    pub state: State,
}

/// The figures of a model, or of the ensemble.
#[derive(Debug, Clone)]
pub struct Row {
    /// The model's name.
    pub name: String,
    /// Counts and sums over the images.
    pub tally: Tally,
    /// The difference of its top-1 to that of the first model, as a share, and the test of it; None for the first.
    pub difference: Option<(f64, McNemar)>,
}

impl Row {
    /// A row for each record, compared with the first.
    pub fn all<'a>(names: &[String], records: impl Iterator<Item = &'a Record>) -> Vec<Row> {
        let mut first: Option<(&Record, f64)> = None;
        let row = |(name, record): (&String, &'a Record)| {
            let tally = Tally::of(&record.outcomes);
            let difference = first.map(|(first, top1)| {
                (tally.top1() - top1, McNemar::of(&first.outcomes, &record.outcomes))
            });
            first.get_or_insert((record, tally.top1()));
            Row { name: name.clone(), tally, difference }
        };
        names.iter().zip(records).map(row).collect()
    }
}

impl Evaluated {
    /// From a part that is a whole pass, with what the part records. Evaluating adds what only the process that ran
    /// the pass knows.
    pub(super) fn of_part(about: About, part: &Part<evaluate::Evaluation>) -> Result<Self> {
        let settings = part.identity.get("settings");
        Ok(Evaluated {
            evaluation: part.content.clone().in_order(about.outputs)?,
            about,
            transform: part.identity.get(TRANSFORM_KEY).clone(),
            augmentation: settings["augmentation"].clone(),
            precision: settings["precision"].clone(),
            skipped: part.progress.lines(),
            batch_size: None,
            speed: None,
            seconds: 0.0,
            dataset: None,
            logits: None,
            state: State::default(),
        })
    }

    /// A row a model, the ensemble's last.
    pub fn rows(&self) -> Vec<Row> {
        Row::all(&self.about.names, self.evaluation.records())
    }

    /// The models that are no better than guessing among the competing outputs, which is rarely the fault of training.
    pub fn guessing(&self) -> Vec<&str> {
        let chance = 1.0 / self.about.competitors as f64;
        let records = self.about.names.iter().zip(self.evaluation.records());
        let guesses =
            records.filter(|(_, record)| Tally::of(&record.outcomes).interval().0 <= chance);
        guesses.map(|(name, _)| name.as_str()).collect()
    }
}

/// What reports need in addition to the outcomes. It is known before the pass, and kept in its parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// The names of the models, then of the ensemble.
    pub names: Vec<String>,
    /// The programs that the models run; None for a built-in network.
    #[serde(default)]
    pub programs: Vec<Option<ProgramRecord>>,
    /// How many outputs the networks have.
    pub outputs: usize,
    /// How many outputs compete.
    pub competitors: usize,
    /// The output of each class.
    classes: Vec<u32>,
    class_names: Option<Vec<String>>,
    /// The class map, if one was given.
    pub class_map: Option<ClassMapUsed>,
}

/// Which outputs stand for the classes of the data.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClassMapUsed {
    /// The file.
    pub file: String,
    /// How many classes the data have.
    pub classes: usize,
    /// How many entries of the file are of classes that the data do not have.
    pub left_out: usize,
    /// Whether the other outputs do not compete.
    pub restrict: bool,
}

impl About {
    pub(super) fn new(
        names: Vec<String>,
        session: &Session,
        competitors: usize,
        restrict: bool,
    ) -> Self {
        let outputs = session.models.first().and_then(|model| model.classes).unwrap_or(0);
        let programs =
            session.models.iter().map(|model| Some(model.program.as_ref()?.record.clone()));
        let map = session.class_map.as_ref();
        let names_of_data = || session.dataset.class_names().map(<[String]>::to_vec);
        About {
            programs: programs.collect(),
            names,
            outputs,
            competitors,
            classes: map.map_or_else(|| (0..outputs as u32).collect(), ClassMap::outputs),
            class_names: map.map_or_else(names_of_data, ClassMap::names),
            class_map: map.map(|map| ClassMapUsed {
                file: map.path().display().to_string(),
                classes: map.outputs().len(),
                left_out: map.left_out(),
                restrict,
            }),
        }
    }

    /// From the notes of a part; None if they are damaged.
    pub(super) fn of_notes(notes: &Value) -> Option<Self> {
        let about: About = serde_json::from_value(notes.clone()).ok()?;
        about.classes.iter().all(|&output| (output as usize) < about.outputs).then_some(about)
    }

    /// The classes that reports are about.
    pub fn classes(&self) -> ClassList {
        ClassList::new(self.classes.clone(), self.class_names.clone(), self.outputs)
    }
}
