//! Hostile HDF5 files, of the oldest layout, which has no checksums.

use super::Case;
use super::build::*;

const UNDEFINED: [u8; 8] = [0xff; 8];

fn u64s(numbers: &[usize]) -> Bytes {
    numbers.iter().flat_map(|&n| (n as u64).to_le_bytes()).collect()
}

/// A file up to the tree of its root group, whose names lie at `heap`.
fn start(tree: usize, heap: usize, end: usize) -> Bytes {
    join(&[
        b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0\x04\0\x10\0\0\0\0\0",
        &u64s(&[0]),
        &UNDEFINED,
        &u64s(&[end]),
        &UNDEFINED,
        &u64s(&[0, 96]),
        b"\x01\0\0\0\0\0\0\0",
        &u64s(&[tree, heap]),
        // The group's header: its tree and its names.
        b"\x01\0\x01\0\x01\0\0\0\x18\0\0\0\0\0\0\0\x11\0\x10\0\0\0\0\0",
        &u64s(&[tree, heap]),
    ])
}

const TREE: usize = 136;

fn node(level: u8, children: &[usize]) -> Bytes {
    let head = [b"TREE".as_slice(), &[0, level, children.len() as u8, 0]].concat();
    let keys: Bytes = children.iter().flat_map(|&child| u64s(&[0, child])).collect();
    join(&[&head, &UNDEFINED, &UNDEFINED, &keys, &u64s(&[8])])
}

fn names(data: usize) -> Bytes {
    join(&[b"HEAP\0\0\0\0", &u64s(&[16, 1, data]), &[0; 8], b"w\0\0\0\0\0\0\0"])
}

/// Both branches of each node lead to the next one.
fn paths(levels: u8) -> Bytes {
    let size = node(0, &[0, 0]).len();
    let nodes: Bytes =
        (1..=levels as usize).flat_map(|i| node(levels - i as u8, &[TREE + i * size; 2])).collect();
    let heap = TREE + nodes.len() + size;
    let last = node(0, &[]);
    let filler = vec![0; size - last.len()];
    let end = heap + 48;
    join(&[&start(TREE, heap, end), &nodes, &last, &filler, &names(heap + 32)])
}

/// A dataset of a type within so many others.
fn nested(depth: usize) -> Bytes {
    let (entries, header) = (TREE + 48, TREE + 48 + 8 + 40);
    let (heap, dataset) = (header, header + 48);
    let message = |kind: u8, body: &[u8]| {
        let body = [body, &vec![0; body.len().next_multiple_of(8) - body.len()]].concat();
        join(&[&[kind, 0], &(body.len() as u16).to_le_bytes(), &[0; 4], &body])
    };
    let kind = join(&[&b"\x19\0\0\0\x10\0\0\0".repeat(depth), b"\x10\x08\0\0\x04\0\0\0\0\0\x20\0"]);
    let messages = join(&[
        &message(1, &join(&[b"\x01\x01\0\0\0\0\0\0", &u64s(&[4])])),
        &message(3, &kind),
        &message(8, &join(&[b"\x03\x01", &u64s(&[0, 16])])),
    ]);
    let length = (messages.len() as u32).to_le_bytes();
    let object = join(&[b"\x01\0\x03\0\x01\0\0\0", &length, &[0; 4], &messages]);
    let entry = join(&[b"SNOD\x01\0\x01\0", &u64s(&[8, dataset]), &[0; 24]]);
    let end = dataset + object.len();
    join(&[&start(TREE, heap, end), &node(0, &[entries]), &entry, &names(heap + 32), &object])
}

pub fn files() -> Vec<Case> {
    let file = |bytes: Bytes| vec![("x.h5", bytes)];
    vec![
        ("types within types", file(nested(8000)), 3, "no datasets of numbers"),
        ("a dataset", file(nested(0)), 0, ""),
        ("2^30 paths in a tree", file(paths(30)), 3, "leads back to itself"),
    ]
}
