//! A folder on its way, to which several processes write files: `NAME.partial` beside the folder that it becomes.
//!
//! It appears with a record of the plan in it, made by whoever comes first; all others compare theirs. A file in it has
//! its name once it is complete, so what is there need not be written again. [`Partial::finish`] renames the folder.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use twox_hash::XxHash3_128;

use super::AtomicFolder;
use super::commit::{AtomicOutput, commit_all};
use super::places::resolve_folder;
use super::temporary::{is_live, place_folder, remove_flat_folder, sync_folder};
use crate::checkpoint::{Checkpoint, TensorInfo, digest};
use crate::store::names::UNFINISHED;
use crate::{Error, Kind, Result, Shard, locks, look, setting};

/// The record's name. Files that come into place at the end have it before their own.
const RECORD: &str = "swa.part";

/// What a folder is made of: equal in all processes that write to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// How the output comes about.
    pub settings: Map<String, Value>,
    /// Files that are read.
    pub inputs: Vec<Read>,
    /// Name and size of each file that processes write.
    pub files: Vec<(String, u64)>,
    /// Name of each small file, and a digest of its bytes.
    pub small: Vec<(String, String)>,
    /// Digest of the tensors' names, types and shapes, if the folder is a model by itself.
    pub tensors: Option<String>,
    /// How many checkpoints are averaged.
    pub averaged: usize,
    /// How many batchnorm layers the weights have that are meant.
    pub batchnorm_layers: usize,
}

/// A file that is read, in one of its states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Read {
    /// Its name, in a folder after the folder's: where that lies does not matter.
    pub name: String,
    pub bytes: u64,
    /// Seconds since 1970, and nanoseconds.
    pub modified: (i64, i64),
}

/// A folder on its way.
pub(crate) struct Partial {
    folder: PathBuf,
    /// Held while this process does its shard.
    _lock: File,
}

/// What a finished folder consists of.
pub(crate) struct Complete {
    pub files: usize,
    pub bytes: u64,
    /// How many checkpoints were averaged.
    pub inputs: usize,
    /// Batchnorm layers among the weights.
    pub batchnorm_layers: usize,
}

/// The name of a folder until it is finished.
pub(crate) fn partial_of(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(UNFINISHED);
    folder.with_file_name(name)
}

/// The name of a folder when it is finished, whichever of its two names is given.
pub(crate) fn finished_name(folder: &Path) -> Result<PathBuf> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_suffix(UNFINISHED) {
        Some(own) if !own.is_empty() && look::is_file(&folder.join(RECORD))? => {
            Ok(folder.with_file_name(own))
        }
        _ => Ok(folder.to_path_buf()),
    }
}

