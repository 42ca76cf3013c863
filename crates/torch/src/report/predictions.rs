//! The predictions of each model for each image.

use std::io;

use crate::evaluate::ClassList;
use crate::evaluate::Evaluation;
use crate::evaluate::TOP;
use swa_base::text::printable;

/// Writes a row an image and model: `model,file,label,class1,p1,…,class5,p5`, the likeliest class first,
/// with its probability; empty where fewer than five outputs compete. `file` names an image by its index
/// in the data set. The evaluation must have kept the best outputs.
pub(super) fn write_predictions(
    out: &mut dyn io::Write,
    titles: &[String],
    evaluation: &Evaluation,
    classes: &ClassList,
    file: &dyn Fn(usize) -> String,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    let best = (1..=TOP).flat_map(|i| [format!("class{i}"), format!("p{i}")]);
    csv.write_record(["model", "file", "label"].map(str::to_string).into_iter().chain(best))?;
    for (row, (&image, &label)) in evaluation.images.iter().zip(&evaluation.labels).enumerate() {
        let (file, label) = (printable(&file(image as usize)), classes.output_title(label));
        for (model, record) in titles.iter().zip(evaluation.records()) {
            [model, &file, &label].iter().try_for_each(|field| csv.write_field(field))?;
            let kept = record.top.len() / record.outcomes.len();
            for (output, p) in &record.top[row * kept..][..kept] {
                csv.write_field(classes.output_title(*output))?;
                csv.write_field(p.to_string())?;
            }
            (0..2 * (TOP - kept)).try_for_each(|_| csv.write_field(""))?;
            csv.write_record(None::<&[u8]>)?;
        }
    }
    csv.flush()
}
