//! A folder that appears whole or not at all: written under a temporary name beside the target, every
//! file in it fsynced, then renamed. An old folder changes places with the new one in one step.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::Sink;
use super::atomic::{behind_links, exists_already, refuse_inputs};
use super::temporary::{
    self, Pending, remove_flat_folder, rename, rename_error, reserve, sync_folder,
};
use crate::formats::shards::SAFETENSORS;
use crate::process::signals::naming;
use crate::{Error, Result};

pub struct AtomicFolder {
    /// What links lead to.
    target: PathBuf,
    parent: PathBuf,
    exists: bool,
    replace: bool,
    // Fields are dropped in this order: the files go before their folder.
    files: Vec<(File, Pending)>,
    temporary: Pending,
    folder: File,
}

/// Fails if `path` cannot become an output folder: it exists and `force` is not given, it holds
/// anything but a model, its parent is missing, or it is one of `inputs`.
pub fn check_folder(path: &Path, force: bool, inputs: &[PathBuf]) -> Result<()> {
    let (target, _, exists) = resolve(path, force)?;
    refuse_inputs(path, &target, exists, inputs)
}

fn resolve(path: &Path, force: bool) -> Result<(PathBuf, PathBuf, bool)> {
    let (target, parent, exists) = behind_links(path)?;
    if exists {
        if !target.is_dir() {
            return Err(Error::usage("is not a folder").at(path).remedy("name a folder to write"));
        }
        if !force {
            return Err(exists_already(path));
        }
        // It goes as a whole, so nothing else may be in it.
        let entries: Vec<_> = std::fs::read_dir(&target)
            .and_then(Iterator::collect)
            .map_err(|e| Error::io(path, "list", e))?;
        let is_file = |e: &std::fs::DirEntry| e.file_type().is_ok_and(|t| t.is_file());
        let holds_model =
            [SAFETENSORS.index, SAFETENSORS.single].iter().any(|name| target.join(name).is_file());
        let replaceable = holds_model && entries.iter().all(is_file);
        if !entries.is_empty() && !replaceable {
            return Err(Error::usage("is a folder that holds more than one model's files")
                .at(path)
                .remedy("name another: --force replaces the whole folder"));
        }
    }
    Ok((target, parent, exists))
}

impl AtomicFolder {
    /// Opens a temporary folder beside `path` with files of these sizes, their space reserved.
    pub fn create(path: &Path, files: &[(&str, u64)], force: bool) -> Result<Self> {
        let (target, parent, exists) = resolve(path, force)?;
        let (temporary, folder) = temporary::create(&parent, &target, true)?;
        if exists {
            std::fs::metadata(&target)
                .and_then(|meta| folder.set_permissions(meta.permissions()))
                .map_err(|e| Error::io(path, "keep its mode", e))?;
        }
        let (replace, open) = (force, vec![]);
        let mut output =
            AtomicFolder { target, parent, exists, replace, files: open, temporary, folder };
        for (name, size) in files {
            let file = output.open(name)?;
            reserve(&file.0, &output.parent, path, *size)?;
            output.files.push(file);
        }
        Ok(output)
    }

    fn open(&self, name: &str) -> Result<(File, Pending)> {
        let pending = Pending::new(&self.temporary.path().join(name));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(pending.path());
        Ok((file.map_err(|e| self.fail(name, "create", e))?, pending))
    }

    /// Adds a small file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.open(name)?;
        file.0.write_all(bytes).map_err(|e| self.fail(name, "write", e))?;
        self.files.push(file);
        Ok(())
    }

    fn fail(&self, name: &str, doing: &str, e: std::io::Error) -> Error {
        Error::io(&self.target.join(name), doing, e)
    }

    /// Makes everything durable and gives the folder its name.
    pub fn commit(mut self) -> Result<()> {
        for (file, pending) in &self.files {
            let name = pending.path().file_name().unwrap_or_default().to_string_lossy();
            file.sync_all().map_err(|e| self.fail(&name, "fsync", e))?;
        }
        self.folder.sync_all().map_err(|e| Error::io(&self.target, "fsync", e))?;
        let naming = naming();
        let fail = |e| rename_error(&self.target, e);
        let exchanged = self.exists && self.exchange()?;
        if !exchanged {
            rename(self.temporary.path(), &self.target, self.replace).map_err(fail)?;
        }
        // The new files lie under the target's name now; under the temporary one, if at all, the old.
        self.files.drain(..).for_each(|(_, mut pending)| pending.keep());
        drop(naming);
        sync_folder(&self.parent, &self.target)?;
        if exchanged {
            let old = self.temporary.path();
            remove_flat_folder(old).map_err(|e| Error::io(old, "remove the old folder", e))?;
        }
        self.temporary.keep();
        Ok(())
    }

    /// Old and new change places; false where the file system cannot, after the old one was removed.
    fn exchange(&self) -> Result<bool> {
        let flags = RenameFlags::EXCHANGE;
        match rustix::fs::renameat_with(CWD, self.temporary.path(), CWD, &self.target, flags) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                // The new one is complete and durable under its temporary name.
                remove_flat_folder(&self.target)
                    .map_err(|e| Error::io(&self.target, "replace", e))?;
                Ok(false)
            }
            Err(e) => Err(Error::io(&self.target, "replace", e)),
        }
    }
}

