//! Files that say in their names how many of them there are: `test-00000-of-00003.parquet`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use swa_base::{Error, Result};

/// More are no shards of one set.
const MAX_SHARDS: usize = 1 << 20;

/// What such a name says.
struct Numbered<'n> {
    before: &'n str,
    number: usize,
    total: usize,
    /// How many digits the number has.
    width: usize,
    /// As it is written, to the end of the total.
    total_text: &'n str,
}

impl<'n> Numbered<'n> {
    fn of(name: &'n str) -> Option<Self> {
        let (head, tail) = name.rsplit_once("-of-")?;
        let before = head.trim_end_matches(|c: char| c.is_ascii_digit());
        // `fold-1-of-5` is one of five, and whole.
        let word = before.trim_end_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if ["fold", "seed", "crop"].iter().any(|one| word.ends_with(one)) {
            return None;
        }
        let digits = &head[before.len()..];
        let end = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let total = tail[..end].parse().ok().filter(|total| (1..=MAX_SHARDS).contains(total))?;
        let number = digits.parse().ok()?;
        Some(Numbered { before, number, total, width: digits.len(), total_text: &tail[..end] })
    }
}

/// Fails if some of the files that the names of the others promise are not there.
pub(super) fn check_complete(dir: &Path, names: &[&OsString]) -> Result<()> {
    let mut sets: BTreeMap<(&str, usize), (Numbered, BTreeSet<usize>)> = BTreeMap::new();
    for shard in names.iter().filter_map(|name| Numbered::of(name.to_str()?)) {
        let (key, number) = ((shard.before, shard.total), shard.number);
        sets.entry(key).or_insert_with(|| (shard, BTreeSet::new())).1.insert(number);
    }
    for (shard, there) in sets.into_values() {
        if there.len() >= shard.total {
            continue;
        }
        // Most count from 0.
        let first = usize::from(!there.contains(&0) && there.contains(&shard.total));
        let missing = (first..first + shard.total).filter(|number| !there.contains(number));
        let name = |n: usize| {
            format!("`{}{n:0w$}-of-{}`", shard.before, shard.total_text, w = shard.width)
        };
        let missing: Vec<String> = missing.map(name).collect();
        let what = format!(
            "{} of {} files are missing: the names of the others say how many there are",
            missing.len(),
            shard.total
        );
        return Err(Error::input(what)
            .at(dir)
            .remedy(format!(
                "copy or download them; to take those that are there for all, rename them without `-of-{}`",
                shard.total_text
            ))
            .list(missing));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str]) -> std::result::Result<(), String> {
        let names: Vec<OsString> = names.iter().map(OsString::from).collect();
        check_complete(Path::new("dir"), &names.iter().collect::<Vec<_>>())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_the_names_promise_is_there_or_named() {
        for names in [
            &["test-00000-of-00001.parquet"][..],
            &["a-0-of-2.tar", "a-1-of-2.tar", "b.tar"],
            &["a-1-of-2.tar", "a-2-of-2.tar"],
            &["train-00000-of-00002-0a1b.parquet", "train-00001-of-00002-9f.parquet"],
            &["fold-1-of-5.parquet"],
            &[
                "pictures.parquet",
                "one-of-us.parquet",
                "a-of-3.tar",
                "best-1-of-many.tar",
                "a-0-of-0.tar",
            ],
            &[],
        ] {
            assert_eq!(check(names), Ok(()), "{names:?}");
        }
        for (names, missing) in [
            (
                &["test-00000-of-00003.parquet"][..],
                &["test-00001-of-00003`", "test-00002-of-00003`"][..],
            ),
            (&["a-1-of-3.tar", "a-3-of-3.tar"], &["`a-2-of-3`"]),
            (&["a-0-of-2.tar", "a-1-of-2.tar", "b-1-of-2.tar"], &["`b-0-of-2`"]),
        ] {
            let error = check(names).unwrap_err();
            let what = format!(
                "{} of {} files are missing",
                missing.len(),
                if names.len() == 3 { 2 } else { 3 }
            );
            assert!(error.contains(&what), "{error}");
            for name in missing.iter().chain(&["rename them without `-of-"]) {
                assert!(error.contains(name), "{name} not in {error}");
            }
        }
    }
}
