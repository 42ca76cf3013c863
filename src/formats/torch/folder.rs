//! The folder within an archive: what PyTorch finds in it by name, which must be what is read here.

use std::collections::HashSet;

use super::super::zip::{Archive, Entry};
use crate::weights::tree::short;
use crate::{Error, Kind, Result};

/// What PyTorch asks an archive for by its name, whatever the case of its letters, beside the storages.
const ASKED: [&str; 7] = [
    ".data/serialization_id",
    ".format_version",
    ".storage_alignment",
    "byteorder",
    "constants.pkl",
    "data.pkl",
    "version",
];

/// Fails if an entry has the name that PyTorch asks for but for capital letters, or the names of two differ by these
/// alone: PyTorch takes one for the other.
pub fn check_case(archive: &Archive) -> Result<()> {
    let is_plain = |entry: &Entry| !entry.name.bytes().any(|b| b.is_ascii_uppercase());
    if archive.entries.iter().all(is_plain) {
        return Ok(());
    }
    let in_root = |entry: &Entry| entry.name.split_once('/').map(|(_, name)| name.to_string());
    let is_other = |name: &String| {
        let plain = name.to_ascii_lowercase();
        *name != plain && ASKED.contains(&&*plain)
    };
    if let Some(name) = archive.entries.iter().filter_map(in_root).find(is_other) {
        let what =
            format!("has `{}`, which is read as `{}`", short(&name), name.to_ascii_lowercase());
        return Err(Error::new(Kind::Damaged, what)
            .remedy("torch.save writes small letters: ask where the file came from"));
    }
    let mut met = HashSet::new();
    match archive.entries.iter().find(|entry| !met.insert(entry.name.to_ascii_lowercase())) {
        None => Ok(()),
        Some(twice) => {
            let what = format!("has `{}` twice, but for capital letters", short(&twice.name));
            Err(Error::new(Kind::Damaged, what)
                .remedy("which of them PyTorch reads is not certain: ask where the file came from"))
        }
    }
}

/// The folder that all entries are in: that of `data.pkl`, and, as PyTorch has it, of the first entry. Another reader
/// would find other files.
pub fn root(archive: &Archive) -> Result<String> {
    let mut roots = archive.entries.iter().filter_map(|e| {
        let root = e.name.strip_suffix("data.pkl")?;
        (root.is_empty() || root.ends_with('/')).then_some(root)
    });
    let root = roots.next().ok_or_else(|| {
        let what = match archive.get("constants.pkl").is_some()
            || archive.entries.iter().any(|e| e.name.ends_with("/constants.pkl"))
        {
            true => "a TorchScript file without `data.pkl`",
            false => "a zip file without `data.pkl`: torch.save did not write it",
        };
        Error::new(Kind::NotACheckpoint, what)
            .remedy("save the state dict with torch.save or as safetensors")
    })?;
    if let Some(other) = roots.next() {
        return Err(Error::new(
            Kind::Damaged,
            format!(
                "has two pickles, `{root}data.pkl` and `{other}data.pkl`, and nothing tells which is meant"
            ),
        ));
    }
    let first = archive.entries.first().and_then(|entry| entry.name.split_once('/'));
    if first.map(|(folder, _)| folder) != root.strip_suffix('/') {
        let what = format!("has its pickle in `{root}`, and other files before it elsewhere");
        return Err(Error::new(Kind::Damaged, what)
            .remedy("save it again with torch.save, which writes one folder"));
    }
    if let Some(other) = archive.entries.iter().find(|entry| !entry.name.starts_with(root)) {
        let what = format!("has `{}` beside its folder `{root}`", short(&other.name));
        return Err(Error::new(Kind::Damaged, what)
            .remedy("save it again with torch.save, which writes one folder"));
    }
    if archive.get(&format!("{root}constants.pkl")).is_some() {
        // PyTorch hands it to TorchScript, which runs the code in it.
        return Err(Error::new(Kind::Unsupported, "a TorchScript archive, which holds code")
            .remedy("load it, and save model.state_dict()"));
    }
    Ok(root.to_string())
}
