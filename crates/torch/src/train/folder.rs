//! The files of a run, in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use swa_base::{Error, Kind, Result, locks, look, setting};
use swa_tools::checkpoint::{Checkpoint, digest};
use swa_tools::output::remove_stale_in;

use super::log::EpochLine;
use super::state::{ANEW, State};

/// A run's folder: snapshots in it, everything else in `results/` below it, where swa-avg does not look for snapshots.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Whether nothing was trained in it yet.
    pub is_new: bool,
    /// Held until the run ends.
    _lock: Option<fs::File>,
}

const CONFIG: &str = "config.json";

impl Folder {
    /// The folder of a run that is there.
    pub fn of(path: &Path) -> Self {
        Folder { path: path.to_path_buf(), is_new: false, _lock: None }
    }

    /// Creates the folder of a new run, or opens that of one to go on with: the settings must be the same. No other
    /// process can open it meanwhile.
    ///
    /// # Errors
    /// `OutputExists` if a run is there and it is not to be resumed, `Mismatch` if its settings are others, `Usage` if
    /// another process trains in it; `Io`.
    pub fn open(path: &Path, settings: &Value, resume: bool) -> Result<Self> {
        let mut folder = Folder::of(path);
        let below = folder.file("");
        fs::create_dir_all(&below).map_err(|e| Error::io(&below, "create", e))?;
        folder._lock = Some(lock(&folder.file("lock"), path)?);
        folder.remove_stale();
        folder.is_new = Folder::is_free(path, resume)?;
        if folder.is_new {
            return Ok(folder);
        }
        let differences = differences(&folder.settings()?, settings);
        if differences.is_empty() {
            return Ok(folder);
        }
        Err(Error::new(Kind::Mismatch, "the run there has other settings")
            .at(path)
            .list(differences))
    }

    /// Whether no run is there.
    ///
    /// # Errors
    /// `OutputExists` if one is and it is not to be resumed; `Io`.
    pub fn is_free(path: &Path, resume: bool) -> Result<bool> {
        let is_free = !look::exists(&Folder::of(path).file(CONFIG))?;
        if is_free || resume {
            return Ok(is_free);
        }
        Err(Error::new(Kind::OutputExists, "a run is there already").at(path).remedy(concat!(
            "go on with it by ",
            setting!("resume"),
            ", or name another folder"
        )))
    }

    /// Keeps the settings of a new run. From now on it can only be gone on with.
    ///
    /// # Errors
    /// `Io`.
    pub fn record(&self, settings: &Value) -> Result<()> {
        match self.is_new {
            true => replace(&self.file(CONFIG), &format!("{settings:#}\n")),
            false => Ok(()),
        }
    }

