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
        return Err(tar(head));
    }
    const SAVE: &str = "load it with its own program and save the state dict as safetensors";
    const EMPTY: Kind = Kind::NotACheckpoint;
    const OTHER: Kind = Kind::Unsupported;
    const UNPACK: &str = "unpack it first, and name the checkpoint in it";
    const SOURCES: &str = "average the checkpoints it was made from";
    let other: &[(&[u8], Kind, &str, &str)] = &[
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
        (b"\x1f\x8b", OTHER, "a gzip file", UNPACK),
        (b"\x28\xb5\x2f\xfd", OTHER, "a zstd file", UNPACK),
        (b"BZh", OTHER, "a bzip2 file", UNPACK),
        (b"\xfd7zXZ\0", OTHER, "an xz file", UNPACK),
        (b"7z\xbc\xaf\x27\x1c", OTHER, "a 7-Zip archive", UNPACK),
        (b"Rar!", OTHER, "a RAR archive", UNPACK),
        (b"GGUF", OTHER, "a GGUF file, made for inference", SOURCES),
        (b"lmgg", OTHER, "a GGML file, made for inference", SOURCES),
        (b"tjgg", OTHER, "a GGML file, made for inference", SOURCES),
        (b"\x93NUMPY", OTHER, "a single NumPy array", "save the arrays by name with numpy.savez"),
        (b"PK\x05\x06", EMPTY, "an empty zip file", "save or download it again"),
        (b"ARROW1", EMPTY, "an Arrow file of data", NAME),
        (b"PAR1", EMPTY, "a Parquet file of data", NAME),
        (b"SQLite format 3", EMPTY, "an SQLite database", NAME),
        (b"\x89PNG", EMPTY, "a PNG image", NAME),
        (b"\xff\xd8\xff", EMPTY, "a JPEG image", NAME),
        (b"%PDF", EMPTY, "a PDF document", NAME),
        (b"\x7fELF", EMPTY, "a program", NAME),
        (b"MZ", EMPTY, "a program", NAME),
        (b"<?xml", EMPTY, "an XML file", NAME),
        (b"ftrt", OTHER, "a TensorRT engine, made for inference", SOURCES),
        (b"ptrt", OTHER, "a TensorRT engine, made for inference", SOURCES),
        (b"\xd0\xcf\x11\xe0", EMPTY, "an Office document", NAME),
        (b"(dp0\n", OTHER, "a Python pickle without storages", SAVE),
        (b"(dp1\n", OTHER, "a Python pickle without storages", SAVE),
        (b"(lp0\n", OTHER, "a Python pickle without storages", SAVE),
        (b"ccollections\n", OTHER, "a Python pickle without storages", SAVE),
    ];
    match other.iter().find(|(magic, ..)| head.starts_with(magic)) {
        Some((_, kind, what, remedy)) => Err(Error::new(*kind, *what).remedy(*remedy)),
        None if head.get(4..8) == Some(b"TFL3") => {
            Err(Error::new(OTHER, "a TensorFlow Lite model, made for inference").remedy(SOURCES))
        }
        None if starts_onnx(head) => {
            let what = "an ONNX model, which holds a graph, not a state dict";
            Err(Error::new(OTHER, what).remedy(SOURCES))
        }
        None => match text_of(head) {
            Some(what) => Err(Error::new(EMPTY, what).remedy(NAME)),
            None => Ok(()),
        },
    }
}

const NAME: &str = "name the checkpoint itself";

/// ONNX is a protocol buffer: the version of its form, then who wrote it, or the graph.
fn starts_onnx(head: &[u8]) -> bool {
    let &[0x08, version @ 1..=40, field, length, ..] = head else { return false };
    let text = head.get(4..4 + length as usize);
    let is_text = text.is_some_and(|text| {
        !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic() || *b == b' ')
    });
    version > 0 && (field == 0x12 && is_text || field == 0x3a)
}

/// What kind of text a file is, if it is one: nothing but characters in its first bytes, which a length of 8 bytes is
/// not.
fn text_of(head: &[u8]) -> Option<&'static str> {
    let end = match std::str::from_utf8(head) {
        Ok(_) => head.len(),
        // A character may be cut.
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        Err(_) => return None,
    };
    let text = std::str::from_utf8(&head[..end]).ok()?;
    let is_text = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    if text.len() < 8 || !text.chars().all(is_text) {
        return None;
    }
    Some(match text.trim_start_matches('\u{feff}').trim_start().chars().next() {
        Some('{' | '[') => "a JSON file, not weights",
        _ => "a text file, not weights",
    })
}

/// What a tar file is, by its first member.
fn tar(head: &[u8]) -> Error {
    let name = head.iter().take(100).take_while(|&&b| b != 0).map(|&b| char::from(b));
    let name: String = name.collect::<String>().trim_start_matches("./").into();
    const OLD: [&str; 4] = ["sys_info", "pickle", "storages", "tensors"];
    if OLD.contains(&name.as_str()) {
        return Error::new(Kind::Unsupported, "a tar file, as PyTorch wrote it before 0.1.10")
            .remedy("load it with an old PyTorch and save it again with torch 1.6 or later");
    }
    if name.starts_with("model_config.yaml") || name.starts_with("model_weights") {
        return Error::new(Kind::Unsupported, "a NeMo archive (tar)")
            .remedy("unpack it with tar, and name the model_weights.ckpt in it");
    }
    Error::new(Kind::Unsupported, "a tar archive")
        .remedy("unpack it with tar, and name the checkpoint in it")
}

/// A tar file of the time before `ustar`: a name, zeros, and an octal mode.
fn starts_tar(head: &[u8]) -> bool {
    let name = [&b"sys_info"[..], b"pickle", b"storages", b"tensors", b"./"];
    let mode = |mode: &[u8]| mode.iter().all(|b| b" \0".contains(b) || (b'0'..=b'7').contains(b));
    head.len() >= 108 && name.iter().any(|name| head.starts_with(name)) && mode(&head[100..107])
}
