//! Whether the files of several processes belong together.

use std::collections::HashMap;
use std::ops::Range;

use super::State;
use crate::store::Source;
use crate::store::names::base_name;
use crate::tensors::Dtype;
use crate::tensors::contents::Region;
use crate::tensors::view::{Located, locate};
use crate::{Error, Kind, Result};

/// Fails if processes' files are of different steps, as far as these are written in them: `global_steps` beside the model, and
/// the `step` of the optimizer.
pub(super) fn same_step(states: &[State], sources: &[Source]) -> Result<()> {
    let mut first = None;
    for state in states {
        let file = state.number;
        let Some(step) = step(state, &sources[file as usize])? else { continue };
        let (other, expected) = *first.get_or_insert((file, step));
        if step != expected {
            let other = base_name(sources[other as usize].path());
            let what = format!("is of step {step}, `{other}` of step {expected}");
            return Err(Error::new(Kind::Mismatch, what)
                .at(sources[file as usize].path())
                .remedy("copy the files of one step"));
        }
    }
    Ok(())
}

/// The step that a file is of; None if nothing says so.
fn step(state: &State, source: &Source) -> Result<Option<f64>> {
    let pickle = &state.contents.pickle;
    let of_optimizer = |key: &&str| {
        let all = state.get(&["optimizer_state_dict", key, "state"])?;
        let (_, first) = *pickle.items(all)?.first()?;
        pickle.get(first, "step")
    };
    let found = state
        .get(&["global_steps"])
        .or_else(|| ["base_optimizer_state", "optimizer_state_dict"].iter().find_map(of_optimizer));
    let Some(id) = found else { return Ok(None) };
    if let Some(number) = pickle.int(id) {
        return Ok(Some(number as f64));
    }
    // PyTorch's optimizers count in a tensor.
    let Some(Ok(view)) = state.contents.tensor(id) else { return Ok(None) };
    if view.dtype != Dtype::F32 || !view.shape.is_empty() {
        return Ok(None);
    }
    let storage = state.contents.storage(&view)?;
    let big_endian = state.contents.big_endian;
    let Located::Contiguous { start, .. } = locate(&view, storage, state.number, big_endian)?
    else {
        return Ok(None);
    };
    let mut scratch = vec![];
    let bytes = *source.read(start..start + 4, &mut scratch)?.first_chunk().expect("four bytes");
    Ok(Some(f64::from(f32::from_le_bytes(bytes))))
}

/// Fails if two processes' files hold the same weights, by the checksums in them: one is a copy under another name. Values
/// that are all zero, such as padding, may be equal.
pub(super) fn no_copies(optimizers: &[Source], regions: &[Region]) -> Result<()> {
    let mut seen: HashMap<Vec<(u64, u32)>, usize> = HashMap::new();
    for (file, source) in optimizers.iter().enumerate() {
        let mut sums = vec![];
        for Region { storage, .. } in regions.iter().filter(|region| region.file as usize == file) {
            let Some([place, _]) = storage.crc else { return Ok(()) };
            let mut scratch = vec![];
            let sum = source.read(place..place + 4, &mut scratch)?;
            let sum = u32::from_le_bytes(*sum.first_chunk().expect("four bytes"));
            sums.push((storage.bytes.end - storage.bytes.start, sum));
        }
        let is_zero = || -> Result<bool> {
            let mut scratch = vec![];
            for region in regions.iter().filter(|region| region.file as usize == file) {
                let Range { start, end } = region.storage.bytes;
                let some = start..end.min(start + ENOUGH);
                if source.read(some, &mut scratch)?.iter().any(|byte| *byte != 0) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        if let Some(other) = seen.insert(sums, file)
            && !is_zero()?
        {
            let what = format!(
                "holds the same weights as `{}`: one of them is a copy of another process's file",
                base_name(optimizers[other].path())
            );
            return Err(Error::new(Kind::Mismatch, what)
                .at(source.path())
                .remedy("copy the *_optim_states.pt of all processes again"));
        }
    }
    Ok(())
}

/// How many bytes of a storage tell that it is not all zero.
const ENOUGH: u64 = 1 << 20;
