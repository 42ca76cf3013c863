//! What the arguments name: files, patterns, folders.

use std::path::{Path, PathBuf};

use super::words::without_counts;
use super::{parts, series, several};
use crate::formats::shards::{is_shard, model};
use crate::formats::{endings, marker};
use crate::store::names::{UNFINISHED, base_name, natural};
use crate::store::{self, EntryKind};
use crate::{Error, Kind, Result};

/// Whether a file is something else that trainers keep beside the weights: the state of an optimizer, a schedule, a
/// random generator, numbered or not.
pub(super) fn is_other_state(name: &str) -> bool {
    const NAMES: [&str; 18] = [
        "grad_scaler",
        "lr_scheduler",
        "optim",
        "optimizer",
        "optimizer_state",
        "optimizer_states",
        "random_state",
        "random_states",
        "recipe_state",
        "rng",
        "rng_state",
        "rng_states",
        "scaler",
        "scheduler",
        "scheduler_state",
        "trainer_state",
        "training_args",
        "training_state",
    ];
    let lower = name.to_ascii_lowercase();
    let stem = lower.split('.').next().unwrap_or_default();
    // Guided diffusion's optimizers.
    let is_opt = |number: &str| number.len() > 5 && number.bytes().all(|b| b.is_ascii_digit());
    NAMES.contains(&&*without_counts(stem))
        || stem.strip_prefix("opt").is_some_and(is_opt)
        || lower.starts_with("rng_state")
        || lower.ends_with("optim_states.pt")
        // Marian's optimizer.
        || lower.ends_with(".optimizer.npz")
}

/// What an argument names.
pub(super) struct Named {
    /// A file, a folder or a pattern.
    pub argument: PathBuf,
    /// The argument itself or what it matches, each with its checkpoints.
    pub found: Vec<(PathBuf, Vec<PathBuf>)>,
}

impl Named {
    /// The checkpoints alone.
    pub fn checkpoints(&self) -> impl Iterator<Item = &PathBuf> {
        self.found.iter().flat_map(|(_, found)| found)
    }
}

/// All that the arguments name, in their order.
pub(super) fn expand(arguments: &[PathBuf]) -> Result<Vec<Named>> {
    let all = arguments.iter().map(|argument| named(argument)).collect::<Result<Vec<_>>>()?;
    parts::refuse(&flat(&all))?;
    Ok(all)
}

/// What an argument names.
pub(super) fn named(argument: &Path) -> Result<Named> {
    let found = match is_pattern(argument)? {
        true => matches(&argument.to_string_lossy())?,
        false => {
            let found = checkpoints(argument)?;
            if found.is_empty() {
                return Err(holds_none(argument));
            }
            vec![(argument.to_path_buf(), found)]
        }
    };
    Ok(Named { argument: argument.to_path_buf(), found })
}

/// Whether it is not the name of something that is there.
pub(super) fn is_pattern(argument: &Path) -> Result<bool> {
    Ok(argument.to_string_lossy().contains(['*', '?', '[']) && !store::exists(argument)?)
}

/// The checkpoints alone.
pub(super) fn flat(all: &[Named]) -> Vec<PathBuf> {
    all.iter().flat_map(Named::checkpoints).cloned().collect()
}

/// Fails for checkpoints that cannot be those of one model.
///
/// # Errors
/// `Mismatch`.
pub(super) fn refuse_several(all: &[Named]) -> Result<()> {
    several::refuse(all)?;
    all.iter().try_for_each(series::refuse)
}

