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
    let lost = rest.filter(|(_, rest)| !(is_torch && rest.pickle.is_some()));
    let lost: Vec<String> = lost.map(|(name, rest)| format!("`{name}` ({})", rest.what)).collect();
    if lost.is_empty() {
        return;
    }
    let more = match lost.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let shown = lost[..lost.len().min(SHOWN)].join(", ");
    let verb = if lost.len() == 1 { "is no tensor" } else { "are no tensors" };
    let remedy = match is_torch {
        true => format!("{} keeps what a PyTorch file holds", setting!("like")),
        false => format!("an output that ends in .pth, or {}, can hold it", setting!("like")),
    };
    progress.note(&format!(
        "note: {shown}{more} among the weights {verb} and not in the output: {remedy}"
    ));
}
