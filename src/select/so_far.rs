//! What is there by now, of a run that is still going on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::named::{self, Wanted};
use super::numbers::{numbers, unnumbered};
use super::{Criteria, natural, without_repetitions};
use crate::formats::marker;
use crate::formats::shards::is_shard;
use crate::store::{self, names::base_name};
use crate::{Error, Kind, Result, setting};

impl Criteria {
    /// Fails for criteria whose meaning changes when a checkpoint comes or goes.
    ///
    /// # Errors
    /// `Usage` for positions, for results, and for cycles without a start.
    pub fn check_steady(&self) -> Result<()> {
        let remedy = concat!("give ", setting!("start"), " as well");
        match () {
            () if self.by_position => Err(Error::usage(concat!(
                setting!("by_position"),
                ": positions change when checkpoints are deleted"
            ))
            .remedy("use the numbers in the names")),
            () if self.every.is_some() && self.start.is_none() => Err(Error::usage(concat!(
                setting!("every"),
                " counts from the smallest number, which may be deleted"
            ))
            .remedy(remedy)),
            () if self.results.is_some() => Err(Error::usage(concat!(
                setting!("metrics"),
                ": what is best among them changes with each that comes"
            ))
            .remedy("choose when the run is over")),
            () => Ok(()),
        }
    }
}

/// The checkpoints that the arguments name by now and that meet the criteria but [`Criteria::last`], in natural order.
/// `earlier` ones count where names are compared to find the numbers in them, whether or not they are still there.
/// None is no error. With criteria, names without a number among numbered ones are passed over: trainers write `last`
/// and `best` anew all the time.
///
/// # Errors
/// Those of [`select`](super::select) but `NoMatch`; `Mismatch` will not pass; and `Usage` where names have no number that criteria need.
pub fn so_far(
    arguments: &[PathBuf],
    criteria: &Criteria,
    earlier: &[PathBuf],
) -> Result<Vec<PathBuf>> {
    let mut all = vec![];
    for argument in arguments {
        // What is named and not there yet is waited for.
        if !named::is_pattern(argument)? && !store::exists(argument)? {
            continue;
        }
        match named::of(argument, Wanted::SnapshotsSoFar) {
            Ok(found) => all.push(found),
            Err(e) if e.kind() == Kind::NoMatch => {}
            Err(e) => return Err(e),
        }
    }
    named::refuse_several(&all)?;
    let mut paths = named::flat(&all);
    named::refuse_parts(&paths)?;
    paths.retain(|path| !is_shard(&base_name(path)));
    paths
        .sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()).then_with(|| a.cmp(b)));
    let (paths, _) = without_repetitions(paths);
    let Criteria { start, every, range, number, .. } = criteria;
    let needs_numbers = start.is_some() || every.is_some() || range.is_some();
    let paths = match needs_numbers || criteria.last.is_some() {
        true => without_unnumbered(paths, number.as_ref(), earlier),
        false => paths,
    };
    if paths.is_empty() || !needs_numbers {
        return Ok(paths);
    }
    let all: Vec<PathBuf> = paths.iter().chain(earlier).cloned().collect();
    let Some(numbers) = numbers(&all, number.as_ref())? else {
        return Err(Error::usage("has no number in its name, which the criteria need")
            .at(&paths[0])
            .remedy(concat!(
                "leave out ",
                setting!("start"),
                ", ",
                setting!("every"),
                " and ",
                setting!("range")
            )));
    };
    let first = start.unwrap_or(0);
    let counts = |n: u64| {
        n >= first
            && every.is_none_or(|every| (n - first) % every == 0)
            && range.as_ref().is_none_or(|range| range.contains(&n))
    };
    Ok(paths.into_iter().zip(numbers).filter(|(_, n)| counts(*n)).map(|(path, _)| path).collect())
}

