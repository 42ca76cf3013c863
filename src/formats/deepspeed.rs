//! DeepSpeed's ZeRO checkpoints: each process saves its partition of the fp32 master weights, flattened, in
//! `*_optim_states.pt`; names and shapes are in `*_model_states.pt`, with buffers and frozen weights.
//!
//! Source: `deepspeed/utils/zero_to_fp32.py` of DeepSpeed 0.19, which does the same conversion.

mod belonging;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::format::{Format, Reader, Request};
use super::pickle::{Id, Pickle, Value};
use super::torch::{self, of_pytorch};
use crate::store::names::{base_name, is_file_name, natural};
use crate::store::{self, Source};
use crate::tensors::contents::{Contents, Region, StoredChecksums};
use crate::tensors::gather::{Gather, Slab};
use crate::tensors::view::{Located, Storage, View, dimensions, locate};
use crate::tensors::{Dtype, TensorInfo};
use crate::{Error, Kind, Result};

pub(super) const FORMAT: Format = Format {
    name: "DeepSpeed ZeRO",
    endings: &[],
    reader: Reader::Folder {
        marker,
        open: |path, _: &Request| {
            let Some(folder) = folder(path)? else { return Ok(None) };
            let (files, contents) = read(&folder)?;
            Ok(Some((files, contents.into())))
        },
    },
};

/// A file that names the folder of the latest checkpoint.
const LATEST: &str = "latest";

const OPTIMIZER: &str = "_optim_states.pt";
const MODEL: &str = "_model_states.pt";

/// The folder with the states, if there is one: this, or the one that `latest` names.
fn folder(path: &Path) -> Result<Option<PathBuf>> {
    if names(path, OPTIMIZER)?.iter().any(|name| name.contains("zero_pp_rank_")) {
        return Ok(Some(path.to_path_buf()));
    }
    let latest = path.join(LATEST);
    if !store::is_file(&latest)? {
        return Ok(None);
    }
    let source = Source::open(&latest)?;
    let mut scratch = vec![];
    let name = String::from_utf8_lossy(source.read(0..source.size().min(4096), &mut scratch)?);
    let name = name.trim();
    if !is_file_name(name) {
        return Ok(None);
    }
    let inner = path.join(name);
    let has = store::is_folder(&inner)? && !names(&inner, OPTIMIZER)?.is_empty();
    Ok(has.then_some(inner))
}

/// The file that makes a folder one of these.
fn marker(path: &Path) -> Result<Option<PathBuf>> {
    let Some(folder) = folder(path)? else { return Ok(None) };
    Ok(names(&folder, OPTIMIZER)?.first().map(|name| folder.join(name)))
}

/// Names of the files with this ending, in natural order.
fn names(folder: &Path, ending: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = store::list(folder)?.iter().map(|path| base_name(path)).collect();
    names.retain(|name| name.ends_with(ending));
    names.sort_by(|a, b| natural(a, b));
    Ok(names)
}

/// One of a process's files.
struct State {
    number: u32,
    contents: torch::Saved,
}

impl State {
    fn get(&self, keys: &[&str]) -> Option<Id> {
        let pickle = &self.contents.pickle;
        keys.iter().try_fold(pickle.root(), |id, key| pickle.get(id, key))
    }

    /// The items of a dict by name.
    fn items(&self, keys: &[&str]) -> Vec<(&str, Id)> {
        let pickle = &self.contents.pickle;
        let items = self.get(keys).and_then(|id| pickle.items(id)).unwrap_or_default();
        items.iter().filter_map(|&(key, id)| Some((pickle.text(key)?, id))).collect()
    }

    fn view(&self, id: Id) -> Result<View> {
        let view = self
            .contents
            .tensor(id)
            .ok_or_else(|| Error::new(Kind::Damaged, "a value is not a tensor"))?;
        view.map_err(|why| Error::new(Kind::Unsupported, format!("a tensor is {why}")))
    }

    fn check(&self, storage: &Storage, name: &str, regions: &mut Vec<Region>) {
        if storage.crc.is_some() {
            let (storage, name) = (storage.clone(), name.to_string());
            regions.push(Region { file: self.number, storage, name });
        }
    }

    /// A flat tensor as a run of values. The region that its CRC covers is added to `regions`.
    fn run(&self, id: Id, name: &str, regions: &mut Vec<Region>) -> Result<Run> {
        let view = self.view(id)?;
        let storage = self.contents.storage(&view)?;
        self.check(storage, name, regions);
        match locate(&view, storage, self.number, self.contents.big_endian)? {
            Located::Contiguous { start, .. } => {
                let count = view.shape.iter().product();
                Ok(Run { file: self.number, start, count, dtype: view.dtype })
            }
            Located::Gathered(_) => {
                Err(Error::new(Kind::Unsupported, "a flat partition that is not contiguous"))
            }
        }
    }
}

