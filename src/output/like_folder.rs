//! Writing a copy of a folder of torch.distributed.checkpoint with other weights in it: FSDP, torchtitan and Megatron
//! resume from it, since tensors are cut as in the given one, and the rest stays as it was, byte for byte.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::like::{LikeLayout, Saved, matching};
use crate::checkpoint::{Checkpoint, Container, Source, Take, TensorInfo};
use crate::formats::distributed;
use crate::{Error, Result, setting, store};

/// A folder to copy.
#[derive(Debug)]
pub struct LikeFolder {
    model: Checkpoint,
    folder: PathBuf,
    /// All of its files, sorted by name, each with its number among the model's if it is one.
    files: Vec<(String, Source, Option<u32>)>,
    /// Folders in it, which are not copied.
    folders: Vec<String>,
}

/// A file of the copy.
pub(crate) struct LikeFile<'a> {
    pub name: &'a str,
    /// Which of the tensors have values in it, by their number in the order in which they were given.
    pub tensors: Vec<usize>,
    pub layout: LikeLayout<'a>,
}

impl LikeFolder {
    /// Opens the folder; `take` says which of the weights in it are meant.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_with`]; `Usage` for a folder of another kind, which holds nothing but weights.
    pub fn open(path: &Path, take: &Take) -> Result<Self> {
        let model = Checkpoint::open_with(path, take)?;
        let folder = match model.container() {
            Container::Distributed => distributed::folder(path)?,
            _ => None,
        };
        let Some(folder) = folder else {
            let (like, kind) = (setting!("like"), model.container().name());
            let what = format!("{like}: is {kind}, which holds nothing but weights");
            let remedy = format!("leave out {like}: folders are written in the inputs' shards");
            return Err(Error::usage(what).at(path).remedy(remedy));
        };
        let numbers: HashMap<&Path, u32> =
            model.files().iter().map(Source::path).zip(0..).collect();
        let (mut files, mut folders) = (vec![], vec![]);
        for path in store::list(&folder)? {
            let name = path.file_name().unwrap_or_default().to_str().ok_or_else(|| {
                Error::input("its name is not Unicode").at(&path).remedy("rename or remove it")
            })?;
            match store::is_file(&path)? {
                true => {
                    let number = numbers.get(path.as_path()).copied();
                    files.push((name.to_string(), Source::open(&path)?, number));
                }
                false => folders.push(name.to_string()),
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        folders.sort();
        Ok(LikeFolder { model, folder, files, folders })
    }

    /// The folder that is copied: of what accelerate writes, the one inside with the weights.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of the folders in it, which are not copied.
    pub fn folders(&self) -> &[String] {
        &self.folders
    }

    /// Of the tensors in it.
    pub fn model(&self) -> &Checkpoint {
        &self.model
    }

    /// All files that are copied.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().map(|(_, source, _)| source)
    }

    /// Its files. Fails if it lacks one of the tensors to write, or has it of another shape or type.
    pub(crate) fn layouts(
        &self,
        names: &[&str],
        infos: &[TensorInfo],
    ) -> Result<Vec<LikeFile<'_>>> {
        let model = &self.model;
        let tensors = matching(model, names, infos)?;
        // A tensor without values is in no file, and nothing is to be written of it.
        let mut within: Vec<Vec<usize>> = vec![vec![]; model.files().len()];
        for (number, &tensor) in tensors.iter().enumerate() {
            for file in model.files_of(tensor) {
                within[file as usize].push(number);
            }
        }
        let mut chunks: HashMap<String, HashSet<Range<u64>>> = HashMap::new();
        for (file, chunk) in distributed::chunks(&self.folder)? {
            chunks.entry(file).or_default().insert(chunk);
        }
        let mut files = vec![];
        for (name, source, number) in &self.files {
            let within = number.map_or(vec![], |number| within[number as usize].clone());
            let numbers = within.iter().map(|&i| tensors[i]).collect();
            let source = (source, number.unwrap_or(u32::MAX));
            let parts = chunks.remove(name).unwrap_or_default();
            let saved = Saved::Parts(parts.into_iter().collect());
            let layout = LikeLayout::of_file(model, source, numbers, saved);
            files.push(LikeFile { name, tensors: within, layout });
        }
        Ok(files)
    }
}
