//! What to name instead, where an argument is not understood.

use std::path::{Path, PathBuf};

use super::folder::in_folder;
use super::others::is_other_state;
use crate::formats::endings;
use crate::select::words::without_digits;
use crate::store::names::{base_name, natural};
use crate::store::{self, EntryKind};
use crate::{Error, Kind};

/// How many folders down checkpoints are looked for: `lightning_logs/version_0/checkpoints`.
const DEEPEST: usize = 4;

/// How many folders are looked into for that: few, as a person waits.
const MOST_FOLDERS: usize = 1000;

/// A folder or pattern names nothing.
pub(super) fn holds_none(folder: &Path) -> Error {
    let error = Error::new(Kind::NoMatch, "holds no checkpoints (files or model folders)");
    let (deeper, bare) = (below(folder, &|_| false), without_endings(folder));
    let remedy = match (&deeper[..], pattern(folder, &deeper)) {
        ([inner], _) => format!("name the folder that does: `{}`", inner.display()),
        (_, Some(pattern)) => format!("name the folders that do: '{pattern}'"),
        (_, None) if !bare.is_empty() => {
            format!("name its files without an ending: '{}'", bare.join("' or '"))
        }
        (_, None) => format!(
            "name checkpoint files (*.{}) or their folder",
            endings().collect::<Vec<_>>().join(", *.")
        ),
    };
    error.at(folder).remedy(remedy)
}

pub(super) fn no_match(pattern: &str) -> Error {
    let remedy = match pattern.contains('[') {
        true => {
            "check the folder and the file names; in a pattern `[` begins a set of characters, `[[]` is the bracket itself"
        }
        false => "check the folder and the file names",
    };
    Error::new(Kind::NoMatch, format!("no file matches `{pattern}`")).remedy(remedy)
}

/// A folder is a model, told by its own file, and holds further models.
pub(super) fn model_beside_others(folder: &Path, own: &Path, models: &[PathBuf]) -> Error {
    let snapshots = within(folder, &common_pattern(&names(models)));
    let error = Error::usage("holds a model, and folders with further ones").at(folder);
    // Of a folder among others like it, the further models are one of each.
    let here = |above| if above == Path::new("") { Path::new(".") } else { above };
    let above = folder.parent().map(here).filter(|above| {
        let like = |path: &Path| without_digits(&base_name(path));
        let all = store::list(above).unwrap_or_default();
        let beside = all.iter().filter(|path| like(path).is_some() && like(path) == like(folder));
        beside.count() > 1
    });
    if let (Some(above), [only]) = (above, models) {
        let alike = common_pattern(&[base_name(folder)]);
        let further = within(above, &format!("{alike}{}", base_name(only)));
        return error.remedy(format!(
            "name `{}` for the models of such folders themselves, or '{further}' for those within them",
            above.display()
        ));
    }
    let own = own.display();
    error.remedy(format!("name '{snapshots}' for those in its folders, or `{own}` for its own"))
}

/// A folder holds files of several kinds, by their endings, or files and models.
pub(super) fn several_kinds(folder: &Path, kinds: &[&str], models: &[PathBuf]) -> Error {
    let mut patterns: Vec<String> = kinds.iter().map(|kind| format!("*.{kind}")).collect();
    let what = match models.is_empty() {
        true => "holds checkpoint files of several kinds",
        false => {
            patterns.push(common_pattern(&names(models)));
            "holds checkpoint files and model folders"
        }
    };
    let patterns: Vec<String> = patterns.iter().map(|tail| within(folder, tail)).collect();
    let remedy = format!("name one of them as a pattern: '{}'", patterns.join("' or '"));
    Error::usage(what).at(folder).remedy(remedy)
}

/// The nearest folders below one that have checkpoints, but what is no matter.
pub(super) fn below(folder: &Path, is_no_matter: &dyn Fn(&PathBuf) -> bool) -> Vec<PathBuf> {
    let (mut level, mut looked_into) = (vec![folder.to_path_buf()], 0);
    for _ in 0..DEEPEST {
        let mut inner = vec![];
        for folder in &level {
            looked_into += 1;
            if looked_into > MOST_FOLDERS {
                return vec![];
            }
            inner.extend(store::list(folder).unwrap_or_default());
        }
        inner.retain(|path| {
            let is_folder = || store::is_folder(path).unwrap_or(false);
            !base_name(path).starts_with('.') && !is_no_matter(path) && is_folder()
        });
        inner.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
        if inner.len() > MOST_FOLDERS {
            return vec![];
        }
        // Those that are refused, such as pipelines, say why when they are named.
        let has_some = |path: &&PathBuf| {
            let found = store::list(path).and_then(|entries| in_folder(path, &entries));
            !found.is_ok_and(|found| found.is_empty())
        };
        let found: Vec<PathBuf> = inner.iter().filter(has_some).cloned().collect();
        if !found.is_empty() {
            return found;
        }
        level = inner;
    }
    vec![]
}

/// A pattern for folders that are as deep as each other below one; None for none.
pub(super) fn pattern(folder: &Path, inner: &[PathBuf]) -> Option<String> {
    let first = inner.first()?;
    let deep = first.strip_prefix(folder).ok()?.components().count();
    // Each level by what the names in it have in common.
    let levels = (0..deep).rev().map(|up| {
        let at: Vec<PathBuf> =
            inner.iter().filter_map(|path| path.ancestors().nth(up)).map(PathBuf::from).collect();
        let names = names(&at);
        match names.iter().all(|name| *name == names[0]) {
            true => format!("{}/", glob::Pattern::escape(&names[0])),
            false => common_pattern(&names),
        }
    });
    Some(within(folder, &levels.collect::<String>()))
}

