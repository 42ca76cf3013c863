//! Several series of checkpoints in one place, which are no snapshots of one model.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::Named;
use crate::select::example;
use crate::select::name_parts::{Name, without_extensions};
use crate::select::words::{is_best, is_of_runs, telling};
use crate::store::names::base_name;
use crate::{Error, Kind, Result};

/// How many numbers two series have in common at least: one may be chance.
const COMMON: usize = 2;

/// Fails if the same numbers stand in names with other words: `student_1`, `student_2`, `teacher_1`, `teacher_2`. For what a
/// folder or a pattern names; who names each file means it.
pub(super) fn refuse(named: &Named) -> Result<()> {
    let mut checkpoints: Vec<&PathBuf> = named.checkpoints().collect();
    checkpoints.sort();
    let names: Vec<String> = checkpoints.iter().map(|path| base_name(path)).collect();
    let mut first: HashMap<(Option<&Path>, &[&str]), usize> = HashMap::new();
    let mut pairs: HashMap<(Vec<String>, Vec<String>), HashSet<usize>> = HashMap::new();
    let parts: Vec<Name> = names.iter().map(|name| Name::of(without_extensions(name))).collect();
    // The best ones are often copies, and there are measures of all names.
    let is_one = |i: &usize| {
        let Name { texts, runs } = &parts[*i];
        let is_best = is_best(without_extensions(&names[*i]));
        !runs.is_empty() && !is_best && !texts.iter().any(|text| is_of_runs(text))
    };
    let numbered: Vec<usize> = (0..names.len()).filter(is_one).collect();
    for &i in &numbered {
        first.entry((checkpoints[i].parent(), &parts[i].runs)).or_insert(i);
    }
    // A number more may stand before: `ema_0.9999_010000` beside `model010000`.
    let ends = |i: usize| (0..parts[i].runs.len()).map(move |start| (i, start));
    for (i, start) in numbered.iter().flat_map(|&i| ends(i)) {
        let key = (checkpoints[i].parent(), &parts[i].runs[start..]);
        let Some(&other) = first.get(&key) else { continue };
        let stem = without_extensions(&names[i]);
        let words = (telling(without_extensions(&names[other])), telling(stem));
        if words.0 == words.1 {
            continue;
        }
        let has_more = words.0.len() > words.1.len();
        let common = pairs.entry(words).or_default();
        common.insert(other);
        if common.len() == COMMON {
            // That with fewer words is the example: `e_1`, not `e_1_ema`.
            let (one, other) = if has_more { (i, other) } else { (other, i) };
            let (one, other) = (checkpoints[one], checkpoints[other]);
            let what = format!(
                "holds `{}` and `{}`, and more such pairs: two models",
                one.display(),
                other.display()
            );
            let example =
                example::pattern(one, &[other]).or_else(|| example::pattern(other, &[one]));
            let example = example.map_or(String::new(), |found| format!(", such as '{found}'"));
            return Err(Error::new(Kind::Mismatch, what)
                .at(&named.argument)
                .remedy(format!("name the files of one{example}; for the mean of all name each")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::select::tests::Runs;

    #[test]
    fn the_same_numbers_with_other_words_are_another_model() {
        for (files, pattern) in [
            (
                [
                    "student_epoch_0.pt",
                    "student_epoch_1.pt",
                    "teacher_epoch_0.pt",
                    "teacher_epoch_1.pt",
                ],
                "student_epoch_*[0-9].pt",
            ),
            (["e_1.pth", "e_1_ema.pth", "e_2.pth", "e_2_ema.pth"], "e_*[0-9].pth"),
            (["D_10.pt", "D_11.pt", "G_10.pt", "G_11.pt"], "D_*[0-9].pt"),
            (["ema_0.99_1.pt", "ema_0.99_2.pt", "m1.pt", "m2.pt"], "m*[0-9].pt"),
        ] {
            let runs = Runs::new(&files);
            for argument in ["", "*"] {
                let error = runs.fails(&[argument]);
                assert!(error.contains("and more such pairs: two models"), "{error}");
                assert!(error.contains(&format!("/{pattern}'")), "{error}");
            }
            assert_eq!(runs.select(&[pattern]).len(), 2);
            // Each by its name, as a shell expands a pattern.
            assert_eq!(runs.select(&files).len(), 4);
        }
        // One number in common may be chance, and versions and containers are no models.
        for files in [
            ["epoch_1.pt", "epoch_2.pt", "best_2.pt"],
            ["epoch=1-step=9.ckpt", "epoch=1-step=9-v1.ckpt", "epoch=2-step=18.ckpt"],
            ["a1_e1.pt", "a2_e1.pt", "a1_e2.pt"],
        ] {
            assert_eq!(Runs::new(&files).select(&[""]).len(), 3);
        }
        // Nor are copies of the best, and seeds.
        for files in [
            ["best_model_100.pt", "best_model_300.pt", "checkpoint_100.pt", "checkpoint_300.pt"],
            ["best_auc_epoch_2.pt", "best_auc_epoch_4.pt", "epoch_2.pt", "epoch_4.pt"],
            ["mixup_seed0.pt", "mixup_seed1.pt", "cutmix_seed0.pt", "cutmix_seed1.pt"],
            ["best-v1.pt", "best-v2.pt", "last-v1.pt", "last-v2.pt"],
            // Places by a measure.
            ["top_1.pt", "top_2.pt", "epoch_1.pt", "epoch_2.pt"],
        ] {
            assert_eq!(Runs::new(&files).select(&[""]).len(), 4);
        }
    }
}