impl Sink for AtomicFolder {
    fn write_at(&self, file: usize, bytes: &[u8], offset: u64) -> Result<()> {
        let (file, pending) = &self.files[file];
        file.write_all_at(bytes, offset).map_err(|e| {
            let name = pending.path().file_name().unwrap_or_default();
            self.fail(&name.to_string_lossy(), "write", e)
        })
    }

    fn read_at(&self, file: usize, bytes: &mut [u8], offset: u64) -> Result<()> {
        let (file, pending) = &self.files[file];
        file.read_exact_at(bytes, offset).map_err(|e| {
            let name = pending.path().file_name().unwrap_or_default();
            self.fail(&name.to_string_lossy(), "read again", e)
        })
    }
}

/// Names of the files that belong to the model in a folder but hold no weights: configuration,
/// tokenizer, code. Not those of the trainer.
pub fn model_files(folder: &Path) -> Result<Vec<String>> {
    const KINDS: [&str; 8] = ["json", "txt", "model", "jinja", "py", "spm", "tiktoken", "vocab"];
    const TRAINER: [&str; 1] = ["trainer_state.json"];
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))? {
        let entry = entry.map_err(|e| Error::io(folder, "list", e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let is_index = name.ends_with(".index.json");
        if KINDS.contains(&kind)
            && !is_index
            && !name.starts_with('.')
            && !TRAINER.contains(&name.as_str())
            && entry.path().is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: &str = SAFETENSORS.single;

    fn model(parent: &Path, name: &str, force: bool) -> Result<AtomicFolder> {
        let mut output = AtomicFolder::create(&parent.join(name), &[(SINGLE, 3)], force)?;
        output.write_at(0, b"new", 0)?;
        output.add("config.json", b"{}")?;
        Ok(output)
    }

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_folder_appears_whole_at_commit() {
        let dir = tempfile::tempdir().unwrap();
        let output = model(dir.path(), "m", false).unwrap();
        assert!(!dir.path().join("m").exists());
        output.commit().unwrap();
        assert_eq!(listing(dir.path()), ["m"]);
        assert_eq!(listing(&dir.path().join("m")), ["config.json", SINGLE]);
        assert_eq!(std::fs::read(dir.path().join("m").join(SINGLE)).unwrap(), b"new");
        drop(model(dir.path(), "other", false).unwrap());
        assert_eq!(listing(dir.path()), ["m"]);
    }

    #[test]
    fn an_old_model_is_replaced_as_a_whole_and_other_folders_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("m");
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join(SINGLE), "old").unwrap();
        std::fs::write(old.join("README.md"), "old").unwrap();
        assert!(model(dir.path(), "m", false).err().unwrap().to_string().contains("--force"));
        let output = model(dir.path(), "m", true).unwrap();
        assert_eq!(std::fs::read(old.join(SINGLE)).unwrap(), b"old");
        output.commit().unwrap();
        assert_eq!(listing(&old), ["config.json", SINGLE]);
        assert_eq!(listing(dir.path()), ["m"]);
        std::fs::create_dir(old.join("runs")).unwrap();
        let error = model(dir.path(), "m", true).err().unwrap().to_string();
        assert!(error.contains("holds more than"), "{error}");
        assert_eq!(listing(&old).len(), 3);
    }

    #[test]
    fn what_belongs_to_the_model_is_copied_and_the_trainers_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "config.json",
            "tokenizer.model",
            "merges.txt",
            "modeling_x.py",
            "trainer_state.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "optimizer.pt",
            "training_args.bin",
            ".hidden.json",
        ];
        for name in names {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = model_files(dir.path()).unwrap();
        assert_eq!(found, ["config.json", "merges.txt", "modeling_x.py", "tokenizer.model"]);
    }
}
