//! What swa-eval says of an evaluation: a table for people, JSON for machines.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::data::Session;
use super::{Common, table};
use swa_base::Result;
use swa_data::ClassMap;
use crate::evaluate::{ClassList, Evaluation, McNemar, Record, Tally};

/// A model, or the ensemble, and what is said of it.
pub(super) struct Row {
    pub name: String,
    pub tally: Tally,
    /// How it compares with the first; not of the first itself.
    difference: Option<(f64, McNemar)>,
}

/// A row a record, the first one's first.
pub(super) fn rows<'a>(names: &[String], records: impl Iterator<Item = &'a Record>) -> Vec<Row> {
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

/// What the models and the ensemble are called, in the order of [`Evaluation::records`].
pub fn names(models: &[PathBuf], members: Option<usize>) -> Vec<String> {
    let models = models.iter().map(|path| path.display().to_string());
    models.chain(members.map(|n| format!("ensemble of {n}"))).collect()
}

/// Prints the evaluation. `beside` are further entries of the JSON object.
pub fn report(
    common: &Common,
    names: &[String],
    evaluation: &Evaluation,
    beside: Value,
) -> Result<()> {
    let rows = rows(names, evaluation.records());
    let mut models: Vec<Value> = rows.iter().map(|row| row.json("model")).collect();
    let ensemble = evaluation.ensemble.as_ref().and_then(|_| models.pop());
    let mut all = json!({ "models": models, "ensemble": ensemble });
    if let (Value::Object(all), Value::Object(beside)) = (&mut all, beside) {
        all.extend(beside);
    }
    common.json(all)?;
    let header = [&["model"], &HEADER[..]].concat();
    let short = short_names(names);
    common.say(table(&header, rows.iter().zip(short).map(|(row, name)| row.text(name))))
}

/// Says which models are no better than guessing among so many outputs: rarely is that the training's
/// fault.
pub fn remark(common: &Common, names: &[String], evaluation: &Evaluation, outputs: usize) {
    for (name, record) in names.iter().zip(evaluation.records()) {
        if Tally::of(&record.outcomes).interval().0 <= 1.0 / outputs as f64 {
            common.note(format!(
                "note: `{name}` is no better than guessing among {outputs} classes: check the pixels \
                 (--preset), its batchnorm statistics (swa-bn-update) and the order of the classes \
                 (--class-map)"
            ));
        }
    }
}

/// What is said of an evaluation beside its outcomes: it is known before the pass, and kept in its parts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// What the models and the ensemble are called.
    pub names: Vec<String>,
    /// Of the networks.
    pub outputs: usize,
    /// Outputs that compete.
    pub competitors: usize,
    /// The output of each class.
    classes: Vec<u32>,
    class_names: Option<Vec<String>>,
    /// What JSON says of the class map.
    pub class_map: Value,
}

impl About {
    pub fn new(names: Vec<String>, session: &Session, competitors: usize, restrict: bool) -> Self {
        let outputs = session.models.first().map_or(0, |model| model.classes);
        let map = session.class_map.as_ref();
        let names_of_data = || session.dataset.class_names().map(<[String]>::to_vec);
        About {
            names,
            outputs,
            competitors,
            classes: map.map_or_else(|| (0..outputs as u32).collect(), ClassMap::outputs),
            class_names: map.map_or_else(names_of_data, ClassMap::names),
            class_map: map.map_or(Value::Null, |map| class_map_record(map, restrict)),
        }
    }

    /// As a part has it; None if that is broken.
    pub fn of_part(notes: &Value) -> Option<Self> {
        let about: About = serde_json::from_value(notes.clone()).ok()?;
        about.classes.iter().all(|&output| (output as usize) < about.outputs).then_some(about)
    }

    /// The classes that reports are about.
    pub fn classes(&self) -> ClassList {
        ClassList::new(self.classes.clone(), self.class_names.clone(), self.outputs)
    }
}

/// What JSON says of a class map.
fn class_map_record(map: &ClassMap, restrict: bool) -> Value {
    json!({
        "file": map.path().display().to_string(),
        "classes": map.outputs().len(),
        "left_out": map.left_out(),
        "restrict": restrict,
    })
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

impl Row {
    /// `what` the name is of.
    pub(super) fn json(&self, what: &str) -> Value {
        let Row { name, tally, difference } = self;
        let (low, high) = tally.interval();
        let mut row = json!({
            what: name,
            "top1": 100.0 * tally.top1(),
            "top5": 100.0 * tally.top5(),
            "nll": tally.nll(),
            "ece": tally.ece(),
            "n": tally.n(),
            "correct": tally.correct(),
            "interval": [100.0 * low, 100.0 * high],
        });
        if let Some((difference, test)) = difference {
            row["difference"] = json!(100.0 * difference);
            row["mcnemar_p"] = json!(test.p());
            row["only_first_right"] = json!(test.first);
            row["only_this_right"] = json!(test.second);
        }
        row
    }

    /// As [`HEADER`] says, under a name.
    pub(super) fn text(&self, name: String) -> Vec<String> {
        let Row { tally, difference, .. } = self;
        let (low, high) = tally.interval();
        let (difference, p) = match difference {
            None => (String::new(), String::new()),
            Some((difference, test)) => {
                let p = test.p();
                let p = if p < 1e-4 { "<0.0001".into() } else { format!("{p:.4}") };
                (format!("{:+.2}", 100.0 * difference), p)
            }
        };
        vec![
            name,
            format!("{:.2}", 100.0 * tally.top1()),
            format!("{:.2}–{:.2}", 100.0 * low, 100.0 * high),
            format!("{:.2}", 100.0 * tally.top5()),
            format!("{:.4}", tally.nll()),
            format!("{:.4}", tally.ece()),
            difference,
            p,
        ]
    }
}

/// Of a table of such rows, behind the names.
pub(super) const HEADER: [&str; 7] =
    ["top-1 %", "95 % interval", "top-5 %", "nll", "ece", "vs first", "McNemar p"];

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
