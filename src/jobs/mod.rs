//! What can be done with checkpoints: each job takes plain options, says how far it is to a [`Progress`], and
//! returns an outcome. Jobs print nothing; [`crate::report`] puts outcomes into words and JSON.

mod accumulate;
mod adapters;
mod average;
mod contents;
mod finish;
mod follow;
mod inputs;
mod kept_averages;
mod left;
mod outputs;
mod share;
mod verify;

pub use accumulate::{Accumulate, Accumulated, StateSize, accumulate};
pub use average::{Average, Averaged, AveragedOutput, average};
pub use contents::{Contents, Fate, List, Listed, list};
pub use finish::{Finish, Finished, finish};
pub use follow::{Ended, Follow, Followed, Stop, Update, follow};
pub use outputs::Output;
pub use share::{Share, Shared, SharedFile, share};
pub use verify::{Verified, VerifiedFile, Verify, verify};

use crate::Progress;
use crate::checkpoint::{Checkpoint, Taken};
use crate::select::Selection;
use crate::text::counted;

/// Remarks about what was selected.
fn say_selected(progress: &dyn Progress, selection: &Selection) {
    for (repeated, first) in &selection.repeated {
        let (repeated, first) = (repeated.display(), first.display());
        progress.note(&format!("note: `{repeated}` is the same file as `{first}`: counted once"));
    }
    selection.notes.iter().for_each(|note| progress.note(&format!("note: {note}")));
}

use average::say_averages;

/// Says where the weights were taken from, where that is not all there is to take: once, if it is the
/// same in all. `are_averaged`: they are, and written under names without what wrappers put there.
pub fn say_taken(progress: &dyn Progress, inputs: &[Checkpoint], are_averaged: bool) {
    let mut said: Vec<String> = vec![];
    let taken = |input: &Checkpoint| taken(input, are_averaged);
    for input in inputs {
        let Some(line) = taken(input) else { continue };
        if !said.contains(&line) {
            let all =
                inputs.len() > 1 && inputs.iter().all(|other| taken(other).as_ref() == Some(&line));
            let path = input.path().display();
            let place = if all { "all checkpoints".into() } else { format!("`{path}`") };
            progress.note(&format!("note: {place}: {line}"));
            said.push(line);
        }
    }
}

fn taken(input: &Checkpoint, are_averaged: bool) -> Option<String> {
    let Taken { key, is_average, has_average, further, lacking, .. } = input.taken();
    let mut parts = vec![];
    if !key.is_empty() {
        parts.push(format!("weights from `{key}`"));
    }
    if *is_average {
        let result = if are_averaged { ": the result is an average of averages" } else { "" };
        parts.push(format!("an average that the trainer made{result}"));
    }
    if let Some((n, first)) = lacking {
        parts.push(format!(
            "without {} that the trained weights have, such as `{first}`",
            counted(*n, "tensor")
        ));
    }
    if *has_average {
        let ema = crate::setting!("ema");
        parts.push(format!("it holds averaged weights as well, which {ema} takes"));
    }
    for (other, tensors) in further {
        let (count, key) = (counted(*tensors, "tensor"), crate::setting!("weights_key"));
        let (verb, them) = if *tensors == 1 { ("is", "it") } else { ("are", "them") };
        let fate = if are_averaged { "averaged" } else { "taken" };
        parts.push(format!(
            "`{other}` holds {count} as well, which {verb} not {fate}: {key} {other} takes {them}"
        ));
    }
    let stripped = input.stripped();
    if are_averaged && !stripped.is_empty() {
        let list = stripped.join("`, `");
        parts.push(format!("names without `{list}`, which wrappers put there"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
