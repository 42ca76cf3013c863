//! Checksums of what the tools write, so that a flipped bit on a disk or in a copy is found when the file
//! is read again. Safetensors has none of its own.
//!
//! Under the metadata key `swa.xxh3` stand 32 hexadecimal digits for the rest of the metadata and 32 for
//! each tensor, in the order of the tensors' names, separated by spaces. A tensor's digest is
//! XXH3-128 of: the sum, modulo 2^128, of XXH3-128 of each MiB of its bytes with the number of that block,
//! from 0, as the seed; then its name, its dtype and its shape (layout in [`of_tensor`]). So blocks can
//! be hashed in any order as they are written, in constant memory. This guards against accidents, not
//! against an adversary.

use std::collections::BTreeMap;

use twox_hash::XxHash3_128;

use super::TensorInfo;

/// The metadata key.
pub const DIGEST_KEY: &str = "swa.xxh3";

/// Bytes per block.
pub const BLOCK: u64 = 1 << 20;

/// Digits of a digest.
const DIGITS: usize = 32;

/// The share of one block in [`of_tensor`]'s sum; add them up with `wrapping_add`.
pub fn of_block(number: u64, bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot_with_seed(number, bytes)
}

/// [`of_block`] of bytes that come in parts, in their order.
pub struct BlockDigest(XxHash3_128);

impl BlockDigest {
    /// Of the block of this number.
    pub fn new(number: u64) -> Self {
        BlockDigest(XxHash3_128::with_seed(number))
    }

    /// The next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Of all of them.
    pub fn finish(&self) -> u128 {
        self.0.finish_128()
    }
}

/// The sum over all blocks of some bytes.
pub fn of_blocks(bytes: &[u8]) -> u128 {
    let blocks = bytes.chunks(BLOCK as usize).enumerate();
    blocks.fold(0, |sum, (i, block)| sum.wrapping_add(of_block(i as u64, block)))
}

/// The digest of a tensor, from the sum over its blocks: 16 bytes of that (all integers little-endian),
/// 8 of the name's length, the name, the dtype as safetensors spells it, a space, 8 bytes a dimension.
pub fn of_tensor(blocks: u128, info: &TensorInfo) -> u128 {
    let mut bytes = blocks.to_le_bytes().to_vec();
    text_into(&mut bytes, &info.name);
    bytes.extend_from_slice(info.dtype.to_string().as_bytes());
    bytes.push(b' ');
    info.shape.iter().for_each(|&n| bytes.extend_from_slice(&(n as u64).to_le_bytes()));
    XxHash3_128::oneshot(&bytes)
}

/// The digest of the metadata: length and text of each key and value but our own, sorted by key.
pub fn of_metadata(metadata: &BTreeMap<String, String>) -> u128 {
    let mut bytes = Vec::new();
    for (key, value) in metadata.iter().filter(|(key, _)| *key != DIGEST_KEY) {
        text_into(&mut bytes, key);
        text_into(&mut bytes, value);
    }
    XxHash3_128::oneshot(&bytes)
}

fn text_into(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// The metadata entry. `tensors` are in the order of the tensors' names.
pub fn entry(metadata: u128, tensors: impl Iterator<Item = u128>) -> String {
    let all = std::iter::once(metadata).chain(tensors);
    all.map(hex).collect::<Vec<_>>().join(" ")
}

/// Length of the entry for `n` tensors: known before any of them is hashed.
pub fn entry_length(n: usize) -> usize {
    (n + 1) * (DIGITS + 1) - 1
}

/// Whether a text is an entry for `n` tensors.
pub(crate) fn is_entry(text: &str, n: usize) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let mut digests = text.split(' ');
    text.len() == entry_length(n) && digests.all(|d| d.len() == DIGITS && d.bytes().all(is_digit))
}

/// Where in the entry the n-th digest stands: the metadata's is the 0th, then the tensors'.
pub(crate) fn position(n: usize) -> usize {
    n * (DIGITS + 1)
}

/// A digest as it is written: 32 digits.
pub fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::Dtype;

    #[test]
    fn a_digest_depends_on_every_byte_and_every_property() {
        let info = |name: &str, dtype, shape: &[usize]| TensorInfo {
            name: name.into(),
            dtype,
            shape: shape.into(),
        };
        let bytes = vec![7; BLOCK as usize + 8];
        let swapped = {
            let mut bytes = bytes.clone();
            bytes[0] = 8;
            bytes
        };
        let a = info("a", Dtype::F32, &[2, 1]);
        let digest = of_tensor(of_blocks(&bytes), &a);
        assert_eq!(digest, of_tensor(of_blocks(&bytes), &a));
        let others = [
            of_tensor(of_blocks(&swapped), &a),
            of_tensor(of_blocks(&bytes[..bytes.len() - 1]), &a),
            of_tensor(of_blocks(&bytes), &info("b", Dtype::F32, &[2, 1])),
            of_tensor(of_blocks(&bytes), &info("a", Dtype::I32, &[2, 1])),
            of_tensor(of_blocks(&bytes), &info("a", Dtype::F32, &[1, 2])),
        ];
        assert!(!others.contains(&digest));
        // Equal blocks in another order are not the same.
        let (x, y) = (vec![1; BLOCK as usize], vec![2; BLOCK as usize]);
        assert_ne!(of_blocks(&[x.clone(), y.clone()].concat()), of_blocks(&[y, x].concat()));
    }

    #[test]
    fn the_entry_has_the_length_that_was_reserved() {
        for n in [0, 1, 5] {
            let text = entry(1, (0..n).map(|i| u128::MAX - i as u128));
            assert_eq!(text.len(), entry_length(n));
            assert!(is_entry(&text, n) && !is_entry(&text, n + 1));
            assert!(!is_entry(&text.replacen('0', "G", 1), n));
            if n > 0 {
                assert_eq!(&text[position(1)..][..DIGITS], hex(u128::MAX));
            }
        }
    }
}
