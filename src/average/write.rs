//! From a plan to files: which tensor goes where, then the stream, then the digests, then the names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::plan::Plan;
use super::stream::{MOST_THREADS, Output, Stream, lock};
use crate::checkpoint::{Checkpoint, Container, TensorInfo};
use crate::formats::shards::SAFETENSORS;
use crate::output::{
    AtomicFile, AtomicFolder, Format, Layout, LikeLayout, SafetensorsLayout, Sink, TorchLayout,
    model_files,
};
use crate::{Error, Result};

/// What to write.
#[derive(Debug)]
pub enum Target {
    File {
        path: PathBuf,
        format: Format,
    },
    /// A PyTorch file as another is, with the result in the place of its weights.
    Like {
        path: PathBuf,
        model: Box<Checkpoint>,
    },
    /// A folder as Hugging Face has them: shards of at most so many bytes of tensors, or as the first
    /// input has them; and the last input's configuration and tokenizer.
    Folder {
        path: PathBuf,
        max_shard: Option<u64>,
    },
}

impl Target {
    /// A safetensors file.
    pub fn safetensors(path: impl Into<PathBuf>) -> Self {
        Target::File { path: path.into(), format: Format::Safetensors }
    }

    pub fn path(&self) -> &PathBuf {
        match self {
            Target::File { path, .. } | Target::Like { path, .. } | Target::Folder { path, .. } => {
                path
            }
        }
    }
}

/// What was written.
#[derive(Debug)]
pub struct Written {
    /// All files together.
    pub bytes: u64,
    /// Tensors with means that are not finite, and how many.
    pub nonfinite: Vec<(String, u64)>,
    /// Configuration and tokenizer files that were copied.
    pub copied: Vec<String>,
}

/// What carrying out a plan will take.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    /// From a sample of the inputs, without the writing.
    pub seconds: f64,
    /// Memory that is not mapped files, in bytes.
    pub memory: u64,
}

/// The files of the output.
struct Files<'t> {
    names: Vec<String>,
    /// For each the tensors in it.
    tensors: Vec<Vec<usize>>,
    layouts: Vec<Box<dyn Layout + 't>>,
}

impl Files<'_> {
    fn size(&self) -> u64 {
        self.layouts.iter().map(|layout| layout.size()).sum()
    }

    /// Where each tensor goes.
    fn outputs(&self) -> Vec<Output<'_>> {
        let mut outputs: Vec<_> =
            (0..self.tensors.iter().map(Vec::len).sum()).map(|_| None).collect();
        for (file, (tensors, layout)) in self.tensors.iter().zip(&self.layouts).enumerate() {
            for (number, &tensor) in tensors.iter().enumerate() {
                let (to, checksum) = (layout.destination(number), layout.checksum());
                outputs[tensor] = Some(Output { file, to, checksum });
            }
        }
        outputs.into_iter().map(|output| output.expect("each tensor is in a file")).collect()
    }
}