/// Folders that hold parts of a model and not what makes them one, an index or `.metadata`: it is still being written, or its
/// trainer has died. Each comes with its parts.
pub fn unfinished(arguments: &[PathBuf]) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    // A folder that is gone meanwhile holds nothing.
    let list = |folder: &Path| store::list(folder).unwrap_or_default();
    let is_folder = |path: &Path| store::is_folder(path).unwrap_or(false);
    for argument in arguments {
        let pattern = argument.to_string_lossy();
        let is_there = store::exists(argument).unwrap_or(false);
        let named = match pattern.contains(['*', '?', '[']) && !is_there {
            true => store::of(argument).matches(&pattern).unwrap_or_default(),
            false => vec![argument.clone()],
        };
        for path in named {
            let folders: Vec<PathBuf> = match is_folder(&path) {
                true => {
                    list(&path).into_iter().filter(|path| is_folder(path)).chain([path]).collect()
                }
                false => {
                    let folder = path.parent().filter(|_| is_part(&base_name(&path)));
                    // That of a name alone is the one we are in.
                    let whole = |folder: &Path| match folder.as_os_str().is_empty() {
                        true => PathBuf::from("."),
                        false => folder.to_path_buf(),
                    };
                    folder.map(whole).into_iter().collect()
                }
            };
            for folder in folders {
                let mut parts = list(&folder);
                parts.retain(|path| is_part(&base_name(path)));
                if !parts.is_empty() && marker(&folder).is_ok_and(|marker| marker.is_none()) {
                    parts.sort();
                    found.insert(folder, parts);
                }
            }
        }
    }
    found
}

/// Whether a file is one of several of a model: a shard, or a process's part of torch.distributed.checkpoint.
fn is_part(name: &str) -> bool {
    is_shard(name) || name.ends_with(".distcp")
}

fn without_unnumbered(
    mut paths: Vec<PathBuf>,
    number: Option<&Regex>,
    earlier: &[PathBuf],
) -> Vec<PathBuf> {
    let without = unnumbered(&paths, number);
    if without.len() < paths.len() || unnumbered(earlier, number).len() < earlier.len() {
        let mut places = 0..;
        paths.retain(|_| places.next().is_some_and(|place| !without.contains(&place)));
    }
    paths
}

/// The largest number of some checkpoints, if their names have numbers that can be told.
pub fn last_number(paths: &[PathBuf], number: Option<&Regex>) -> Option<u64> {
    numbers(paths, number).ok()??.into_iter().max()
}

