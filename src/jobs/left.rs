//! What an output lacks of its inputs is said.

use crate::average::Target;
use crate::checkpoint::Rest;
use crate::output::Format;
use crate::{Progress, setting};

/// How many names a remark lists.
const SHOWN: usize = 5;

/// Says what stands among the last input's weights (`rest`), is no tensor, and is not in the output.
pub(super) fn say<'a>(
    progress: &dyn Progress,
    rest: impl Iterator<Item = (String, &'a Rest)>,
    target: &Target,
) {
    // A copy of a file has all that the file has.
    if matches!(target, Target::Like { .. } | Target::LikeFolder { .. }) {
        return;
    }
    let is_torch = matches!(target, Target::File { format: Format::Torch, .. });
    let (plain, others): (Vec<_>, Vec<_>) = rest.partition(|(_, rest)| rest.pickle.is_some());
    if !is_torch {
        let like = setting!("like");
        note(progress, &plain, &format!("an output that ends in .pth, or {like}, can hold it"));
    }
    // No output of these tools can hold what is no plain value, or is very large.
    note(progress, &others, &format!("{} keeps what a PyTorch file holds", setting!("like")));
}

fn note(progress: &dyn Progress, lost: &[(String, &Rest)], remedy: &str) {
    let list: Vec<String> =
        lost.iter().take(SHOWN).map(|(name, rest)| format!("`{name}` ({})", rest.what)).collect();
    if list.is_empty() {
        return;
    }
    let more = match lost.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let (shown, verb) =
        (list.join(", "), if lost.len() == 1 { "is no tensor" } else { "are no tensors" });
    progress.note(&format!(
        "note: {shown}{more} among the weights {verb} and not in the output: {remedy}"
    ));
}