    /// The settings of the run that is there.
    ///
    /// # Errors
    /// `Io`; `Damaged` for what is no JSON.
    pub fn settings(&self) -> Result<Value> {
        let file = self.file(CONFIG);
        let text = fs::read_to_string(&file).map_err(|e| Error::io(&file, "read", e))?;
        serde_json::from_str(&text)
            .map_err(|e| Error::new(Kind::Damaged, format!("is no record of a run: {e}")).at(&file))
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

    /// Removes what a killed run left of files that it was writing.
    pub fn remove_stale(&self) {
        remove_stale_in(&self.path);
        remove_stale_in(&self.file(""));
    }

    /// The digest of a snapshot's weights.
    ///
    /// # Errors
    /// Those of reading.
    pub fn digest(&self, epoch: usize) -> Result<String> {
        digest::of_checkpoint(&Checkpoint::open(&self.snapshot(epoch))?)
    }

    /// Fails if a snapshot is not the one that was written, by its digest.
    ///
    /// # Errors
    /// `Mismatch` for one that is missing or another; those of reading.
    pub fn check_snapshots(&self, digests: &BTreeMap<usize, String>) -> Result<()> {
        for (&epoch, digest) in digests {
            let path = self.snapshot(epoch);
            let what = match look::exists(&path)? {
                false => "is missing: the run wrote it, and averages it",
                true if self.digest(epoch)? != *digest => "has other weights than the run wrote",
                true => continue,
            };
            let remedy = format!("bring it back, or {ANEW}");
            return Err(Error::new(Kind::Mismatch, what).at(&path).remedy(remedy));
        }
        Ok(())
    }

    /// Fails if there are snapshots in the folder that are not the run's: they would be averaged with its own. `next`: one that
    /// may have been written just before the run was killed, and is trained again.
    ///
    /// # Errors
    /// `Mismatch` with the first of them; `Io`.
    pub fn check_no_others(&self, state: &State, next: Option<usize>) -> Result<()> {
        let names = look::names(&self.path).map_err(|e| Error::io(&self.path, "list", e))?;
        let is_own = |name: &str, epoch: usize| {
            let is_known = state.snapshots.contains_key(&epoch) || next == Some(epoch);
            is_known && self.snapshot(epoch).ends_with(name)
        };
        let is_other = |name: &&str| epoch_of(name).is_some_and(|epoch| !is_own(name, epoch));
        let mut others = vec![];
        for name in names.iter().filter_map(|name| name.to_str()).filter(is_other) {
            // A folder would be in the way of one snapshot, and is averaged with none.
            if look::is_file(&self.path.join(name))? {
                others.push(name);
            }
        }
        others.sort_unstable();
        let Some(first) = others.first() else { return Ok(()) };
        let what = match others.len() {
            1 => "is no snapshot of this run, and would be averaged with its own".to_string(),
            n => format!(
                "and {} more are no snapshots of this run, and would be averaged with its own",
                n - 1
            ),
        };
        Err(Error::new(Kind::Mismatch, what)
            .at(&self.path.join(first))
            .remedy("move it elsewhere, or name another folder for the run"))
    }

    /// The log's lines, of the first `epochs` alone.
    ///
    /// # Errors
    /// `Damaged` for a line that is none or missing; `Io`.
    pub fn lines(&self, epochs: usize) -> Result<Vec<EpochLine>> {
        let (file, text) = self.log_text()?;
        let line = |line| {
            serde_json::from_str(line).map_err(|e| {
                Error::new(Kind::Damaged, format!("is no log of a run: {e}")).at(&file)
            })
        };
        let lines: Vec<EpochLine> = text.lines().take(epochs).map(line).collect::<Result<_>>()?;
        if lines.len() < epochs {
            let what = format!("has {} lines, and {epochs} epochs are done", lines.len());
            let remedy = format!("bring it back, or {ANEW}");
            return Err(Error::new(Kind::Damaged, what).at(&file).remedy(remedy));
        }
        Ok(lines)
    }

    /// The same; later lines are removed, as those epochs will be trained again.
    ///
    /// # Errors
    /// Those of [`Self::lines`] and of writing.
    pub fn truncate_log(&self, epochs: usize) -> Result<Vec<EpochLine>> {
        let lines = self.lines(epochs)?;
        let (file, text) = self.log_text()?;
        let kept: String = text.lines().take(epochs).flat_map(|line| [line, "\n"]).collect();
        if kept != text {
            replace(&file, &kept)?;
        }
        Ok(lines)
    }

    /// The log and what is in it.
    fn log_text(&self) -> Result<(PathBuf, String)> {
        let file = self.file("log.jsonl");
        match fs::read_to_string(&file) {
            Ok(text) => Ok((file, text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((file, String::new())),
            Err(error) => Err(Error::io(&file, "read", error)),
        }
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

/// The epoch in the name of a snapshot.
fn epoch_of(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("ckpt_")?.strip_suffix(".safetensors")?;
    digits.parse().ok()
}

/// Locks a file, so that two processes do not train in one folder.
fn lock(file: &Path, run: &Path) -> Result<fs::File> {
    let open = fs::OpenOptions::new().create(true).truncate(false).write(true).open(file);
    let lock = open.map_err(|e| Error::io(file, "open", e))?;
    match locks::try_lock(&lock).map_err(|e| Error::io(file, "lock", e))? {
        true => Ok(lock),
        false => Err(Error::usage("is in use: another process trains in it")
            .at(run)
            .remedy("wait for it, or name another folder")),
    }
}

/// Copies a file, whole or not at all.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).map_err(|e| Error::io(from, "read", e))?;
    swa_tools::output::write_stream(to, true, |out| out.write_all(&bytes))
}

/// Writes a small file whole or not at all.
pub(super) fn replace(path: &Path, text: &str) -> Result<()> {
    swa_tools::output::write_stream(path, true, |out| out.write_all(text.as_bytes()))
}

/// Settings that differ, a line each.
pub(super) fn differences(found: &Value, asked: &Value) -> Vec<String> {
    fn compare(name: &str, found: &Value, asked: &Value, lines: &mut Vec<String>) {
        let (Some(of_found), Some(of_asked)) = (found.as_object(), asked.as_object()) else {
            if found != asked {
                // Digests say nothing to people.
                lines.push(match name {
                    "data.names" | "test.names" => {
                        format!("{name}: other images or labels than there")
                    }
                    "data.files" | "test.files" => {
                        format!("{name}: the images are not those there")
                    }
                    "init" => format!("{name}: other weights than there"),
                    "data" | "test" if found.is_string() => {
                        format!("{name}: recorded by another version")
                    }
                    _ => format!("{name}: {found} there, {asked} asked for"),
                });
            }
            return;
        };
        let keys: std::collections::BTreeSet<&String> =
            of_found.keys().chain(of_asked.keys()).collect();
        for key in keys {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            compare(&name, &found[key], &asked[key], lines);
        }
    }
    let mut lines = vec![];
    compare("", found, asked, &mut lines);
    lines
}
