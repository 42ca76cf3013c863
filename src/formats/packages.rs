//! What PyTorch writes as a zip file that is no checkpoint: programs and compiled code. Told apart by the entries'
//! names alone.

use super::zip::Archive;
use crate::{Error, Kind, Result, setting};

/// Such a zip file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Package {
    /// Of torch.export.
    Program(Layout),
    /// Several programs, by name.
    Programs(Vec<String>),
    /// Of AOTInductor: machine code.
    Compiled,
    /// Of torch.jit.
    TorchScript,
}

/// Where an exported program keeps what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Entries at the root, as PyTorch wrote them up to 2.7.
    Flat,
    /// A PT2 archive.
    Archive {
        /// The folder that all entries are in, with its slash.
        root: String,
        /// The program's name.
        model: String,
    },
}

/// The entry that makes a zip file a program of PyTorch up to 2.7.
pub(crate) const FLAT_GRAPH: &str = "serialized_exported_program.json";

impl Package {
    /// None for a zip file of another kind.
    pub fn of(archive: &Archive) -> Option<Self> {
        if archive.get(FLAT_GRAPH).is_some() {
            return Some(Package::Program(Layout::Flat));
        }
        let names = || archive.entries.iter().map(|entry| &*entry.name);
        let root = names().find_map(|name| {
            let root = name.strip_suffix("archive_format")?;
            (root.find('/') == root.len().checked_sub(1)).then_some(root)
        });
        if let Some(root) = root {
            let models = format!("{root}models/");
            let mut models: Vec<String> = names()
                .filter_map(|name| name.strip_prefix(&models)?.strip_suffix(".json"))
                .filter(|model| !model.contains('/'))
                .map(String::from)
                .collect();
            return match models.len() {
                0 => Some(Package::Compiled),
                1 => {
                    let (root, model) = (root.into(), models.pop()?);
                    Some(Package::Program(Layout::Archive { root, model }))
                }
                _ => Some(Package::Programs(models)),
            };
        }
        if names().any(|name| name.contains("data/aotinductor/")) {
            return Some(Package::Compiled);
        }
        let has = |tail: &str| names().any(|name| name == &tail[1..] || name.ends_with(tail));
        let has_code = names().any(|name| name.starts_with("code/") || name.contains("/code/"));
        (has("/constants.pkl") && has_code).then_some(Package::TorchScript)
    }

    /// In words.
    pub fn what(&self) -> &'static str {
        match self {
            Package::Program(_) => "an exported program (torch.export)",
            Package::Programs(_) => "a package of several exported programs",
            Package::Compiled => "an AOTInductor package, which is machine code",
            Package::TorchScript => "a TorchScript file",
        }
    }
}

/// Fails if a zip file in the place of a checkpoint is a package.
pub(super) fn refuse(archive: &Archive) -> Result<()> {
    let Some(package) = Package::of(archive) else { return Ok(()) };
    let remedy = match package {
        Package::Program(_) => concat!(
            "name the checkpoint with the weights, and this file as ",
            setting!("program"),
            " of swa-bn-update and swa-eval"
        ),
        Package::Programs(_) | Package::Compiled => "name the checkpoint with the weights",
        Package::TorchScript => return Ok(()), // the reader of PyTorch's files says more
    };
    Err(Error::new(Kind::NotACheckpoint, format!("{}, not weights", package.what())).remedy(remedy))
}