impl Partial {
    /// Begins the folder, or goes on with what is there. `small`: the bytes of the record's small files.
    pub fn begin(
        target: &Path,
        record: &Record,
        small: &[(String, Vec<u8>)],
        shard: Shard,
    ) -> Result<Self> {
        let (target, ..) = resolve_folder(target, true)?;
        let folder = partial_of(&target);
        if !look::exists(&folder)?
            && let Err(e) = create(&folder, record, small)
            && !look::is_file(&folder.join(RECORD))?
        {
            return Err(e); // nobody else was sooner
        }
        read(&folder)?.check(record, &folder)?;
        let lock = lock(&folder, shard)?;
        Ok(Partial { folder, _lock: lock })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a file is there. It is complete then.
    pub fn has(&self, (name, bytes): &(String, u64)) -> Result<bool> {
        let path = self.folder.join(name);
        let is_complete = has(&self.folder, name, *bytes)?;
        if !is_complete && look::look_at_link(&path)?.is_some() {
            return Err(Error::new(Kind::Damaged, format!("does not have its {bytes} bytes"))
                .at(&path)
                .remedy("remove it, and run this again"));
        }
        Ok(is_complete)
    }

    /// Checks that all files are there, with the sizes and tensors of the plan, and gives the folder its name.
    pub fn finish(target: &Path, force: bool) -> Result<Complete> {
        let (out, parent, exists) = resolve_folder(target, true)?;
        let folder = partial_of(&out);
        if !look::is_file(&folder.join(RECORD))?
            && (look::is_file(&out.join(RECORD))? || !look::is_folder(&folder)?)
        {
            return finished_before(&out, &folder);
        }
        resolve_folder(target, force)?;
        let record = read(&folder)?;
        // Held under either name, until it is removed.
        let _held = hold(&folder)?;
        record.check_files(&folder)?;
        for (name, digest) in &record.small {
            let (staged, path) = (folder.join(format!("{RECORD}.{name}")), folder.join(name));
            // An earlier attempt may have been interrupted here.
            if look::is_file(&staged)? {
                std::fs::rename(&staged, &path).map_err(|e| Error::io(&path, "rename", e))?;
            }
            let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
            if digest_of(&bytes) != *digest {
                return Err(Error::new(Kind::Damaged, "is not what the first process wrote")
                    .at(&path)
                    .remedy("remove the folder and begin again"));
            }
        }
        if let Some(expected) = &record.tensors
            && tensors_digest_of(&folder)? != *expected
        {
            return Err(Error::new(Kind::Damaged, "its tensors are not those of the plan")
                .at(&folder)
                .remedy("remove the folder and begin again"));
        }
        remove_others(&folder, &record)?;
        sync_folder(&folder, &folder)?;
        if place_folder(&folder, &out, exists)? {
            remove_flat_folder(&folder).map_err(|e| Error::io(&folder, "remove the old one", e))?;
        }
        complete(&out, &parent, &record)
    }
}

/// Removes the record, the last that is not the output's.
fn complete(out: &Path, parent: &Path, record: &Record) -> Result<Complete> {
    sync_folder(parent, out)?;
    let path = out.join(RECORD);
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
    sync_folder(out, out)?;
    let small = record.small.iter().map(|(name, _)| look::look(&out.join(name)));
    let small: Vec<_> = small.collect::<Result<_>>()?;
    let small: u64 = small.into_iter().flatten().map(|meta| meta.len()).sum();
    Ok(Complete {
        files: record.files.len() + record.small.len(),
        bytes: record.files.iter().map(|(_, bytes)| bytes).sum::<u64>() + small,
        inputs: record.averaged,
        batchnorm_layers: record.batchnorm_layers,
    })
}

/// There is nothing to finish, unless a run was interrupted after the renaming: then an old folder may be left, too.
fn finished_before(out: &Path, folder: &Path) -> Result<Complete> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    if look::is_file(&out.join(RECORD))? {
        let record = read(out)?;
        let _held = hold(out)?;
        record.check_files(out)?;
        if look::is_folder(folder)? {
            resolve_folder(folder, true)?;
            remove_flat_folder(folder).map_err(|e| Error::io(folder, "remove the old one", e))?;
        }
        return complete(out, parent.unwrap_or(Path::new(".")), &record);
    }
    if look::exists(out)? {
        let what = format!("is not there, and `{}` is: it was finished before", out.display());
        return Err(Error::new(Kind::NoMatch, what).at(folder));
    }
    let remedy = concat!("write its files first, with ", setting!("shard"));
    Err(Error::new(Kind::NoMatch, "is not there").at(folder).remedy(remedy))
}

fn create(folder: &Path, record: &Record, small: &[(String, Vec<u8>)]) -> Result<()> {
    let mut output = AtomicFolder::create(folder, &[], false)?;
    // Plain data always serialise.
    let text = serde_json::to_string_pretty(record).unwrap_or_default();
    output.add(RECORD, text.as_bytes())?;
    for (name, bytes) in small {
        output.add(&format!("{RECORD}.{name}"), bytes)?;
    }
    commit_all(vec![Box::new(output) as Box<dyn AtomicOutput>])
}

fn read(folder: &Path) -> Result<Record> {
    let path = folder.join(RECORD);
    let text = std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::usage(format!("is in the way: it has no {RECORD}, so this tool did not make it"))
                .at(folder)
                .remedy("remove it, or write elsewhere")
        }
        _ => Error::io(&path, "read", e),
    })?;
    serde_json::from_slice(&text).map_err(|_| {
        Error::new(Kind::Damaged, "is no record of this version of the tool")
            .at(&path)
            .remedy("remove the folder and begin again")
    })
}

/// One process a shard at a time: locked while it lives. Some file systems have no locks; there two write the same
/// bytes, and the first one's are taken.
fn lock(folder: &Path, shard: Shard) -> Result<File> {
    let path = folder.join(format!("{RECORD}.{}-of-{}.lock", shard.index, shard.of));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| Error::io(&path, "create", e))?;
    match locks::try_lock(&file).map_err(|e| Error::io(&path, "lock", e))? {
        true => Ok(file),
        false => {
            let what = format!("shard {shard} is being written by another process");
            Err(Error::usage(what).at(folder).remedy("wait for it, or end it first"))
        }
    }
}

/// One process finishes at a time: of two that exchange old and new, the second would undo it.
fn hold(folder: &Path) -> Result<File> {
    let path = folder.join(RECORD);
    let busy =
        || Error::usage("is being finished by another process").at(folder).remedy("wait for it");
    let file = File::open(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => busy(),
        _ => Error::io(&path, "open", e),
    })?;
    let is_own = locks::try_lock(&file).map_err(|e| Error::io(&path, "lock", e))?;
    // It may have been finished between opening and locking.
    if is_own && look::is_at(&file, &path)? { Ok(file) } else { Err(busy()) }
}

