//! What a folder or a pattern holds beside the checkpoints that are taken: never fewer of them than there are, in silence.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::arguments::{checkpoints, is_other_state, is_pattern};
use crate::store::names::{UNFINISHED, base_name};
use crate::store::{self, EntryKind};
use crate::{Error, Result};

/// Remarks about folders and files that look like checkpoints and were passed over.
///
/// # Errors
/// `Usage` for a folder without a complete model beside some that differ from it by their numbers alone: a save was interrupted.
pub(super) fn look(arguments: &[PathBuf], taken: &[PathBuf]) -> Result<Vec<String>> {
    let taken: HashSet<&Path> = taken.iter().map(|path| path.components().as_path()).collect();
    let is_taken = |path: &Path| taken.contains(path.components().as_path());
    let mut notes = vec![];
    for argument in arguments {
        let is_pattern = is_pattern(argument)?;
        let all = match is_pattern {
            true => store::of(argument).matches(&argument.to_string_lossy())?,
            false if store::is_folder(argument)? && !is_taken(argument) => store::list(argument)?,
            false => continue,
        };
        let (mut folders, mut files) = (vec![], vec![]);
        for path in all {
            let name = base_name(&path);
            if name.starts_with('.') || name.ends_with(UNFINISHED) {
                continue;
            }
            match store::of(&path).look(&path)?.and_then(|entry| entry.kind) {
                Some(EntryKind::Folder) => folders.push(path),
                _ if !is_pattern && !is_taken(&path) => files.push(path),
                _ => {}
            }
        }
        let (whole, others): (Vec<PathBuf>, Vec<PathBuf>) =
            folders.into_iter().partition(|path| is_taken(path));
        let mut deeper = vec![];
        for folder in others {
            // What cannot be looked at further is said where it is named.
            let has_checkpoints = !checkpoints(&folder).is_ok_and(|found| found.is_empty());
            if has_checkpoints && is_pattern {
                continue;
            }
            let name = plain(&folder);
            if let Some(beside) = whole.iter().find(|path| name.1 && plain(path) == name)
                && !has_checkpoints
            {
                let what = format!("holds no whole model, and `{}` does", beside.display());
                return Err(Error::usage(what).at(&folder).remedy(
                    "it may have been interrupted: remove it or save it again, or name the others",
                ));
            }
            if has_checkpoints {
                deeper.push(folder);
            }
        }
        notes.extend(note(&deeper, "holds checkpoints as well, one folder deeper"));
        files.retain(|path| {
            let name = base_name(path);
            let numbered = plain(path).1;
            numbered && !name.contains('.') && !is_other_state(&name)
        });
        notes.extend(note(&files, "has no ending"));
    }
    Ok(notes)
}

/// A name without its digits, and whether it has any.
fn plain(path: &Path) -> (String, bool) {
    let name = base_name(path);
    let rest = name.replace(|c: char| c.is_ascii_digit(), "");
    let has = rest.len() < name.len();
    (rest, has)
}

fn note(paths: &[PathBuf], what: &str) -> Option<String> {
    let [first, more @ ..] = paths else { return None };
    let more = match more.len() {
        0 => String::new(),
        n => format!(", and so do {n} more"),
    };
    Some(format!("`{}` {what}{more}: passed over, name what is meant", first.display()))
}

#[cfg(test)]
mod tests {
    use super::super::select;
    use super::super::tests::Runs;
    use crate::select::Criteria;

    #[test]
    fn a_save_that_was_interrupted_is_named() {
        let model = "model.safetensors";
        let runs = Runs::new(&[
            &format!("c-100/{model}"),
            &format!("c-200/{model}"),
            "c-300/optimizer.pt",
            "logs/x.txt",
        ]);
        for arguments in [&[""][..], &["c-*"], &["*"]] {
            let error = runs.fails(arguments);
            assert!(error.contains("c-300`: holds no whole model, and `"), "{error}");
        }
        assert_eq!(runs.select(&["c-1*", "c-200"]).len(), 2);
    }

    #[test]
    fn what_is_passed_over_is_said() {
        let model = "model.safetensors";
        let runs = Runs::new(&[
            &format!("best/{model}"),
            &format!("step-1/unet/{model}"),
            &format!("step-2/unet/{model}"),
            "logs/x.txt",
        ]);
        let notes = |runs: &Runs| select(&[runs.path("")], &Criteria::default()).unwrap().notes;
        let [note] = &notes(&runs)[..] else { panic!() };
        assert!(note.contains("step-1` holds checkpoints as well, one folder deeper, and so do 1"));
        let runs = Runs::new(&["best.pth", "epoch_0", "epoch_1", "LICENSE", "rng_state_0"]);
        let [note] = &notes(&runs)[..] else { panic!() };
        assert!(note.contains("epoch_0` has no ending, and so do 1 more: passed over"), "{note}");
    }
}
