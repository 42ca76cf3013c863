//! Infinities that are no sign of a training that diverged, as all inputs have the same: masks (minus infinity in places,
//! such as a causal mask of attention), and tensors of nothing else, such as a bound that nothing is bound by, or the
//! least value of a metric that has seen none.

use super::Float;
use super::kernel::count_nonfinite;
use crate::Result;
use crate::checkpoint::{Checkpoint, TensorInfo};

/// Whether a tensor may be infinite as a whole: a bound or a counter of something, no weight and no statistic.
pub(crate) fn may_be_infinite(info: &TensorInfo) -> bool {
    let last = info.name.rsplit('.').next().unwrap_or_default();
    info.shape.len() < 2 && !["weight", "bias"].contains(&last) && !last.starts_with("running_")
}

/// Whether the values of a tensor that are not finite are the same in all inputs, and either minus infinity or infinities
/// that are all there is. Infinity in places may be an overflow. `sources`: (input, number).
pub(super) fn are_meant(
    inputs: &[Checkpoint],
    sources: &[(usize, usize)],
    from: Float,
) -> Result<bool> {
    let Some((&(input, number), others)) = sources.split_first() else { return Ok(false) };
    let first = inputs[input].bytes(number)?;
    let width = from.size();
    let is_finite = |value: &[u8]| count_nonfinite(value, from) == 0;
    let all_infinite = may_be_infinite(&inputs[input].tensors()[number])
        && first.chunks_exact(width).all(|value| from.infinity(value).is_some());
    let mut is_infinite = vec![false; first.len() / width];
    for (is, value) in is_infinite.iter_mut().zip(first.chunks_exact(width)) {
        *is = !is_finite(value);
        if *is && !all_infinite && from.infinity(value) != Some(-1.0) {
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
