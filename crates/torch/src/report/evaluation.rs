//! The report of an evaluation.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use swa_tools::report::table;
use swa_tools::setting;

use super::part::PaceReport;
use super::scores::{HEADER, Scores};
use crate::jobs::{ClassMapUsed, Evaluated, ProgramRecord, Row};
use crate::session::Speed;

/// What `swa-eval` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct EvaluationReport {
    /// The models in the order in which they were given.
    pub models: Vec<ModelReport>,
    /// The ensemble, if one was asked for.
    pub ensemble: Option<ModelReport>,
    /// From an image to the pixels that the models took: the preset's name and its fields.
    pub transform: Value,
    /// The training augmentation; null: the pixels of evaluation.
    pub augmentation: Value,
    /// Which outputs stand for the classes of the data; null: all, in their order.
    pub class_map: Option<ClassMapUsed>,
    /// The images that were left out, a line each.
    pub skipped: Vec<String>,
    /// What the networks computed in.
    pub precision: Value,
    /// Images that went through the networks at a time; null of merged parts.
    pub batch_size: Option<usize>,
    /// How fast the pass was; null of merged parts.
    pub pace: Option<PaceReport>,
    /// Time that the job took.
    pub seconds: f64,
    #[serde(skip)]
    images: usize,
    #[serde(skip)]
    speed: Option<Speed>,
}

/// A model, or the ensemble, and how it did.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ModelReport {
    /// Its path, or `ensemble of N`.
    pub model: String,
    /// The program that it runs; null for a built-in network and for the ensemble.
    pub program: Option<ProgramRecord>,
    /// How it did.
    #[serde(flatten)]
    pub scores: Scores,
}

impl EvaluationReport {
    /// Of an outcome.
    pub fn of(outcome: &Evaluated) -> Self {
        let rows = outcome.rows();
        let program = |i: usize| outcome.about.programs.get(i).cloned().flatten();
        let model = |(i, row): (usize, &Row)| ModelReport {
            model: row.name.clone(),
            program: program(i),
            scores: Scores::of(row),
        };
        let mut models: Vec<ModelReport> = rows.iter().enumerate().map(model).collect();
        let ensemble = outcome.evaluation.ensemble.as_ref().and_then(|_| models.pop());
        EvaluationReport {
            models,
            ensemble,
            transform: outcome.transform.clone(),
            augmentation: outcome.augmentation.clone(),
            class_map: outcome.about.class_map.clone(),
            skipped: outcome.skipped.clone(),
            precision: outcome.precision.clone(),
            batch_size: outcome.batch_size,
            pace: outcome.speed.as_ref().map(PaceReport::of),
            seconds: outcome.seconds,
            images: outcome.evaluation.labels.len(),
            speed: outcome.speed,
        }
    }

    /// For people: a row a model, and how long it took.
    pub fn text(&self) -> String {
        let rows = || self.models.iter().chain(&self.ensemble);
        let names: Vec<String> = rows().map(|row| row.model.clone()).collect();
        let header = [&["model"], &HEADER[..]].concat();
        let short = short_names(&names);
        let table = table(&header, rows().zip(short).map(|(row, name)| row.scores.row(name)));
        let speed = self.speed.map_or(String::new(), |speed| format!("; {speed}"));
        let (images, seconds) = (self.images, self.seconds);
        format!("{table}\n{images} images in {seconds:.1} s{speed}")
    }

    /// Remarks for people: which models are no better than guessing, and what to check then.
    pub fn remarks(outcome: &Evaluated) -> Vec<String> {
        let outputs = outcome.about.competitors;
        let remark = |name: &str| {
            format!(
                "note: `{name}` is no better than guessing among {outputs} classes: check the pixels ({}), its \
                 batchnorm statistics (swa-bn-update) and the order of the classes ({})",
                setting!("preset"),
                setting!("class_map")
            )
        };
        outcome.guessing().into_iter().map(remark).collect()
    }
}

/// Characters of a name in the table.
const WIDEST: usize = 48;

/// Names without the folders that all paths share, and without their middle where they are long; as they
/// are where the rest would not tell them apart.
pub(super) fn short_names(names: &[String]) -> Vec<String> {
    let paths = || names.iter().filter(|name| name.contains('/'));
    let first = paths().next().map_or("", |name| name.as_str());
    let mut folders = first.match_indices('/').map(|(at, _)| &first[..=at]);
    let shared = folders.rfind(|folder| paths().all(|name| name.starts_with(folder)));
    let several = paths().nth(1).is_some();
    let shared = shared.filter(|_| several).unwrap_or_default();
    let short = |name: &String| -> String {
        let name: Vec<char> = name.strip_prefix(shared).unwrap_or(name).chars().collect();
        if name.len() <= WIDEST {
            return name.into_iter().collect();
        }
        let (start, end) = (&name[..WIDEST / 3], &name[name.len() - (WIDEST - WIDEST / 3 - 1)..]);
        start.iter().chain(&['…']).chain(end).collect()
    };
    let short: Vec<String> = names.iter().map(short).collect();
    let differ: std::collections::HashSet<&String> = short.iter().collect();
    let all: std::collections::HashSet<&String> = names.iter().collect();
    if differ.len() == all.len() { short } else { names.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(names: &[&str]) -> Vec<String> {
        short_names(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn names_lose_what_they_share() {
        assert_eq!(
            short(&["run/a.pth", "run/b.pth", "ensemble of 2"]),
            ["a.pth", "b.pth", "ensemble of 2"]
        );
        assert_eq!(short(&["x/s1/m.pth", "x/s2/m.pth"]), ["s1/m.pth", "s2/m.pth"]);
        assert_eq!(short(&["run/a.pth", "b.pth"]), ["run/a.pth", "b.pth"]);
        assert_eq!(short(&["/one/model.pth"]), ["/one/model.pth"]);
        assert_eq!(short(&["a/m", "a/m"]), ["m", "m"]);
        assert_eq!(short(&[]), Vec::<String>::new());
    }

    #[test]
    fn long_names_lose_their_middle() {
        let long = |end: &str| format!("{}{}{end}", "é".repeat(40), "x".repeat(60));
        let found = short(&[&long("1.pth"), &long("2.pth")]);
        assert_eq!(found[0].chars().count(), WIDEST);
        assert!(found[0].starts_with("éééé") && found[0].ends_with("xxx1.pth"), "{found:?}");
        // The middle is what tells these apart.
        let names = ["a", "b"].map(|c| format!("{0}{c}{0}", "x".repeat(60)));
        assert_eq!(short_names(&names), names);
    }
}