/// What a pattern matches, and the checkpoints of each. Folders without any, as `runs/logs` for `runs/*`, are skipped.
fn matches(pattern: &str) -> Result<Vec<(PathBuf, Vec<PathBuf>)>> {
    let (mut named, mut empty) = (Vec::new(), None);
    for path in store::of(Path::new(pattern)).matches(pattern)? {
        let checkpoints = checkpoints(&path)?;
        match checkpoints.is_empty() {
            true => drop(empty.get_or_insert(path)),
            false => named.push((path, checkpoints)),
        }
    }
    match empty {
        _ if !named.is_empty() => Ok(named),
        Some(folder) => Err(holds_none(&folder)),
        None => {
            let remedy = match pattern.contains('[') {
                true => {
                    "check the folder and the file names; in a pattern `[` begins a set of characters, `[[]` is the bracket itself"
                }
                false => "check the folder and the file names",
            };
            Err(Error::new(Kind::NoMatch, format!("no file matches `{pattern}`")).remedy(remedy))
        }
    }
}

fn holds_none(folder: &Path) -> Error {
    let error = Error::new(Kind::NoMatch, "holds no checkpoints (files or model folders)");
    let remedy = match &below(folder)[..] {
        [inner] => format!("name the folder that does: `{}`", inner.display()),
        several @ [_, ..] => {
            let outer = glob::Pattern::escape(&folder.to_string_lossy());
            let inner = common_pattern(several);
            format!("name the folders that do: '{}/{inner}'", outer.trim_end_matches('/'))
        }
        [] => format!(
            "name checkpoint files (*.{}) or their folder",
            endings().collect::<Vec<_>>().join(", *.")
        ),
    };
    error.at(folder).remedy(remedy)
}

/// The folders right below one that have checkpoints.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut inner = store::list(folder).unwrap_or_default();
    inner.retain(|path| {
        !base_name(path).starts_with('.') && store::is_folder(path).unwrap_or(false)
    });
    inner.sort_by(|a, b| natural(&base_name(a), &base_name(b)));
    // Those that are refused, such as pipelines, say why when they are named.
    inner.retain(|path| !in_folder(path).is_ok_and(|found| found.is_empty()));
    inner
}

/// The checkpoints that one path names: itself, or those in a folder, if any.
pub(super) fn checkpoints(path: &Path) -> Result<Vec<PathBuf>> {
    if store::is_folder(path)? {
        return in_folder(path);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = base_name(path);
    // The only way to name a sharded model that has snapshots beside it.
    let is_json = name.ends_with(".json") && store::is_file(path)?;
    let index = match is_json || is_shard(&name) {
        true => model(folder)?.filter(|model| model.is_index),
        false => None,
    };
    if is_json && index.as_ref().is_some_and(|index| base_name(&index.path) == name) {
        return Ok(vec![folder.to_path_buf()]);
    }
    if is_shard(&name) && index.is_some() {
        return Err(Error::usage("is one shard of a model")
            .at(path)
            .remedy(format!("name its folder, `{}`", folder.display())));
    }
    Ok(vec![path.to_path_buf()])
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut models) = (Vec::new(), Vec::new());
    for path in store::list(folder)? {
        let name = base_name(&path);
        if name.starts_with('.') || name.ends_with(UNFINISHED) {
            continue;
        }
        // Were one that cannot be looked at passed over, there would be one less, in silence.
        let entry = store::of(&path).look(&path)?;
        if entry.is_some_and(|entry| entry.kind == Some(EntryKind::Folder)) {
            if marker(&path)?.is_some() {
                models.push(path);
            }
        } else if extension(&path).is_some() && !is_other_state(&name) {
            files.push(path);
        }
    }
    several::refuse_pipeline(folder, &models)?;
    let pattern = |tail: &str| {
        let folder = glob::Pattern::escape(&folder.to_string_lossy());
        format!("'{}/{tail}'", folder.trim_end_matches('/'))
    };
    if let Some(own) = marker(folder)? {
        // Accelerate and DeepSpeed keep the model one folder deeper.
        if models.iter().all(|inner| own.parent() == Some(inner)) {
            // Without a trailing slash, which would follow a link.
            return Ok(vec![folder.components().as_path().to_path_buf()]);
        }
        let snapshots = pattern(&common_pattern(&models));
        let own = own.display();
        return Err(Error::usage("holds a model, and folders with further ones")
            .at(folder)
            .remedy(format!("name {snapshots} for those in its folders, or `{own}` for its own")));
    }
    let mut kinds: Vec<&str> = endings().collect();
    kinds.retain(|kind| files.iter().any(|file| extension(file) == Some(kind)));
    let mut patterns: Vec<String> =
        kinds.iter().map(|kind| pattern(&format!("*.{kind}"))).collect();
    if !models.is_empty() {
        patterns.push(pattern(&common_pattern(&models)));
    }
    if patterns.len() < 2 {
        return Ok([files, models].concat());
    }
    let what = match models.is_empty() {
        true => "holds checkpoint files of several kinds",
        false => "holds checkpoint files and model folders",
    };
    let remedy = format!("name one of them as a pattern: {}", patterns.join(" or "));
    Err(Error::usage(what).at(folder).remedy(remedy))
}

