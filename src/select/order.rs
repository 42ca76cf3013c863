//! The order of checkpoints, for what depends on it.

use std::path::{Path, PathBuf};

use super::name_parts::{Name, names};
use super::numbers::{check_numbered, numbers};
use super::words::is_count;
use super::{Criteria, example};
use crate::{Error, Result, setting};

/// The places of checkpoints by the numbers that an expression finds in them; None where their own order counts: there is no
/// expression, or not all have a number and `is_needed` is false.
///
/// # Errors
/// `Usage` if the order is needed and not clear: see [`check`]; and those of [`numbers`].
pub(crate) fn of(
    paths: &[PathBuf],
    criteria: &Criteria,
    is_needed: bool,
) -> Result<Option<Vec<usize>>> {
    let Criteria { number, by_position, .. } = criteria;
    match number.as_ref().filter(|_| !by_position) {
        None if is_needed && !by_position => {
            check_numbered(paths)?;
            check(paths).map(|()| None)
        }
        None => Ok(None),
        Some(number) => match numbers(paths, Some(number)) {
            Ok(found) => Ok(found.map(|numbers| {
                let mut places: Vec<usize> = (0..paths.len()).collect();
                places.sort_by_key(|&place| numbers[place]);
                places
            })),
            Err(error) if is_needed => Err(error),
            Err(_) => Ok(None),
        },
    }
}

/// Fails if the names are sorted by a measure and not by the epochs or steps after it: `val_acc=0.9-epoch=3`. What whole
/// numbers before them say is taken as meant: dates, stages, seeds.
///
/// # Errors
/// `Usage`.
pub(crate) fn check(paths: &[PathBuf]) -> Result<()> {
    let names = names(paths);
    let names: Vec<Name> = names.iter().map(|name| Name::of(name)).collect();
    let is_fraction =
        |name: &Name, run: usize| name.texts[run] == "." || name.texts[run + 1] == ".";
    // By the word before it, or else the last number, as in Keras's `model-0.90-01`.
    let counted = |name: &Name| {
        let mut all = 0..name.runs.len();
        let by_word = all.clone().find(|&run| is_count(&word(name, run)));
        by_word.or_else(|| all.next_back().filter(|&run| !is_fraction(name, run)))
    };
    let mut before: Option<(usize, usize)> = None;
    for (place, name) in names.iter().enumerate() {
        let Some(run) = counted(name) else { continue };
        let Some((other, _)) = before.replace((place, run)).filter(|(_, other)| *other == run)
        else {
            continue;
        };
        let is_alike = name.texts[..=run] == names[other].texts[..=run];
        let numbers = (names[other].number(run), name.number(run));
        let differs = (0..run).find(|&i| name.runs[i] != names[other].runs[i]);
        let by_measure = differs.is_some_and(|i| is_fraction(name, i));
        if !is_alike || !by_measure || !is_beside(paths, place, other) || numbers.0 <= numbers.1 {
            continue;
        }
        let what = format!(
            "comes after `{}`, as names are sorted, and its number {} is smaller",
            paths[other].display(),
            name.runs[run],
        );
        let shown = setting!("number");
        return Err(Error::usage(what).at(&paths[place]).remedy(format!(
            "say which number counts with {}, such as {shown} '{}', or take them as they are with {}",
            setting!("number", "REGEX"),
            example::of_run(name, run).unwrap_or_else(|| r"(\d+)\D*$".into()),
            setting!("by_position"),
        )));
    }
    Ok(())
}

/// Whether two names are those of one folder's: of files, or of folders with a file of one name.
fn is_beside(paths: &[PathBuf], a: usize, b: usize) -> bool {
    let (a, b) = (&paths[a], &paths[b]);
    let above = |path: &PathBuf| path.parent().and_then(Path::parent).map(Path::to_path_buf);
    a.parent() == b.parent() || a.file_name() == b.file_name() && above(a) == above(b)
}

/// The last word before a run of digits.
fn word(name: &Name, run: usize) -> String {
    let text = name.texts[run].trim_end_matches(|c: char| !c.is_alphabetic());
    let word = text.split(|c: char| !c.is_alphabetic()).next_back();
    word.unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn what_is_sorted_by_something_else_is_refused() {
        let by_accuracy = paths(&[
            "/r/acc=0.5-epoch=0.ckpt",
            "/r/acc=0.6-epoch=2.ckpt",
            "/r/acc=0.7-epoch=1.ckpt",
        ]);
        let error = check(&by_accuracy).unwrap_err().to_string();
        assert_eq!(
            error,
            "`/r/acc=0.7-epoch=1.ckpt`: comes after `/r/acc=0.6-epoch=2.ckpt`, as names are sorted, and its number 1 is \
             smaller; say which number counts with `number` REGEX, such as `number` 'epoch=(\\d+)', or take them as they \
             are with `by_position`"
        );
        let criteria =
            Criteria { number: regex::Regex::new("epoch=([0-9]+)").ok(), ..Criteria::default() };
        assert_eq!(of(&by_accuracy, &criteria, true).unwrap(), Some(vec![0, 2, 1]));
        assert!(
            of(&by_accuracy, &Criteria { by_position: true, ..criteria.clone() }, true)
                .unwrap()
                .is_none()
        );
        assert!(of(&by_accuracy, &Criteria::default(), false).unwrap().is_none());
        // One without: an error where the order counts.
        let one_more = [&by_accuracy[..], &paths(&["/r/last.ckpt"])].concat();
        assert!(of(&one_more, &criteria, true).is_err());
        assert!(of(&one_more, &criteria, false).unwrap().is_none());
    }

    #[test]
    fn whole_numbers_before_epochs_are_meant() {
        for names in [
            &["/r/epoch=0-step=90.ckpt", "/r/epoch=1-step=30.ckpt"][..],
            &["/r/2026-01-31_epoch_3.pt", "/r/2026-02-01_epoch_1.pt"],
            &["/r/stage1_epoch_9.pt", "/r/stage2_epoch_1.pt"],
            &["/r/lr1e-4_wd0.1_epoch30.pt", "/r/lr1e-5_wd0.1_epoch10.pt"],
            &["/r/epoch_1.pt", "/r/epoch_2_b.pt", "/r/last.pt"],
            &["/r/a_epoch_9.pt", "/r/b_epoch_1.pt"],
            &["/a/0.1_epoch_9.pt", "/b/0.2_epoch_1.pt"],
            &["/r/0.9.pt", "/r/1.2.pt"],
            &[],
        ] {
            check(&paths(names)).unwrap();
        }
        // Whatever stands before them, and whatever has the name.
        let first =
            ["/r/best.pt", "/r/checkpoint_0.60_epoch_3.pt", "/r/checkpoint_0.70_epoch_1.pt"];
        let inner = ["/r/0.60_epoch_3/model.pt", "/r/0.70_epoch_1/model.pt"];
        let last = ["/r/model-0.60-03.pt", "/r/model-0.70-01.pt"];
        assert!([&first[..], &inner, &last].iter().all(|names| check(&paths(names)).is_err()));
    }
}
