//! The order of checkpoints, for what depends on it.

use std::path::PathBuf;

use super::name_parts::{Name, names};
use super::{Criteria, example, numbers};
use crate::{Error, Result, setting};

/// Words before the number of an epoch or a step.
const WORDS: [&str; 8] = ["ckpt", "checkpoint", "ep", "epoch", "it", "iter", "iteration", "step"];

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
        None if is_needed && !by_position => check(paths).map(|()| None),
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

/// Fails if the names are sorted by something else than the epochs or steps in them: `val_acc=0.9-epoch=3`.
///
/// # Errors
/// `Usage`.
pub(crate) fn check(paths: &[PathBuf]) -> Result<()> {
    let names = names(paths);
    let names: Vec<Name> = names.iter().map(|name| Name::of(name)).collect();
    let Some(first) = names.first() else { return Ok(()) };
    let Some(run) = (0..first.runs.len()).find(|&run| WORDS.contains(&&*word(first, run))) else {
        return Ok(());
    };
    let is_like = |name: &Name| name.texts.get(..=run) == first.texts.get(..=run);
    let like = || (0..).zip(&names).filter(|(_, name)| name.runs.len() > run && is_like(name));
    let number = |name: &Name| name.number(run).unwrap_or(u64::MAX);
    // Another folder is another run.
    let is_beside = |a: usize, b: usize| paths[a].parent() == paths[b].parent();
    let falls = like()
        .zip(like().skip(1))
        .find(|&((i, a), (j, b))| is_beside(i, j) && number(a) > number(b));
    let Some(((before, _), (after, name))) = falls else { return Ok(()) };
    let shown = setting!("number");
    Err(Error::usage(format!(
        "comes after `{}`, as names are sorted: its {} is smaller",
        paths[before].display(),
        word(name, run),
    ))
    .at(&paths[after])
    .remedy(format!(
        "say which number counts with {}, such as {shown} '{}', or take them as they are with {}",
        setting!("number", "REGEX"),
        example::of_run(name, run).unwrap_or_default(),
        setting!("by_position"),
    )))
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
            "`/r/acc=0.7-epoch=1.ckpt`: comes after `/r/acc=0.6-epoch=2.ckpt`, as names are sorted: its epoch is \
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
    fn what_is_sorted_by_epochs_and_steps_is_in_order() {
        for names in [
            &["/r/epoch=0-step=90.ckpt", "/r/epoch=1-step=30.ckpt"][..],
            &["/r/2026-01-31_epoch_3.pt", "/r/2026-02-01_epoch_4.pt"],
            &["/r/epoch_1.pt", "/r/epoch_2_b.pt", "/r/last.pt"],
            &["/r/a_epoch_9.pt", "/r/b_epoch_1.pt"],
            &["/a/epoch_9.pt", "/b/epoch_1.pt"],
            &["/r/0.9.pt", "/r/1.2.pt"],
            &[],
        ] {
            check(&paths(names)).unwrap();
        }
    }
}
