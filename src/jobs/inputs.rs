//! From arguments to open checkpoints, each snapshot of which counts once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{kept_averages, say_selected};
use crate::average::{Keys, Options};
use crate::checkpoint::{Checkpoint, Take, same};
use crate::select::{Criteria, Selection, find, may_be_copies, tells_more};
use crate::{Progress, Result, setting};

/// Checkpoints that are open, each snapshot once.
pub(super) struct Opened {
    pub selection: Selection,
    pub inputs: Vec<Checkpoint>,
    /// Those that are not among them, as they have the weights of another, each with that one.
    pub repeated: Vec<(PathBuf, PathBuf)>,
    /// Those that are not among them, as they are no snapshots, each with the reason.
    pub no_snapshots: Vec<(PathBuf, &'static str)>,
    /// The first that is among them all the same, as each is meant, and the other.
    pub equal: Option<(PathBuf, PathBuf)>,
}

/// Selects and opens checkpoints. Of those with the same weights one counts, that with the most telling name, and
/// that is said; of weights the tensors count that `options` select. `insist`: each is meant, as where each has a weight of its own.
///
/// # Errors
/// Those of [`select`](crate::select::select) and of [`Checkpoint::open_all`]; `Io` where weights cannot be compared.
pub(super) fn open(
    arguments: &[PathBuf],
    criteria: &Criteria,
    take: &Take,
    options: &Options,
    insist: bool,
    progress: &dyn Progress,
) -> Result<Opened> {
    let mut found = find(arguments, criteria, true)?;
    let notes = found.notes.clone();
    let mut repeated: Vec<(PathBuf, PathBuf)> = vec![];
    if !criteria.allow_duplicates && criteria.is_narrow() {
        let others = copies(&found.paths, criteria, take, options)?;
        leave_out(&mut found, &others);
        repeated.extend(others);
    }
    let mut no_snapshots = vec![];
    let (selection, inputs, equal) = loop {
        let all = found.paths.clone();
        let selection = std::mem::take(&mut found).narrowed(criteria)?;
        let inputs = Checkpoint::open_all(&selection.paths, take)?;
        if criteria.allow_duplicates {
            break (selection, inputs, None);
        }
        let own = pairs(&inputs.iter().collect::<Vec<_>>(), options)?;
        if insist {
            break (selection, inputs, own.into_iter().next());
        }
        let others = kept_averages::find(&inputs, take)?;
        if own.is_empty() && others.is_empty() {
            break (selection, inputs, None);
        }
        // What has moved up takes the places of those that go.
        let (repeated_files, notes) = (selection.repeated, notes.clone());
        found = Selection { paths: all, repeated: repeated_files, notes, ..Selection::default() };
        leave_out(&mut found, &own);
        found.paths.retain(|path| !others.iter().any(|(other, _)| other == path));
        repeated.extend(own);
        no_snapshots.extend(others);
    };
    say_selected(progress, &selection);
    Ok(Opened { selection, inputs, repeated, no_snapshots, equal })
}

impl Opened {
    /// Says which have the same weights as others, and how they would count.
    pub fn say_repeated(&self, progress: &dyn Progress) {
        for (copy, kept) in &self.repeated {
            let (copy, kept) = (copy.display(), kept.display());
            progress.note(&format!(
                "note: `{copy}` has the same weights as `{kept}`: counted once; {} counts both",
                setting!("allow_duplicates")
            ));
        }
        self.say_no_snapshots(progress);
    }

    /// Says what is left out as no snapshot.
    pub fn say_no_snapshots(&self, progress: &dyn Progress) {
        for (path, why) in &self.no_snapshots {
            let path = path.display();
            progress.note(&format!(
                "note: `{path}` {why}: left out; {} counts it",
                setting!("allow_duplicates")
            ));
        }
    }
}

/// Names without a number, and those of the best, that are copies of others: these are told from what else has no
/// number, or has the number of another, before the criteria ask for it.
fn copies(
    paths: &[PathBuf],
    criteria: &Criteria,
    take: &Take,
    options: &Options,
) -> Result<Vec<(PathBuf, PathBuf)>> {
    let without = may_be_copies(paths, criteria.number.as_ref());
    if without.is_empty() || without.len() == paths.len() {
        return Ok(vec![]);
    }
    // What cannot be opened is no copy; it is reported where it counts.
    let open = |path: &PathBuf| Checkpoint::open_with(path, take).ok();
    let opened: Vec<Checkpoint> = paths.iter().filter_map(open).collect();
    let without: HashSet<&Path> = without.into_iter().map(|i| paths[i].as_path()).collect();
    let mut found = pairs(&opened.iter().collect::<Vec<_>>(), options)?;
    found.retain(|(copy, _)| without.contains(copy.as_path()));
    Ok(found)
}

/// Those with the weights of another, each with the one that is kept.
fn pairs(inputs: &[&Checkpoint], options: &Options) -> Result<Vec<(PathBuf, PathBuf)>> {
    let in_all = |name: &str| inputs.iter().all(|input| input.position(name).is_some());
    let counts =
        |name: &str| options.selects(name) && (options.keys != Keys::Intersection || in_all(name));
    let first = same::repeated(inputs, &counts)?;
    let mut kept: Vec<usize> = (0..inputs.len()).collect();
    for (i, first) in first.iter().enumerate() {
        if let Some(first) = first
            && tells_more(inputs[i].path(), inputs[kept[*first]].path())
        {
            kept[*first] = i;
        }
    }
    let group = |i: usize| first[i].unwrap_or(i);
    let pair = |i: usize| {
        let of = kept[group(i)];
        (of != i).then(|| (inputs[i].path().to_path_buf(), inputs[of].path().to_path_buf()))
    };
    Ok((0..inputs.len()).filter_map(pair).collect())
}

fn leave_out(found: &mut Selection, repeated: &[(PathBuf, PathBuf)]) {
    let copies: HashSet<&PathBuf> = repeated.iter().map(|(copy, _)| copy).collect();
    found.paths.retain(|path| !copies.contains(path));
}
