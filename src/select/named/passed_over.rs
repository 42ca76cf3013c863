//! What a folder or a pattern holds beside the checkpoints that are taken: never fewer of them than there are, in silence.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::others::is_other_state;
use super::{Named, extension};
use crate::Result;
use crate::formats::marker;
use crate::select::words::{is_checkpoints, without_digits};
use crate::store::names::{UNFINISHED, base_name, natural};
use crate::store::{self, EntryKind};

/// Remarks about folders and files that look like checkpoints and are none of those taken.
///
/// # Errors
/// `Io` where a folder cannot be read.
pub(in crate::select) fn notes(all: &[Named], taken: &[PathBuf]) -> Result<Vec<String>> {
    let taken: HashSet<&Path> = taken.iter().map(|path| path.components().as_path()).collect();
    let is_taken = |path: &Path| taken.contains(path.components().as_path());
    let mut notes = vec![];
    for Named { is_pattern, entries, aside, .. } in all {
        let is_folder = !is_pattern;
        let mut whole: HashMap<String, &Path> = HashMap::new();
        let mut others: Vec<&PathBuf> = vec![];
        for path in entries {
            let name = base_name(path);
            match without_digits(&name) {
                Some(plain) if is_taken(path) => drop(whole.insert(plain, path)),
                _ if is_taken(path) || name.starts_with('.') || name.ends_with(UNFINISHED) => {}
                _ if aside.unfinished.contains(path) || aside.no_snapshots.contains(path) => {}
                _ => others.push(path),
            }
        }
        others.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
        let (mut bare, mut broken, mut deeper) = (vec![], vec![], vec![]);
        for path in others {
            let name = base_name(path);
            let beside = without_digits(&name).and_then(|plain| whole.get(&plain));
            // Few look like one; the others are not looked at twice.
            if beside.is_none() && extension(path).is_some() {
                continue;
            }
            if !is_a_folder(path)? {
                // Files that a pattern matches are taken, or a trainer's other states.
                bare.extend((is_folder && is_bare(&name)).then_some(path));
                continue;
            }
            match (holds_checkpoints(path)?, beside) {
                (true, _) if is_folder => deeper.push(path),
                (false, Some(whole)) => broken.push((path, whole)),
                _ => {}
            }
        }
        if let Some((_, whole)) = broken.first() {
            let why = format!(
                "without a whole model, as `{}` has: was a save interrupted?",
                whole.display()
            );
            notes.extend(note(broken.iter().map(|(path, _)| path), &why));
        }
        notes.extend(note(deeper.iter(), "with checkpoints one folder deeper"));
        notes.extend(note(bare.iter(), "without an ending"));
        let name_it = "name it to count it";
        notes.extend(note(
            aside.no_snapshots.iter(),
            &format!("by its name an average or what the run began with ({name_it})"),
        ));
        let unfinished = format!("by its name unfinished ({name_it})");
        notes.extend(note(aside.unfinished.iter(), &unfinished));
    }
    Ok(notes)
}

/// Whether a name may be that of a checkpoint's file without an ending: `epoch_3`.
fn is_bare(name: &str) -> bool {
    let is_named = is_checkpoints(name) && without_digits(name).is_some();
    is_named && !name.contains('.') && !is_other_state(name)
}

fn is_a_folder(path: &Path) -> Result<bool> {
    let kind = store::of(path).look(path)?.and_then(|entry| entry.kind);
    Ok(kind == Some(EntryKind::Folder))
}

/// Whether a folder is a model, or there is a file in it that is called as a checkpoint. No file is looked at.
fn holds_checkpoints(folder: &Path) -> Result<bool> {
    if marker(folder)?.is_some() {
        return Ok(true);
    }
    let is_one = |path: &PathBuf| extension(path).is_some() && !is_other_state(&base_name(path));
    Ok(store::list(folder).is_ok_and(|all| all.iter().any(is_one)))
}

fn note<P: AsRef<Path>>(mut paths: impl Iterator<Item = P>, what: &str) -> Option<String> {
    let first = paths.next()?;
    let first = first.as_ref().display();
    Some(match paths.count() {
        0 => format!("passed over, {what}: `{first}`"),
        n => format!("passed over, {what}: `{first}` and {n} more"),
    })
}

#[cfg(test)]
mod tests {
    use crate::select::tests::Runs;
    use crate::select::{Criteria, select};

    fn notes(runs: &Runs, argument: &str) -> Vec<String> {
        let found = select(&[runs.path(argument)], &Criteria::default()).unwrap();
        let folder = format!("{}/", runs.path("").display().to_string().trim_end_matches('/'));
        found.notes.iter().map(|note| note.replace(&folder, "")).collect()
    }

    #[test]
    fn a_save_that_was_interrupted_is_said() {
        let model = "model.safetensors";
        let runs = Runs::new(&[
            &format!("c-100/{model}"),
            &format!("c-200/{model}"),
            "c-300/optimizer.pt",
            "c-400/optimizer.pt",
            "logs-1/x.txt",
            "logs/x.txt",
        ]);
        for argument in ["", "c-*", "*"] {
            let [note] = &notes(&runs, argument)[..] else { panic!("{argument}") };
            assert!(note.starts_with("passed over, without a whole model, as `c-"), "{note}");
            assert!(note.ends_with("was a save interrupted?: `c-300` and 1 more"), "{note}");
        }
        assert!(notes(&runs, "c-[12]*").is_empty());
    }

    #[test]
    fn what_is_passed_over_is_said() {
        let model = "model.safetensors";
        let runs = Runs::new(&[
            &format!("best/{model}"),
            &format!("swa/{model}.pt"),
            "step-1/epoch_1.pth",
            "logs/x.txt",
        ]);
        let expected = "passed over, with checkpoints one folder deeper: `step-1` and 1 more";
        assert_eq!(notes(&runs, ""), [expected]);
        let runs =
            Runs::new(&["best.pth", "epoch_0", "epoch_1", "LICENSE", "rng_state_0", "job_1"]);
        assert_eq!(notes(&runs, ""), ["passed over, without an ending: `epoch_0` and 1 more"]);
    }
}
