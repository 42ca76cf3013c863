//! The files of an evaluation.

use std::io;
use std::path::PathBuf;

use swa_tools::output::write_stream;
use swa_tools::text::printable;
use swa_tools::{Error, Result};

use super::confusion::write_confusion;
use super::evaluation::short_names;
use super::per_class::write_per_class;
use super::predictions::write_predictions;
use super::reliability::reliability_svg;
use crate::evaluate::Tally;
use crate::jobs::{Evaluated, Files};

/// Writes the files that were asked for, and calls `written` for each. If one fails, the others are still written.
///
/// # Errors
/// The first error, of writing or of `written`.
pub fn write_files(
    files: &Files,
    evaluated: &mut Evaluated,
    written: &mut dyn FnMut(PathBuf) -> Result<()>,
) -> Result<()> {
    let logits = evaluated.logits.take();
    let Evaluated { about, evaluation, dataset, .. } = &*evaluated;
    let classes = &about.classes();
    let titles: &Vec<String> = &about.names.iter().map(|title| printable(title)).collect();
    let name = |image: usize| dataset.as_ref().map_or_else(String::new, |data| data.name(image));
    let stream = |path: &Option<PathBuf>, fill: &dyn Fn(&mut dyn io::Write) -> io::Result<()>| {
        path.as_ref().map(|path| (path.clone(), write_stream(path, files.force, fill)))
    };
    let diagram = |out: &mut dyn io::Write| {
        let tallies = evaluation.records().map(|record| Tally::of(&record.outcomes));
        let models: Vec<_> = short_names(titles).into_iter().zip(tallies).collect();
        out.write_all(reliability_svg(&models).as_bytes())
    };
    let finished = files.logits.clone().zip(logits);
    let results = [
        stream(&files.per_class, &|out| write_per_class(out, titles, evaluation, classes)),
        stream(&files.confusion, &|out| write_confusion(out, titles, evaluation, classes)),
        stream(&files.reliability, &diagram),
        stream(&files.predictions, &|out| {
            write_predictions(out, titles, evaluation, classes, &name)
        }),
        finished.map(|(path, file)| (path, file.finish(&evaluation.labels))),
    ];
    let mut first: Option<Error> = None;
    for (path, result) in results.into_iter().flatten() {
        match result {
            Ok(()) => written(path)?,
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(()), Err)
}
