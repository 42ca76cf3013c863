//! Folders with several models, which are no snapshots of one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::Named;
use super::remedies;
use crate::select::name_parts::without_extensions;
use crate::select::words::{is_checkpoints, telling, without_digits};
use crate::store::{self, names::base_name};
use crate::{Error, Kind, Result};

/// Fails if two folders hold the same several models, files or folders, by their names: the adapters `de` and `en` of two
/// steps are not four snapshots of one model.
pub(super) fn refuse(all: &[Named]) -> Result<()> {
    // Of each name the first folder that holds it.
    let mut first: HashMap<String, &Path> = HashMap::new();
    for (named, found) in all.iter().flat_map(|named| &named.found) {
        // Those that were named by their folder alone.
        let Some(folder) = found.first().and_then(|path| path.parent()) else { continue };
        if folder != named || found.len() < 2 {
            continue;
        }
        let own = names_of_models(found);
        let mut common: BTreeMap<&Path, Vec<&String>> = BTreeMap::new();
        for name in &own {
            let other = first.get(name).filter(|other| **other != folder);
            other.into_iter().for_each(|other| common.entry(other).or_default().push(name));
        }
        for (other, names) in common {
            let tells = |name: &&&String| !telling(without_extensions(name)).is_empty();
            let (Some(one), 2..) = (names.iter().find(tells), names.len()) else { continue };
            // Of `brain.ckpt` and `model.ckpt` the model is what may be meant.
            let is_plain = |name: &&&String| {
                let stem = without_extensions(name);
                is_checkpoints(stem) && telling(stem).is_empty()
            };
            let one = names.iter().find(is_plain).unwrap_or(one);
            let list: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            let what = format!(
                "holds `{}`, and so does `{}`: are these snapshots of one model, or several models?",
                list.join("` and `"),
                other.display()
            );
            let (own, other) = (folder.join(one), other.join(one));
            return Err(Error::new(Kind::Mismatch, what).at(folder).remedy(format!(
                "name those of one model, such as `{}` and `{}`; for the mean of all name each",
                other.display(),
                own.display()
            )));
        }
        for name in own {
            first.entry(name).or_insert(folder);
        }
    }
    Ok(())
}

/// The names of some checkpoints that more than a number tells apart.
fn names_of_models(checkpoints: &[PathBuf]) -> BTreeSet<String> {
    let names: Vec<String> = checkpoints.iter().map(|path| base_name(path)).collect();
    let plain = |name: &str| without_digits(name).unwrap_or_else(|| name.to_string());
    let mut like: HashMap<String, usize> = HashMap::new();
    names.iter().for_each(|name| *like.entry(plain(name)).or_default() += 1);
    let is_alone = |name: &String| like[&plain(name)] == 1 && name.contains(char::is_alphabetic);
    names.into_iter().filter(is_alone).collect()
}

/// A pipeline of several models (Diffusers) is no set of checkpoints, and an average of one of them is no pipeline.
pub(super) fn refuse_pipeline(folder: &Path, models: &[PathBuf]) -> Result<()> {
    const COMPONENTS: [&str; 11] = [
        "controlnet",
        "decoder",
        "image_encoder",
        "prior",
        "safety_checker",
        "text_encoder",
        "text_encoder_2",
        "text_encoder_3",
        "transformer",
        "unet",
        "vae",
    ];
    let names: Vec<String> = models.iter().map(|path| base_name(path)).collect();
    let has_component = names.iter().any(|name| COMPONENTS.contains(&name.as_str()));
    let is_pipeline =
        store::is_file(&folder.join("model_index.json"))? || names.len() > 1 && has_component;
    if !is_pipeline || names.is_empty() {
        return Ok(());
    }
    let (mut names, first) = (names, models.iter().min().unwrap_or(&models[0]).display());
    names.sort();
    let trained = remedies::below(folder, &|path| models.contains(path));
    let trained = match remedies::pattern(folder, &trained) {
        Some(pattern) => format!("; or name '{pattern}', where its training has checkpoints"),
        None => String::new(),
    };
    Err(Error::usage(format!("is a pipeline of several models: `{}`", names.join("`, `")))
        .at(folder)
        .remedy(format!(
            "average them one by one, such as `{first}` and the same of the other pipelines, into a copy of \
             a pipeline{trained}"
        )))
}

