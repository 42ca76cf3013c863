//! The files that swa-eval writes: their flags, what is checked before the pass, and the writing after it.

use std::io;
use std::path::{Path, PathBuf};

use super::evaluation::short_names;
use super::{Common, shell_word};
use swa_data::Dataset;
use swa_base::text::printable;
use crate::evaluate::{
    ClassList, Evaluation, LogitsFile, Tally, reliability_svg, write_confusion, write_per_class,
    write_predictions,
};
use swa_tools::output::{atomic, write_stream};
use swa_base::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// Write each class's top-1 with its interval
    #[arg(long, value_name = "FILE.csv", help_heading = "Files")]
    pub per_class: Option<PathBuf>,

    /// Write which class was taken for which: a matrix a model, true × predicted
    #[arg(long, value_name = "FILE.csv", help_heading = "Files")]
    pub confusion: Option<PathBuf>,

    /// Draw accuracy against confidence, a panel a model
    #[arg(long, value_name = "FILE.svg", help_heading = "Files")]
    pub reliability: Option<PathBuf>,

    /// Write each image's label and its five likeliest classes with their probabilities
    #[arg(long, value_name = "FILE.csv", help_heading = "Files")]
    pub predictions: Option<PathBuf>,

    /// Write `labels` (n) and `logits` (models × n × outputs), rows in the order of the data set
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Files")]
    pub logits: Option<PathBuf>,

    /// Overwrite those files if they exist
    #[arg(long, help_heading = "Files")]
    pub force: bool,
}

/// What the files are made of.
pub struct Evaluated<'a> {
    /// What models and ensemble are called.
    pub titles: &'a [String],
    pub evaluation: &'a Evaluation,
    pub classes: &'a ClassList,
    /// Where --predictions takes the images' names from.
    pub dataset: Option<&'a dyn Dataset>,
}

impl FileArgs {
    /// Those given, by their flags.
    pub fn given(&self) -> Vec<(&'static str, &Path)> {
        let all = [
            ("--per-class", &self.per_class),
            ("--confusion", &self.confusion),
            ("--reliability", &self.reliability),
            ("--predictions", &self.predictions),
            ("--logits", &self.logits),
        ];
        all.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?))).collect()
    }

    /// Fails if a file cannot be written, is one of `inputs` or is given twice. To be called before any
    /// work is done.
    pub fn check(&self, inputs: &[PathBuf]) -> Result<()> {
        atomic::check_targets(&self.given(), self.force, inputs)
    }

    /// Writes all files. One that fails does not keep the others from being written; the first error is
    /// returned.
    pub fn write(
        &self,
        common: &Common,
        evaluated: &Evaluated,
        logits: Option<LogitsFile>,
    ) -> Result<()> {
        let Evaluated { titles, evaluation, classes, dataset } = *evaluated;
        let titles: &Vec<String> = &titles.iter().map(|title| printable(title)).collect();
        let name = |image: usize| dataset.map_or_else(String::new, |data| data.name(image));
        let stream = |path: &Option<PathBuf>,
                      fill: &dyn Fn(&mut dyn io::Write) -> io::Result<()>| {
            path.as_ref().map(|path| (path.clone(), write_stream(path, self.force, fill)))
        };
        let diagram = |out: &mut dyn io::Write| {
            let tallies = evaluation.records().map(|record| Tally::of(&record.outcomes));
            let models: Vec<_> = short_names(titles).into_iter().zip(tallies).collect();
            out.write_all(reliability_svg(&models).as_bytes())
        };
        let finished = self.logits.clone().zip(logits);
        let results = [
            stream(&self.per_class, &|out| write_per_class(out, titles, evaluation, classes)),
            stream(&self.confusion, &|out| write_confusion(out, titles, evaluation, classes)),
            stream(&self.reliability, &diagram),
            stream(&self.predictions, &|out| {
                write_predictions(out, titles, evaluation, classes, &name)
            }),
            finished.map(|(path, file)| (path, file.finish(&evaluation.labels))),
        ];
        let mut first: Option<Error> = None;
        for (path, result) in results.into_iter().flatten() {
            match result {
                Ok(()) => common.say(format!("wrote {}", shell_word(&path)))?,
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(()), Err)
    }
}