/// The ending of a file's name, if it is one of checkpoints.
pub(super) fn extension(path: &Path) -> Option<&'static str> {
    let own = path.extension()?;
    endings().find(|known| own.eq_ignore_ascii_case(known))
}

/// `checkpoint-*/` for checkpoint-500 and checkpoint-1000, `*/` if the names have no common prefix.
fn common_pattern(folders: &[PathBuf]) -> String {
    let mut names: Vec<String> = folders.iter().map(|folder| base_name(folder)).collect();
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
    use super::super::tests::{Runs, fails};
    use super::*;
    use crate::select::{Criteria, select};

    #[test]
    fn a_model_folder_is_one_checkpoint() {
        let runs = Runs::new(&["a/model.safetensors", "a/config.json", "a/onnx/x.safetensors"]);
        assert_eq!(runs.select(&["a"]), ["a"]);
        let runs = Runs::new(&[
            "a/model.safetensors.index.json",
            "a/model-00001-of-00002.safetensors",
            "a/model-00002-of-00002.safetensors",
        ]);
        assert_eq!(runs.select(&["a"]), ["a"]);
        assert_eq!(runs.select(&["a/"]), ["a"]);
    }

    #[test]
    fn what_is_hidden_is_matched_as_by_the_shell() {
        let runs = Runs::new(&["r/e_1.pth", "r/._e_1.pth", "r/.tmpXvGj9B", "r/.c/e_2.pth"]);
        for pattern in ["r/*", "r/*.pth", "r/**/*.pth", "r"] {
            assert_eq!(runs.select(&[pattern]), ["r/e_1.pth"], "{pattern}");
        }
        assert_eq!(runs.select(&["r/.tmp*"]), ["r/.tmpXvGj9B"]);
        // Hydra's folders look like patterns.
        let runs = Runs::new(&["lr=[1,2]/e_1.pth"]);
        assert!(runs.fails(&["lr=[1,2]/*.pth"]).contains("`[[]` is the bracket itself"));
        assert_eq!(runs.select(&["lr=[[]1,2]/*.pth"]), ["lr=[1,2]/e_1.pth"]);
    }

    #[test]
    fn a_folder_is_the_files_in_it() {
        let runs = Runs::new(&[
            "e_10.safetensors",
            "e_9.safetensors",
            ".e_8.safetensors",
            "log.txt",
            "deeper/e_7.safetensors",
        ]);
        assert_eq!(runs.select(&[""]), ["e_9.safetensors", "e_10.safetensors"]);
        // A link that leads nowhere stays, to be reported.
        std::os::unix::fs::symlink("gone", runs.path("e_11.safetensors")).unwrap();
        assert_eq!(runs.select(&[""]).len(), 3);
    }

    #[test]
    fn a_folder_is_the_model_folders_in_it() {
        let runs = Runs::new(&[
            "checkpoint-1000/model.safetensors",
            "checkpoint-500/model.safetensors.index.json",
            ".cache/model.safetensors",
            "logs/events",
            "swa.partial/model.safetensors",
        ]);
        assert_eq!(runs.select(&[""]), ["checkpoint-500", "checkpoint-1000"]);
        // A link that leads nowhere stays, to be reported.
        std::os::unix::fs::symlink("gone", runs.path("logs/model.safetensors")).unwrap();
        assert_eq!(runs.select(&[""]).len(), 3);
    }

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
    fn what_trainers_keep_beside_the_weights_is_passed_over() {
        let runs = Runs::new(&[
            "epoch_1.pt",
            "epoch_2.pt",
            "optimizer_1.pt",
            "optim.pth",
            "optimizer-2.pt",
            "Scheduler.pth",
            "rng_state_0.pth",
            "recipe_state.pt",
            "random_states_0.pkl",
            "training_args.bin",
            "config.json",
        ]);
        assert_eq!(runs.select(&[""]), ["epoch_1.pt", "epoch_2.pt"]);
        // Whoever names one means it; and names that only begin so are checkpoints.
        assert_eq!(runs.select(&["optim.pth"]), ["optim.pth"]);
        let runs = Runs::new(&["optimized_1.pt", "scheduler_free_1.pt", "scaled_1.pt"]);
        assert_eq!(runs.select(&[""]).len(), 3);
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
    fn a_shard_is_an_error() {
        let shard = "a/model-00001-of-00003.safetensors";
        let runs = Runs::new(&["a/model.safetensors.index.json", shard]);
        let folder = runs.path("a");
        for argument in [shard, "a/*.safetensors"] {
            let error = runs.fails(&[argument]);
            let tail = format!("is one shard of a model; name its folder, `{}`", folder.display());
            assert!(error.ends_with(&tail), "{error}");
        }
        // Without an index beside it, it is a file as any other.
        let runs = Runs::new(&[shard]);
        assert_eq!(runs.select(&[shard]), [shard]);
    }

    #[test]
    fn a_pattern_passes_over_folders_without_checkpoints() {
        let runs = Runs::new(&["logs/x", "c-9/model.safetensors", "c-10/model.safetensors"]);
        assert_eq!(runs.select(&["*"]), ["c-9", "c-10"]);
        assert!(runs.fails(&["l*"]).contains("logs`: holds no checkpoints"));
        assert!(runs.fails(&["x*"]).starts_with("no file matches `"));
    }

    #[test]
    fn a_pattern_expands_the_folders_it_matches() {
        let runs = Runs::new(&["a/e_1.safetensors", "b/e_2.safetensors", "c/model.safetensors"]);
        assert_eq!(runs.select(&["[ab]"]), ["a/e_1.safetensors", "b/e_2.safetensors"]);
        assert_eq!(runs.select(&["*"]).len(), 3);
        let runs = Runs::new(&["a/model.safetensors", "a/b/model.safetensors", "c/x.safetensors"]);
        assert!(runs.fails(&["*"]).contains("holds a model, and folders"));
    }

    #[test]
    fn folders_named_like_patterns_are_folders() {
        let runs = Runs::new(&["r[1]/e.safetensors", "r[1]/c/model.safetensors"]);
        let error = runs.fails(&["r[1]"]);
        assert!(error.contains("/r[[]1[]]/*.safetensors'"), "{error}");
        assert_eq!(runs.select(&["r[[]1[]]/*/"]), ["r[1]/c"]);
    }

    #[test]
    fn what_does_not_exist_is_reported_when_opened() {
        let missing = Path::new("/nowhere/epoch_3.safetensors").to_path_buf();
        let found = select(std::slice::from_ref(&missing), &Criteria::default()).unwrap();
        assert_eq!(found.paths, [missing]);
        assert!(select(&[], &Criteria::default()).unwrap().paths.is_empty());
        assert!(fails(&["/nowhere/*"], &Criteria::default()).starts_with("no file matches"));
        assert!(fails(&["/nowhere/a**"], &Criteria::default()).starts_with("bad pattern"));
    }
}
