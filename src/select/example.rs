//! Examples for the errors that ask for one: a regular expression that would find the numbers, a pattern that would name some.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::name_parts::{Name, find};
use crate::store::names::base_name;

/// An expression that finds a number in the `shown` name, and different ones in the others: `epoch=(\d+)`; None if none of
/// those that are tried does.
pub(super) fn regex(paths: &[PathBuf], shown: usize, name: &Name) -> Option<String> {
    let does = |pattern: &str, run: &str| {
        let Ok(regex) = Regex::new(pattern) else { return false };
        let number = |path: &Path| find(&regex, &path.to_string_lossy())?.0.parse::<u64>().ok();
        let found: Option<HashSet<u64>> = paths.iter().map(|path| number(path)).collect();
        found.is_some_and(|found| found.len() > 1 || paths.len() == 1)
            && number(&paths[shown]) == run.parse().ok()
            && !pattern.contains('\'')
    };
    // By the word before the number, or else by what surrounds it.
    let after_word =
        (0..name.runs.len()).filter_map(|run| Some((of_run(name, run)?, name.runs[run])));
    let between = name.texts.windows(2).zip(&name.runs).map(|(texts, run)| {
        (format!(r"{}(\d+){}", regex::escape(texts[0]), regex::escape(texts[1])), *run)
    });
    let mut patterns = after_word.chain(between);
    patterns.find(|(pattern, run)| does(pattern, run)).map(|(pattern, _)| pattern)
}

/// An expression that finds a run of digits by the word before it; None if there is no word.
pub(super) fn of_run(name: &Name, run: usize) -> Option<String> {
    let word = name.texts[run].trim_start_matches(|c: char| !c.is_alphabetic());
    (!word.is_empty()).then(|| format!(r"{}(\d+)", regex::escape(word)))
}

/// A pattern for the checkpoints that are called as one is but for their numbers, and for none of the others.
pub(super) fn pattern(one: &Path, others: &[&PathBuf]) -> Option<String> {
    let name = base_name(one);
    let Name { texts, .. } = Name::of(&name);
    let (last, before) = texts.split_last().filter(|(_, before)| !before.is_empty())?;
    let before: Vec<String> = before.iter().map(|text| glob::Pattern::escape(text)).collect();
    // No more than a number stands before what follows it.
    let name = format!("{}*[0-9]{}", before.join("*"), glob::Pattern::escape(last));
    let folder = one.parent().filter(|folder| !folder.as_os_str().is_empty());
    let within = |folder: &Path| glob::Pattern::escape(&folder.to_string_lossy());
    let pattern = folder.map_or(name.clone(), |folder| format!("{}/{name}", within(folder)));
    let parsed = glob::Pattern::new(&pattern).ok()?;
    let tells = parsed.matches_path(one) && !others.iter().any(|other| parsed.matches_path(other));
    (tells && !pattern.contains('\'')).then_some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(paths: &[&str], name: &str) -> String {
        let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
        regex(&paths, 0, &Name::of(name)).unwrap_or_default()
    }

    #[test]
    fn the_example_is_a_word_before_a_number_that_tells_the_paths_apart() {
        let paths = ["v2-epoch=3-step=40", "v2-epoch=4-step=50"];
        assert_eq!(example(&paths, paths[0]), r"epoch=(\d+)");
        let paths = ["resnet50_epoch_3", "vgg16_epoch_4"];
        assert_eq!(example(&paths, paths[0]), r"epoch_(\d+)");
        assert_eq!(example(&["a.b3_4"], "a.b3_4"), r"a\.b(\d+)");
    }

    #[test]
    fn without_words_the_example_is_what_stands_between() {
        assert_eq!(example(&["3-400", "4-500"], "3-400"), r"(\d+)\-");
        // `run7-x` would give 7 for every path.
        let paths = ["/run7-x/1_3-400", "/run7-x/1_4-500"];
        assert_eq!(example(&paths, "1_3-400"), r"_(\d+)\-");
    }

    #[test]
    fn an_example_that_would_not_do_is_not_given() {
        assert_eq!(example(&["it's3_4", "x5_6"], "it's3_4"), r"_(\d+)");
        assert_eq!(example(&["a3b4", "c5d6"], "a3b4"), "");
    }
}
