//! Files that are often found in the place of weights: they are refused as what they are.

use std::path::Path;

use super::zip::Archive;
use crate::store;
use crate::store::names::base_name;
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
        (b"\0\0\0\0\x02\0\0\0\x05\0\0\0", OTHER, "weights of Darknet", SAVE),
        (b"MATLAB", EMPTY, "a MATLAB file", NAME),
        (b"RIFF", EMPTY, "a RIFF file: sound, video or a WebP image", NAME),
        (
            b"Salted__",
            EMPTY,
            "an encrypted file",
            "decrypt it first, and name the checkpoint in it",
        ),
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
        None if head.get(4..8) == Some(b"ftyp") => {
            Err(Error::new(EMPTY, "a video or an image (MP4)").remedy(NAME))
        }
        None if head.get(1..4) == Some(b"\r\r\n") => {
            Err(Error::new(EMPTY, "compiled Python code").remedy(NAME))
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

/// The error for a file that no format knows. One that is called safetensors is read as that, and it is said where it is
/// damaged.
pub(super) fn unknown(path: &Path, head: &[u8]) -> Result<()> {
    let name = base_name(path).to_ascii_lowercase();
    if name.ends_with(".safetensors") {
        return Ok(());
    }
    let error = |what: &str| Error::new(Kind::NotACheckpoint, what);
    // The length of a header of safetensors: nothing with weights is shorter.
    if head.len() <= 8 {
        let what = format!("has {} byte(s), too few for a checkpoint", head.len());
        let model =
            path.with_file_name("model").with_extension(path.extension().unwrap_or_default());
        return Err(error(&what).remedy(match store::exists(&model)? {
            true => format!("name the weights, `{}` beside it", base_name(&model)),
            false => "name the file with the weights, or save it again".into(),
        }));
    }
    if head.iter().all(|&byte| byte == 0) {
        return Err(error("begins with zeros alone: it was not written or copied to its end")
            .remedy("save or copy it again"));
    }
    let is_tensorflow = name.ends_with(".index") || name.contains(".data-0");
    if is_tensorflow || head.starts_with(b"\x08\x01\x12") || starts_protobuf(head) {
        let what = match is_tensorflow {
            true => "a part of a TensorFlow checkpoint",
            false => "a protocol buffer, as TensorFlow and Caffe write them",
        };
        return Err(Error::new(Kind::Unsupported, what).remedy(
            "load it with its own program and save the weights as safetensors, or with torch.save",
        ));
    }
    if is_utf16(head) || is_text_of_bytes(head) {
        return Err(error("a text file, not weights").remedy(NAME));
    }
    Err(error("is in no format that is read").remedy(
        "name a checkpoint in safetensors, of torch.save, npz, Keras or Flax, or save the state dict with torch.save or as safetensors",
    ))
}

/// Fails if a zip file that torch.save did not write holds checkpoints.
pub(super) fn refuse_zipped(archive: &Archive) -> Result<()> {
    let is_one = |name: &&str| {
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        super::endings().any(|known| known == ending)
    };
    let mut names = archive.entries.iter().map(|entry| &*entry.name);
    let Some(name) = names.find(is_one) else { return Ok(()) };
    let what = format!("a zip archive of files, such as `{}`", crate::text::printable(name));
    Err(Error::new(Kind::Unsupported, what).remedy("unpack it, and name the checkpoints in it"))
}

/// A protocol buffer whose first field is a name, as in Caffe's models.
fn starts_protobuf(head: &[u8]) -> bool {
    let &[0x0a, length @ 1..=100, ..] = head else { return false };
    head.get(2..2 + usize::from(length))
        .is_some_and(|name| name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '))
}

/// A mark of the order of bytes, and a first character of most languages of Europe.
fn is_utf16(head: &[u8]) -> bool {
    matches!(head, [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff, 0, _, ..])
}

/// Whether bytes may be text in an encoding like Latin-1, GBK or Shift JIS: nothing below a blank but breaks.
fn is_text_of_bytes(head: &[u8]) -> bool {
    let is_text = |&byte: &u8| matches!(byte, b'\n' | b'\r' | b'\t' | 0x20..=0x7e | 0x80..=0xfe);
    head.iter().all(is_text) && head.iter().any(|&byte| byte == b'\n' || byte == b' ')
}

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

/// Fails if a file's first bytes are the header of a tar file, whatever else they are: PyTorch tries that before it reads
/// a pickle.
pub(super) fn refuse_tar(head: &[u8]) -> Result<()> {
    match is_tar(head) {
        true => Err(tar(head)),
        false => Ok(()),
    }
}

/// Whether the first bytes are a header that Python's `tarfile` reads: numbers where it has some, and the sum of its
/// bytes, of which those of the sum count as blanks.
pub(super) fn is_tar(head: &[u8]) -> bool {
    const NUMBERS: [(usize, usize); 7] =
        [(100, 108), (108, 116), (116, 124), (124, 136), (136, 148), (329, 337), (337, 345)];
    let Some(header) = head.first_chunk::<512>() else { return false };
    let (before, after) = (&header[..148], &header[156..]);
    let Some(sum) = tar_number(&header[148..156]) else { return false };
    let bytes = || before.iter().chain(after);
    let unsigned: i128 = 8 * 32 + bytes().map(|&byte| i128::from(byte)).sum::<i128>();
    let signed: i128 = 8 * 32 + bytes().map(|&byte| i128::from(byte as i8)).sum::<i128>();
    (sum == unsigned || sum == signed)
        && NUMBERS.iter().all(|&(from, to)| tar_number(&header[from..to]).is_some())
}

/// A number of a tar's header as `tarfile` reads it: octal digits up to a zero, none for 0, or bytes after a mark.
fn tar_number(field: &[u8]) -> Option<i128> {
    let (&first, rest) = field.split_first()?;
    if matches!(first, 0x80 | 0xff) {
        let number = rest.iter().fold(0i128, |number, &byte| number << 8 | i128::from(byte));
        return Some(if first == 0xff { number - (1 << (8 * rest.len())) } else { number });
    }
    let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let text = text
        .trim_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '\x0b' | '\x1c'..='\x1f'));
    // As Python's `int` takes it.
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.strip_prefix("0o").or(digits.strip_prefix("0O")).unwrap_or(digits);
    let digits = digits.replace('_', "");
    match digits.is_empty() {
        true => text.is_empty().then_some(0),
        false => i128::from_str_radix(&digits, 8).ok().map(|number| sign * number),
    }
}
