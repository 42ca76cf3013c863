//! `--list`: what checkpoints hold, and what of it would be averaged.

use serde_json::{Value, json};

use super::{Common, megabytes, table};
use crate::Result;
use crate::average::{Options, Rule, rule};
use crate::checkpoint::{Checkpoint, Taken};
use crate::error::printable;

/// Prints each checkpoint; one JSON object for all.
pub fn list(common: &Common, inputs: &[Checkpoint], options: &Options) -> Result<()> {
    let all: Vec<Value> = inputs.iter().map(|input| json(input, options)).collect();
    common.json(json!({ "checkpoints": all }))?;
    inputs.iter().try_for_each(|input| print(common, input, options))
}

/// What becomes of a tensor, in a word.
fn fate(input: &Checkpoint, tensor: usize, options: &Options) -> &'static str {
    if input.is_counter(tensor) {
        return "left out";
    }
    match rule(&input.tensors()[tensor], options) {
        Ok((Rule::Mean(_), _)) => "averaged",
        Ok((Rule::Last | Rule::Convert(_), _)) => "from the last",
        Err(_) => "refused",
    }
}

fn json(input: &Checkpoint, options: &Options) -> Value {
    let Taken { key, is_average, has_average, others } = input.taken();
    let tensors = input.tensors().iter().enumerate().map(|(i, t)| {
        json!({
            "name": t.name,
            "written_name": input.written_name(i),
            "dtype": t.dtype,
            "shape": t.shape,
            "fate": fate(input, i, options),
        })
    });
    json!({
        "path": input.path().display().to_string(),
        "container": input.container().name(),
        "weights_key": key,
        "is_average": is_average,
        "has_average": has_average,
        "wrappers": input.stripped(),
        "others": others.iter().map(|(key, what)| json!({"key": key, "what": what})).collect::<Vec<_>>(),
        "metadata": input.metadata(),
        "tensors": tensors.collect::<Vec<_>>(),
    })
}

fn print(common: &Common, input: &Checkpoint, options: &Options) -> Result<()> {
    let Taken { key, is_average, has_average, others } = input.taken();
    let tensors = input.tensors();
    common.say(format!("{}: {}", input.path().display(), input.container().name()))?;
    let place = if key.is_empty() { "at the root".into() } else { format!("`{}`", printable(key)) };
    let values: usize = tensors.iter().map(|t| t.len()).sum();
    let size = megabytes(tensors.iter().map(|t| t.size()).sum());
    common
        .say(format!("  weights  {place}: {} tensors, {values} values, {size}", tensors.len()))?;
    if *is_average {
        common.say("  these are an average that the trainer made")?;
    }
    if *has_average {
        common.say("  averaged weights are in it as well: --ema takes them")?;
    }
    if !input.stripped().is_empty() {
        common.say(format!(
            "  names    without `{}`, put there by wrappers",
            input.stripped().join("`, `")
        ))?;
    }
    for (key, what) in others {
        // A name is no line of its own.
        common.say(format!("  beside   {}: {}", printable(key), printable(what)))?;
    }
    for (key, value) in input.metadata() {
        let value: String = value.chars().take(100).collect();
        common.say(format!("  metadata {}: {}", printable(key), printable(&value)))?;
    }
    let rows = tensors.iter().enumerate().map(|(i, t)| {
        let shape = t.shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(" × ");
        let shape = if t.shape.is_empty() { "scalar".into() } else { shape };
        vec![format!("  {}", t.name), t.dtype.to_string(), shape, fate(input, i, options).into()]
    });
    common.say(table(&["  tensor", "type", "shape", ""], rows))
}
