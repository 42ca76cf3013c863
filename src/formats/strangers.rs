//! Files that are often found in the place of weights: they are refused as what they are.

use crate::{Error, Kind, Result, setting};

/// Fails if a file's first bytes are those of something else than weights.
pub(super) fn refuse(head: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).to_ascii_lowercase();
    if text.starts_with("version https://git-lfs.github.com/spec") {
        return Err(Error::new(Kind::NotACheckpoint, "a Git LFS pointer, not weights")
            .remedy("run `git lfs pull`"));
    }
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Err(Error::new(Kind::NotACheckpoint, "an HTML page, not weights")
            .remedy("download it again; the link may need a login"));
    }
    if head.get(257..262) == Some(b"ustar") || starts_tar(head) {
        return Err(Error::new(Kind::Unsupported, "a tar file, as PyTorch wrote it before 0.1.10")
            .remedy("load it with an old PyTorch and save it again with torch 1.6 or later"));
    }
    const SAVE: &str = "load it with its own program and save the state dict as safetensors";
    const EMPTY: Kind = Kind::NotACheckpoint;
    const OTHER: Kind = Kind::Unsupported;
    let other: [(&[u8], Kind, &str, &str); 9] = [
        (
            b"SWASTATE",
            OTHER,
            "the state of a running average, not weights",
            concat!("write its output, or add to it, with ", setting!("state")),
        ),
        (b"\x80\x02", OTHER, "a Python pickle without storages", SAVE),
        (b"\x80\x03", OTHER, "a Python pickle without storages", SAVE),
        (b"\x80\x04", OTHER, "a Python pickle without storages", SAVE),
        (b"\x80\x05", OTHER, "a Python pickle without storages", SAVE),
        (b"\x1f\x8b", OTHER, "a gzip file", "unpack it first"),
        (b"\x28\xb5\x2f\xfd", OTHER, "a zstd file", "unpack it first"),
        (
            b"GGUF",
            OTHER,
            "a GGUF file, made for inference",
            "average the checkpoints it was made from",
        ),
        (b"PK\x05\x06", EMPTY, "an empty zip file", "save or download it again"),
    ];
    match other.iter().find(|(magic, ..)| head.starts_with(magic)) {
        Some((_, kind, what, remedy)) => Err(Error::new(*kind, *what).remedy(*remedy)),
        None => Ok(()),
    }
}

/// A tar file of the time before `ustar`: a name, zeros, and an octal mode.
fn starts_tar(head: &[u8]) -> bool {
    let name = [&b"sys_info"[..], b"pickle", b"storages", b"tensors", b"./"];
    let mode = |mode: &[u8]| mode.iter().all(|b| b" \0".contains(b) || (b'0'..=b'7').contains(b));
    head.len() >= 108 && name.iter().any(|name| head.starts_with(name)) && mode(&head[100..107])
}
