//! Which checkpoints hold the same weights, whatever their names, containers and metadata.
//!
//! Trainers save an epoch twice: as `last`, as `best`, at the end. Few bytes tell most checkpoints apart; only those that
//! agree in them are compared as a whole, their smallest tensors first.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rayon::prelude::*;

use super::{Checkpoint, Dtype, TensorInfo};
use crate::Result;

/// Bytes that are compared at first.
const GLANCE: u64 = 64;

/// How many tensors a second look is at.
const LOOKS: usize = 16;

/// Bytes that are compared at once.
const BLOCK: u64 = 1 << 20;

/// Whether a tensor can make two checkpoints different ones: all but single integers, which are counters.
pub(crate) fn is_weight(info: &TensorInfo) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    let is_integer = matches!(info.dtype, BOOL | U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64);
    !is_integer || info.len() > 1
}

/// Whether a tensor of this name is averaged: what is not makes no other checkpoint.
type Selects<'a> = &'a dyn Fn(&str) -> bool;

fn weights(input: &Checkpoint, selects: Selects) -> Vec<usize> {
    let is_one = |&i: &usize| {
        let info = &input.tensors()[i];
        !input.is_counter(i) && is_weight(info) && selects(&info.name)
    };
    (0..input.tensors().len()).filter(is_one).collect()
}

/// For each checkpoint that has the weights of one before it, of those that are selected, which that is: the first.
///
/// # Errors
/// `Changed` if a file has become shorter, `Io` where reading fails.
pub(crate) fn repeated(inputs: &[&Checkpoint], selects: Selects) -> Result<Vec<Option<usize>>> {
    let mut first = vec![None; inputs.len()];
    // Only those with the same names, types and shapes can be alike; other models may be among them.
    let mut models = BTreeMap::<Vec<(&str, Dtype, &[usize])>, Vec<usize>>::new();
    for (number, input) in inputs.iter().enumerate().filter(|_| inputs.len() > 1) {
        models.entry(header(input, selects)).or_default().push(number);
    }
    for numbers in models.into_values().filter(|numbers| numbers.len() > 1) {
        find_repeated(inputs, selects, numbers, &mut first)?;
    }
    Ok(first)
}

/// Name, type and shape of what counts.
fn header<'a>(input: &'a Checkpoint, selects: Selects) -> Vec<(&'a str, Dtype, &'a [usize])> {
    let infos = weights(input, selects).into_iter().map(|i| &input.tensors()[i]);
    let mut header: Vec<_> =
        infos.map(|info| (info.name.as_str(), info.dtype, &info.shape[..])).collect();
    header.sort();
    header
}

/// The same for checkpoints, by their numbers, that have the same tensors.
fn find_repeated(
    inputs: &[&Checkpoint],
    selects: Selects,
    numbers: Vec<usize>,
    first: &mut [Option<usize>],
) -> Result<()> {
    let example = inputs[numbers[0]];
    let mut names: Vec<&TensorInfo> =
        weights(example, selects).into_iter().map(|i| &example.tensors()[i]).collect();
    names.sort_by(|a, b| (b.size(), &a.name).cmp(&(a.size(), &b.name)));
    let Some(largest) = names.first().map(|info| info.name.as_str()) else { return Ok(()) };
    let glances =
        numbers.par_iter().map(|&number| glance(inputs[number], largest)).collect::<Vec<_>>();
    let groups = grouped(numbers, glances)?;
    for group in groups {
        // Frozen layers are alike in all: other tensors are looked at, too.
        let step = names.len().div_ceil(LOOKS).max(1);
        let looked: Vec<&str> =
            names.iter().rev().step_by(step).map(|info| info.name.as_str()).collect();
        let look = |&number: &usize| -> Result<Option<Vec<u8>>> {
            let parts: Vec<_> = (looked.iter())
                .map(|name| Ok(glance(inputs[number], name)?.unwrap_or_default()))
                .collect::<Result<_>>()?;
            Ok(Some(parts.concat()))
        };
        let looks = group.par_iter().map(look).collect::<Vec<_>>();
        for alike in grouped(group, looks)? {
            let mut kinds: Vec<usize> = vec![];
            'next: for number in alike {
                for &kind in &kinds {
                    if are_equal(inputs[kind], inputs[number], selects)? {
                        first[number] = Some(kind);
                        continue 'next;
                    }
                }
                kinds.push(number);
            }
        }
    }
    Ok(())
}

/// Numbers of equal looks, in groups of at least two; those without a look are alone.
fn grouped(
    numbers: impl IntoIterator<Item = usize>,
    looks: Vec<Result<Option<Vec<u8>>>>,
) -> Result<Vec<Vec<usize>>> {
    let mut groups: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    for (number, look) in numbers.into_iter().zip(looks) {
        if let Some(look) = look? {
            groups.entry(look).or_default().push(number);
        }
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    Ok(groups)
}

/// Bytes from the middle of a tensor, if it is there.
fn glance(input: &Checkpoint, name: &str) -> Result<Option<Vec<u8>>> {
    let Some(tensor) = input.position(name) else { return Ok(None) };
    let info = &input.tensors()[tensor];
    let width = (info.dtype.bitsize() as u64).div_ceil(8).max(1);
    let start = info.size() / 2 / width * width;
    let range = start..info.size().min(start + GLANCE);
    let mut scratch = vec![];
    let bytes = match input.locate(tensor, range.clone()) {
        Some((file, place)) => file.glance(place, &mut scratch)?,
        None => input.read(tensor, range, &mut scratch)?,
    };
    Ok(Some(bytes.to_vec()))
}

/// Whether two have the same weights, bit for bit, under the same names.
fn are_equal(a: &Checkpoint, b: &Checkpoint, selects: Selects) -> Result<bool> {
    let mut own = weights(a, selects);
    if own.len() != weights(b, selects).len() {
        return Ok(false);
    }
    // What is small is read quickly, and training changes it as well.
    own.sort_by_key(|&i| a.tensors()[i].size());
    let mut pairs = vec![];
    for i in own {
        let Some(j) = b.position(&a.tensors()[i].name) else { return Ok(false) };
        pairs.push((i, j));
    }
    tensors_are_equal((a, b), &pairs)
}

/// Whether tensors of two checkpoints, by their numbers in each, have the same types, shapes and bytes.
///
/// # Errors
/// `Changed` if a file has become shorter, `Io` where reading fails.
pub(crate) fn tensors_are_equal(
    (a, b): (&Checkpoint, &Checkpoint),
    pairs: &[(usize, usize)],
) -> Result<bool> {
    let mut blocks: Vec<(usize, usize, Range<u64>)> = vec![];
    for &(i, j) in pairs {
        let (info, other) = (&a.tensors()[i], &b.tensors()[j]);
        if (info.dtype, &info.shape) != (other.dtype, &other.shape) {
            return Ok(false);
        }
        let size = info.size();
        let starts = (0..size).step_by(BLOCK as usize);
        blocks.extend(starts.map(|start| (i, j, start..size.min(start + BLOCK))));
    }
    // In parts, so that a difference ends it early.
    for part in blocks.chunks(64) {
        let equal = part.par_iter().map_init(
            || (vec![], vec![]),
            |(x, y), (i, j, range)| {
                Ok(a.load(*i, range.clone(), x)? == b.load(*j, range.clone(), y)?)
            },
        );
        if !equal.try_reduce(|| true, |a, b| Ok(a && b))? {
            return Ok(false);
        }
    }
    Ok(true)
}
