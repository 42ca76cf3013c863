//! What checkpoints hold, and what of it would be averaged.

use std::path::PathBuf;

use super::{inputs, say_selected};
use crate::average::{self, Rule, quantised, rule};
use crate::checkpoint::{Checkpoint, Take};
use crate::programs::Program;
use crate::select::{Criteria, select_any};
use crate::store;
use crate::{Progress, Result, choices};

/// Which checkpoints to look into.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// Files, folders and patterns.
    pub checkpoints: Vec<PathBuf>,
    /// Which of them count.
    pub criteria: Criteria,
    /// Which of the weights in a file are meant.
    pub take: Take,
    /// How they would be averaged.
    pub options: average::Options,
}

/// What checkpoints hold.
#[derive(Debug)]
pub struct Listed {
    /// In natural order.
    pub checkpoints: Vec<Contents>,
    /// Exported programs among them, in natural order.
    pub programs: Vec<Program>,
}

/// What a checkpoint holds.
#[derive(Debug)]
pub struct Contents {
    /// Names, types and shapes; no tensor was read.
    pub checkpoint: Checkpoint,
    /// What would become of each tensor, in the order of [`Checkpoint::tensors`].
    pub fates: Vec<Fate>,
}

choices! {
    /// What becomes of a tensor.
    pub enum Fate {
        Averaged = "averaged": "The mean over the checkpoints",
        FromTheLast = "from the last": "Taken from the last checkpoint",
        LeftOut = "left out": "A wrapper's counter, which is not part of the model",
        Refused = "refused": "Its type has no average",
    }
}

/// Lists what checkpoints and exported programs hold; of checkpoints nothing is read but their headers.
///
/// # Errors
/// Those of finding and opening them.
pub fn list(options: &List, progress: &dyn Progress) -> Result<Listed> {
    let List { checkpoints, criteria, take, .. } = options;
    // What is chosen from is chosen as for averaging; else all are looked into.
    let (inputs, programs) = match criteria.is_narrow() {
        true => {
            let opened =
                inputs::open(checkpoints, criteria, take, &options.options, false, progress)?;
            opened.say_repeated(progress);
            (opened.inputs, vec![])
        }
        false => {
            let selection = select_any(checkpoints, criteria)?;
            say_selected(progress, &selection);
            let (mut checkpoints, mut programs) = (vec![], vec![]);
            for path in selection.paths {
                // What is wrong with a file is said by opening it.
                match !store::is_folder(&path)? && Program::is_one(&path).unwrap_or(false) {
                    true => programs.push(Program::open(&path)?),
                    false => checkpoints.push(path),
                }
            }
            (Checkpoint::open_all(&checkpoints, take)?, programs)
        }
    };
    for input in &inputs {
        // What it would say when they are averaged; one checkpoint alone is copied.
        if let Err(error) = quantised::refuse(input, &|name| options.options.selects(name)) {
            progress.note(&format!("note: not averaged with others: {error}"));
        }
    }
    let contents = |checkpoint: Checkpoint| Contents {
        fates: (0..checkpoint.tensors().len())
            .map(|tensor| fate(&checkpoint, tensor, &options.options))
            .collect(),
        checkpoint,
    };
    Ok(Listed { checkpoints: inputs.into_iter().map(contents).collect(), programs })
}

fn fate(input: &Checkpoint, tensor: usize, options: &average::Options) -> Fate {
    if input.is_counter(tensor) {
        return Fate::LeftOut;
    }
    match rule(&input.tensors()[tensor], options) {
        Ok((Rule::Mean(_), _)) => Fate::Averaged,
        Ok((Rule::Last | Rule::Convert(_), _)) => Fate::FromTheLast,
        Err(_) => Fate::Refused,
    }
}
