//! The parts of names: text and runs of digits, without extensions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::words::is_counted;
use crate::store;
use crate::store::names::{base_name, in_thousands};

/// Extensions with a digit.
const EXTENSIONS: [&str; 4] = ["h5", "hdf5", "pt2", "t7"];

/// How many folders up a name that counts is looked for: `iter_500/mp_rank_00/model.pt`, `3/checkpoints/last.ckpt`.
const MOST_ABOVE: usize = 3;

/// A name split at its numbers: text, run, text, …, text.
pub(super) struct Name<'a> {
    /// One more than runs.
    pub texts: Vec<&'a str>,
    /// Runs of digits.
    pub runs: Vec<&'a str>,
}

impl<'a> Name<'a> {
    pub fn of(name: &'a str) -> Self {
        let (mut texts, mut runs, mut rest) = (vec![], vec![], name);
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let (text, run) = rest.split_at(start);
            let end = run.find(|c: char| !c.is_ascii_digit()).unwrap_or(run.len());
            texts.push(text);
            runs.push(&run[..end]);
            rest = &run[end..];
        }
        texts.push(rest);
        Name { texts, runs }
    }

    /// The number that a run of digits writes, `10k` for 10,000; None beyond 64 bits.
    pub fn number(&self, run: usize) -> Option<u64> {
        let unit = if in_thousands(self.texts[run + 1]) { 1000 } else { 1 };
        self.runs[run].parse::<u64>().ok()?.checked_mul(unit)
    }

    /// The texts between the runs.
    pub fn between(&self) -> &[&'a str] {
        &self.texts[1..self.runs.len()]
    }
}

/// What to look for numbers in: the names, without extensions. If no file's name has one
/// (`checkpoint-500/model.safetensors`), or all have the same that counts nothing (`iter_500/mp_rank_00`), it is the name
/// of the folder, or of one further up, unless that holds several of the inputs.
pub(super) fn names(paths: &[PathBuf]) -> Vec<String> {
    // `.` and a bare file name have a folder, too. This does not ask the file system, and fails for the empty path
    // only.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let paths: Vec<(PathBuf, bool)> = paths
        .iter()
        .map(|path| (absolute(path), store::is_folder(path).unwrap_or(false)))
        .collect();
    let own = |path: &Path, is_dir: bool| {
        let name = base_name(path);
        if is_dir { name } else { without_extensions(&name).to_string() }
    };
    let own: Vec<String> = paths.iter().map(|(path, is_dir)| own(path, *is_dir)).collect();
    let has_files = paths.iter().any(|(_, is_dir)| !is_dir);
    let mut below: HashMap<&Path, usize> = HashMap::new();
    for (path, _) in &paths {
        path.ancestors().skip(1).for_each(|folder| *below.entry(folder).or_default() += 1);
    }
    let has_digits = |name: &String| name.contains(|c: char| c.is_ascii_digit());
    // What the folders so far up are called, where it stands for one input alone.
    let above = |up: usize| -> Vec<String> {
        let folder = |((path, is_dir), own): (&(PathBuf, bool), &String)| {
            let folder = path.ancestors().nth(up).filter(|folder| below.get(folder) == Some(&1));
            let is_named = *is_dir && has_files;
            folder.filter(|_| !is_named).map_or_else(|| own.clone(), base_name)
        };
        paths.iter().zip(&own).map(folder).collect()
    };
    let is_alike = |names: &[String]| names.len() > 1 && names.iter().all(|n| *n == names[0]);
    let counts = |names: &[String]| {
        let files = paths.iter().zip(names).filter(|((_, is_dir), _)| !(*is_dir && has_files));
        let mut files = files.map(|(_, name)| name);
        files.any(has_digits) && (!is_alike(names) || is_counted(&names[0]))
    };
    if counts(&own) {
        return own;
    }
    // Of a single input no more than its folder: that of a run may have any number.
    let most = if paths.len() > 1 { MOST_ABOVE } else { 1 };
    // Most have one, or it counts nothing: `lr1/out` beside `base/out`.
    let is_usual =
        |names: &[String]| 2 * names.iter().filter(|name| has_digits(name)).count() > names.len();
    (1..=most).map(above).find(|names| counts(names) && is_usual(names)).unwrap_or(own)
}

/// What an expression finds in a text: the first group of the first match, or all of it if there is no group; and what
/// follows it.
pub(super) fn find<'a>(regex: &Regex, text: &'a str) -> Option<(&'a str, &'a str)> {
    let found = regex.captures(text)?;
    let found = found.get(1).or(found.get(0))?;
    Some((found.as_str(), &text[found.end()..]))
}

/// `epoch_3` for `epoch_3.pth.tar`; the `.5` of `model_0.5` is not an extension.
pub(super) fn without_extensions(name: &str) -> &str {
    let mut name = name;
    while let Some((rest, extension)) = name.rsplit_once('.')
        && (EXTENSIONS.contains(&extension) || !extension.contains(|c: char| c.is_ascii_digit()))
    {
        name = rest;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_name_has_no_extension() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("epoch.3.final");
        let other = dir.path().join("epoch.4.5");
        std::fs::create_dir(&folder).unwrap();
        std::fs::create_dir(&other).unwrap();
        assert_eq!(names(&[folder, other]), ["epoch.3.final", "epoch.4.5"]);
    }

    #[test]
    fn the_folder_that_counts_may_be_further_up() {
        let found = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        let paths = ["/r/it_1/mp_rank_00/model.pt", "/r/it_2/mp_rank_00/model.pt"];
        assert_eq!(found(&paths), ["it_1", "it_2"]);
        assert_eq!(found(&["/r/c-5/unet", "/r/c-6/unet"]), ["c-5", "c-6"]);
        // Two runs, an epoch of each.
        assert_eq!(found(&["/r1/epoch_3.pt", "/r2/epoch_3.pt"]), ["epoch_3", "epoch_3"]);
        // A folder that holds both says nothing of either, nor does that of a run.
        assert_eq!(found(&["/r7/best.pt", "/r7/last.pt"]), ["best", "last"]);
        assert_eq!(found(&["/r7/c/best.pt"]), ["best"]);
    }

    #[test]
    fn extensions_do_not_count() {
        for (name, stem) in [
            ("epoch_3.safetensors", "epoch_3"),
            ("epoch_3.pth.tar", "epoch_3"),
            ("epoch_3.h5", "epoch_3"),
            ("epoch_3.", "epoch_3"),
            ("model_0.5", "model_0.5"),
            ("model_0.5.safetensors", "model_0.5"),
            ("ckpt.3.safetensors", "ckpt.3"),
            ("model.epoch3.best.pt", "model.epoch3"),
            ("last", "last"),
            (".safetensors", ""),
            ("", ""),
        ] {
            assert_eq!(without_extensions(name), stem, "{name}");
        }
    }
}
