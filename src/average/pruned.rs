//! Weights that are pruned: `NAME_orig` and, in the places of 0, a mask `NAME_mask` (torch.nn.utils.prune). What the network
//! uses is their product. Its mean is the product of the means only where all masks are the same.

use rayon::prelude::*;

use crate::checkpoint::Checkpoint;
use crate::{Error, Kind, Result};

/// Bytes that are compared at once.
const BLOCK: u64 = 1 << 20;

/// The masks of pruned weights among what is selected, by their numbers.
fn masks<'a>(
    input: &'a Checkpoint,
    selects: &'a dyn Fn(&str) -> bool,
) -> impl Iterator<Item = usize> + 'a {
    let is_mask = move |name: &str| {
        let weight = name.strip_suffix("_mask").filter(|_| selects(name));
        weight.is_some_and(|weight| input.position(&format!("{weight}_orig")).is_some())
    };
    (0..input.tensors().len()).filter(move |&i| is_mask(&input.tensors()[i].name))
}

/// Fails where the checkpoints' weights are pruned in different places; `selects` tells what is averaged by its name.
///
/// # Errors
/// `Unsupported`, with the mask; those of reading.
pub(super) fn refuse(inputs: &[&Checkpoint], selects: &dyn Fn(&str) -> bool) -> Result<()> {
    let Some((first, others)) = inputs.split_first() else { return Ok(()) };
    for mask in masks(first, selects) {
        let info = &first.tensors()[mask];
        for other in others {
            let Some(same) = other.position(&info.name) else { continue };
            if !are_equal((first, mask), (other, same))? {
                return Err(differs(first, other, &info.name));
            }
        }
    }
    Ok(())
}

/// Fails where a checkpoint's weights are pruned: for what sees one checkpoint after the other.
///
/// # Errors
/// `Unsupported`, with the mask.
pub(crate) fn refuse_any(input: &Checkpoint, selects: &dyn Fn(&str) -> bool) -> Result<()> {
    let Some(mask) = masks(input, selects).next() else { return Ok(()) };
    let what = "it holds pruned weights, whose masks a state does not compare";
    Err(remedied(Error::new(Kind::Unsupported, what), input, &input.tensors()[mask].name))
}

fn are_equal((a, i): (&Checkpoint, usize), (b, j): (&Checkpoint, usize)) -> Result<bool> {
    let (own, other) = (&a.tensors()[i], &b.tensors()[j]);
    if (own.dtype, &own.shape) != (other.dtype, &other.shape) {
        return Ok(false);
    }
    let starts: Vec<u64> = (0..own.size()).step_by(BLOCK as usize).collect();
    let equal = starts.into_par_iter().map_init(
        || (vec![], vec![]),
        |(x, y), start| {
            let range = start..own.size().min(start + BLOCK);
            Ok(a.load(i, range.clone(), x)? == b.load(j, range, y)?)
        },
    );
    equal.try_reduce(|| true, |a, b| Ok(a && b))
}

fn differs(first: &Checkpoint, other: &Checkpoint, mask: &str) -> Error {
    let what = format!(
        "its weights are not pruned where those of `{}` are: the mean of masked weights is not the mean of \
         the weights in the mean of the masks",
        first.path().display()
    );
    remedied(Error::new(Kind::Unsupported, what), other, mask)
}

fn remedied(error: Error, input: &Checkpoint, mask: &str) -> Error {
    error.at(input.path()).tensor(mask).remedy(
        "make the pruning permanent in each model (torch.nn.utils.prune.remove), save these, and average them",
    )
}
