//! What models are called in pictures and tables.

use std::path::Path;

use swa_tools::select::base_name;

use super::LandscapeReport;

/// Endings that say nothing about a model.
const ENDINGS: [&str; 6] = [".safetensors", ".tar", ".pth", ".pt", ".ckpt", ".bin"];

impl LandscapeReport {
    /// The models' file names without the ending, or their paths where these are not distinct.
    pub(super) fn names(&self) -> Vec<String> {
        let short = |path: &str| {
            let mut name = base_name(Path::new(path));
            for ending in ENDINGS {
                if let Some(bare) = name.strip_suffix(ending).filter(|bare| !bare.is_empty()) {
                    name = bare.to_string();
                }
            }
            name
        };
        let short: Vec<String> = self.models.iter().map(|model| short(&model.model)).collect();
        let distinct: std::collections::BTreeSet<&String> = short.iter().collect();
        match distinct.len() == short.len() {
            true => short,
            false => self.models.iter().map(|model| model.model.clone()).collect(),
        }
    }
}
