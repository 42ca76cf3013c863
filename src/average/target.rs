//! What an output is written to: which tensor goes into which file, and where in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::OutputPlan;
use super::output_state::{Place, TensorPlace};
use crate::Result;
use crate::checkpoint::{Checkpoint, Container, TensorInfo};
use crate::formats::shards;
use crate::output::{Format, Layout, LikeLayout, SafetensorsLayout, Sink, TorchLayout};

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
            Target::File { path, .. } | Target::Like { path, .. } | Target::Folder { path, .. } => {
                path
            }
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self, Target::Folder { .. })
    }
}

/// The files of an output.
pub(super) struct Files<'t> {
    pub names: Vec<String>,
    /// What they are called, without endings.
    stem: String,
    /// For each the tensors in it.
    tensors: Vec<Vec<usize>>,
    pub layouts: Vec<Box<dyn Layout + 't>>,
}

impl<'t> Files<'t> {
    /// Lays everything out. Fails if the output cannot be written so.
    pub fn new(output: &OutputPlan, target: &'t Target) -> Result<Self> {
        let all: Vec<usize> = (0..output.tensors().len()).collect();
        let stem = match target {
            Target::Folder { .. } => shards::stem(output.inputs()[0].path()),
            _ => String::new(),
        };
        let (names, tensors) = match target {
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
            let infos: Vec<TensorInfo> = tensors.iter().map(|&t| output.output_info(t)).collect();
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
        Ok(Files { names, stem, tensors, layouts })
    }

    /// All together, in bytes.
    pub fn size(&self) -> u64 {
        self.layouts.iter().map(|layout| layout.size()).sum()
    }

    /// Where each tensor goes.
    pub fn place<'s>(&'s self, sink: &'s dyn Sink) -> Place<'s> {
        let mut places: Vec<_> =
            (0..self.tensors.iter().map(Vec::len).sum()).map(|_| None).collect();
        for (file, (tensors, layout)) in self.tensors.iter().zip(&self.layouts).enumerate() {
            for (number, &tensor) in tensors.iter().enumerate() {
                let (to, checksum) = (layout.destination(number), layout.checksum());
                places[tensor] = Some(TensorPlace { file, to, checksum });
            }
        }
        let tensors = places.into_iter().map(|place| place.expect("each tensor is in a file"));
        Place { sink, files: self.layouts.len(), tensors: tensors.collect() }
    }

    /// Writes what the tensors do not change, before the first of them.
    pub fn begin(&self, sink: &dyn Sink) -> Result<()> {
        let mut layouts = self.layouts.iter().enumerate();
        layouts.try_for_each(|(file, layout)| layout.begin(sink, file))
    }

    /// Writes what depends on the tensors, after the last of them. `sums`: of each tensor's bytes.
    pub fn finish(&self, sink: &dyn Sink, output: &OutputPlan, sums: &[u128]) -> Result<()> {
        for (file, layout) in self.layouts.iter().enumerate() {
            let infos: Vec<(TensorInfo, u128)> = (self.tensors[file].iter())
                .map(|&tensor| (output.output_info(tensor), sums[tensor]))
                .collect();
            let infos: Vec<_> = infos.iter().map(|(info, sum)| (info, *sum)).collect();
            layout.finish(sink, file, &infos)?;
        }
        Ok(())
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
