//! From temporary names to final ones, for one output or several.

use super::layout::Sink;
use crate::Result;
use crate::process::signals::naming;

/// An output that is complete under a temporary name. Dropped before [`AtomicOutput::complete`] it leaves
/// nothing behind, once it has no name.
pub(crate) trait AtomicOutput: Sink {
    /// Makes everything durable but the name.
    fn make_durable(&self) -> Result<()>;

    /// Takes the name. What had it before is kept if `keep` is set and the file system can.
    fn take_name(&mut self, keep: bool) -> Result<()>;

    /// Gives the name back to what had it before, as far as that was kept.
    fn withdraw(&mut self);

    /// Makes the name durable and removes what had it before.
    fn complete(self: Box<Self>) -> Result<()>;
}

/// Gives all outputs their names, or none.
///
/// All are durable before the first gets its name, and no signal handler runs between names. If one cannot
/// have its name, the others give theirs back.
pub(crate) fn commit_all(mut outputs: Vec<Box<dyn AtomicOutput>>) -> Result<()> {
    outputs.iter().try_for_each(|output| output.make_durable())?;
    let keep = outputs.len() > 1;
    let naming = naming();
    for number in 0..outputs.len() {
        if let Err(e) = outputs[number].take_name(keep) {
            outputs[..number].iter_mut().rev().for_each(|output| output.withdraw());
            return Err(e);
        }
    }
    drop(naming);
    outputs.into_iter().try_for_each(|output| output.complete())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::{AtomicFile, AtomicFolder};
    use super::*;
    use crate::Kind;

    fn file(path: &Path, content: &str, force: bool) -> Box<dyn AtomicOutput> {
        let file = AtomicFile::create(path, content.len() as u64, force).unwrap();
        file.write_at(content.as_bytes(), 0).unwrap();
        Box::new(file)
    }

    fn folder(path: &Path, content: &str, force: bool) -> Box<dyn AtomicOutput> {
        let mut folder = AtomicFolder::create(path, &[], force).unwrap();
        folder.add("model.safetensors", content.as_bytes()).unwrap();
        Box::new(folder)
    }

    /// All files below, with their content.
    fn tree(root: &Path) -> Vec<(PathBuf, String)> {
        let mut files = vec![];
        for entry in std::fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files.extend(tree(&path)),
                false => files.push((path.clone(), std::fs::read_to_string(path).unwrap())),
            }
        }
        files.sort();
        files
    }

    #[test]
    fn several_outputs_get_their_names_together() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (content, force) in [("1", false), ("2", true)] {
            let outputs = vec![
                file(&at("a"), content, force),
                folder(&at("b"), content, force),
                file(&at("c"), content, force),
            ];
            assert_eq!(tree(dir.path()).len(), if force { 6 } else { 3 });
            commit_all(outputs).unwrap();
            let expected = ["a", "b/model.safetensors", "c"].map(|n| (at(n), content.into()));
            assert_eq!(tree(dir.path()), expected);
        }
    }

    #[test]
    fn one_that_cannot_have_its_name_takes_it_from_the_others() {
        for force in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            if force {
                std::fs::write(at("a"), "old").unwrap();
                std::fs::create_dir(at("b")).unwrap();
                std::fs::write(at("b/model.safetensors"), "old").unwrap();
            }
            std::fs::create_dir(at("late")).unwrap();
            let before = tree(dir.path());
            let outputs = || {
                let fresh = [file(&at("new"), "new", force), folder(&at("newer"), "new", force)];
                let old = [file(&at("a"), "new", force), folder(&at("b"), "new", force)];
                fresh.into_iter().chain(old)
            };
            // A file that appears meanwhile is not replaced without `force`; a folder that has gone takes
            // no file.
            let last = file(&at("late/x"), "new", force);
            let outputs: Vec<_> = outputs().chain([last]).collect();
            match force {
                false => std::fs::write(at("late/x"), "theirs").unwrap(),
                true => std::fs::rename(at("late"), at("gone")).unwrap(),
            }
            let error = commit_all(outputs).unwrap_err();
            match force {
                false => {
                    assert_eq!(error.kind(), Kind::OutputExists);
                    assert_eq!(std::fs::read_to_string(at("late/x")).unwrap(), "theirs");
                    std::fs::remove_file(at("late/x")).unwrap();
                }
                true => {
                    assert_eq!(error.kind(), Kind::Io);
                    // Its temporary file went with the folder.
                    std::fs::remove_dir_all(at("gone")).unwrap();
                }
            }
            assert_eq!(tree(dir.path()), before, "force: {force}");
            assert!(!at("newer").exists());
        }
    }
}
