//! Parts of models that only their names tell.

use std::path::{Path, PathBuf};

use crate::store::{self, names::base_name};
use crate::{Error, Result};

/// The number of a part of a model as torchtune named it before 0.5, `hf_model_0001_0.pt` of epoch 0: all epochs are in
/// one folder, and no index says what belongs together.
fn part(path: &Path) -> Option<u32> {
    let name = base_name(path);
    let (part, rest) = name.strip_prefix("hf_model_")?.split_once('_')?;
    let (epoch, _) = rest.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (part.len() == 4 && digits(part) && digits(epoch)).then(|| part.parse().ok())?
}

/// Fails for parts of a model, named alone or with the others. A model in one file has one part.
pub(super) fn refuse(paths: &[PathBuf]) -> Result<()> {
    let Some(path) = paths.iter().find(|path| part(path).is_some()) else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let beside = store::list(folder.unwrap_or(Path::new(".")))?;
    let parts = beside.iter().filter_map(|path| part(path)).max().unwrap_or(1);
    if parts < 2 {
        return Ok(());
    }
    let what =
        format!("is one of {parts} parts of a model, and no index says which belong together");
    Err(Error::usage(what).at(path).remedy(
        "join the parts of each epoch (torch.load all, torch.save one dict of them) and average these files",
    ))
}