/// The folders in which a checkpoint that an argument names can appear: one that is named, or the first part of a
/// pattern.
pub fn folder_of(argument: &Path) -> PathBuf {
    let is_plain = |path: &Path| !path.to_string_lossy().contains(['*', '?', '[']);
    let folder = match store::is_folder(argument).unwrap_or(false) {
        true => Some(argument),
        false => argument.ancestors().skip(1).find(|path| is_plain(path)),
    };
    match folder {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Runs;
    use super::*;
    use std::num::NonZeroU64;

    #[test]
    fn numbers_count_from_the_start_whatever_is_still_there() {
        let runs = Runs::new(&["e_4.pth", "e_6.pth", "e_7.pth", "e_8.pth", "notes.txt"]);
        let criteria =
            Criteria { start: Some(2), every: NonZeroU64::new(2), ..Criteria::default() };
        let pattern = [runs.path("e_*.pth")];
        let found = |criteria: &Criteria, earlier: &[PathBuf]| {
            let names = so_far(&pattern, criteria, earlier).unwrap();
            names.iter().map(|path| crate::select::base_name(path)).collect::<Vec<_>>()
        };
        assert_eq!(found(&criteria, &[]), ["e_4.pth", "e_6.pth", "e_8.pth"]);
        let range = Criteria { range: Some(5..=7), ..Criteria::default() };
        assert_eq!(found(&range, &[]), ["e_6.pth", "e_7.pth"]);
        assert!(
            so_far(&[runs.path("x_*.pth"), runs.path("none")], &criteria, &[]).unwrap().is_empty()
        );
        assert!(criteria.check_steady().is_ok());
        for bad in [
            Criteria { start: None, ..criteria.clone() },
            Criteria { by_position: true, ..Criteria::default() },
        ] {
            assert_eq!(bad.check_steady().unwrap_err().kind(), Kind::Usage);
        }
    }

    #[test]
    fn names_that_are_written_anew_are_passed_over_where_numbers_count() {
        let runs = Runs::new(&["d/epoch=1-step=9.ckpt", "d/last.ckpt", "d/epoch=2-step=18.ckpt"]);
        let folder = [runs.path("d")];
        let found = |criteria: &Criteria| so_far(&folder, criteria, &[]).unwrap().len();
        let number = Some(Regex::new("epoch=([0-9]+)").unwrap());
        assert_eq!(found(&Criteria::default()), 3);
        assert_eq!(
            found(&Criteria { start: Some(1), number: number.clone(), ..Criteria::default() }),
            2
        );
        let last = std::num::NonZeroUsize::new(3);
        assert_eq!(found(&Criteria { last, number, ..Criteria::default() }), 2);
        assert_eq!(found(&Criteria { last, ..Criteria::default() }), 2);
        // The trainer has deleted those that had a number.
        let counted = [runs.path("d/epoch=1-step=9.ckpt")];
        let runs = Runs::new(&["d/last.ckpt"]);
        let criteria = Criteria { last, ..Criteria::default() };
        assert!(so_far(&[runs.path("d")], &criteria, &counted).unwrap().is_empty());
        assert_eq!(so_far(&[runs.path("d")], &criteria, &[]).unwrap().len(), 1);
    }

    #[test]
    fn earlier_names_tell_which_number_counts() {
        let runs = Runs::new(&["resnet50_e3.pth"]);
        let pattern = [runs.path("*.pth")];
        let criteria = Criteria { start: Some(3), ..Criteria::default() };
        assert_eq!(so_far(&pattern, &criteria, &[]).unwrap_err().kind(), Kind::Usage);
        let gone = [runs.path("resnet50_e2.pth")];
        assert_eq!(so_far(&pattern, &criteria, &gone).unwrap().len(), 1);
        assert_eq!(last_number(&[gone[0].clone(), runs.path("resnet50_e3.pth")], None), Some(3));
    }

    #[test]
    fn parts_of_a_model_that_is_being_written_are_no_checkpoints() {
        let runs = Runs::new(&[
            "r/c-1/model-00001-of-00002.safetensors",
            "r/c-2/mp_rank_00_model_states.pt",
            "r/.tmpXvGj9B",
            "r/.c-3/model.safetensors",
        ]);
        let found = |pattern: &str| {
            let found = so_far(&[runs.path(pattern)], &Criteria::default(), &[]).unwrap();
            found.iter().map(|path| crate::select::base_name(path)).collect::<Vec<_>>()
        };
        for pattern in ["r/*", "r/c-*", "r/c-1", "r/c-1/*.safetensors", "r"] {
            assert!(found(pattern).is_empty(), "{pattern}");
        }
        std::fs::write(runs.path("r/c-1/model.safetensors.index.json"), "{\"weight_map\": {}}")
            .unwrap();
        for pattern in ["r/*", "r/c-*", "r/c-1", "r"] {
            assert_eq!(found(pattern), ["c-1"], "{pattern}");
        }
        // What is hidden counts where it is named.
        assert_eq!(found("r/.tmp*"), [".tmpXvGj9B"]);
    }

    #[test]
    fn what_a_run_begins_with_does_not_count_before_its_snapshots_come() {
        let files = ["r/init.pt", "r/tmp-step_1.pt", "r/swa_1.pt"];
        let runs = Runs::new(&files);
        let found = |pattern: &str| {
            let found = so_far(&[runs.path(pattern)], &Criteria::default(), &[]).unwrap();
            found.iter().map(|path| crate::select::base_name(path)).collect::<Vec<_>>()
        };
        // A numbered one may be one of many.
        assert_eq!(found("r"), ["swa_1.pt"]);
        assert_eq!(found("r/i*"), [""; 0]);
        assert_eq!(found("r/init*"), ["init.pt"]);
        for snapshot in ["r/step_1.pt", "r/step_2.pt"] {
            std::fs::write(runs.path(snapshot), snapshot).unwrap();
        }
        assert_eq!(found("r"), ["step_1.pt", "step_2.pt"]);
    }

    #[test]
    fn a_pattern_is_watched_from_its_first_folder_on() {
        let runs = Runs::new(&["a/x.pth"]);
        assert_eq!(folder_of(&runs.path("a/e_*.pth")), runs.path("a"));
        assert_eq!(folder_of(&runs.path("*/e_1.pth")), runs.path("").components().as_path());
        assert_eq!(folder_of(&runs.path("a")), runs.path("a"));
        assert_eq!(folder_of(Path::new("e_*.pth")), Path::new("."));
    }
}
