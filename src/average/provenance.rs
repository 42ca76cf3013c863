//! How an output came about, as its metadata say it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use swa_base::Choice;

use super::{Keys, Options};
use crate::{METADATA_KEY, TRANSFORM_KEY};

/// The last input's metadata, and under the key `swa`: the inputs' names and weights in order, what selected
/// tensors or changed their type, and how pixels are prepared, if all inputs agree on it.
pub(crate) fn metadata(
    last: &BTreeMap<String, String>,
    inputs: Vec<String>,
    weights: &[f64],
    options: &Options,
    transform: Option<Value>,
) -> BTreeMap<String, String> {
    let mut provenance = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "inputs": inputs,
        "weights": weights,
        "bn_stats": options.bn_stats.name(),
    });
    let Options { dtype, keys, include, exclude, .. } = options;
    let settings = [
        ("dtype", dtype.map(|float| format!("{float:?}"))),
        ("keys", (*keys != Keys::Strict).then(|| keys.name().to_string())),
        ("include", include.as_ref().map(|regex| regex.to_string())),
        ("exclude", exclude.as_ref().map(|regex| regex.to_string())),
    ];
    for (key, value) in settings {
        if let Some(value) = value {
            provenance[key] = value.into();
        }
    }
    if let Some(transform) = transform {
        provenance[TRANSFORM_KEY] = transform;
    }
    let mut metadata = last.clone();
    metadata.insert(METADATA_KEY.into(), provenance.to_string());
    metadata
}