/// Contiguous values in a file.
#[derive(Debug, Clone, Copy)]
struct Run {
    file: u32,
    start: u64,
    count: u64,
    dtype: Dtype,
}

fn read(folder: &Path) -> Result<(Vec<Source>, Contents)> {
    let optimizers = names(folder, OPTIMIZER)?;
    let models = names(folder, MODEL)?;
    let parallel = |name: &&String| name.contains("_mp_rank_") && !name.contains("_mp_rank_00_");
    if let Some(name) = optimizers.iter().chain(&models).find(parallel) {
        return Err(Error::new(
            Kind::Unsupported,
            format!("`{name}` belongs to a second tensor-parallel rank, which is not supported"),
        )
        .at(folder)
        .remedy("convert it with DeepSpeed's ds_to_universal.py, or save a 16-bit model"));
    }
    let mut sources = vec![];
    let mut open = |name: &String| -> Result<State> {
        let source = Source::open(&folder.join(name))?;
        let contents = torch::read(&source, 0..source.size()).map_err(|e| e.at(source.path()))?;
        sources.push(source);
        Ok(State { number: sources.len() as u32 - 1, contents })
    };
    let states = optimizers.iter().map(&mut open).collect::<Result<Vec<_>>>()?;
    let models = models.iter().map(&mut open).collect::<Result<Vec<_>>>()?;
    let contents = assemble(&states, &models).map_err(|e| e.at(folder))?;
    belonging::same_step(&states, &sources)?;
    belonging::same_step(&models, &sources)?;
    belonging::no_copies(&sources[..states.len()], &contents.regions)?;
    let checksums = vec![StoredChecksums::None; sources.len()];
    Ok((sources, Contents { checksums, metadata: of_pytorch(), ..contents }))
}

fn assemble(states: &[State], models: &[State]) -> Result<Contents> {
    let (Some(first), Some(model)) = (states.first(), models.first()) else {
        return Err(Error::new(Kind::Truncated, "holds no *_model_states.pt")
            .remedy("copy the folder again"));
    };
    let pickle = &first.contents.pickle;
    let stage = first.get(&["optimizer_state_dict", "zero_stage"]);
    let stage = stage.and_then(|id| enumerated(pickle, id));
    let count = first.get(&["optimizer_state_dict", "partition_count"]);
    let count = count.and_then(|id| largest(pickle, id));
    if count != Some(states.len() as u64) {
        let found = states.len();
        let count = count.map_or("?".into(), |n| n.to_string());
        return Err(Error::new(
            Kind::Truncated,
            format!("{count} processes wrote it, but only {found} of their files are here"),
        )
        .remedy("copy the *_optim_states.pt of all processes"));
    }
    let key = match stage {
        Some(0..=2) => "single_partition_of_fp32_groups",
        Some(3) => "fp32_flat_groups",
        _ => return Err(Error::new(Kind::Unsupported, "its ZeRO stage is not known")),
    };
    let mut built = Built::default();
    let groups: Vec<Vec<Run>> = (states.iter())
        .map(|state| {
            let list = state.get(&["optimizer_state_dict", key]);
            let list = list.and_then(|id| state.contents.pickle.elements(id));
            let list =
                list.ok_or_else(|| Error::new(Kind::Damaged, format!("holds no `{key}`")))?;
            list.iter().map(|&id| state.run(id, key, &mut built.contents.regions)).collect()
        })
        .collect::<Result<_>>()?;
    let shapes = shapes(model)?;
    if stage == Some(3) {
        stage_3(&mut built, &groups, &shapes)?;
    } else {
        stage_1_or_2(&mut built, first, &groups, &shapes)?;
    }
    frozen(&mut built, models, stage == Some(3))?;
    // Buffers. Where the module is saved whole (not at stage 3), also what no group of the optimizer has.
    let buffers: HashSet<&str> = match model.get(&["buffer_names"]) {
        Some(id) => {
            let pickle = &model.contents.pickle;
            pickle
                .elements(id)
                .unwrap_or_default()
                .iter()
                .filter_map(|&id| pickle.text(id))
                .collect()
        }
        None => HashSet::new(),
    };
    let shared = model.items(&["shared_params"]);
    let copies: HashSet<&str> = shared.iter().map(|(name, _)| *name).collect();
    for (name, id) in model.items(&["module"]) {
        let wanted = stage != Some(3) && !copies.contains(name) || buffers.contains(name);
        if wanted && !built.has(name) && model.contents.tensor(id).is_some() {
            let view = model.view(id).map_err(|e| e.tensor(name))?;
            built.push_view(name, model, &view)?;
        }
    }
    for (name, id) in shared {
        let Some(source) = model.contents.pickle.text(id) else { continue };
        built.share(name, source)?;
    }
    Ok(built.contents)
}

