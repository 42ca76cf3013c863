//! A folder that appears whole or not at all: written under a temporary name beside the target, every
//! file in it fsynced, then renamed. An old folder changes places with the new one in one step.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::commit::AtomicOutput;
use super::layout::Sink;
use super::places::resolve_folder;
use super::temporary::{
    self, Temporary, exchange, place_folder, remove_flat_folder, reserve, sync_folder,
};
use crate::formats::shards::model;
use crate::store::names::{base_name, natural};
use crate::{Error, Result, look};

/// A folder that has its name only when it is complete; dropped before that it leaves nothing behind.
pub(crate) struct AtomicFolder {
    /// What links lead to.
    target: PathBuf,
    parent: PathBuf,
    exists: bool,
    /// The temporary name is the old folder's.
    exchanged: bool,
    // Fields are dropped in this order: the files go before their folder.
    files: Vec<(File, Temporary)>,
    temporary: Temporary,
    folder: File,
}

impl AtomicFolder {
    /// Opens a temporary folder beside `path` with files of these sizes, their space reserved. A folder that is
    /// replaced hands on its mode.
    pub fn create(path: &Path, files: &[(&str, u64)], force: bool) -> Result<Self> {
        let (target, parent, exists) = resolve_folder(path, force)?;
        let (temporary, folder) = temporary::create(&parent, &target, true)?;
        if exists {
            std::fs::metadata(&target)
                .and_then(|meta| folder.set_permissions(meta.permissions()))
                .map_err(|e| Error::io(path, "keep its mode", e))?;
        }
        let mut output = AtomicFolder {
            target,
            parent,
            exists,
            exchanged: false,
            files: vec![],
            temporary,
            folder,
        };
        for (name, size) in files {
            let file = output.open(name)?;
            reserve(&file.0, &output.parent, path, *size)?;
            output.files.push(file);
        }
        Ok(output)
    }

    fn open(&self, name: &str) -> Result<(File, Temporary)> {
        let temporary = Temporary::new(&self.temporary.path().join(name));
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).open(temporary.path());
        Ok((file.map_err(|e| self.fail(name, "create", e))?, temporary))
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
}

impl Sink for AtomicFolder {
    fn write_at(&self, file: usize, bytes: &[u8], offset: u64) -> Result<()> {
        let (file, temporary) = &self.files[file];
        file.write_all_at(bytes, offset).map_err(|e| {
            let name = temporary.path().file_name().unwrap_or_default();
            self.fail(&name.to_string_lossy(), "write", e)
        })
    }

    fn read_at(&self, file: usize, bytes: &mut [u8], offset: u64) -> Result<()> {
        let (file, temporary) = &self.files[file];
        file.read_exact_at(bytes, offset).map_err(|e| {
            let name = temporary.path().file_name().unwrap_or_default();
            self.fail(&name.to_string_lossy(), "read again", e)
        })
    }
}

impl AtomicOutput for AtomicFolder {
    fn make_durable(&self) -> Result<()> {
        for (file, temporary) in &self.files {
            let name = temporary.path().file_name().unwrap_or_default().to_string_lossy();
            file.sync_all().map_err(|e| self.fail(&name, "fsync", e))?;
        }
        self.folder.sync_all().map_err(|e| Error::io(&self.target, "fsync", e))
    }

    /// An old folder is kept whether or not that is asked for: it cannot be replaced in one step otherwise.
    fn take_name(&mut self, _: bool) -> Result<()> {
        self.exchanged = place_folder(self.temporary.path(), &self.target, self.exists)?;
        // The new files lie under the target's name now; under the temporary one, if at all, the old.
        self.files.drain(..).for_each(|(_, mut temporary)| temporary.keep());
        Ok(())
    }

