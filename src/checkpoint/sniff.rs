//! Files that are often found in the place of weights, named as what they are.

use crate::{Error, Result};

pub fn refuse_what_holds_no_weights(bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Err(Error::input("the file is empty").remedy("save or download it again"));
    }
    let head = &bytes[..bytes.len().min(512)];
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
    if text.starts_with("version https://git-lfs.github.com/spec") {
        return Err(Error::input("a Git LFS pointer, not weights").remedy("run `git lfs pull`"));
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Err(Error::input("an HTML page, not weights")
            .remedy("download it again; the link may need a login"));
    }
    let other = [
        (&b"PK\x03\x04"[..], "a zip file, as torch.save writes it"),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20", "a PyTorch file of before version 1.6"),
        (b"\x80\x02", "a Python pickle"),
        (b"\x80\x04", "a Python pickle"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ];
    match other.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, what)) => Err(Error::input(format!("{what}, which cannot be read yet"))
            .remedy("save the state dict with safetensors.torch.save_file")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_named() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "the file is empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "a Git LFS pointer"),
            (b"\n<!DOCTYPE html><html>", "an HTML page"),
            (b"PK\x03\x04xx", "a zip file"),
            (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20xx", "before version 1.6"),
            (b"\x80\x04xx", "a Python pickle"),
        ];
        for (bytes, expected) in cases {
            let text = refuse_what_holds_no_weights(bytes).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
