//! The files of a folder, one by one: what several processes divide among themselves. Each file has the bytes that a
//! single process would give it.

use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};

use super::target::Files;
use super::write::small_files;
use super::{OutputPlan, Plan, Target, Written};
use crate::checkpoint::{Source, TensorInfo};
use crate::output::{AtomicFile, Sink};
use crate::select::base_name;
use crate::{Error, METADATA_KEY, Result, Shard};

/// The files that the only output of a plan consists of.
pub(crate) struct FolderFiles<'p, 'a, 't> {
    plan: &'p Plan<'a>,
    target: &'t Target,
    files: Files<'t>,
}

impl<'a> Plan<'a> {
    /// The files of the only output, in a folder. Fails as writing them at once would.
    pub(crate) fn folder_files<'p, 't>(
        &'p self,
        target: &'t Target,
    ) -> Result<FolderFiles<'p, 'a, 't>> {
        let files = Files::new(&self.outputs()[0], target)?;
        Ok(FolderFiles { plan: self, target, files })
    }
}

impl FolderFiles<'_, '_, '_> {
    fn output(&self) -> &OutputPlan<'_> {
        &self.plan.outputs()[0]
    }

    /// Names and sizes of those with tensors, or that are copied from the folder that is given.
    pub fn sizes(&self) -> Vec<(String, u64)> {
        self.files.names.iter().cloned().zip(self.files.sizes()).collect()
    }

    /// What else belongs in the folder: configuration, tokenizer, the index.
    pub fn small(&self) -> Result<Vec<(String, Vec<u8>)>> {
        match self.target {
            Target::Folder { .. } => small_files(self.output(), &self.files),
            _ => Ok(vec![]),
        }
    }

    /// All that is read, of every process's share, by names that do not depend on where it lies: that of the file, after
    /// that of its folder if that is the checkpoint.
    pub fn sources(&self) -> Vec<(String, &Source)> {
        let mut sources = vec![];
        let mut add = |folder: Option<&Path>, source| {
            let name = base_name(Source::path(source));
            let folder = folder.map(|folder| format!("{}/", base_name(folder)));
            sources.push((folder.unwrap_or_default() + &name, source));
        };
        for input in self.plan.counting() {
            let is_file = matches!(input.files(), [file] if file.path() == input.path());
            let folder = (!is_file).then(|| input.path());
            input.files().iter().for_each(|source| add(folder, source));
        }
        if let Target::LikeFolder { model, .. } = self.target {
            model.sources().for_each(|source| add(Some(model.folder()), source));
        }
        sources
    }

    /// What decides the bytes beside the inputs: the record in the output's metadata, and what is not in there.
    pub fn settings(&self) -> Map<String, Value> {
        let metadata = self.output().metadata();
        let record = metadata.get(METADATA_KEY).and_then(|text| serde_json::from_str(text).ok());
        let mut settings: Map<String, Value> = record.unwrap_or_default();
        let inputs = self.output().inputs().iter();
        settings.insert("keys of the weights".into(), inputs.map(|i| &*i.taken().key).collect());
        settings.insert("allow_nonfinite".into(), self.plan.allow_nonfinite.into());
        settings
    }

    /// Name, type and shape of each tensor, as the output has it.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let output = self.output();
        (0..output.tensors().len()).map(|tensor| output.output_info(tensor)).collect()
    }

    /// Bytes of the inputs that a file is made of.
    pub fn bytes_to_read(&self, file: usize) -> u64 {
        let output = self.output();
        let wanted = self.files.wanted(file, output).into_iter().enumerate();
        let bytes = wanted.map(|(tensor, values)| {
            let info = output.info(tensor);
            let width = info.size() / info.len().max(1) as u64;
            (values.end - values.start) * width * output.sources(tensor).len() as u64
        });
        bytes.sum()
    }

    /// Whether inputs have checksums of tensors of which files have pieces: these cannot be compared.
    pub fn leaves_checksums(&self) -> bool {
        let output = self.output();
        let inputs = output.inputs().iter().enumerate();
        let has_checksum = |tensor: usize| {
            inputs.clone().any(|(i, input)| {
                output.number(i, tensor).is_some_and(|n| input.checksum(n).is_some())
            })
        };
        self.files.split().into_iter().any(has_checksum)
    }

    /// Writes one of the files to a path, whole or not at all.
    pub fn write(
        &mut self,
        file: usize,
        path: &Path,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Written> {
        let size = self.files.sizes().nth(file).expect("one of the files");
        self.files.only = Some(file);
        let wanted = self.files.wanted(file, self.output());
        if self.plan.verify {
            self.verify_apart(&wanted)?;
        }
        let atomic = AtomicFile::create(path, size, false)?;
        let sinks: [&dyn Sink; 1] = [&atomic];
        let mut written = self.plan.fill(&sinks, std::slice::from_ref(&self.files), progress)?;
        atomic.commit()?;
        let mut written = written.pop().ok_or_else(|| Error::usage("there is no output"))?;
        written.bytes = size;
        Ok(written)
    }

    /// Verifies what is verified apart of the inputs, as far as these values come from it.
    fn verify_apart(&self, wanted: &[Range<u64>]) -> Result<()> {
        let output = self.output();
        for (number, input) in output.inputs().iter().enumerate() {
            let own = wanted.iter().enumerate().filter_map(|(tensor, values)| {
                Some((output.number(number, tensor)?, values.clone()))
            });
            input.verify_apart_of(&own.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// Which of some files a shard has, by number, the largest first: each file goes to the shard that has the fewest bytes
/// so far. All processes come to the same.
pub(crate) fn deal(sizes: &[u64], shard: Shard) -> Vec<usize> {
    let mut largest: Vec<usize> = (0..sizes.len()).collect();
    largest.sort_by_key(|&file| std::cmp::Reverse(sizes[file])); // stable: of equals the first
    let mut bytes = vec![0u64; shard.of.min(sizes.len().max(1))];
    let mut own = vec![];
    for file in largest {
        let (least, _) = bytes.iter().enumerate().min_by_key(|(_, bytes)| **bytes).expect("one");
        bytes[least] += sizes[file].max(1);
        if least == shard.index {
            own.push(file);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_dealt_once_and_evenly() {
        let sizes: Vec<u64> = (0..50).map(|i: u64| i * 7919 % 1000 + 500).collect();
        for of in [1, 2, 3, 8, 49, 50, 51, 1000] {
            let hands: Vec<Vec<usize>> =
                (0..of).map(|index| deal(&sizes, Shard { index, of })).collect();
            let mut all = hands.concat();
            all.sort_unstable();
            assert_eq!(all, (0..50).collect::<Vec<_>>(), "{of}");
            let bytes = |hand: &Vec<usize>| hand.iter().map(|&file| sizes[file]).sum::<u64>();
            let (most, least) = (hands.iter().map(bytes).max(), hands.iter().map(bytes).min());
            // By the largest file at most.
            assert!(most.unwrap() - least.unwrap() <= 1500, "{of}");
        }
        assert_eq!(deal(&[5, 5, 5, 5], Shard { index: 0, of: 2 }), [0, 2]);
        assert_eq!(deal(&[1, 9, 3], Shard { index: 0, of: 2 }), [1]);
        assert_eq!(deal(&[1, 9, 3], Shard { index: 1, of: 2 }), [2, 0]);
        assert_eq!(deal(&[0, 0, 0], Shard { index: 1, of: 3 }), [1]);
        assert!(deal(&[], Shard { index: 0, of: 2 }).is_empty());
    }
}