#[cfg(test)]
mod tests {
    use crate::select::tests::Runs;

    #[test]
    fn several_models_of_several_steps_are_not_averaged_with_each_other() {
        let file = "adapter_model.safetensors";
        let all = ["c-1/de", "c-1/en", "c-2/de", "c-2/en"].map(|model| format!("{model}/{file}"));
        let runs = Runs::new(&all.each_ref().map(String::as_str));
        for arguments in [&["c-1", "c-2"][..], &["c-*"], &["c-1/", "c-2/"]] {
            let error = runs.fails(arguments);
            assert!(error.contains("c-2`: holds `de` and `en`, and so does `"), "{error}");
            assert!(error.contains("/c-1/de` and `") && error.contains("/c-2/de`;"), "{error}");
        }
        // Those of one model, and all where each is named.
        assert_eq!(runs.select(&["c-*/en"]), ["c-1/en", "c-2/en"]);
        assert_eq!(runs.select(&["c-*/*"]).len(), 4);
        assert_eq!(runs.select(&["c-1"]), ["c-1/de", "c-1/en"]);
        // Of some models more steps are there; numbers are parts of names.
        let all = ["a/t5_de", "a/t5_en", "b/t5_de", "b/t5_en", "b/t5_fr"];
        let all = all.map(|model| format!("{model}/{file}"));
        let runs = Runs::new(&all.each_ref().map(String::as_str));
        assert!(runs.fails(&["a", "b"]).contains("holds `t5_de` and `t5_en`, and so does"));
        // The best and the last of two runs.
        let all = ["a/s-1", "a/s-2", "a/best", "a/last", "b/s-1", "b/s-2", "b/best", "b/last"];
        let all = all.map(|model| format!("{model}/{file}"));
        let runs = Runs::new(&all.each_ref().map(String::as_str));
        assert_eq!(runs.select(&["a", "b"]).len(), 8);
        // Files are no other; their words for steps are.
        let runs = Runs::new(&["a/de.pt", "a/en.pt", "b/de.pt", "b/en.pt"]);
        for arguments in [&["a", "b"][..], &["?"]] {
            let error = runs.fails(arguments);
            assert!(error.contains("b`: holds `de.pt` and `en.pt`, and so does `"), "{error}");
        }
        let files = ["ckpt_best.pt", "ckpt_last.pt", "model_final.pt", "model.pt", "Epoch-3.pt"];
        let all: Vec<String> =
            files.iter().flat_map(|f| ["a", "b"].map(|d| format!("{d}/{f}"))).collect();
        let runs = Runs::new(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(runs.select(&["a", "b"]).len(), 10);
        // A second set of weights beside each snapshot; an average is passed over.
        let runs = Runs::new(&["a/model.pt", "a/critic.pt", "b/model.pt", "b/critic.pt"]);
        let error = runs.fails(&["a", "b"]);
        assert!(error.contains("b`: holds `critic.pt` and `model.pt`, and so does `"), "{error}");
        assert!(error.contains("/a/model.pt` and `"), "{error}");
        assert!(error.contains("/b/model.pt`;"), "{error}");
        let runs = Runs::new(&["a/model.pt", "a/ema.pt", "b/model.pt", "b/ema.pt"]);
        assert_eq!(runs.select(&["a", "b"]), ["a/model.pt", "b/model.pt"]);
        // Snapshots of two runs have numbers.
        let all = ["a/s-1", "a/s-2", "b/s-1", "b/s-2"].map(|model| format!("{model}/{file}"));
        let runs = Runs::new(&all.each_ref().map(String::as_str));
        assert_eq!(runs.select(&["a", "b"]).len(), 4);
    }
}
