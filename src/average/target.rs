//! What an output is written to: which tensor goes into which file, and where in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::json;

use super::OutputPlan;
use super::output_state::{Place, TensorPlace};
use crate::Result;
use crate::checkpoint::{Checkpoint, Container, TensorInfo};
use crate::formats::shards;
use crate::output::{
    Destination, Format, Layout, LikeFile, LikeFolder, LikeLayout, SafetensorsLayout, Sink,
    TorchLayout,
};

/// What to write an output to.
#[derive(Debug)]
pub enum Target {
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// Its format, whatever its name ends in.
        format: Format,
    },
    /// A copy of a PyTorch file with the result in the place of its weights.
    Like {
        /// Where.
        path: PathBuf,
        /// What is copied; it has all tensors of the output, with their shapes and types.
        model: Box<Checkpoint>,
    },
    /// A copy of a folder of torch.distributed.checkpoint with the result in the place of its weights.
    LikeFolder {
        /// Where.
        path: PathBuf,
        /// What is copied; it has all tensors of the output, with their shapes and types.
        model: Box<LikeFolder>,
    },
    /// A folder as Hugging Face has them: safetensors shards, and the configuration and tokenizer of the
    /// last input that counts, if that is a folder.
    Folder {
        /// Where.
        path: PathBuf,
        /// Bytes of tensors that a shard has at most, unless a single tensor is larger. `None`: sharded as
        /// the first input that counts.
        max_shard: Option<u64>,
    },
}

impl Target {
    /// A safetensors file.
    pub fn safetensors(path: impl Into<PathBuf>) -> Self {
        Target::File { path: path.into(), format: Format::Safetensors }
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        match self {
            Target::File { path, .. }
            | Target::Like { path, .. }
            | Target::LikeFolder { path, .. }
            | Target::Folder { path, .. } => path,
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self, Target::Folder { .. } | Target::LikeFolder { .. })
    }
}

/// The files of an output.
pub(super) struct Files<'t> {
    pub names: Vec<String>,
    /// What they are called, without endings.
    stem: String,
    /// For each the tensors in it, or of which there are pieces in it.
    tensors: Vec<Vec<usize>>,
    layouts: Vec<Box<dyn Layout + 't>>,
    /// The only file that is written, of all.
    pub only: Option<usize>,
}

impl<'t> Files<'t> {
    /// Lays everything out. Fails if the output cannot be written so.
    pub fn new(output: &OutputPlan, target: &'t Target) -> Result<Self> {
        let all: Vec<usize> = (0..output.tensors().len()).collect();
        let stem = match target {
            Target::Folder { .. } => shards::stem(output.inputs()[0].path()),
            _ => String::new(),
        };
        let info = |&tensor: &usize| output.output_info(tensor);
        let (names, tensors) = match target {
            Target::LikeFolder { model, .. } => {
                let names: Vec<&str> = all.iter().map(|&t| output.name(t)).collect();
                let infos: Vec<TensorInfo> = all.iter().map(info).collect();
                let (mut files, only) = (model.layouts(&names, &infos)?, None);
                let names = files.iter().map(|file| file.name.to_string()).collect();
                let tensors = files.iter_mut().map(|file| std::mem::take(&mut file.tensors));
                let tensors = tensors.collect();
                let boxed = |file: LikeFile<'t>| -> Box<dyn Layout + 't> { Box::new(file.layout) };
                let layouts = files.into_iter().map(boxed).collect();
                return Ok(Files { names, stem, tensors, layouts, only });
            }
            Target::File { .. } | Target::Like { .. } => (vec![String::new()], vec![all]),
            Target::Folder { max_shard: Some(limit), .. } => {
                let mut shards: Vec<Vec<usize>> = vec![];
                let mut size = u64::MAX;
                for tensor in all {
                    let bytes = output.output_size(tensor);
                    if shards.is_empty() || size.saturating_add(bytes) > *limit {
                        shards.push(vec![]);
                        size = 0;
                    }
                    size += bytes;
                    shards.last_mut().expect("one was pushed").push(tensor);
                }
                (shard_names(&stem, shards.len()), shards)
            }
            Target::Folder { max_shard: None, .. } => shards_of_first(output, &stem),
        };
        let names = if names.len() == 1 { vec![shards::single(&stem)] } else { names };
        let metadata = output.metadata();
        let layouts = tensors.iter().map(|tensors| -> Result<Box<dyn Layout>> {
            let infos: Vec<TensorInfo> = tensors.iter().map(info).collect();
            Ok(match target {
                Target::File { format: Format::Torch, .. } => {
                    Box::new(TorchLayout::new(infos.iter(), &output.kept(), &metadata)?)
                }
                Target::Like { model, .. } => {
                    let names: Vec<&str> = tensors.iter().map(|&t| output.name(t)).collect();
                    Box::new(LikeLayout::new(model, &names, &infos)?)
                }
                _ => Box::new(SafetensorsLayout::new(infos.iter(), &metadata)?),
            })
        });
        let layouts = layouts.collect::<Result<_>>()?;
        Ok(Files { names, stem, tensors, layouts, only: None })
    }

