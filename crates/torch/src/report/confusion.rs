//! Confusion matrices: which class is taken for which.

use std::collections::HashMap;
use std::io;

use crate::evaluate::ClassList;
use crate::evaluate::{Evaluation, Record};

/// The column of predictions that are not among the classes of the data.
const OTHER: &str = "(other)";

/// Counts of images by class and predicted class; None is an output that stands for no class. Absent pairs are 0.
pub fn confusion(
    labels: &[u32],
    record: &Record,
    classes: &ClassList,
) -> HashMap<(usize, Option<usize>), usize> {
    let mut counts = HashMap::new();
    for (&label, outcome) in labels.iter().zip(&record.outcomes) {
        let class = classes.of_output(label).expect("labels are outputs of classes");
        *counts.entry((class, classes.of_output(outcome.predicted))).or_insert(0) += 1;
    }
    counts
}

/// Writes the matrices of all models one below the other: `model,true`, then a column a predicted class,
/// and one for all other outputs if there are any.
pub(super) fn write_confusion(
    out: &mut dyn io::Write,
    titles: &[String],
    evaluation: &Evaluation,
    classes: &ClassList,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let others = (!classes.has_all_outputs()).then_some(None);
    let columns: Vec<Option<usize>> = (0..classes.len()).map(Some).chain(others).collect();
    let title = |column: &Option<usize>| column.map_or_else(|| OTHER.into(), |c| classes.title(c));
    let header = ["model".to_string(), "true".to_string()].into_iter();
    csv.write_record(header.chain(columns.iter().map(title)))?;
    for (model, record) in titles.iter().zip(evaluation.records()) {
        let counts = confusion(&evaluation.labels, record, classes);
        for class in 0..classes.len() {
            csv.write_field(model)?;
            csv.write_field(classes.title(class))?;
            for &column in &columns {
                let count = counts.get(&(class, column)).copied().unwrap_or(0);
                csv.write_field(count.to_string())?;
            }
            csv.write_record(None::<&[u8]>)?;
        }
    }
    csv.flush()
}
