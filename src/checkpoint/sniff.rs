//! Which format a file has, by its first bytes; files that are often found in the place of weights are
//! named as what they are.

use super::{flax, hdf5, torch, zip};
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Safetensors,
    /// A zip file: PyTorch's, or NumPy's.
    Zip,
    TorchLegacy,
    /// MessagePack, as Flax writes it.
    Flax,
    /// Keras's.
    Hdf5,
}

/// How many bytes [`format`] looks at.
pub const HEAD: u64 = 512;

pub fn format(bytes: &[u8]) -> Result<Format> {
    if bytes.is_empty() {
        return Err(Error::input("the file is empty").remedy("save or download it again"));
    }
    let head = &bytes[..bytes.len().min(HEAD as usize)];
    if starts_safetensors(head) {
        return Ok(Format::Safetensors);
    }
    if head.starts_with(zip::MAGIC) {
        return Ok(Format::Zip);
    }
    if torch::is_legacy(head) {
        return Ok(Format::TorchLegacy);
    }
    if head.starts_with(hdf5::MAGIC) {
        return Ok(Format::Hdf5);
    }
    if flax::is_one(head) {
        return Ok(Format::Flax);
    }
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
    if text.starts_with("version https://git-lfs.github.com/spec") {
        return Err(Error::input("a Git LFS pointer, not weights").remedy("run `git lfs pull`"));
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Err(Error::input("an HTML page, not weights")
            .remedy("download it again; the link may need a login"));
    }
    if head.get(257..262) == Some(b"ustar") || starts_tar(head) {
        return Err(Error::input("a tar file, as PyTorch wrote it before 0.1.10")
            .remedy("load it with an old PyTorch and save it again with torch 1.6 or later"));
    }
    const SAVE: &str = "load it with its own program and save the state dict as safetensors";
    let other: [(&[u8], &str, &str); 8] = [
        (b"\x80\x02", "a Python pickle without storages", SAVE),
        (b"\x80\x03", "a Python pickle without storages", SAVE),
        (b"\x80\x04", "a Python pickle without storages", SAVE),
        (b"\x80\x05", "a Python pickle without storages", SAVE),
        (b"\x1f\x8b", "a gzip file", "unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first"),
        (b"GGUF", "a GGUF file, made for inference", "average the checkpoints it was made from"),
        (b"PK\x05\x06", "an empty zip file", "save or download it again"),
    ];
    match other.iter().find(|(magic, ..)| head.starts_with(magic)) {
        Some((_, what, remedy)) => Err(Error::input(*what).remedy(*remedy)),
        None => Ok(Format::Safetensors),
    }
}

/// A length below 4 GiB and the text that it is of: its bytes could be those of another format.
fn starts_safetensors(head: &[u8]) -> bool {
    head.get(4..9) == Some(b"\0\0\0\0{")
}

/// A tar file of the time before `ustar`: a name, zeros, and an octal mode.
fn starts_tar(head: &[u8]) -> bool {
    let name = [&b"sys_info"[..], b"pickle", b"storages", b"tensors", b"./"];
    let mode = |mode: &[u8]| mode.iter().all(|b| b" \0".contains(b) || (b'0'..=b'7').contains(b));
    head.len() >= 108 && name.iter().any(|name| head.starts_with(name)) && mode(&head[100..107])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_named() {
        let mut tar = b"pickle".to_vec();
        tar.resize(100, 0);
        tar.extend(b"0000644\0");
        tar.resize(512, 0);
        let cases: [(&[u8], &str); 7] = [
            (b"", "the file is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
            (b"\n<!DOCTYPE html><html>", "an HTML page"),
            (b"PK\x05\x06xx", "an empty zip file"),
            (b"\x80\x04xx", "a Python pickle"),
            (b"GGUFxx", "a GGUF file"),
            (&tar, "a tar file"),
        ];
        for (bytes, expected) in cases {
            let text = format(bytes).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(format(b"PK\x03\x04xx").unwrap(), Format::Zip);
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80";
        assert_eq!(format(magic).unwrap(), Format::TorchLegacy);
        assert_eq!(format(b"\x10\0\0\0\0\0\0\0{").unwrap(), Format::Safetensors);
        assert_eq!(format(b"\x89HDF\r\n\x1a\nxx").unwrap(), Format::Hdf5);
        assert_eq!(format(b"\x82\xa6params\x82").unwrap(), Format::Flax);
        // A pickle's first bytes, or a length of 640.
        assert_eq!(format(b"\x80\x02\0\0\0\0\0\0{").unwrap(), Format::Safetensors);
        // A map with the key `a`, or a length of 0x61a182.
        assert_eq!(format(b"\x82\xa1a\0\0\0\0\0{").unwrap(), Format::Safetensors);
        assert_eq!(format(b"\x82\xa1a\0\0\0\0\0\x80").unwrap(), Format::Flax);
    }
}