/// A number, or the value of an enumeration's member.
fn enumerated(pickle: &Pickle, id: Id) -> Option<i64> {
    match pickle.arguments(id) {
        Some([number]) => pickle.int(*number),
        _ => pickle.int(id),
    }
}

/// A number, or the largest in a list.
fn largest(pickle: &Pickle, id: Id) -> Option<u64> {
    match pickle.value(id) {
        Value::List(ids) => ids.iter().filter_map(|&id| pickle.size(id)).max(),
        _ => pickle.size(id),
    }
}

type Shapes<'a> = Vec<Vec<(&'a str, Vec<u64>)>>;

/// Names and shapes of the trained weights, by group of the optimizer, in the order in which they were flattened.
fn shapes(model: &State) -> Result<Shapes<'_>> {
    let pickle = &model.contents.pickle;
    let broken = || Error::new(Kind::Damaged, "its `param_shapes` are broken");
    let groups =
        model.get(&["param_shapes"]).and_then(|id| pickle.elements(id)).ok_or_else(broken)?;
    let names = |id: &Id| pickle.items(*id).map_or(0, <[_]>::len);
    // A hostile pickle may list one group thousands of times.
    if groups.iter().map(names).sum::<usize>() > pickle.length {
        return Err(Error::limit("its `param_shapes` expand to far more names than they hold"));
    }
    let group = |&id: &Id| {
        let items = pickle.items(id).unwrap_or_default().iter();
        let read = |&(name, shape): &(Id, Id)| Some((pickle.text(name)?, pickle.sizes(shape)?));
        items.map(read).collect::<Option<Vec<_>>>()
    };
    groups.iter().map(|id| group(id).ok_or_else(broken)).collect()
}

fn count(shape: &[u64]) -> Result<u64> {
    let too_large =
        || Error::new(Kind::Damaged, format!("its shape {shape:?} is too large to count"));
    shape.iter().try_fold(1u64, |p, &n| p.checked_mul(n)).ok_or_else(too_large)
}

/// Stages 1 and 2: each group is one vector, divided among the processes.
fn stage_1_or_2(
    built: &mut Built,
    first: &State,
    groups: &[Vec<Run>],
    shapes: &Shapes,
) -> Result<()> {
    let pickle = &first.contents.pickle;
    let paddings = first.get(&["optimizer_state_dict", "param_alignment_paddings"]);
    let paddings = paddings.and_then(|id| pickle.elements(id));
    for (number, names) in shapes.iter().enumerate() {
        let runs = groups.iter().map(|process| process.get(number).copied());
        let Some(runs): Option<Vec<Run>> = runs.collect() else {
            return Err(Error::new(Kind::Damaged, format!("a process lacks group {number}")));
        };
        let padding = paddings.and_then(|groups| pickle.elements(*groups.get(number)?));
        let mut at = 0u64;
        for (i, (name, shape)) in names.iter().enumerate() {
            let n = count(shape).map_err(|e| e.tensor(name))?;
            let pieces = cut(&runs, at, n).map_err(|e| e.tensor(name))?;
            built.push(name, shape, pieces)?;
            let padding = padding.and_then(|padding| pickle.size(*padding.get(i)?)).unwrap_or(0);
            at = at.saturating_add(n).saturating_add(padding);
        }
    }
    Ok(())
}

/// Stage 3: each weight is divided evenly among the processes, with padding at the end.
fn stage_3(built: &mut Built, groups: &[Vec<Run>], shapes: &Shapes) -> Result<()> {
    let mut at = 0u64;
    // By process: how many runs are used up, and how many values those have.
    let mut used = vec![(0, 0u64); groups.len()];
    for (name, shape) in shapes.iter().flatten() {
        let n = count(shape).map_err(|e| e.tensor(name))?;
        let share = n.div_ceil(groups.len() as u64);
        let mut pieces = vec![];
        for (process, runs) in groups.iter().enumerate() {
            let own = n.saturating_sub(share * process as u64).min(share);
            let (number, before) = &mut used[process];
            while let Some(run) = runs.get(*number).filter(|run| *before + run.count <= at) {
                (*number, *before) = (*number + 1, *before + run.count);
            }
            let rest = cut(&runs[*number..], at - *before, own);
            pieces.extend(rest.map_err(|e| e.tensor(name))?);
        }
        built.push(name, shape, pieces)?;
        at = at.saturating_add(share);
    }
    Ok(())
}