    /// The files that are written, in the order of the sink's.
    fn written(&self) -> impl Iterator<Item = usize> + '_ {
        let is_written = |file: &usize| self.only.is_none_or(|only| only == *file);
        (0..self.layouts.len()).filter(is_written)
    }

    /// Of each file, in bytes.
    pub fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        self.layouts.iter().map(|layout| layout.size())
    }

    /// All together, in bytes.
    pub fn size(&self) -> u64 {
        self.sizes().sum()
    }

    /// Where each tensor goes.
    pub fn place<'s>(&'s self, sink: &'s dyn Sink, output: &OutputPlan) -> Place<'s> {
        let mut tensors: Vec<Vec<TensorPlace>> = vec![];
        tensors.resize_with(output.tensors().len(), Vec::new);
        for (file, number) in self.written().enumerate() {
            let layout = &self.layouts[number];
            for (i, &tensor) in self.tensors[number].iter().enumerate() {
                let (to, checksum) = (layout.destination(i), layout.checksum());
                tensors[tensor].push(TensorPlace { file, to, checksum });
            }
        }
        let wanted = self.only.map(|only| self.wanted(only, output));
        Place { sink, files: self.written().count(), tensors, wanted }
    }

    /// The tensors of which several files have pieces.
    pub fn split(&self) -> Vec<usize> {
        let mut all = self.tensors.concat();
        all.sort_unstable();
        let mut split: Vec<usize> =
            all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        split.dedup();
        split
    }

    /// Which values of each tensor a file has: from the first to the last.
    pub fn wanted(&self, file: usize, output: &OutputPlan) -> Vec<Range<u64>> {
        let mut wanted = vec![0..0; output.tensors().len()];
        for (i, &tensor) in self.tensors[file].iter().enumerate() {
            wanted[tensor] = match self.layouts[file].destination(i) {
                Destination::Row(_) | Destination::Scattered(_) => {
                    0..output.info(tensor).len() as u64
                }
                Destination::Pieces(gather, number) => {
                    let slabs = gather.slabs.iter().filter(|slab| slab.file == number);
                    let values = slabs.map(|slab| gather.values(slab));
                    values.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
                }
            };
        }
        wanted
    }

    /// Writes what the tensors do not change, before the first of them.
    pub fn begin(&self, sink: &dyn Sink) -> Result<()> {
        let files: Vec<(usize, usize)> = self.written().enumerate().collect();
        let begun = files.into_par_iter().map(|(file, n)| self.layouts[n].begin(sink, file));
        begun.collect::<Vec<_>>().into_iter().collect() // of several errors the first in order
    }

    /// Writes what depends on the tensors, after the last of them. `sums`: of each tensor's bytes.
    pub fn finish(&self, sink: &dyn Sink, output: &OutputPlan, sums: &[u128]) -> Result<()> {
        let files: Vec<(usize, usize)> = self.written().enumerate().collect();
        let finished = files.into_par_iter().map(|(file, number)| {
            let infos: Vec<(TensorInfo, u128)> = (self.tensors[number].iter())
                .map(|&tensor| (output.output_info(tensor), sums[tensor]))
                .collect();
            let infos: Vec<_> = infos.iter().map(|(info, sum)| (info, *sum)).collect();
            self.layouts[number].finish(sink, file, &infos)
        });
        finished.collect::<Vec<_>>().into_iter().collect()
    }

    /// Of the index.
    pub fn index_name(&self) -> String {
        shards::index(&self.stem)
    }

    /// `model.safetensors.index.json`.
    pub fn index(&self, output: &OutputPlan) -> String {
        let files = self.names.iter().zip(&self.tensors);
        let map: BTreeMap<&str, &str> = files
            .flat_map(|(file, tensors)| {
                tensors.iter().map(|&t| (output.output_name(t), file.as_str()))
            })
            .collect();
        let size: u64 = (0..output.tensors().len()).map(|t| output.output_size(t)).sum();
        let index = json!({"metadata": {"total_size": size}, "weight_map": map});
        format!("{index:#}\n")
    }
}

/// Each tensor in the shard where the first input has it; what that lacks, in the last.
fn shards_of_first(output: &OutputPlan, stem: &str) -> (Vec<String>, Vec<Vec<usize>>) {
    let first = output.inputs()[0];
    let mut shards: Vec<Vec<usize>> = vec![vec![]; first.files().len()];
    for tensor in 0..output.tensors().len() {
        let file = output.number(0, tensor).map(|number| first.file_of(number));
        shards[file.unwrap_or(first.files().len() - 1)].push(tensor);
    }
    // Files of other formats are named for what they become.
    if first.container() != Container::SafetensorsShards {
        if first.container() != Container::TorchShards {
            shards = vec![shards.concat()];
        }
        shards.retain(|shard| !shard.is_empty());
        return (shard_names(stem, shards.len()), shards);
    }
    let name = |i: usize| {
        let name = first.files()[i].path().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let filled = shards.into_iter().enumerate().filter(|(_, shard)| !shard.is_empty());
    filled.map(|(i, shard)| (name(i), shard)).unzip()
}

/// As Hugging Face names shards.
fn shard_names(stem: &str, n: usize) -> Vec<String> {
    (1..=n).map(|i| format!("{stem}-{i:05}-of-{n:05}.safetensors")).collect()
}
