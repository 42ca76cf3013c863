//! Adapters (PEFT): what they add to a model is scaled by their configuration, so that only adapters of one configuration have
//! a mean.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::Checkpoint;
use crate::{Error, Kind, Result, json, look};
use swa_base::text_file;

/// The configuration's file, in a folder with an adapter.
const CONFIG: &str = "adapter_config.json";

/// What of it says where an adapter comes from and how it was trained, or what the names of its tensors tell.
const OF_ITS_TRAINING: [&str; 19] = [
    "auto_mapping",
    "base_model_name_or_path",
    "deltaT",
    "exclude_modules",
    "inference_mode",
    "modules_to_save",
    "orth_reg_weight",
    "peft_version",
    "progressbar",
    "revision",
    "runtime_config",
    "target_modules",
    "target_parameters",
    "target_r",
    "task_type",
    "tfinal",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
    "total_step",
];

/// Parts of names of further fields that do.
const PARTS_OF_TRAINING: [&str; 7] =
    ["dropout", "init", "loss", "beta", "eva_config", "loftq_config", "corda_config"];

/// Fields that say how the weights are used also where only one of two has them: what is not there is off. Versions lack
/// others.
const USED: [&str; 14] = [
    "peft_type",
    "r",
    "alpha",
    "lora_alpha",
    "scaling",
    "projection_prng_key",
    "random_loc_seed",
    "use_rslora",
    "use_dora",
    "alpha_pattern",
    "rank_pattern",
    "fan_in_fan_out",
    "token_indices",
    "trainable_token_indices",
];

/// Whether a field that both have says how the weights are used: what is not known to be of the training, as each method
/// has fields of its own.
fn is_used(field: &str) -> bool {
    !OF_ITS_TRAINING.contains(&field) && !PARTS_OF_TRAINING.iter().any(|part| field.contains(part))
}

/// Fails where adapters in folders have configurations by which their weights mean different things.
///
/// # Errors
/// `Mismatch`, with the field; those of reading.
pub(super) fn check(inputs: &[Checkpoint]) -> Result<()> {
    let mut first = None;
    for path in inputs.iter().map(Checkpoint::path) {
        // A file is named with the folder that it is in.
        let folder = if look::is_folder(path)? { path } else { path.parent().unwrap_or(path) };
        let Some(found) = config(folder)? else { continue };
        let Some((first, expected)) = &first else {
            first = Some((path, found));
            continue;
        };
        let both = expected.keys().filter(|field| found.contains_key(*field) && is_used(field));
        let mut fields: Vec<&str> = both.map(String::as_str).chain(USED).collect();
        fields.sort_unstable();
        let differs = |field: &&&str| !are_equal(value(expected, field), value(&found, field));
        if let Some(field) = fields.iter().find(differs) {
            let [own, other] = [&found, expected].map(|config| shown(value(config, field)));
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

/// The configuration: a folder without is not PEFT's.
fn config(folder: &Path) -> Result<Option<Map<String, Value>>> {
    let path = folder.join(CONFIG);
    if !look::exists(&path)? {
        return Ok(None);
    }
    match json::parse(&text_file::read(&path)?) {
        Ok(Value::Object(config)) => Ok(Some(config)),
        Ok(_) => Err(Error::input("is no JSON object").at(&path)),
        Err(error) => Err(Error::input(json::what(&error, 1)).at(&path)),
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

/// Numbers are what they are worth: 16 is 16.0. PEFT writes names in the order of a set.
fn are_equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64);
    let names = |value: Option<&Value>| -> Option<BTreeSet<String>> {
        value?.as_array()?.iter().map(|name| name.as_str().map(String::from)).collect()
    };
    a == b
        || number(a).is_some() && number(a) == number(b)
        || names(a).is_some() && names(a) == names(b)
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".into(), |value| value.to_string().chars().take(60).collect())
}