/// The pieces of some runs, taken as one vector, that hold `n` values from index `at` on.
fn cut(runs: &[Run], at: u64, n: u64) -> Result<Vec<Run>> {
    let (mut pieces, mut first, mut left) = (vec![], at, n);
    for run in runs {
        if left == 0 {
            break;
        }
        if first >= run.count {
            first -= run.count;
            continue;
        }
        let taken = left.min(run.count - first);
        let start = run.start + first * (run.dtype.bitsize() / 8) as u64;
        pieces.push(Run { start, count: taken, ..*run });
        (first, left) = (0, left - taken);
    }
    match left {
        0 => Ok(pieces),
        _ => Err(Error::new(
            Kind::Damaged,
            format!("reaches {left} values beyond the processes' partitions"),
        )),
    }
}

/// Weights that are not trained: whole, or at stage 3 divided among the processes.
fn frozen(built: &mut Built, models: &[State], in_parts: bool) -> Result<()> {
    let model = &models[0];
    let parts = if in_parts { models } else { &models[..1] };
    let fragments: Vec<HashMap<&str, Id>> = (parts.iter())
        .map(|state| state.items(&["frozen_param_fragments"]).into_iter().collect())
        .collect();
    for (name, shape) in model.items(&["frozen_param_shapes"]) {
        let shape = model.contents.pickle.sizes(shape);
        let shape =
            shape.ok_or_else(|| Error::new(Kind::Damaged, "its shape is broken").tensor(name))?;
        let mut left = count(&shape)?;
        let mut pieces = vec![];
        for (state, fragments) in parts.iter().zip(&fragments) {
            let Some(id) = fragments.get(name) else {
                return Err(Error::new(Kind::Damaged, "a process lacks its partition").tensor(name));
            };
            let regions = &mut built.contents.regions;
            let run = state.run(*id, name, regions).map_err(|e| e.tensor(name))?;
            let taken = left.min(run.count);
            pieces.push(Run { count: taken, ..run });
            left -= taken;
        }
        if left > 0 {
            return Err(Error::new(Kind::Damaged, format!("its partitions lack {left} values"))
                .tensor(name));
        }
        built.push(name, &shape, pieces)?;
    }
    Ok(())
}

#[derive(Default)]
struct Built {
    contents: Contents,
    numbers: HashMap<String, usize>,
}

impl Built {
    fn has(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    fn add(&mut self, info: TensorInfo, gather: Gather) {
        self.numbers.insert(info.name.clone(), self.contents.tensors.len());
        self.contents.push_gathered(info, gather);
    }

    fn push(&mut self, name: &str, shape: &[u64], pieces: Vec<Run>) -> Result<()> {
        let fail = |what: &str| Error::new(Kind::Damaged, what).tensor(name);
        let dtype = pieces.first().map_or(Dtype::F32, |run| run.dtype);
        if pieces.iter().any(|run| run.dtype != dtype) {
            return Err(fail("its partitions are of different types"));
        }
        let width = (dtype.bitsize() / 8) as u64;
        let (mut slabs, mut at) = (vec![], 0);
        for run in pieces.into_iter().filter(|run| run.count > 0) {
            let Run { file, start, count, .. } = run;
            slabs.push(Slab { file, start, at: vec![at], size: vec![count], strides: vec![width] });
            at += count;
        }
        let shape = dimensions(shape).ok_or_else(|| fail("its shape is too large"))?;
        let info = TensorInfo { name: name.into(), dtype, shape };
        self.add(info, Gather { shape: vec![at], width: width as usize, swap: 1, slabs });
        Ok(())
    }

    fn push_view(&mut self, name: &str, state: &State, view: &View) -> Result<()> {
        let storage = state.contents.storage(view).map_err(|e| e.tensor(name))?;
        state.check(storage, name, &mut self.contents.regions);
        let big_endian = state.contents.big_endian;
        let located = locate(view, storage, state.number, big_endian)?;
        let gather = match located {
            Located::Gathered(gather) => gather,
            Located::Contiguous { start, .. } => {
                let count = view.shape.iter().product();
                let run = Run { file: state.number, start, count, dtype: view.dtype };
                return self.push(name, &view.shape, vec![run]);
            }
        };
        let shape = dimensions(&view.shape)
            .ok_or_else(|| Error::new(Kind::Damaged, "its shape is too large"))?;
        self.add(TensorInfo { name: name.into(), dtype: view.dtype, shape }, gather);
        Ok(())
    }

    /// The same values under a second name.
    fn share(&mut self, name: &str, source: &str) -> Result<()> {
        let Some(&number) = self.numbers.get(source) else {
            return Err(Error::new(
                Kind::Damaged,
                format!("shares the values of `{source}`, which is missing"),
            )
            .tensor(name));
        };
        if !self.has(name) {
            let info = TensorInfo { name: name.into(), ..self.contents.tensors[number].clone() };
            let gather = self.contents.gathers[number].clone();
            self.add(info, gather);
        }
        Ok(())
    }
}
