//! What the arguments name: files, patterns, folders.
//!
//! `folder` finds what is in one; `others` tells what stands beside the snapshots, and `passed_over` says it; `parts`, `series`
//! and `several` refuse what is not of one model; `remedies` says what to name instead.

mod folder;
mod others;
mod parts;
mod passed_over;
mod remedies;
mod series;
mod several;

use std::path::{Path, PathBuf};

use crate::formats::shards::{is_shard, model};
use crate::formats::{endings, marker};
use crate::store::{self, names::base_name};
use crate::{Error, Result};
use folder::in_folder;
use others::SetAside;
pub(super) use parts::refuse as refuse_parts;
pub(super) use passed_over::notes as passed_over;

/// Which of the checkpoints that a folder or a pattern names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever is there, as to look at it.
    All,
    /// The snapshots of a run.
    Snapshots,
    /// Those of a run that is still going on, by now.
    SnapshotsSoFar,
}

/// What an argument names.
pub(super) struct Named {
    /// A file, a folder or a pattern.
    argument: PathBuf,
    is_pattern: bool,
    /// The argument itself or what it matches, each with its checkpoints.
    found: Vec<(PathBuf, Vec<PathBuf>)>,
    /// What a pattern matches, or a folder holds that is no model itself.
    entries: Vec<PathBuf>,
    /// What of that is no snapshot.
    aside: SetAside,
}

impl Named {
    /// The checkpoints alone.
    pub fn checkpoints(&self) -> impl Iterator<Item = &PathBuf> {
        self.found.iter().flat_map(|(_, found)| found)
    }
}

/// All that the arguments name, in their order.
pub(super) fn expand(arguments: &[PathBuf], wanted: Wanted) -> Result<Vec<Named>> {
    let all = arguments.iter().map(|argument| of(argument, wanted));
    let all = all.collect::<Result<Vec<_>>>()?;
    // A part can be looked at.
    if wanted != Wanted::All {
        parts::refuse(&flat(&all))?;
    }
    Ok(all)
}

/// What an argument names.
pub(super) fn of(argument: &Path, wanted: Wanted) -> Result<Named> {
    let is_growing = wanted == Wanted::SnapshotsSoFar;
    let is_pattern = is_pattern(argument)?;
    let argument = argument.to_path_buf();
    let (mut found, entries) = if is_pattern {
        let entries = store::of(&argument).matches(&argument.to_string_lossy())?;
        (matches(&argument, &entries, is_growing)?, entries)
    } else if store::is_folder(&argument)? {
        let entries = store::list(&argument)?;
        let own = in_folder(&argument, &entries)?;
        let is_model =
            own.first().is_some_and(|first| first.components().eq(argument.components()));
        let entries = if is_model { vec![] } else { entries };
        (vec![(argument.clone(), own)], entries)
    } else {
        (vec![(argument.clone(), checkpoints(&argument)?)], vec![])
    };
    if !is_pattern && found[0].1.is_empty() {
        return Err(remedies::holds_none(&argument));
    }
    // A file or a model that is named is meant.
    let aside = match entries.is_empty() || wanted == Wanted::All {
        true => SetAside::default(),
        false => others::set_aside(&mut found, is_pattern.then_some(&argument), is_growing),
    };
    Ok(Named { argument, is_pattern, found, entries, aside })
}

/// Whether it is not the name of something that is there.
pub(super) fn is_pattern(argument: &Path) -> Result<bool> {
    Ok(argument.to_string_lossy().contains(['*', '?', '[']) && !store::exists(argument)?)
}

/// The checkpoints alone.
pub(super) fn flat(all: &[Named]) -> Vec<PathBuf> {
    all.iter().flat_map(Named::checkpoints).cloned().collect()
}

/// Fails for checkpoints that cannot be those of one model.
///
/// # Errors
/// `Mismatch`.
pub(super) fn refuse_several(all: &[Named]) -> Result<()> {
    several::refuse(all)?;
    all.iter().try_for_each(series::refuse)
}

/// What a pattern matches, and the checkpoints of each. Folders without any, as `runs/logs` for `runs/*`, are skipped.
/// Of a run that is still going on, a folder counts as a model alone: its files may be parts of one whose index is still
/// to come.
fn matches(
    pattern: &Path,
    entries: &[PathBuf],
    is_growing: bool,
) -> Result<Vec<(PathBuf, Vec<PathBuf>)>> {
    let (mut named, mut empty) = (Vec::new(), None);
    for path in entries {
        if is_growing && store::is_folder(path)? && marker(path)?.is_none() {
            continue;
        }
        let checkpoints = checkpoints(path)?;
        match checkpoints.is_empty() {
            true => drop(empty.get_or_insert(path)),
            false => named.push((path.clone(), checkpoints)),
        }
    }
    match empty {
        _ if !named.is_empty() || is_growing => Ok(named),
        Some(folder) => Err(remedies::holds_none(folder)),
        None => Err(remedies::no_match(&pattern.to_string_lossy())),
    }
}

