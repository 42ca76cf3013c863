//! The checkpoints in a folder: files, models in folders of their own, or itself.

use std::path::{Path, PathBuf};

use super::others::is_other_state;
use super::{extension, remedies, several};
use crate::Result;
use crate::formats::{endings, marker, markers};
use crate::store::names::{UNFINISHED, base_name};
use crate::store::{self, EntryKind};

/// The checkpoints among what a folder holds, or itself.
pub(super) fn in_folder(folder: &Path, entries: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let (mut files, mut models) = (Vec::new(), Vec::new());
    for path in entries {
        let name = base_name(path);
        if name.starts_with('.') || name.ends_with(UNFINISHED) || is_other_state(&name) {
            continue;
        }
        // Were one that cannot be looked at passed over, there would be one less, in silence.
        let entry = store::of(path).look(path)?;
        if entry.is_some_and(|entry| entry.kind == Some(EntryKind::Folder)) {
            if marker(path)?.is_some() {
                models.push(path.clone());
            }
        } else if extension(path).is_some() {
            files.push(path.clone());
        }
    }
    several::refuse_pipeline(folder, &models)?;
    let own = markers(folder)?;
    if let Some(first) = own.first() {
        // Accelerate and DeepSpeed keep the model, or what belongs to it, one folder deeper.
        let belongs = |inner: &PathBuf| own.iter().any(|own| own.parent() == Some(inner));
        if models.iter().all(|inner| belongs(inner) || is_module(inner)) {
            // Without a trailing slash, which would follow a link.
            return Ok(vec![folder.components().as_path().to_path_buf()]);
        }
        return Err(remedies::model_beside_others(folder, first, &models));
    }
    let mut kinds: Vec<&str> = endings().collect();
    kinds.retain(|kind| files.iter().any(|file| extension(file) == Some(kind)));
    match kinds.len() + usize::from(!models.is_empty()) {
        0 | 1 => Ok([files, models].concat()),
        _ => Err(remedies::several_kinds(folder, &kinds, &models)),
    }
}

/// Whether a folder in that of a model holds a layer of it, as Sentence Transformers calls them: `2_Dense`.
fn is_module(folder: &Path) -> bool {
    let name = base_name(folder);
    let rest = name.trim_start_matches(|c: char| c.is_ascii_digit());
    let after = rest.strip_prefix('_').filter(|_| rest.len() < name.len());
    after.is_some_and(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
}
