//! The parts of a data set: training, validation, test.

use std::path::Path;

use swa_base::{Choice, Error, Result, setting};

/// Which part of a directory that holds several is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Split {
    /// The training part.
    Train,
    /// The validation part.
    Val,
    /// The test part, or the validation part where there is no other.
    Test,
    /// The validation or the test part, whichever is there. It cannot be chosen by name.
    #[default]
    HeldOut,
}

impl Choice for Split {
    const ALL: &'static [Self] = &[Split::Train, Split::Val, Split::Test];

    fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
            Split::HeldOut => "held-out",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Split::Train => "The training part",
            Split::Val => "The validation part",
            Split::Test => "The test part, or the validation part where there is no other",
            Split::HeldOut => "The test or the validation part",
        }
    }
}

impl Split {
    /// How it is chosen, for a message.
    fn setting(self) -> &'static str {
        match self {
            Split::Train => setting!("split", "train"),
            Split::Val => setting!("split", "val"),
            Split::Test => setting!("split", "test"),
            Split::HeldOut => setting!("split"),
        }
    }

    /// The part that a word stands for.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Split::Train),
            "val" | "valid" | "validation" | "dev" | "eval" => Some(Split::Val),
            "test" | "testing" | "t10k" | "holdout" | "heldout" => Some(Split::Test),
            _ => None,
        }
    }

    /// The part that a file name mentions, as in `imagenet1k-validation-07.tar`.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        name.split(|c: char| !c.is_ascii_alphanumeric()).find_map(Self::of_word)
    }

    /// The part that a folder's name mentions, and what else is in the name: `("train", "seg_")` for `seg_train`. Folders
    /// of different parts with the same rest are parts of one data set.
    pub(crate) fn in_name(name: &str) -> Option<(Self, String)> {
        let mut words = name.split(|c: char| !c.is_ascii_alphabetic());
        let (word, part) = words.find_map(|word| Some((word, Self::of_word(word)?)))?;
        Some((part, name.replacen(word, "", 1).to_ascii_lowercase()))
    }

    /// Chooses among the parts that `dir` holds.
    pub(crate) fn choose(self, dir: &Path, mut there: Vec<Split>) -> Result<Self> {
        there.sort();
        there.dedup();
        let has = |split| there.contains(&split);
        match self {
            split if has(split) => return Ok(split),
            Split::Test if has(Split::Val) => return Ok(Split::Val),
            Split::HeldOut => match (has(Split::Val), has(Split::Test)) {
                (true, true) => {
                    return Err(Error::input("a validation and a test part are both there")
                        .at(dir)
                        .remedy(format!(
                            "choose with {} or {}",
                            Split::Val.setting(),
                            Split::Test.setting()
                        )));
                }
                (true, false) => return Ok(Split::Val),
                (false, true) => return Ok(Split::Test),
                (false, false) => {}
            },
            _ => {}
        }
        let settings: Vec<&str> = there.iter().map(|s| s.setting()).collect();
        let names: Vec<String> = there.iter().map(|s| format!("`{}`", s.name())).collect();
        Err(Error::input(format!("no {} part, found {}", self.name(), names.join(" and ")))
            .at(dir)
            .remedy(format!("use {}", settings.join(" or "))))
    }

    /// Keeps the things that belong to the wanted part; all of them if none says which part it belongs to.
    pub(crate) fn of<T>(
        self,
        dir: &Path,
        things: Vec<T>,
        part: impl Fn(&T) -> Option<Split>,
    ) -> Result<Vec<T>> {
        let there: Vec<Split> = things.iter().filter_map(&part).collect();
        if there.is_empty() {
            return Ok(things);
        }
        let chosen = self.choose(dir, there)?;
        Ok(things.into_iter().filter(|thing| part(thing) == Some(chosen)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_speak_of_parts() {
        let cases = [
            ("imagenet1k-validation-07.tar", Some(Split::Val)),
            ("train-00000-of-00001.parquet", Some(Split::Train)),
            ("emnist-letters-test", Some(Split::Test)),
            ("t10k", Some(Split::Test)),
            ("trainer-0.tar", None),
            ("shard_0.tar", None),
        ];
        for (name, part) in cases {
            assert_eq!(Split::of_name(name), part, "{name}");
        }
    }

    #[test]
    fn folders_of_parts_have_the_rest_of_their_names_in_common() {
        let of = |name| Split::in_name(name).map(|(part, rest)| (part.name(), rest));
        for (name, part, rest) in [
            ("Training", "train", ""),
            ("test_set", "test", "_set"),
            ("seg_train", "train", "seg_"),
            ("imagenette2-val", "val", "imagenette2-"),
            ("train1", "train", "1"),
        ] {
            assert_eq!(of(name), Some((part, rest.to_string())), "{name}");
        }
        assert_eq!(of("trainer"), None);
    }

    #[test]
    fn the_part_is_found_or_the_setting_named() {
        use Split::{HeldOut, Test, Train, Val};
        let choose = |split: Split, there: &[Split]| {
            split.choose(Path::new("dir"), there.to_vec()).map_err(|error| error.to_string())
        };
        assert_eq!(choose(HeldOut, &[Train, Val]), Ok(Val));
        assert_eq!(choose(HeldOut, &[Test, Test]), Ok(Test));
        assert_eq!(choose(Test, &[Train, Val]), Ok(Val));
        assert_eq!(choose(Test, &[Test, Val]), Ok(Test));
        assert_eq!(choose(Train, &[Train]), Ok(Train));
        let both = choose(HeldOut, &[Val, Test, Train]).unwrap_err();
        assert!(both.ends_with("choose with `split` val or `split` test"), "{both}");
        assert_eq!(
            choose(HeldOut, &[Train]).unwrap_err(),
            "`dir`: no held-out part, found `train`; use `split` train"
        );
        assert!(choose(Val, &[Test, Train]).unwrap_err().contains("`split` train or `split` test"));
    }

    #[test]
    fn things_without_a_part_are_all_taken() {
        let of = |names: &[&'static str]| {
            Split::Train.of(Path::new("dir"), names.to_vec(), |name| Split::of_name(name))
        };
        assert_eq!(of(&["a", "b"]).unwrap(), ["a", "b"]);
        assert_eq!(of(&["train-1", "test-1", "train-2", "x"]).unwrap(), ["train-1", "train-2"]);
        assert!(of(&["test-1", "x"]).is_err());
    }
}