/// The checkpoints that one path names: itself, or those in a folder, if any.
fn checkpoints(path: &Path) -> Result<Vec<PathBuf>> {
    if store::is_folder(path)? {
        return in_folder(path, &store::list(path)?);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = base_name(path);
    // The only way to name a sharded model that has snapshots beside it.
    let is_json = name.ends_with(".json") && store::is_file(path)?;
    let index = match is_json || is_shard(&name) {
        true => model(folder)?.filter(|model| model.is_index),
        false => None,
    };
    if is_json && index.as_ref().is_some_and(|index| base_name(&index.path) == name) {
        return Ok(vec![folder.to_path_buf()]);
    }
    if is_shard(&name) && index.is_some() {
        return Err(Error::usage("is one shard of a model")
            .at(path)
            .remedy(format!("name its folder, `{}`", folder.display())));
    }
    Ok(vec![path.to_path_buf()])
}

/// The ending of a file's name, if it is one of checkpoints.
pub(super) fn extension(path: &Path) -> Option<&'static str> {
    let own = path.extension()?;
    endings().find(|known| own.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::{Runs, fails};
    use crate::select::{Criteria, select};

    #[test]
    fn a_model_folder_is_one_checkpoint() {
        let runs = Runs::new(&["a/model.safetensors", "a/config.json", "a/onnx/x.safetensors"]);
        assert_eq!(runs.select(&["a"]), ["a"]);
        let runs = Runs::new(&[
            "a/model.safetensors.index.json",
            "a/model-00001-of-00002.safetensors",
            "a/model-00002-of-00002.safetensors",
        ]);
        assert_eq!(runs.select(&["a"]), ["a"]);
        assert_eq!(runs.select(&["a/"]), ["a"]);
    }

    #[test]
    fn what_is_hidden_is_matched_as_by_the_shell() {
        let runs = Runs::new(&["r/e_1.pth", "r/._e_1.pth", "r/.tmpXvGj9B", "r/.c/e_2.pth"]);
        for pattern in ["r/*", "r/*.pth", "r/**/*.pth", "r"] {
            assert_eq!(runs.select(&[pattern]), ["r/e_1.pth"], "{pattern}");
        }
        assert_eq!(runs.select(&["r/.tmp*"]), ["r/.tmpXvGj9B"]);
        // Hydra's folders look like patterns.
        let runs = Runs::new(&["lr=[1,2]/e_1.pth"]);
        assert!(runs.fails(&["lr=[1,2]/*.pth"]).contains("`[[]` is the bracket itself"));
        assert_eq!(runs.select(&["lr=[[]1,2]/*.pth"]), ["lr=[1,2]/e_1.pth"]);
    }

    #[test]
    fn a_folder_is_the_files_in_it() {
        let runs = Runs::new(&[
            "e_10.safetensors",
            "e_9.safetensors",
            ".e_8.safetensors",
            "log.txt",
            "deeper/e_7.safetensors",
        ]);
        assert_eq!(runs.select(&[""]), ["e_9.safetensors", "e_10.safetensors"]);
        // A link that leads nowhere stays, to be reported.
        std::os::unix::fs::symlink("gone", runs.path("e_11.safetensors")).unwrap();
        assert_eq!(runs.select(&[""]).len(), 3);
    }

    #[test]
    fn a_folder_is_the_model_folders_in_it() {
        let runs = Runs::new(&[
            "checkpoint-1000/model.safetensors",
            "checkpoint-500/model.safetensors.index.json",
            ".cache/model.safetensors",
            "logs/events",
            "swa.partial/model.safetensors",
        ]);
        assert_eq!(runs.select(&[""]), ["checkpoint-500", "checkpoint-1000"]);
        // A link that leads nowhere stays, to be reported.
        std::os::unix::fs::symlink("gone", runs.path("logs/model.safetensors")).unwrap();
        assert_eq!(runs.select(&[""]).len(), 3);
    }

    #[test]
    fn a_shard_is_an_error() {
        let shard = "a/model-00001-of-00003.safetensors";
        let runs = Runs::new(&["a/model.safetensors.index.json", shard]);
        let folder = runs.path("a");
        for argument in [shard, "a/*.safetensors"] {
            let error = runs.fails(&[argument]);
            let tail = format!("is one shard of a model; name its folder, `{}`", folder.display());
            assert!(error.ends_with(&tail), "{error}");
        }
        // Without an index beside it, it is a file as any other.
        let runs = Runs::new(&[shard]);
        assert_eq!(runs.select(&[shard]), [shard]);
    }

    #[test]
    fn a_pattern_passes_over_folders_without_checkpoints() {
        let runs = Runs::new(&["logs/x", "c-9/model.safetensors", "c-10/model.safetensors"]);
        assert_eq!(runs.select(&["*"]), ["c-9", "c-10"]);
        assert!(runs.fails(&["l*"]).contains("logs`: holds no checkpoints"));
        assert!(runs.fails(&["x*"]).starts_with("no file matches `"));
    }

    #[test]
    fn a_pattern_expands_the_folders_it_matches() {
        let runs = Runs::new(&["a/e_1.safetensors", "b/e_2.safetensors", "c/model.safetensors"]);
        assert_eq!(runs.select(&["[ab]"]), ["a/e_1.safetensors", "b/e_2.safetensors"]);
        assert_eq!(runs.select(&["*"]).len(), 3);
        let runs = Runs::new(&["a/model.safetensors", "a/b/model.safetensors", "c/x.safetensors"]);
        assert!(runs.fails(&["*"]).contains("holds a model, and folders"));
    }

    #[test]
    fn what_does_not_exist_is_reported_when_opened() {
        let missing = Path::new("/nowhere/epoch_3.safetensors").to_path_buf();
        let found = select(std::slice::from_ref(&missing), &Criteria::default()).unwrap();
        assert_eq!(found.paths, [missing]);
        assert!(select(&[], &Criteria::default()).unwrap().paths.is_empty());
        assert!(fails(&["/nowhere/*"], &Criteria::default()).starts_with("no file matches"));
        assert!(fails(&["/nowhere/a**"], &Criteria::default()).starts_with("bad pattern"));
    }
}
