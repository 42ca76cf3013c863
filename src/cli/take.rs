//! Which weights in a checkpoint are meant: flags of all tools, and what is said of the choice.

use super::Common;
use crate::checkpoint::{Checkpoint, Take, Taken};

#[derive(Debug, Clone, clap::Args)]
pub struct TakeArgs {
    /// Take the averaged (EMA, SWA) weights that the trainer kept, where a file holds both
    #[arg(long, conflicts_with = "weights_key", help_heading = "Which weights")]
    pub ema: bool,

    /// Where in a file the weights are: keys with dots between them, as `state.model`
    #[arg(long, value_name = "KEY", help_heading = "Which weights")]
    pub weights_key: Option<String>,
}

impl TakeArgs {
    pub fn take(&self) -> Take {
        Take { ema: self.ema, key: self.weights_key.clone() }
    }
}

/// Says where the weights were taken from, where that is not all there is to take: once, if it is the
/// same in all.
pub fn say_taken(common: &Common, inputs: &[Checkpoint]) {
    let mut said: Vec<String> = vec![];
    for input in inputs {
        let Some(line) = line(input) else { continue };
        if !said.contains(&line) {
            let all = inputs.len() > 1
                && inputs.iter().all(|other| self::line(other) == Some(line.clone()));
            let path = input.path().display();
            let place = if all { "all checkpoints".into() } else { format!("`{path}`") };
            common.note(format!("note: {place}: {line}"));
            said.push(line);
        }
    }
}

fn line(input: &Checkpoint) -> Option<String> {
    let Taken { key, is_average, has_average, .. } = input.taken();
    let mut parts = vec![];
    if !key.is_empty() {
        parts.push(format!("weights from `{key}`"));
    }
    if *is_average {
        parts.push("an average that the trainer made: the result is an average of averages".into());
    }
    if *has_average {
        parts.push("it holds averaged weights as well, which --ema takes".into());
    }
    let stripped = input.stripped();
    if !stripped.is_empty() {
        let list = stripped.join("`, `");
        parts.push(format!("names without `{list}`, which wrappers put there"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
