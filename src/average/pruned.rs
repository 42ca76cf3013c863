//! Weights of which only some are there: pruned ones (`NAME_orig` and a mask `NAME_mask`, torch.nn.utils.prune), sparse
//! ones (values and their places). The mean of the values is that of the weights only where all have the same places.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::same::tensors_are_equal;
use crate::{Error, Kind, Result};

/// How names of values end, and what stands in its place in the names of their places: torch.nn.utils.prune, sparse tensors
/// of PyTorch (COO, CSR, CSC), compressed-tensors' bitmasks, 2:4 sparsity, PEFT's vectors of a bank.
const PLACES: [(&str, &[&str]); 5] = [
    ("_orig", &["_mask"]),
    ("values", &["indices", "crow_indices", "col_indices", "ccol_indices", "row_indices"]),
    (".compressed", &[".bitmask"]),
    ("_packed", &["_meta"]),
    ("_topk_weights", &["_topk_indices"]),
];

/// The tensors that say where others' values are, among what is selected, by their numbers.
fn places<'a>(
    input: &'a Checkpoint,
    selects: &'a dyn Fn(&str) -> bool,
) -> impl Iterator<Item = usize> + 'a {
    let has_values = move |name: &str| {
        PLACES.iter().any(|(values, places)| {
            let mut stems = places.iter().filter_map(|place| name.strip_suffix(place));
            stems.any(|stem| input.position(&format!("{stem}{values}")).is_some())
        })
    };
    (0..input.tensors().len()).filter(move |&i| {
        let name = &input.tensors()[i].name;
        selects(name) && has_values(name)
    })
}

/// Fails where the checkpoints have weights in different places; `selects` tells what is averaged by its name.
///
/// # Errors
/// `Unsupported`, with the tensor of places; those of reading.
pub(super) fn refuse(inputs: &[&Checkpoint], selects: &dyn Fn(&str) -> bool) -> Result<()> {
    let Some((first, others)) = inputs.split_first() else { return Ok(()) };
    for place in places(first, selects) {
        let name = &first.tensors()[place].name;
        for other in others {
            let Some(same) = other.position(name) else { continue };
            if !tensors_are_equal((first, other), &[(place, same)])? {
                let first = first.path().display();
                let what = format!(
                    "it says where weights are that are pruned or sparse, and is not that of `{first}`: \
                     the mean of values in different places is not that of the weights"
                );
                return Err(refused(what, other, name));
            }
        }
    }
    Ok(())
}

/// Fails where a checkpoint has such weights at all: for what sees one checkpoint after the other.
///
/// # Errors
/// `Unsupported`, with the tensor of places.
pub(crate) fn refuse_any(input: &Checkpoint, selects: &dyn Fn(&str) -> bool) -> Result<()> {
    let Some(place) = places(input, selects).next() else { return Ok(()) };
    let what =
        "it says where weights are that are pruned or sparse, which a state does not compare";
    Err(refused(what.into(), input, &input.tensors()[place].name))
}

fn refused(what: String, input: &Checkpoint, tensor: &str) -> Error {
    Error::new(Kind::Unsupported, what).at(input.path()).tensor(tensor).remedy(
        "save dense weights of each (after torch.nn.utils.prune.remove, or to_dense), and average these",
    )
}
