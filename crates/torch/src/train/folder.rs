//! The files of a run, in a folder of its own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use swa_base::{Error, Result, setting};

use super::log::EpochLine;

/// A run's folder: snapshots in it, everything else in `results/` below it, where swa-avg does not look for snapshots.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates the folder of a new run, or opens that of one to go on with: the settings must be the same.
    ///
    /// # Errors
    /// `OutputExists` if a run is there and it is not to be resumed, `Mismatch` if its settings are others; `Io`.
    pub fn open(path: &Path, settings: &Value, resume: bool) -> Result<Self> {
        let folder = Folder { path: path.to_path_buf() };
        let below = folder.file("");
        fs::create_dir_all(&below).map_err(|e| Error::io(&below, "create", e))?;
        let file = folder.file("config.json");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!("{settings:#}\n");
                replace(&file, &text)?;
                return Ok(folder);
            }
            Err(error) => return Err(Error::io(&file, "read", error)),
        };
        if !resume {
            return Err(Error::new(swa_base::Kind::OutputExists, "a run is there already")
                .at(path)
                .remedy(concat!(
                    "go on with it by ",
                    setting!("resume"),
                    ", or name another folder"
                )));
        }
        let found: Value = serde_json::from_str(&text)
            .map_err(|e| Error::new(swa_base::Kind::Damaged, e.to_string()).at(&file))?;
        let differences = differences(&found, settings);
        if differences.is_empty() {
            return Ok(folder);
        }
        Err(Error::new(swa_base::Kind::Mismatch, "the run there has other settings")
            .at(path)
            .list(differences))
    }

    /// A file that is no snapshot.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join("results").join(name)
    }

    /// The snapshot of an epoch, counted from 1; 0: before the first.
    pub fn snapshot(&self, epoch: usize) -> PathBuf {
        match epoch {
            0 => self.file("initial.safetensors"),
            _ => self.path.join(format!("ckpt_{epoch:04}.safetensors")),
        }
    }

    /// The log's lines, of the first `epochs` alone; later ones are removed, as those epochs will be trained again.
    ///
    /// # Errors
    /// `Damaged` for a line that is none; `Io`.
    pub fn truncate_log(&self, epochs: usize) -> Result<Vec<EpochLine>> {
        let file = self.file("log.jsonl");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io(&file, "read", error)),
        };
        let mut lines = vec![];
        for line in text.lines().take(epochs) {
            let line: EpochLine = serde_json::from_str(line).map_err(|e| {
                Error::new(swa_base::Kind::Damaged, format!("is no log of a run: {e}")).at(&file)
            })?;
            lines.push(line);
        }
        let kept: String = text.lines().take(epochs).flat_map(|line| [line, "\n"]).collect();
        if kept != text {
            replace(&file, &kept)?;
        }
        Ok(lines)
    }

    /// Adds a line to the log.
    ///
    /// # Errors
    /// `Io`.
    pub fn log(&self, line: &EpochLine) -> Result<()> {
        let file = self.file("log.jsonl");
        let io = |e| Error::io(&file, "write", e);
        let mut log = fs::OpenOptions::new().append(true).create(true).open(&file).map_err(io)?;
        let text = serde_json::to_string(line).map_err(|e| Error::usage(e.to_string()))?;
        log.write_all((text + "\n").as_bytes()).and_then(|()| log.sync_all()).map_err(io)
    }
}

/// Writes a small file whole or not at all.
fn replace(path: &Path, text: &str) -> Result<()> {
    swa_tools::output::write_stream(path, true, |out| out.write_all(text.as_bytes()))
}

/// Settings that differ, a line each.
fn differences(found: &Value, asked: &Value) -> Vec<String> {
    let none = serde_json::Map::new();
    let (found, asked) = (found.as_object().unwrap_or(&none), asked.as_object().unwrap_or(&none));
    let names: std::collections::BTreeSet<&String> = found.keys().chain(asked.keys()).collect();
    let differs = names.into_iter().filter(|name| found.get(*name) != asked.get(*name));
    let value = |of: Option<&Value>| of.map_or("none".to_string(), Value::to_string);
    differs
        .map(|name| {
            format!(
                "{name}: {} there, {} asked for",
                value(found.get(name)),
                value(asked.get(name))
            )
        })
        .collect()
}
