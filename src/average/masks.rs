//! Masks: tensors with minus infinity in the same places in all inputs, such as a causal mask of attention. They are no
//! sign of a training that diverged.

use super::Float;
use super::kernel::count_nonfinite;
use crate::Result;
use crate::checkpoint::Checkpoint;

/// Whether all values of a tensor that are not finite in some input are minus infinity in all.
/// `sources`: (input, number).
pub(super) fn are_masks(
    inputs: &[Checkpoint],
    sources: &[(usize, usize)],
    from: Float,
) -> Result<bool> {
    let Some((&(input, number), others)) = sources.split_first() else { return Ok(false) };
    let first = inputs[input].bytes(number)?;
    let width = from.size();
    let is_finite = |value: &[u8]| count_nonfinite(value, from) == 0;
    let mut is_infinite = vec![false; first.len() / width];
    for (is, value) in is_infinite.iter_mut().zip(first.chunks_exact(width)) {
        *is = !is_finite(value);
        if *is && !from.is_minus_infinity(value) {
            return Ok(false);
        }
    }
    for &(input, number) in others {
        let other = inputs[input].bytes(number)?;
        let values = first.chunks_exact(width).zip(other.chunks_exact(width));
        let same = is_infinite.iter().zip(values).all(|(&is, (a, b))| match is {
            true => a == b,
            false => is_finite(b),
        });
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}
