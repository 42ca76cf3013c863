//! Files whose tensors have flat names, as safetensors and npz have.

use std::rc::Rc;

use crate::tensors::TensorInfo;
use crate::tensors::contents::Contents;
use crate::weights::tree::Node;
use crate::weights::{self, Take};
use crate::{Error, Kind, Result, setting};

/// The weights that are meant: all, those below a key, or the averaged ones of two sets side by side.
pub(super) fn within(mut contents: Contents, take: &Take) -> Result<Contents> {
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
