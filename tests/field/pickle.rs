//! PyTorch files, made of instructions of a pickle.

use std::path::Path;

use swa_testing::zip;

pub fn text_of(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// An item of a dict.
pub fn item(key: &str, value: &[u8]) -> Vec<u8> {
    [&text_of(key)[..], value].concat()
}

pub fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items = items.iter().map(|(key, value)| item(key, value));
    [b"}(", &items.collect::<Vec<_>>().concat()[..], b"u"].concat()
}

/// A tensor of two values, from a place of the file's storage on, which has so many.
pub fn tensor(storage: u8, from: u8) -> Vec<u8> {
    let class = b"ctorch\nFloatStorage\n";
    let id = [&b"("[..], &text_of("storage"), class, &text_of("0"), &text_of("cpu")].concat();
    let rest = [b"K", &[storage][..], b"tQK", &[from], b"K\x02\x85K\x01\x85\x89}tR"].concat();
    [b"ctorch._utils\n_rebuild_tensor_v2\n(", &id[..], &rest].concat()
}

/// A dict of tensors of two values each, from a place of a storage of [`torch_file`] on.
pub fn tensors(from: u8, names: &[&str]) -> Vec<u8> {
    let tensor = |number: usize| tensor(64, from + 2 * number as u8);
    let items: Vec<_> = names.iter().enumerate().map(|(i, name)| (*name, tensor(i))).collect();
    dict(&items)
}

/// A PyTorch file of one storage with 64 values.
pub fn torch_file(path: &Path, value: f32, root: &[u8]) {
    let values: Vec<f32> = (0..64).map(|i| value + i as f32).collect();
    file_of(path, &values, root);
}

/// A PyTorch file of one tensor `l.w`, and of what is given: items of its dict. Under a key, a number stands beside it.
pub fn weights_file(path: &Path, value: f32, key: &str, more: &[u8]) {
    let weights = [b"}(", &item("l.w", &tensor(2, 0))[..], more, b"u"].concat();
    let root = match key {
        "" => weights,
        key => dict(&[(key, weights), ("epoch", b"K\x03".to_vec())]),
    };
    file_of(path, &[value, 0.0], &root);
}

fn file_of(path: &Path, values: &[f32], root: &[u8]) {
    let pickle = [b"\x80\x02", root, b"."].concat();
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(path, zip(&[("x/data.pkl", &pickle), ("x/data/0", &data)])).unwrap();
}
