//! What swa-eval says of an evaluation: a table for people, JSON for machines.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Common, table};
use crate::Result;
use crate::evaluate::{Evaluation, McNemar, Record, Tally};

/// A model, or the ensemble, and what is said of it.
struct Row {
    name: String,
    tally: Tally,
    /// How it compares with the first; not of the first itself.
    difference: Option<(f64, McNemar)>,
}

/// What the models and the ensemble are called, in the order of [`Evaluation::records`].
pub fn names(models: &[PathBuf], members: Option<usize>) -> Vec<String> {
    let models = models.iter().map(|path| path.display().to_string());
    models.chain(members.map(|n| format!("ensemble of {n}"))).collect()
}

fn rows(names: &[String], evaluation: &Evaluation) -> Vec<Row> {
    let first = &evaluation.models[0];
    let top1 = Tally::of(&first.outcomes).top1();
    let row = |(i, (name, record)): (usize, (&String, &Record))| {
        let tally = Tally::of(&record.outcomes);
        let difference =
            (i > 0).then(|| (tally.top1() - top1, McNemar::of(&first.outcomes, &record.outcomes)));
        Row { name: name.clone(), tally, difference }
    };
    names.iter().zip(evaluation.records()).enumerate().map(row).collect()
}

/// Prints the evaluation. `beside` are further entries of the JSON object.
pub fn report(
    common: &Common,
    names: &[String],
    evaluation: &Evaluation,
    beside: Value,
) -> Result<()> {
    let rows = rows(names, evaluation);
    let mut models: Vec<Value> = rows.iter().map(json_row).collect();
    let ensemble = evaluation.ensemble.as_ref().and_then(|_| models.pop());
    let mut all = json!({ "models": models, "ensemble": ensemble });
    if let (Value::Object(all), Value::Object(beside)) = (&mut all, beside) {
        all.extend(beside);
    }
    common.json(all)?;
    let header =
        ["model", "top-1 %", "95 % interval", "top-5 %", "nll", "ece", "vs first", "McNemar p"];
    common.say(table(&header, rows.iter().map(text_row)))
}

fn json_row(Row { name, tally, difference }: &Row) -> Value {
    let (low, high) = tally.interval();
    let mut row = json!({
        "model": name,
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

fn text_row(Row { name, tally, difference }: &Row) -> Vec<String> {
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
        name.clone(),
        format!("{:.2}", 100.0 * tally.top1()),
        format!("{:.2}–{:.2}", 100.0 * low, 100.0 * high),
        format!("{:.2}", 100.0 * tally.top5()),
        format!("{:.4}", tally.nll()),
        format!("{:.4}", tally.ece()),
        difference,
        p,
    ]
}
