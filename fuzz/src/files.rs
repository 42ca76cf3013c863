//! Inputs become files.

use std::path::{Path, PathBuf};

/// Writes a file whose name is in no other input's way.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A zip file as torch.save writes it, without CRCs: names and bytes.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, bytes) in entries {
        let at = file.len() as u32;
        let sizes = |to: &mut Vec<u8>| {
            to.extend([0; 4]); // CRC: not computed
            to.extend((bytes.len() as u32).to_le_bytes());
            to.extend((bytes.len() as u32).to_le_bytes());
            to.extend((name.len() as u16).to_le_bytes());
            to.extend([0; 2]);
        };
        file.extend(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0");
        sizes(&mut file);
        file.extend(name.as_bytes());
        file.extend(*bytes);
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0");
        sizes(&mut directory);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, count) = (file.len() as u32, entries.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(count.to_le_bytes());
    file.extend(count.to_le_bytes());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(at.to_le_bytes());
    file.extend([0; 2]);
    file
}

/// A torch zip around a pickle, with a few storages of 512 bytes.
pub fn around(pickle: &[u8]) -> Vec<u8> {
    const VALUES: [u8; 512] = [1; 512];
    let keys = ["0", "1", "2", "3", "4", "5", "6", "7"].map(|key| format!("x/data/{key}"));
    let storages = keys.iter().map(|name| (name.as_str(), &VALUES[..]));
    let pickle = [("x/data.pkl", pickle), ("x/byteorder", b"little")];
    zip(&pickle.into_iter().chain(storages).collect::<Vec<_>>())
}

/// Between the files of a folder in one input.
pub const NEXT: &[u8] = b"\xfe\xffNEXT\xff\xfe";

/// The files in one input.
pub fn files(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut files = vec![];
    while let Some(at) = bytes.windows(NEXT.len()).position(|window| window == NEXT) {
        files.push(&bytes[..at]);
        bytes = &bytes[at + NEXT.len()..];
    }
    files.push(bytes);
    files
}
