//! Accuracy class by class.

use std::io;

use crate::evaluate::ClassList;
use crate::evaluate::wilson;
use crate::evaluate::{Evaluation, Record};

/// Images of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// How many.
    pub n: usize,
    /// Those whose label ranked first.
    pub correct: usize,
}

/// Counts of a model's outcomes by class, for images with these labels.
pub fn per_class(labels: &[u32], record: &Record, classes: &ClassList) -> Vec<ClassCount> {
    let mut counts = vec![ClassCount::default(); classes.len()];
    for (&label, outcome) in labels.iter().zip(&record.outcomes) {
        let class = classes.of_output(label).expect("labels are outputs of classes");
        counts[class].n += 1;
        counts[class].correct += outcome.top1 as usize;
    }
    counts
}

/// Writes a row a model and class: `model,class,name,output,n,correct,top1,low,high`; the last three, top-1
/// and its 95 % interval (Wilson), in percent, and empty for a class without images.
pub(super) fn write_per_class(
    out: &mut dyn io::Write,
    titles: &[String],
    evaluation: &Evaluation,
    classes: &ClassList,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["model", "class", "name", "output", "n", "correct", "top1", "low", "high"])?;
    for (title, record) in titles.iter().zip(evaluation.records()) {
        for (class, count) in per_class(&evaluation.labels, record, classes).iter().enumerate() {
            let ClassCount { n, correct } = *count;
            let percent = |share: f64| match n {
                0 => String::new(),
                _ => format!("{:.4}", 100.0 * share),
            };
            let (low, high) = wilson(correct, n);
            csv.write_record([
                title.as_str(),
                &class.to_string(),
                classes.name(class).unwrap_or_default(),
                &classes.output(class).to_string(),
                &n.to_string(),
                &correct.to_string(),
                &percent(correct as f64 / n as f64),
                &percent(low),
                &percent(high),
            ])?;
        }
    }
    csv.flush()
}
