//! Adapters (PEFT): what they add to a model is scaled by their configuration, so that only adapters of one configuration have
//! a mean.

use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::{Error, Kind, Result, json};

/// The configuration's file, in a folder with an adapter.
const CONFIG: &str = "adapter_config.json";

/// What of it says how the weights are used.
const USED: [&str; 8] = [
    "peft_type",
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "alpha_pattern",
    "rank_pattern",
    "fan_in_fan_out",
];

/// Fails where adapters in folders have configurations by which their weights mean different things.
///
/// # Errors
/// `Mismatch`, with the field.
pub(super) fn check(inputs: &[Checkpoint]) -> Result<()> {
    let folders = inputs.iter().map(Checkpoint::path).filter(|path| path.is_dir());
    let mut known = folders.filter_map(|path| Some((path, config(path)?)));
    let Some((first, expected)) = known.next() else { return Ok(()) };
    for (path, found) in known {
        let differs = |field: &&&str| value(&expected, field) != value(&found, field);
        if let Some(field) = USED.iter().find(differs) {
            let [own, other] = [&found, &expected].map(|config| shown(value(config, field)));
            let what = format!(
                "{CONFIG}: `{field}` is {own}, and {other} in `{}`: the weights of such adapters have no mean",
                first.display()
            );
            return Err(Error::new(Kind::Mismatch, what).at(path).remedy(
                "merge each adapter into its model (merge_and_unload), and average these",
            ));
        }
    }
    Ok(())
}

/// The configuration, if it can be read: a folder without is not PEFT's.
fn config(folder: &Path) -> Option<Map<String, Value>> {
    let text = std::fs::read_to_string(folder.join(CONFIG)).ok()?;
    match json::parse(&text).ok()? {
        Value::Object(config) => Some(config),
        _ => None,
    }
}

/// What is not there is as if it were off: older versions lack newer fields.
fn value<'a>(config: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    let is_off = |value: &&Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    config.get(field).filter(|value| !is_off(value))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".into(), |value| value.to_string().chars().take(60).collect())
}
