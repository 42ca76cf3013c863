//! The number of a checkpoint: epoch or step, as its name or a regular expression gives it.

use std::collections::HashMap;
use std::num::{IntErrorKind, ParseIntError};
use std::path::{Path, PathBuf};

use regex::Regex;

use super::example;
use super::name_parts::{Name, find, names};
use super::words::without_digits;
use crate::store::names::{base_name, in_thousands};
use crate::{Error, Result, setting};

/// The number of each path, by its name or by what the expression finds in it; None if no name has one.
///
/// # Errors
/// `Usage` for a path without a number among others that have one, for names with several of which it is not clear
/// which counts, for numbers beyond 64 bits, and where the expression finds none.
pub fn numbers(paths: &[PathBuf], number: Option<&Regex>) -> Result<Option<Vec<u64>>> {
    if let Some(regex) = number {
        return paths.iter().map(|path| matched(path, regex)).collect::<Result<_>>().map(Some);
    }
    let names = names(paths);
    let names: Vec<Name> = names.iter().map(|name| Name::of(name)).collect();
    if names.iter().all(|name| name.runs.is_empty()) {
        return Ok(None);
    }
    check_numbered(paths)?;
    let Some(run) = counting_run(&names) else {
        let i = names.iter().position(|name| name.runs.len() > 1).expect("else the run is clear");
        let (all, example) = (names[i].runs.join(", "), example::regex(paths, i, &names[i]));
        return Err(Error::usage(format!("has several numbers in its name ({all})"))
            .at(&paths[i])
            .remedy(match example {
                Some(example) => format!(
                    "pick one with {}, such as {} '{example}'",
                    setting!("number", "REGEX"),
                    setting!("number")
                ),
                None => {
                    concat!("leave it out, or pick one with ", setting!("number", "REGEX")).into()
                }
            }));
    };
    let parse = |(path, name): (&PathBuf, &Name)| {
        name.number(run).ok_or_else(|| {
            let what = format!("its number {} is too large", name.runs[run]);
            Error::usage(what).at(path).remedy(concat!(
                "pick another with ",
                setting!("number"),
                ", or use ",
                setting!("by_position")
            ))
        })
    };
    paths.iter().zip(&names).map(parse).collect::<Result<_>>().map(Some)
}

/// Fails if some names have numbers and others do not: what comes after what is not known then.
pub(super) fn check_numbered(paths: &[PathBuf]) -> Result<()> {
    let unnumbered = unnumbered(paths, None);
    match unnumbered.first() {
        Some(&i) if unnumbered.len() < paths.len() => {
            let example = numbered_pattern(paths, &unnumbered);
            let example = example.map_or(String::new(), |found| format!(", as '{found}' does"));
            Err(Error::usage("has no number in its name").at(&paths[i]).remedy(format!(
                "leave it out{example}, or count with {}",
                setting!("by_position")
            )))
        }
        _ => Ok(()),
    }
}

/// A pattern for most of the numbered names, and for none of the others.
fn numbered_pattern(paths: &[PathBuf], unnumbered: &[usize]) -> Option<String> {
    let mut kinds: HashMap<(Option<&Path>, String), (usize, usize)> = HashMap::new();
    for i in (0..paths.len()).filter(|i| !unnumbered.contains(i)) {
        let kind = (paths[i].parent(), without_digits(&base_name(&paths[i]))?);
        kinds.entry(kind).or_insert((0, i)).0 += 1;
    }
    // Of as many the first, whatever the map's order.
    let (_, most) = kinds.into_values().max_by_key(|&(n, i)| (n, std::cmp::Reverse(i)))?;
    let others: Vec<&PathBuf> = unnumbered.iter().map(|&i| &paths[i]).collect();
    example::pattern(&paths[most], &others)
}

/// Which names have no number.
pub(crate) fn unnumbered(paths: &[PathBuf], number: Option<&Regex>) -> Vec<usize> {
    let all = 0..paths.len();
    if let Some(regex) = number {
        return all.filter(|&i| find(regex, &paths[i].to_string_lossy()).is_none()).collect();
    }
    let names = names(paths);
    all.filter(|&i| !names[i].contains(|c: char| c.is_ascii_digit())).collect()
}