fn has(folder: &Path, name: &str, bytes: u64) -> Result<bool> {
    let found = look::look(&folder.join(name))?;
    Ok(found.is_some_and(|meta| meta.is_file() && meta.len() == bytes))
}

impl Record {
    /// Fails if another plan than `own` made it.
    fn check(&self, own: &Record, folder: &Path) -> Result<()> {
        let begin = format!("remove `{}` and begin again", folder.display());
        if self == own {
            return Ok(());
        }
        let other = |what: String| {
            Error::new(Kind::Mismatch, format!("was begun by another plan: {what}"))
                .at(folder)
                .remedy(format!("give the same arguments to every process, or {begin}"))
        };
        let keys = self.settings.keys().chain(own.settings.keys());
        for key in keys {
            let (a, b) = (self.settings.get(key), own.settings.get(key));
            if a != b {
                let text = |value: Option<&Value>| value.map_or("none".into(), Value::to_string);
                return Err(other(format!("{key} was {}, not {}", text(a), text(b))));
            }
        }
        let names = |record: &Record| -> Vec<String> {
            record.inputs.iter().map(|read| read.name.clone()).collect()
        };
        if names(self) != names(own) {
            return Err(other("it reads other files".into()));
        }
        for (then, now) in self.inputs.iter().zip(&own.inputs) {
            if then != now {
                let what = match then.bytes == now.bytes {
                    true => "has another time than".into(),
                    false => format!("has {} bytes, not {} as", now.bytes, then.bytes),
                };
                let what = format!("input `{}` {what} when this was begun", now.name);
                return Err(Error::changed(what)
                    .at(folder)
                    .remedy(format!("{begin}; copies keep their time with `cp -p`")));
            }
        }
        if self.files != own.files {
            let (n, m) = (self.files.len(), own.files.len());
            return Err(other(format!("it has {n} files of tensors, or of other sizes, not {m}")));
        }
        for (a, b) in self.small.iter().zip(&own.small) {
            if a != b {
                return Err(other(format!("`{}` has changed", b.0)));
            }
        }
        Err(other("it has other tensors".into()))
    }

    /// Fails unless all files are there.
    fn check_files(&self, folder: &Path) -> Result<()> {
        let mut missing: Vec<&str> = vec![];
        for (name, bytes) in &self.files {
            if !has(folder, name, *bytes)? {
                missing.push(name);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let what = format!("{} of {} files are missing", missing.len(), self.files.len());
        let list = missing.iter().map(|name| match is_live(&folder.join(name)) {
            true => format!("{name}: being written"),
            false => name.to_string(),
        });
        Err(Error::input(what)
            .at(folder)
            .remedy(concat!(
                "run the shards that did not end well again, with the same arguments and ",
                setting!("shard"),
                ": what is there is kept"
            ))
            .list(list.collect()))
    }
}

/// Removes what processes left behind: locks, and files that were not completed.
fn remove_others(folder: &Path, record: &Record) -> Result<()> {
    let fail = |e| Error::io(folder, "list", e);
    for name in look::names(folder).map_err(fail)? {
        let path = folder.join(&name);
        let name = name.to_string_lossy();
        let is_own = name == RECORD
            || record.files.iter().any(|(own, _)| *own == *name)
            || record.small.iter().any(|(own, _)| *own == *name);
        if is_own {
            continue;
        }
        let is_left = name.starts_with(RECORD) || name.contains(".swa-") && name.ends_with(".tmp");
        if !is_left {
            return Err(Error::usage(format!("holds `{name}`, which is not the output's"))
                .at(folder)
                .remedy("move it elsewhere"));
        }
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, "remove", e))?;
    }
    Ok(())
}

/// Digest of a small file.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    digest::hex(XxHash3_128::oneshot(bytes))
}

/// Digest of tensors' names, types and shapes, whatever their order.
pub(crate) fn tensors_digest<'t>(
    tensors: impl Iterator<Item = (&'t str, &'t TensorInfo)>,
) -> String {
    let line =
        |(name, info): (&str, &TensorInfo)| format!("{name} {:?} {:?}\n", info.dtype, info.shape);
    let mut lines: Vec<String> = tensors.map(line).collect();
    lines.sort();
    digest_of(lines.concat().as_bytes())
}

fn tensors_digest_of(folder: &Path) -> Result<String> {
    let model = Checkpoint::open(folder)?;
    let tensors = model.tensors().iter().enumerate();
    Ok(tensors_digest(tensors.map(|(i, info)| (model.written_name(i), info))))
}
