//! Files whose tensors have flat names, as safetensors and npz have.

use std::rc::Rc;

use crate::tensors::TensorInfo;
use crate::tensors::contents::Contents;
use crate::weights::tree::Node;
use crate::weights::{self, Take};
use crate::{Error, Kind, METADATA_KEY, Result, setting};

/// The weights that are meant: all, those below a key, or the averaged ones of two sets side by side.
pub(super) fn within(mut contents: Contents, take: &Take) -> Result<Contents> {
    if take.key.is_none() && !take.moments {
        without_moments(&mut contents);
    }
    let has = |prefix: &str| contents.tensors.iter().any(|t| t.name.starts_with(prefix));
    let found: Vec<(String, usize)> = match &take.key {
        Some(key) => {
            let prefix = format!("{key}.");
            let names = contents.tensors.iter().enumerate();
            let below = names.filter_map(|(i, t)| Some((t.name.strip_prefix(&prefix)?.into(), i)));
            let below: Vec<_> = below.collect();
            if below.is_empty() {
                let what =
                    format!("{} {key}: no tensor's name begins with it", setting!("weights_key"));
                return Err(Error::new(Kind::NoMatch, what));
            }
            contents.taken.key = key.clone();
            below
        }
        // Nothing to look for in most.
        None if !(take.ema || has("online_model.") && has("ema_model.")) => return Ok(contents),
        None => {
            let names = contents.tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i));
            let items = names.map(|(name, i)| (name.into(), Node::Tensor(i).into()));
            let (found, taken) = weights::find(&Rc::new(Node::Dict(items.collect())), take)?;
            contents.taken = taken;
            found
        }
    };
    let locations = found.iter().map(|(_, i)| contents.locations[*i]).collect();
    let infos =
        found.into_iter().map(|(name, i)| TensorInfo { name, ..contents.tensors[i].clone() });
    contents.tensors = infos.collect();
    contents.locations = locations;
    Ok(contents)
}

/// What the names of SWAG's moments begin with, in files that these tools write: the means beside them have the weights'
/// names.
pub(crate) const MOMENTS: &str = "swag.";

/// Takes away the variances and deviations of a file with SWAG's moments, which is a model without them.
fn without_moments(contents: &mut Contents) {
    let recorded =
        contents.metadata.get(METADATA_KEY).is_some_and(|text| text.contains("\"swag\""));
    let is_moment = |name: &str| name.starts_with(MOMENTS);
    if !recorded || !contents.tensors.iter().any(|tensor| is_moment(&tensor.name)) {
        return;
    }
    let all = std::mem::take(&mut contents.tensors).into_iter().zip(&contents.locations);
    let (tensors, locations): (Vec<_>, Vec<_>) =
        all.filter(|(tensor, _)| !is_moment(&tensor.name)).unzip();
    (contents.tensors, contents.locations) = (tensors, locations);
    contents
        .taken
        .others
        .push((MOMENTS.trim_end_matches('.').into(), "variances and deviations".into()));
}