/// Two names in one folder with different words before their numbers, such as `epoch-9` and `checkpoint-4000`: their
/// numbers may count different things.
pub(super) fn different_words(paths: &[PathBuf]) -> Option<[&Path; 2]> {
    let names = names(paths);
    let mut words: HashMap<&Path, (String, &Path)> = HashMap::new();
    for (path, name) in paths.iter().zip(&names) {
        let name = Name::of(name);
        let (Some(folder), false) = (path.parent(), name.runs.is_empty()) else { continue };
        let word = name.texts[0].to_ascii_lowercase();
        let (first, of) = words.entry(folder).or_insert_with(|| (word.clone(), path));
        if *first != word {
            return Some([of, path]);
        }
    }
    None
}

/// The number that the expression finds in a path.
fn matched(path: &Path, regex: &Regex) -> Result<u64> {
    let text = path.to_string_lossy();
    let Some((found, rest)) = find(regex, &text) else {
        return Err(Error::usage(format!(
            "{} '{regex}' matches nothing in its path",
            setting!("number")
        ))
        .at(path)
        .remedy("use one that matches every checkpoint, or leave this one out"));
    };
    let unit = if in_thousands(rest) { 1000 } else { 1 };
    let number = found.parse::<u64>().map(|number| number.saturating_mul(unit));
    number.map_err(|e: ParseIntError| {
        let large = *e.kind() == IntErrorKind::PosOverflow;
        let why = if large { "too large a number" } else { "no number" };
        Error::usage(format!("{} '{regex}' finds `{found}`, {why}", setting!("number")))
            .at(path)
            .remedy("put the digits in a group, as in 'epoch=([0-9]+)'")
    })
}

