//! How checkpoints that should be of one model differ.

use std::collections::HashSet;

use super::options::is_state;
use crate::checkpoint::{Checkpoint, TensorInfo};

#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Shapes and types, one line each.
    pub problems: Vec<String>,
    /// Names that some lack, one line each.
    pub absent: Vec<String>,
    /// Tensors that the first lacks: (input, number), each name once.
    pub extra: Vec<(u32, u32)>,
}

/// Compares all inputs with the first, and what the first lacks among themselves, as far as the
/// names are `wanted`.
pub(super) fn differences(inputs: &[&Checkpoint], wanted: &dyn Fn(&str) -> bool) -> Differences {
    let first = inputs[0];
    let mut found = Differences::default();
    let mut met: HashSet<&str> = HashSet::new();
    for (number, other) in inputs.iter().enumerate().skip(1) {
        if other.is_like(first) {
            continue;
        }
        let path = other.path().display();
        let own = first
            .tensors()
            .iter()
            .enumerate()
            .filter(|(i, t)| wanted(&t.name) && !first.is_counter(*i));
        for (_, a) in own {
            match other.get(&a.name) {
                None => found.absent.push(format!("`{path}`: tensor `{}`: missing", a.name)),
                Some(_) if is_state(&a.name) => {}
                Some(b) => compare(a, b, &path, &mut found.problems),
            }
        }
        for (i, b) in other.tensors().iter().enumerate() {
            let name = b.name.as_str();
            if first.position(name).is_some() || other.is_counter(i) {
                continue;
            }
            if met.insert(name) {
                found.extra.push((number as u32, i as u32));
            } else if wanted(name) {
                // Compared with the first that has it.
                let mut having = inputs[1..number].iter().filter_map(|input| input.get(name));
                if let Some(a) = having.next().filter(|a| !is_state(&a.name)) {
                    compare(a, b, &path, &mut found.problems);
                }
            }
            if wanted(name) {
                found
                    .absent
                    .push(format!("`{path}`: tensor `{name}`: not in the first checkpoint"));
            }
        }
    }
    found
}

fn compare(
    expected: &TensorInfo,
    found: &TensorInfo,
    path: &std::path::Display,
    problems: &mut Vec<String>,
) {
    let name = &expected.name;
    if expected.shape != found.shape {
        let (a, b) = (&expected.shape, &found.shape);
        problems.push(format!("`{path}`: tensor `{name}`: expected shape {a:?}, found {b:?}"));
    }
    if expected.dtype != found.dtype {
        let (a, b) = (expected.dtype, found.dtype);
        problems.push(format!("`{path}`: tensor `{name}`: expected {a:?}, found {b:?}"));
    }
}