    fn withdraw(&mut self) {
        // Nothing is left to tell the user about: the error that led here is on its way.
        let new = match (self.exchanged, self.exists) {
            (true, _) if matches!(exchange(self.temporary.path(), &self.target), Ok(true)) => {
                self.temporary.path()
            }
            (false, false) if look::is_at(&self.folder, &self.target).unwrap_or(false) => {
                &self.target
            }
            _ => return,
        };
        drop(remove_flat_folder(new));
    }

    fn complete(mut self: Box<Self>) -> Result<()> {
        sync_folder(&self.parent, &self.target)?;
        if self.exchanged {
            let old = self.temporary.path();
            remove_flat_folder(old).map_err(|e| Error::io(old, "remove the old folder", e))?;
        }
        self.temporary.keep();
        Ok(())
    }
}

/// Names of the files in a folder that belong to the model but hold no weights: configuration, tokenizer,
/// code. The trainer's own files are left out.
pub(crate) fn model_files(folder: &Path) -> Result<Vec<String>> {
    const KINDS: [&str; 8] = ["json", "txt", "model", "jinja", "py", "spm", "tiktoken", "vocab"];
    const TRAINER: [&str; 1] = ["trainer_state.json"];
    let own = model(folder)?.map(|model| base_name(&model.path));
    let mut names = Vec::new();
    for name in look::names(folder).map_err(|e| Error::io(folder, "list", e))? {
        let Ok(name) = name.into_string() else { continue };
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let is_index = name.contains(".index.") || own.as_ref() == Some(&name);
        if KINDS.contains(&kind)
            && !is_index
            && !name.starts_with('.')
            && !TRAINER.contains(&name.as_str())
            && look::is_file(&folder.join(&name))?
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Names of the folders in a model's folder that hold files of the kinds above, such as `1_Pooling`. What is hidden, other models and
/// what cannot be looked at, is passed over.
pub(crate) fn model_folders(folder: &Path) -> Vec<String> {
    let is_one = |name: &String| {
        let path = folder.join(name);
        !name.starts_with('.')
            && look::is_folder(&path).unwrap_or(false)
            && model(&path).is_ok_and(|model| model.is_none())
            && model_files(&path).is_ok_and(|files| !files.is_empty())
    };
    let names = look::names(folder).unwrap_or_default().into_iter();
    let mut found: Vec<String> =
        names.filter_map(|name| name.into_string().ok()).filter(is_one).collect();
    found.sort_by(|a, b| natural(a, b));
    found
}

#[cfg(test)]
mod tests {
    use super::super::commit::commit_all;
    use super::*;

    const SINGLE: &str = "model.safetensors";

    fn written(parent: &Path, name: &str, force: bool) -> Result<AtomicFolder> {
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
        let output = written(dir.path(), "m", false).unwrap();
        assert!(!dir.path().join("m").exists());
        commit_all(vec![Box::new(output)]).unwrap();
        assert_eq!(listing(dir.path()), ["m"]);
        assert_eq!(listing(&dir.path().join("m")), ["config.json", SINGLE]);
        assert_eq!(std::fs::read(dir.path().join("m").join(SINGLE)).unwrap(), b"new");
        drop(written(dir.path(), "other", false).unwrap());
        assert_eq!(listing(dir.path()), ["m"]);
    }

    #[test]
    fn an_old_model_is_replaced_as_a_whole_and_other_folders_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("m");
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join(SINGLE), "old").unwrap();
        std::fs::write(old.join("README.md"), "old").unwrap();
        assert!(written(dir.path(), "m", false).err().unwrap().to_string().contains("`force`"));
        let output = written(dir.path(), "m", true).unwrap();
        assert_eq!(std::fs::read(old.join(SINGLE)).unwrap(), b"old");
        commit_all(vec![Box::new(output)]).unwrap();
        assert_eq!(listing(&old), ["config.json", SINGLE]);
        assert_eq!(listing(dir.path()), ["m"]);
        std::fs::create_dir(old.join("runs")).unwrap();
        let error = written(dir.path(), "m", true).err().unwrap().to_string();
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