/// Which run of digits numbers the checkpoints: the only one, or the only one that differs between names that are
/// otherwise the same.
fn counting_run(names: &[Name]) -> Option<usize> {
    let first = names.first()?;
    if names.iter().all(|name| name.runs.len() == 1) {
        return Some(0);
    }
    if names.iter().any(|n| n.runs.len() != first.runs.len() || n.between() != first.between()) {
        return None;
    }
    let value = |name: &Name, run: usize| {
        let is_in_thousands = in_thousands(name.texts[run + 1]);
        (name.runs[run].trim_start_matches('0').to_string(), is_in_thousands)
    };
    let varies = |run: &usize| names.iter().any(|name| value(name, *run) != value(first, *run));
    let mut varying = (0..first.runs.len()).filter(varies);
    varying.next().filter(|_| varying.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str]) -> Result<Option<Vec<u64>>> {
        numbers(&paths.iter().map(PathBuf::from).collect::<Vec<_>>(), None)
    }

    fn by(regex: &str, paths: &[&str]) -> Result<Option<Vec<u64>>> {
        let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
        numbers(&paths, Some(&Regex::new(regex).unwrap()))
    }

    fn numbered(paths: &[&str]) -> Vec<u64> {
        of(paths).unwrap().unwrap()
    }

    fn fails(result: Result<Option<Vec<u64>>>) -> String {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Usage);
        error.to_string()
    }

    #[test]
    fn the_only_number_of_a_name_counts() {
        assert_eq!(numbered(&["/r1/epoch_3.safetensors", "/r2/swa-12.pt"]), [3, 12]);
        assert_eq!(numbered(&["/r/7"]), [7]);
        assert_eq!(numbered(&["/r/500.pt", "/r/1k.pt", "/r/2K_ema.pt"]), [500, 1000, 2000]);
        assert_eq!(numbered(&["/r/r50_s_1.pt", "/r/r50_s_1k.pt"]), [1, 1000]);
        let found = by(r"s_(\d+)", &["/r/e1_s_500.pt", "/r/e2_s_1k.pt"]).unwrap();
        assert_eq!(found, Some(vec![500, 1000]));
    }

    #[test]
    fn leading_zeros_are_decimal() {
        assert_eq!(numbered(&["/r/e_010.safetensors", "/r/e_0.safetensors"]), [10, 0]);
        // And do not make a number another one.
        assert_eq!(numbered(&["/r/v2_1", "/r/v02_10"]), [1, 10]);
    }

    #[test]
    fn the_only_number_that_varies_counts() {
        assert_eq!(numbered(&["/r/resnet50_epoch_3.pt", "/r/resnet50_epoch_4.pt"]), [3, 4]);
        assert_eq!(numbered(&["/r/3_of_90.pt", "/r/20_of_90.pt"]), [3, 20]);
        // What stands around them may differ.
        assert_eq!(numbered(&["/r/a1_epoch_3", "/r/b1_epoch_4_ema"]), [3, 4]);
    }

    #[test]
    fn several_numbers_need_an_expression() {
        let several = "has several numbers in its name";
        let error =
            fails(of(&["/r/epoch=3-step=400.safetensors", "/r/epoch=4-step=500.safetensors"]));
        assert_eq!(
            error,
            format!(
                "`/r/epoch=3-step=400.safetensors`: {several} (3, 400); pick one with `number` \
                 REGEX, such as `number` 'epoch=(\\d+)'"
            )
        );
        // None varies.
        assert!(fails(of(&["/r/a1_2"])).contains(several));
        assert!(fails(of(&["/a/a1_2", "/b/a1_2"])).contains(several));
        // Built differently.
        assert!(fails(of(&["/r/a1_e2", "/r/a1_s3"])).contains(several));
        let error = fails(of(&["/r/epoch_1", "/r/epoch_2_v2"]));
        assert!(error.starts_with("`/r/epoch_2_v2`") && error.contains("epoch_(\\d+)"), "{error}");
    }

    #[test]
    fn names_without_numbers_have_none() {
        assert_eq!(of(&["/r7/a.safetensors", "/r7/b.h5"]).unwrap(), None);
    }

    #[test]
    fn a_name_without_number_among_others_is_an_error() {
        let error = fails(of(&["/r/epoch_3.safetensors", "/r/last.safetensors"]));
        assert_eq!(
            error,
            "`/r/last.safetensors`: has no number in its name; leave it out, as '/r/epoch_*[0-9].safetensors' does, or \
             count with `by_position`"
        );
    }

    #[test]
    fn files_of_one_name_take_their_folders_number() {
        let paths = ["/r1/checkpoint-500/model.safetensors", "/r1/checkpoint-1000/model.h5"];
        assert_eq!(numbered(&paths), [500, 1000]);
        assert_eq!(numbered(&paths[..1]), [500]);
        // Not beside a file with a number of its own.
        let error = fails(of(&[paths[0], "/r1/epoch_3.pt"]));
        assert!(error.starts_with("`/r1/checkpoint-500/model.safetensors`: has no"), "{error}");
        // r1 holds the others too: it is not the number of `last`.
        let error = fails(of(&[paths[0], paths[1], "/r1/last.safetensors"]));
        assert!(error.starts_with("`/r1/last.safetensors`: has no number"), "{error}");
    }

    #[test]
    fn a_number_too_large_is_an_error() {
        let error = fails(of(&["/r/e_18446744073709551616", "/r/e_1"]));
        assert!(error.contains("its number 18446744073709551616 is too large"), "{error}");
        assert_eq!(numbered(&["/r/e_00000000000000000018446744073709551615"]), [u64::MAX]);
    }

    #[test]
    fn an_expression_looks_at_the_whole_path() {
        let paths = ["/run4/epoch=3-step=40", "/run5/epoch=010-step=50"];
        assert_eq!(by(r"epoch=(\d+)", &paths).unwrap().unwrap(), [3, 10]);
        // All it matches where it has no group, and the first match of several.
        assert_eq!(by(r"\d+", &paths).unwrap().unwrap(), [4, 5]);
        assert_eq!(by(r"(?:step=)(\d)(\d)", &paths).unwrap().unwrap(), [4, 5]);
    }

    #[test]
    fn an_expression_that_finds_no_number_is_an_error() {
        let error = fails(by(r"step=(\d+)", &["/r/step=1", "/r/last"]));
        assert!(
            error.starts_with(r"`/r/last`: `number` 'step=(\d+)' matches nothing in its path;"),
            "{error}"
        );
        let error = fails(by(r"step=.*", &["/r/step=1"]));
        assert!(error.contains("`number` 'step=.*' finds `step=1`, no number"), "{error}");
        let error = fails(by(r"x*", &["/r/step=1"]));
        assert!(error.contains("finds ``, no number"), "{error}");
        let error = fails(by(r"\d+", &["/r/99999999999999999999"]));
        assert!(error.contains("too large a number"), "{error}");
    }

    #[test]
    fn names_that_are_no_unicode_have_numbers_too() {
        use std::os::unix::ffi::OsStrExt;
        let path = |name: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(name));
        let paths = [path(b"/r/\xff_3.pt"), path(b"/r/\xfe_4.\xff")];
        assert_eq!(numbers(&paths, None).unwrap().unwrap(), [3, 4]);
        let regex = Regex::new(r"(\d+)\.").unwrap();
        assert_eq!(numbers(&paths, Some(&regex)).unwrap().unwrap(), [3, 4]);
    }
}