impl Plan<'_> {
    /// Writes the output: whole and durable under its name, or not at all. `progress` is told how
    /// many input bytes were dealt with, from any thread.
    pub fn write(
        &self,
        target: &Target,
        force: bool,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Written> {
        let files = self.files(target)?;
        let bytes = files.size();
        if !self.options.no_verify {
            self.inputs.iter().try_for_each(|input| input.verify_apart())?;
        }
        let mut copied = vec![];
        let nonfinite = match target {
            Target::File { path, .. } | Target::Like { path, .. } => {
                let output = AtomicFile::create(path, bytes, force)?;
                let nonfinite = self.fill(&output, &files, progress)?;
                output.commit()?;
                nonfinite
            }
            Target::Folder { path, .. } => {
                let sizes = files.names.iter().zip(&files.layouts);
                let sizes: Vec<_> = sizes.map(|(n, l)| (n.as_str(), l.size())).collect();
                let mut output = AtomicFolder::create(path, &sizes, force)?;
                let nonfinite = self.fill(&output, &files, progress)?;
                let last = self.inputs[self.inputs.len() - 1].path();
                if last.is_dir() {
                    for name in model_files(last)? {
                        let from = last.join(&name);
                        let bytes =
                            std::fs::read(&from).map_err(|e| Error::io(&from, "read", e))?;
                        output.add(&name, &bytes)?;
                        copied.push(name);
                    }
                }
                if files.names.len() > 1 {
                    output.add(SAFETENSORS.index, self.index(&files).as_bytes())?;
                }
                output.commit()?;
                nonfinite
            }
        };
        Ok(Written { bytes, nonfinite, copied })
    }

    fn fill(
        &self,
        sink: &dyn Sink,
        files: &Files,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<(String, u64)>> {
        for (file, layout) in files.layouts.iter().enumerate() {
            layout.begin(sink, file)?;
        }
        let outputs = files.outputs();
        let stream = Stream::new(self, Some(sink), &outputs, progress);
        stream.run(None)?;
        let sums = std::mem::take(&mut *lock(&stream.sums));
        let mut nonfinite: Vec<_> = lock(&stream.nonfinite).drain().collect();
        drop(stream);
        nonfinite.sort();
        for (file, layout) in files.layouts.iter().enumerate() {
            let infos: Vec<(TensorInfo, u128)> = (files.tensors[file].iter())
                .map(|&tensor| (self.output_info(tensor), sums[tensor]))
                .collect();
            let infos: Vec<_> = infos.iter().map(|(info, sum)| (info, *sum)).collect();
            layout.finish(sink, file, &infos)?;
        }
        self.inputs.iter().try_for_each(|input| input.check_unchanged())?;
        Ok(nonfinite.into_iter().map(|(t, n)| (self.name(t).to_string(), n)).collect())
    }

    /// Size of the output in bytes, all files together. Fails if it cannot be written so.
    pub fn size(&self, target: &Target) -> Result<u64> {
        Ok(self.files(target)?.size())
    }

    /// Averages the first tensors for a tenth of a second, and writes nothing.
    pub fn estimate(&self) -> Result<Estimate> {
        let done = std::sync::atomic::AtomicU64::new(0);
        let count = |bytes| {
            done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        };
        let started = Instant::now();
        let stream = Stream::new(self, None, &[], &count);
        stream.run(Some(started + Duration::from_millis(100)))?;
        let share = done.into_inner() as f64 / self.bytes_to_read().max(1) as f64;
        let seconds = started.elapsed().as_secs_f64() / share.max(1e-12);
        // What a thread reads into and what it writes, and the index.
        let threads = rayon::current_num_threads().min(MOST_THREADS) as u64;
        Ok(Estimate { seconds, memory: threads * (7 << 20) + 256 * self.tensors.len() as u64 })
    }

    fn files<'t>(&self, target: &'t Target) -> Result<Files<'t>> {
        let all: Vec<usize> = (0..self.tensors.len()).collect();
        let (names, tensors) = match target {
            Target::File { .. } | Target::Like { .. } => (vec![String::new()], vec![all]),
            Target::Folder { max_shard: Some(limit), .. } => {
                let mut shards: Vec<Vec<usize>> = vec![];
                let mut size = u64::MAX;
                for tensor in all {
                    let bytes = self.output_info(tensor).size();
                    if shards.is_empty() || size.saturating_add(bytes) > *limit {
                        shards.push(vec![]);
                        size = 0;
                    }
                    size += bytes;
                    shards.last_mut().expect("one was pushed").push(tensor);
                }
                (shard_names(shards.len()), shards)
            }
            Target::Folder { max_shard: None, .. } => self.shards_of_first(),
        };
        let names = if names.len() == 1 { vec![SAFETENSORS.single.into()] } else { names };
        let metadata = self.metadata();
        let layouts = tensors.iter().map(|tensors| -> Result<Box<dyn Layout>> {
            let infos: Vec<TensorInfo> = tensors.iter().map(|&t| self.output_info(t)).collect();
            Ok(match target {
                Target::File { format: Format::Torch, .. } => {
                    Box::new(TorchLayout::new(infos.iter(), &metadata)?)
                }
                Target::Like { model, .. } => {
                    let names: Vec<&str> = tensors.iter().map(|&t| self.name(t)).collect();
                    Box::new(LikeLayout::new(model, &names, &infos)?)
                }
                _ => Box::new(SafetensorsLayout::new(infos.iter(), &metadata)?),
            })
        });
        let layouts = layouts.collect::<Result<_>>()?;
        Ok(Files { names, tensors, layouts })
    }

    /// Each tensor in the shard where the first input has it; what that has not, in the last.
    fn shards_of_first(&self) -> (Vec<String>, Vec<Vec<usize>>) {
        let first = &self.inputs[0];
        let mut shards: Vec<Vec<usize>> = vec![vec![]; first.files().len()];
        for tensor in 0..self.tensors.len() {
            let file = self.number(0, tensor).map(|number| first.file_of(number));
            shards[file.unwrap_or(first.files().len() - 1)].push(tensor);
        }
        // Files of other formats are named for what they become.
        if first.container() != Container::SafetensorsShards {
            if first.container() != Container::TorchShards {
                shards = vec![shards.concat()];
            }
            shards.retain(|shard| !shard.is_empty());
            return (shard_names(shards.len()), shards);
        }
        let name = |i: usize| {
            let name = first.files()[i].path().file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let filled = shards.into_iter().enumerate().filter(|(_, shard)| !shard.is_empty());
        filled.map(|(i, shard)| (name(i), shard)).unzip()
    }

    /// `model.safetensors.index.json`.
    fn index(&self, files: &Files) -> String {
        let files = files.names.iter().zip(&files.tensors);
        let map: BTreeMap<&str, &str> = files
            .flat_map(|(file, tensors)| {
                tensors.iter().map(|&t| (self.output_name(t), file.as_str()))
            })
            .collect();
        let size: u64 = (0..self.tensors.len()).map(|t| self.output_info(t).size()).sum();
        let index = json!({"metadata": {"total_size": size}, "weight_map": map});
        serde_json::to_string_pretty(&index).expect("plain JSON") + "\n"
    }
}

/// As Hugging Face names shards.
fn shard_names(n: usize) -> Vec<String> {
    (1..=n).map(|i| format!("model-{i:05}-of-{n:05}.safetensors")).collect()
}
