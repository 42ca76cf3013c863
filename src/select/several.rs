//! Folders with several models, which are no snapshots of one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::store::{self, names::base_name};
use crate::{Error, Result};

/// Fails if two folders hold several models each under the same names, and these have no numbers: the adapters `de` and `en`
/// of two steps are not four snapshots of one model.
pub(super) fn refuse(named: &[(PathBuf, Vec<PathBuf>)]) -> Result<()> {
    let mut seen: HashMap<Vec<String>, &Path> = HashMap::new();
    for (argument, found) in named {
        // Those that were named by their folder alone.
        let Some(folder) = found.first().and_then(|path| path.parent()) else { continue };
        if folder != argument || found.len() < 2 || !store::is_folder(&found[0])? {
            continue;
        }
        let mut names: Vec<String> = found.iter().map(|path| base_name(path)).collect();
        if names.iter().any(|name| name.contains(|c: char| c.is_ascii_digit())) {
            continue;
        }
        names.sort();
        let all = names.join("` and `");
        let one = names[0].clone();
        if let Some(other) = seen.insert(names, folder)
            && other != folder
        {
            let what = format!(
                "holds `{all}`, and so does `{}`: are these snapshots of one model, or several models?",
                other.display()
            );
            let (own, other) = (folder.join(&one), other.join(&one));
            return Err(Error::usage(what).at(folder).remedy(format!(
                "name those of one model, such as `{}` and `{}`; for the mean of all name each",
                other.display(),
                own.display()
            )));
        }
    }
    Ok(())
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
    let (mut names, first) = (names, models[0].display());
    names.sort();
    Err(Error::usage(format!("is a pipeline of several models: `{}`", names.join("`, `")))
        .at(folder)
        .remedy(format!(
            "average them one by one, such as `{first}` and the same of the other pipelines, into a copy of \
             a pipeline"
        )))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Runs;

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
        // Snapshots of two runs have numbers.
        let all = ["a/s-1", "a/s-2", "b/s-1", "b/s-2"].map(|model| format!("{model}/{file}"));
        let runs = Runs::new(&all.each_ref().map(String::as_str));
        assert_eq!(runs.select(&["a", "b"]).len(), 4);
    }
}
