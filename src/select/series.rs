//! Several series of checkpoints in one place, which are no snapshots of one model.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::name_parts::{Name, without_extensions};
use crate::store::names::base_name;
use crate::{Error, Result};

/// How many numbers two series have in common at least: one may be chance.
const COMMON: usize = 2;

/// Fails if the same numbers stand in names with different words: `student_1`, `student_2`, `teacher_1`, `teacher_2`. For what a
/// folder or a pattern names; who names each file means it.
pub(super) fn refuse(place: &Path, checkpoints: &[PathBuf]) -> Result<()> {
    let names: Vec<String> = checkpoints.iter().map(|path| base_name(path)).collect();
    let names: Vec<Name> = names.iter().map(|name| Name::of(without_extensions(name))).collect();
    let mut words: HashMap<(Option<&Path>, &[&str]), usize> = HashMap::new();
    let mut pairs: HashMap<(&[&str], &[&str]), usize> = HashMap::new();
    let mut places: Vec<usize> = (0..names.len()).filter(|&i| !names[i].runs.is_empty()).collect();
    places.sort_by_key(|&i| &checkpoints[i]);
    for i in places {
        let name = &names[i];
        let first = *words.entry((checkpoints[i].parent(), &name.runs)).or_insert(i);
        let texts = &names[first].texts[..];
        if texts == name.texts {
            continue;
        }
        let (one, other) = (texts.min(&name.texts), texts.max(&name.texts));
        let common = pairs.entry((one, other)).or_default();
        *common += 1;
        if *common == COMMON {
            let (one, other) = (checkpoints[first].display(), checkpoints[i].display());
            let what = format!("holds `{one}` and `{other}`, and more such pairs: two models");
            let example = example(&checkpoints[first], &checkpoints[i])
                .map_or(String::new(), |pattern| format!(", such as '{pattern}'"));
            return Err(Error::usage(what)
                .at(place)
                .remedy(format!("name the files of one{example}; for the mean of all name each")));
        }
    }
    Ok(())
}

/// A pattern for one of two series that does not match the other.
fn example(one: &Path, other: &Path) -> Option<String> {
    let pattern = |path: &Path| {
        let name = base_name(path);
        let mut text = String::new();
        for part in name.split_inclusive(|c: char| c.is_ascii_digit()) {
            let plain = part.trim_end_matches(|c: char| c.is_ascii_digit());
            text += &glob::Pattern::escape(plain);
            if plain.len() < part.len() && !text.ends_with('*') {
                text.push('*');
            }
        }
        let folder = path.parent().map_or(String::new(), |folder| folder.to_string_lossy().into());
        let folder = glob::Pattern::escape(&folder);
        if folder.is_empty() { text } else { format!("{}/{text}", folder.trim_end_matches('/')) }
    };
    let tells = |of: &Path, from: &Path| {
        let pattern = pattern(of);
        let matches = glob::Pattern::new(&pattern).ok()?.matches_path(from);
        (!matches).then_some(pattern)
    };
    tells(one, other).or_else(|| tells(other, one))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Runs;

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
                "student_epoch_*.pt",
            ),
            (["e_1.pth", "e_1_ema.pth", "e_2.pth", "e_2_ema.pth"], "e_*_ema.pth"),
            (["D_10.pt", "D_11.pt", "G_10.pt", "G_11.pt"], "D_*.pt"),
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
    }
}