/// Patterns for the numbered files without an ending in a folder: `checkpoint_1000` of Flax, `g_00005000`.
fn without_endings(folder: &Path) -> Vec<String> {
    let mut files = store::list(folder).unwrap_or_default();
    files.retain(|path| {
        let name = base_name(path);
        let kind = store::of(path).look(path).ok().flatten().and_then(|entry| entry.kind);
        let is_number_last = name.ends_with(|c: char| c.is_ascii_digit());
        kind == Some(EntryKind::File)
            && is_number_last
            && !name.contains('.')
            && !is_other_state(&name)
    });
    let mut patterns: Vec<String> = files
        .iter()
        .filter_map(|path| without_digits(&base_name(path)))
        .map(|start| within(folder, &format!("{}*", glob::Pattern::escape(&start))))
        .collect();
    patterns.sort();
    patterns.dedup();
    patterns.truncate(3);
    patterns
}

fn within(folder: &Path, tail: &str) -> String {
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    format!("{}/{tail}", folder.trim_end_matches('/'))
}

fn names(folders: &[PathBuf]) -> Vec<String> {
    folders.iter().map(|folder| base_name(folder)).collect()
}

/// `checkpoint-*/` for checkpoint-500 and checkpoint-1000, `*/` if the names have no common prefix.
fn common_pattern(names: &[String]) -> String {
    let mut names = names.to_vec();
    names.sort_by(|a, b| natural(a, b));
    let mut common = names[0].as_str();
    for name in &names {
        while !name.starts_with(common) {
            let mut shorter = common.chars();
            shorter.next_back();
            common = shorter.as_str();
        }
    }
    let common = common.trim_end_matches(|c: char| c.is_ascii_digit());
    format!("{}*/", glob::Pattern::escape(common))
}

#[cfg(test)]
mod tests {
    use crate::select::tests::Runs;

    #[test]
    fn a_folder_of_files_and_model_folders_is_an_error() {
        let runs =
            Runs::new(&["e.safetensors", "c-50/model.safetensors", "c-51/model.safetensors"]);
        let (path, error) = (runs.path(""), runs.fails(&[""]));
        let path = path.to_str().unwrap().trim_end_matches('/');
        assert!(error.contains("holds checkpoint files and model folders; name one"), "{error}");
        assert!(error.ends_with(&format!("'{path}/*.safetensors' or '{path}/c-*/'")), "{error}");
        // And what it says works.
        assert_eq!(runs.select(&["*.safetensors"]), ["e.safetensors"]);
        assert_eq!(runs.select(&["c-*/"]), ["c-50", "c-51"]);
    }

    #[test]
    fn the_folder_below_that_has_checkpoints_is_named() {
        let runs = Runs::new(&["run/params.txt", "run/logs/x.txt", "run/checkpoints/epoch_1.pt"]);
        let error = runs.fails(&["run"]);
        assert!(error.contains("name the folder that does: `"), "{error}");
        assert!(error.ends_with("run/checkpoints`"), "{error}");
    }

    #[test]
    fn a_folder_without_checkpoints_is_an_error() {
        let runs = Runs::new(&["logs/x.txt", "logs/.hidden.safetensors"]);
        std::fs::create_dir(runs.path("empty")).unwrap();
        for folder in ["", "logs", "empty"] {
            let error = runs.fails(&[folder]);
            let what = "holds no checkpoints (files or model folders);";
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn a_model_beside_its_snapshots_is_ambiguous() {
        let snapshots = ["checkpoint-500/model.safetensors", "checkpoint-50/model.safetensors"];
        let runs = Runs::new(&[snapshots[0], snapshots[1], "model.safetensors"]);
        let error = runs.fails(&[""]);
        assert!(error.contains("/checkpoint-*/' for those"), "{error}");
        assert!(error.contains("/model.safetensors` for its own"), "{error}");
        assert_eq!(runs.select(&["checkpoint-*/"]), ["checkpoint-50", "checkpoint-500"]);
        assert_eq!(runs.select(&["model.safetensors"]), ["model.safetensors"]);
        // In shards, its index names it.
        let index = "run/model.safetensors.index.json";
        let runs = Runs::new(&["run/a/model.safetensors", "run/b/model.safetensors", index]);
        let error = runs.fails(&["run"]);
        assert!(error.contains("/run/*/' for those"), "{error}");
        assert!(error.contains("/model.safetensors.index.json` for its own"), "{error}");
        assert_eq!(runs.select(&["run/*/"]), ["run/a", "run/b"]);
        assert_eq!(runs.select(&[index]), ["run"]);
    }

    #[test]
    fn folders_named_like_patterns_are_folders() {
        let runs = Runs::new(&["r[1]/e.safetensors", "r[1]/c/model.safetensors"]);
        let error = runs.fails(&["r[1]"]);
        assert!(error.contains("/r[[]1[]]/*.safetensors'"), "{error}");
        assert_eq!(runs.select(&["r[[]1[]]/*/"]), ["r[1]/c"]);
    }
}
