//! Digests of tensors, of metadata and of whole checkpoints.

use rayon::prelude::*;
use twox_hash::XxHash3_128;

use super::Checkpoint;
use crate::Result;
pub use crate::tensors::digest::*;

/// One digest of a checkpoint's tensors: XXH3-128 of theirs in the order of the names. It does not depend on
/// the format, on what wrappers put into names, nor on the metadata.
///
/// # Errors
/// `Io` where a file cannot be read, `Changed` where it changed meanwhile.
pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<String> {
    let tensors = checkpoint.tensors();
    let mut by_name: Vec<usize> = (0..tensors.len()).collect();
    by_name.sort_by(|&a, &b| tensors[a].name.cmp(&tensors[b].name));
    let digest = |&i: &usize| Ok(of_tensor(of_blocks(&checkpoint.bytes(i)?), &tensors[i]));
    let digests: Vec<Result<u128>> = by_name.par_iter().map(digest).collect();
    let digests: Vec<u128> = digests.into_iter().collect::<Result<_>>()?;
    checkpoint.check_unchanged()?;
    let bytes: Vec<u8> = digests.into_iter().flat_map(u128::to_le_bytes).collect();
    Ok(hex(XxHash3_128::oneshot(&bytes)))
}
