//! Which checkpoints the arguments name, which of them to use, and in which order.
//!
//! `named` finds them; `numbers` gives each the number in its name, which `name_parts` reads; `criteria`
//! narrows them down by it, and by a trainer's results, which `metrics` reads; `order` tells which comes after which.

mod criteria;
mod example;
mod metrics;
mod name_parts;
mod named;
mod numbers;
pub(crate) mod order;
mod so_far;
mod words;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::Result;
use crate::formats::shards::model;
pub use crate::store::names::{base_name, natural};
use crate::store::{self, Identity};
pub use criteria::{Criteria, parse_range};
pub use metrics::{ByResults, Choice, Chosen, ChosenCheckpoint, Direction, Reason, Swad};
use named::Wanted;
pub use numbers::numbers;
use numbers::unnumbered;
pub use so_far::{folder_of, last_number, so_far, unfinished};

/// Inputs in natural order, and what became of the others.
#[derive(Debug, Default)]
pub struct Selection {
    /// Files, and folders that hold one model.
    pub paths: Vec<PathBuf>,
    /// Second names of files, each with the name that was kept.
    pub repeated: Vec<(PathBuf, PathBuf)>,
    /// How many did not meet the criteria.
    pub left_out: usize,
    /// What was chosen by results, where they decide.
    pub chosen: Option<Chosen>,
    /// Remarks for the user, one line each.
    pub notes: Vec<String>,
}

/// Expands the arguments and narrows them down: a file is itself, a pattern (quoted, so that the
/// shell left it alone) is all it matches, a folder is one model or the checkpoints in it. What does not exist is
/// kept, to be reported when it is opened.
///
/// # Errors
/// `Usage` for arguments that are ambiguous or name a shard, `NoMatch` where they or the criteria leave nothing,
/// `Io` where a folder cannot be read, `Mismatch` where they are of several models. With results also `Input` where their file
/// does not hold them.
pub fn select(arguments: &[PathBuf], criteria: &Criteria) -> Result<Selection> {
    find(arguments, criteria, true)?.narrowed(criteria)
}

/// The same of checkpoints that need not be of one model.
pub(crate) fn select_any(arguments: &[PathBuf], criteria: &Criteria) -> Result<Selection> {
    find(arguments, criteria, false)?.narrowed(criteria)
}

/// All that the arguments name, before the criteria narrow them down. `of_one_model`: they are averaged.
///
/// # Errors
/// Those of [`select`], and `Mismatch` for checkpoints that cannot be those of one model.
pub(crate) fn find(
    arguments: &[PathBuf],
    criteria: &Criteria,
    of_one_model: bool,
) -> Result<Selection> {
    // Who looks at what is there looks at averages, too.
    let wanted = match of_one_model || criteria.is_narrow() {
        true => Wanted::Snapshots,
        false => Wanted::All,
    };
    let all = named::expand(arguments, wanted)?;
    if of_one_model {
        named::refuse_several(&all)?;
    }
    let mut paths = named::flat(&all);
    let notes = named::passed_over(&all, &paths)?;
    // Names that are not Unicode may look alike: then their bytes decide, not the order of the listing.
    paths
        .sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()).then_with(|| a.cmp(b)));
    let (paths, repeated) = match criteria.allow_duplicates {
        true => (paths, vec![]),
        false => without_repetitions(paths),
    };
    Ok(Selection { paths, repeated, notes, ..Selection::default() })
}

impl Selection {
    /// What meets the criteria.
    pub(crate) fn narrowed(mut self, criteria: &Criteria) -> Result<Self> {
        let all = self.paths.len();
        (self.paths, self.chosen) = criteria.narrow(self.paths, &mut self.notes)?;
        self.left_out += all - self.paths.len();
        Ok(self)
    }
}

/// Whether the name of one of two equal checkpoints tells more: `best` and `last` may be other names of `epoch_2`, which
/// has the number, and so may `best_auc_epoch_2`, which has it, too. Of `step-2/model.pth` and `final/model.pth` the
/// folders tell.
pub(crate) fn tells_more(one: &Path, other: &Path) -> bool {
    let standing = |path: &Path, other: &Path| {
        let mut parts = path.components().rev().zip(other.components().rev());
        let own = parts.find(|(own, others)| own != others).map(|(own, _)| own);
        let name = own.map_or_else(|| base_name(path), |own| base_name(own.as_ref()));
        let has_number = name.contains(|c: char| c.is_ascii_digit());
        (store::is_link(path), !has_number, words::further(name_parts::without_extensions(&name)))
    };
    standing(one, other) < standing(other, one)
}

/// Which checkpoints trainers write again and again, by their names: those without a number, and the best.
pub(crate) fn may_be_copies(paths: &[PathBuf], number: Option<&Regex>) -> Vec<usize> {
    let mut places = unnumbered(paths, number);
    if places.len() < paths.len() {
        let is_best = |i: &usize| words::is_best(&base_name(&paths[*i]));
        let best: Vec<usize> = (0..paths.len()).filter(is_best).collect();
        places.retain(|place| !best.contains(place));
        places.extend(best);
    }
    places
}

/// Each file once, under the most telling of its names; and the other names, each with the one that was kept.
fn without_repetitions(paths: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<(PathBuf, PathBuf)>) {
    let mut names: HashMap<Identity, &PathBuf> = HashMap::new();
    let ids: Vec<_> = paths.iter().map(|path| identity(path)).collect();
    for (path, id) in paths.iter().zip(&ids) {
        if let Some(id) = id {
            let kept = names.entry(*id).or_insert(path);
            if tells_more(path, kept) {
                *kept = path;
            }
        }
    }
    let (mut once, mut repeated, mut taken) = (vec![], vec![], HashSet::new());
    for (path, id) in paths.iter().zip(&ids) {
        match id.and_then(|id| Some((id, *names.get(&id)?))) {
            Some((id, kept)) if path != kept || !taken.insert(id) => {
                repeated.push((path.clone(), kept.clone()));
            }
            _ => once.push(path.clone()),
        }
    }
    (once, repeated)
}

/// What would be read; None if it cannot be opened, which opening it will report.
fn identity(path: &Path) -> Option<Identity> {
    // A model in one file is that file. Sharded models may differ even if they share an index: caches that store
    // equal files once share it between revisions.
    let only = match store::is_folder(path).unwrap_or(false) {
        true => model(path).ok().flatten().filter(|model| !model.is_index).map(|model| model.path),
        false => None,
    };
    store::of(path).identity(only.as_deref().unwrap_or(path))
}

#[cfg(test)]
mod tests;
