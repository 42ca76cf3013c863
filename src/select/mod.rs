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
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    /// Files in a folder of their own, each holding its name.
    pub struct Runs(tempfile::TempDir);

    impl Runs {
        pub fn new(files: &[&str]) -> Self {
            let runs = Runs(tempfile::tempdir().unwrap());
            for file in files {
                std::fs::create_dir_all(runs.path(file).parent().unwrap()).unwrap();
                std::fs::write(runs.path(file), file).unwrap();
            }
            runs
        }

        pub fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn with(&self, arguments: &[&str], criteria: &Criteria) -> Result<Selection> {
            let paths: Vec<_> = arguments.iter().map(|name| self.path(name)).collect();
            select(&paths, criteria)
        }

        fn names(&self, selection: &Selection) -> Vec<String> {
            let name = |path: &PathBuf| path.strip_prefix(self.0.path()).unwrap().to_owned();
            let name = |path| name(path).into_os_string().into_string().unwrap();
            selection.paths.iter().map(name).collect()
        }

        /// What is selected, relative to the folder.
        pub fn select(&self, arguments: &[&str]) -> Vec<String> {
            self.names(&self.with(arguments, &Criteria::default()).unwrap())
        }

        pub fn fails(&self, arguments: &[&str]) -> String {
            let error = self.with(arguments, &Criteria::default()).unwrap_err();
            assert!([2, 3].contains(&error.kind().exit_code()), "{error}");
            error.to_string()
        }
    }

    pub fn fails(paths: &[&str], criteria: &Criteria) -> String {
        let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
        let error = select(&paths, criteria).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        error.to_string()
    }

    /// Which of the paths, counted from 1, are selected, and the notes.
    pub fn positions(paths: &[&str], criteria: &Criteria) -> (Vec<usize>, Vec<String>) {
        let all: Vec<_> = paths.iter().map(PathBuf::from).collect();
        let found = select(&all, criteria).unwrap();
        let position = |path| 1 + all.iter().position(|p| p == path).unwrap();
        (found.paths.iter().map(position).collect(), found.notes)
    }

    #[test]
    fn files_under_several_names_count_once() {
        let runs = Runs::new(&["c_10", "c_9", "other"]);
        std::fs::hard_link(runs.path("c_9"), runs.path("last")).unwrap();
        let found = runs.with(&["c_*", "last"], &Criteria::default()).unwrap();
        assert_eq!(runs.names(&found), ["c_9", "c_10"]);
        assert_eq!(found.repeated.len(), 1);
        assert!(found.repeated[0].0.ends_with("last") && found.repeated[0].1.ends_with("c_9"));
        // A link that sorts first does not take the place of the file it leads to.
        std::os::unix::fs::symlink(runs.path("c_10"), runs.path("best")).unwrap();
        let found = runs.with(&["best", "c_*", "c_9"], &Criteria::default()).unwrap();
        assert_eq!(runs.names(&found), ["c_9", "c_10"]);
        assert!(found.repeated[0].0.ends_with("best") && found.repeated[0].1.ends_with("c_10"));
        // Named twice: said as well.
        assert!(found.repeated[1].0.ends_with("c_9") && found.repeated[1].1.ends_with("c_9"));
    }

    #[test]
    fn folders_under_several_names_count_once() {
        let runs = Runs::new(&["r/c-1/model.safetensors", "r/c-2/model.safetensors.index.json"]);
        std::os::unix::fs::symlink("c-2", runs.path("r/best")).unwrap();
        let file = "r/c-1/model.safetensors";
        let found = runs.with(&["r", file, "r/best/"], &Criteria::default()).unwrap();
        assert_eq!(runs.names(&found), ["r/c-1", "r/c-2"]);
        let repeated: Vec<_> = found.repeated.iter().map(|(_, kept)| base_name(kept)).collect();
        assert_eq!(repeated, ["c-2", "c-2", "c-1"]);
        // One index does not make one model of two.
        let runs = Runs::new(&["a/model.safetensors.index.json", "b/x"]);
        let index = |folder: &str| runs.path(folder).join("model.safetensors.index.json");
        std::fs::hard_link(index("a"), index("b")).unwrap();
        assert_eq!(runs.select(&["a", "b"]), ["a", "b"]);
    }

    #[test]
    fn repetitions_are_gone_before_anything_is_counted() {
        let runs = Runs::new(&["r/e_1.safetensors", "r/e_2.safetensors", "r/e_3.safetensors"]);
        std::fs::hard_link(runs.path("r/e_2.safetensors"), runs.path("r/best.safetensors"))
            .unwrap();
        let every = NonZeroU64::new(2);
        let criteria = Criteria { every, by_position: true, ..Criteria::default() };
        let found = runs.with(&["r"], &criteria).unwrap();
        assert_eq!(runs.names(&found), ["r/e_1.safetensors", "r/e_3.safetensors"]);
        assert_eq!((found.left_out, found.repeated.len(), found.notes.len()), (1, 1, 0));
    }

    #[test]
    fn who_looks_at_what_is_there_sees_averages_too() {
        let runs = Runs::new(&["r/e_1.pt", "r/e_2.pt", "r/swa.pt"]);
        let of = |select: fn(&[PathBuf], &Criteria) -> Result<Selection>, criteria: &Criteria| {
            runs.names(&select(&[runs.path("r")], criteria).unwrap())
        };
        let all = Criteria::default();
        assert_eq!(of(select_any, &all), ["r/e_1.pt", "r/e_2.pt", "r/swa.pt"]);
        assert_eq!(of(select, &all), ["r/e_1.pt", "r/e_2.pt"]);
        // As of what is narrowed down, to see what would be averaged.
        let last = Criteria { last: std::num::NonZeroUsize::new(1), ..all };
        assert_eq!(of(select_any, &last), ["r/e_2.pt"]);
    }

    #[test]
    fn model_folders_are_numbered_by_their_names() {
        let runs = Runs::new(&["r7/c-500/model.safetensors", "r7/c-1000/model.safetensors"]);
        let criteria = Criteria { start: Some(600), ..Criteria::default() };
        for arguments in [&["r7"][..], &["r7/*"], &["r7/*/model.safetensors"]] {
            let found = runs.with(arguments, &criteria).unwrap();
            assert!(runs.names(&found)[0].starts_with("r7/c-1000"));
            assert_eq!((found.paths.len(), found.left_out), (1, 1));
        }
    }

    #[test]
    fn names_without_numbers_are_counted_by_position() {
        let criteria = Criteria { start: Some(2), ..Criteria::default() };
        let (kept, notes) = positions(&["/r7/b.pt", "/r7/a.pt", "/r7/c.h5"], &criteria);
        assert_eq!(kept, [1, 3]);
        assert_eq!(notes, ["no name has a number: counted by position in natural order"]);
    }

    #[test]
    fn natural_order_stays_whatever_the_numbers_are() {
        let number = Some(regex::Regex::new(r"s(\d+)").unwrap());
        let criteria = Criteria { number, start: Some(2), ..Criteria::default() };
        let (kept, _) = positions(&["/r/e3_s2", "/r/e2_s3", "/r/e1_s1"], &criteria);
        assert_eq!(kept, [2, 1]);
    }

    #[test]
    fn names_that_are_no_unicode_are_inputs_too() {
        use std::os::unix::ffi::OsStrExt;
        let runs = Runs::new(&[]);
        let name = |bytes| runs.0.path().join(std::ffi::OsStr::from_bytes(bytes));
        let paths = [name(b"e_\xfe1.safetensors"), name(b"e_\xff1.safetensors")];
        for path in &paths {
            std::fs::write(path, "").unwrap();
        }
        let found = runs.with(&[""], &Criteria::default()).unwrap();
        assert_eq!(found.paths, paths);
    }
}
