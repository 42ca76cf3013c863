//! What each target does with its bytes, in a folder of its own.

use std::path::Path;

use swa_tools::average::{self, Float, Options, Plan, Target};
use swa_tools::checkpoint::pickle::Pickle;
use swa_tools::checkpoint::{Checkpoint, Dtype, Take, TensorInfo};
use swa_tools::output::Format;
use swa_tools::programs::Program;
use swa_tools::report::ProgramReport;
use swa_tools::running::{RunningAverage, held};
use swa_tools::select::{ByResults, Choice, Criteria, Direction, Swad, select};
use swa_tools::{Error, Result};
use twox_hash::XxHash3_128;

use crate::files::{around, files, write, zip};
use crate::measure::{bounded, in_proportion};

/// Of tensors larger than this the ends alone are read: a view can claim terabytes.
const LARGE: u64 = 4 << 20;

/// Most bytes that are read of one checkpoint.
const ENOUGH: u64 = 32 << 20;

/// Does something with some bytes, in a folder.
pub type Run = fn(&[u8], &Path);

/// All of them, by name.
pub const TARGETS: [(&str, Run); 13] = [
    ("pickle", pickle),
    ("torch_zip", torch_zip),
    ("torch_legacy", torch_legacy),
    ("distributed", distributed),
    ("deepspeed", deepspeed),
    ("safetensors", safetensors),
    ("flax", flax),
    ("hdf5", hdf5),
    ("program", program),
    ("memory", memory),
    ("written", written),
    ("state", state),
    ("metrics", metrics),
];

/// A whole zip file.
pub fn torch_zip(bytes: &[u8], folder: &Path) {
    check(&write(folder, "whole.pt", bytes), bytes.len());
}

/// A whole file of before PyTorch 1.6.
pub fn torch_legacy(bytes: &[u8], folder: &Path) {
    check(&write(folder, "whole.pth", bytes), bytes.len());
}

/// A whole safetensors file.
pub fn safetensors(bytes: &[u8], folder: &Path) {
    check(&write(folder, "whole.safetensors", bytes), bytes.len());
}

/// A whole file of Flax's MessagePack.
pub fn flax(bytes: &[u8], folder: &Path) {
    check(&write(folder, "whole.msgpack", bytes), bytes.len());
}

/// A whole HDF5 file. Panics of the crate that reads its structure are caught by the library.
pub fn hdf5(bytes: &[u8], folder: &Path) {
    check(&write(folder, "whole.h5", bytes), bytes.len());
}

/// A pickle, alone and as what a torch zip describes its tensors by.
pub fn pickle(bytes: &[u8], folder: &Path) {
    if let Ok(pickle) = Pickle::parse(bytes) {
        pickle.describe(pickle.root());
        assert!(pickle.length <= bytes.len());
    }
    check(&write(folder, "pickle.pt", &around(bytes)), bytes.len());
}

/// A folder of torch.distributed.checkpoint: `.metadata` and what its files hold.
pub fn distributed(bytes: &[u8], folder: &Path) {
    let folder = inner(folder, "distributed");
    let names = [".metadata", "__0_0.distcp", "__1_0.distcp"];
    let mut files = files(bytes).into_iter();
    for name in names {
        write(&folder, name, files.next().unwrap_or_default());
    }
    check(&folder, bytes.len());
}

/// A folder of DeepSpeed's ZeRO states, by the pickles in them.
pub fn deepspeed(bytes: &[u8], folder: &Path) {
    let folder = inner(folder, "deepspeed");
    let names = [
        "zero_pp_rank_0_mp_rank_00_model_states.pt",
        "zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "zero_pp_rank_1_mp_rank_00_optim_states.pt",
        "zero_pp_rank_1_mp_rank_00_model_states.pt",
    ];
    let mut files = files(bytes).into_iter();
    for name in names {
        match files.next() {
            Some(pickle) => drop(write(&folder, name, &around(pickle))),
            None => drop(std::fs::remove_file(folder.join(name))),
        }
    }
    check(&folder, bytes.len());
}

/// An exported program: a graph, what the file says of its weights and constants, and a whole file.
pub fn program(bytes: &[u8], folder: &Path) {
    // What each constant's storage holds.
    const VALUES: [u8; 512] = [1; 512];
    let whole = bytes.starts_with(b"PK");
    let file = match (&files(bytes)[..], whole) {
        (_, true) => bytes.to_vec(),
        ([graph, weights, constants], _) => zip(&[
            ("m/archive_format", b"pt2"),
            ("m/models/model.json", graph),
            ("m/data/weights/model_weights_config.json", weights),
            ("m/data/constants/model_constants_config.json", constants),
            ("m/data/constants/tensor_0", &VALUES),
            ("m/data/constants/tensor_1", &VALUES),
        ]),
        (_, _) => zip(&[("serialized_exported_program.json", bytes)]),
    };
    let path = write(folder, "model.pt2", &file);
    match bounded(bytes.len(), || Program::open(&path)) {
        Ok(program) => {
            let fits = |slot: usize| slot < program.graph().slots;
            assert!(program.tensors().iter().all(|tensor| tensor.slot.is_none_or(fits)));
            ProgramReport::of(&program).text();
        }
        Err(error) => refused(&error),
    }
}

/// Most bytes of a file that a few make by repeating some.
const MOST: usize = 1 << 20;

/// Memory against size, for what is counted in a header: a part that is repeated, `%%` in it a number that counts. What
/// kind of file that is, and how often, say the first bytes.
pub fn memory(bytes: &[u8], folder: &Path) {
    let [kind, times, rest @ ..] = bytes else { return };
    let parts = files(rest);
    let part = |i: usize| parts.get(i).copied().unwrap_or_default();
    let mut text = part(0).to_vec();
    for n in 0..1usize << (times % 17) {
        if text.len() >= MOST {
            break;
        }
        text.extend(counting(part(1), n));
    }
    text.extend(part(2));
    let size = text.len();
    let (name, file) = match kind % 7 {
        0 => {
            let length = (size as u64).to_le_bytes();
            ("many.safetensors", [&length[..], &text, &[0; 64]].concat())
        }
        1 => ("many.pth", around(&text)),
        2 => ("many.msgpack", text),
        3 => ("many.pt", text),
        4 => ("many.csv", text),
        5 => ("many.state", sealed(&text)),
        _ => {
            let folder = inner(folder, "many");
            write(&folder, "model.safetensors.index.json", &text);
            in_proportion(size, "index", || drop(Checkpoint::open(&folder)));
            return;
        }
    };
    let path = write(folder, name, &file);
    match name {
        "many.csv" => in_proportion(size, name, || drop(chosen(&path, 0, folder))),
        "many.state" => in_proportion(size, name, || drop(held(&path))),
        _ => in_proportion(size, name, || drop(Checkpoint::open(&path))),
    }
}

/// A part with a number in the place of `%%`.
fn counting(part: &[u8], n: usize) -> Vec<u8> {
    match part.windows(2).position(|pair| pair == b"%%") {
        Some(at) => [&part[..at], n.to_string().as_bytes(), &part[at + 2..]].concat(),
        None => part.to_vec(),
    }
}

/// What tells one thing after the other from some bytes: zeros when they are over.
struct Source<'b>(&'b [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn name(&mut self) -> String {
        const LETTERS: [&str; 16] = [
            "w",
            "bn",
            ".",
            "module.",
            "running_mean",
            "running_var",
            "_extra_state",
            "é",
            "\n",
            "\"",
            "\\",
            " ",
            "num_batches_tracked",
            "_orig_mod.",
            "0",
            "/",
        ];
        let n = self.byte() % 5;
        (0..n).map(|_| LETTERS[self.byte() as usize % LETTERS.len()]).collect()
    }
}

/// Tensors, metadata and options that the bytes describe are written to each format, and read again: all have the same
/// tensors, no checksum is wrong, and a running average of the same files is the same file.
pub fn written(bytes: &[u8], folder: &Path) {
    use Dtype::{BF16, BOOL, C64, F16, F32, F64, I32, I64, U8};
    let folder = inner(folder, "written");
    let mut from = Source(bytes);
    let count = 1 + from.byte() as usize % 3;
    let mut tensors: Vec<(String, Dtype, Vec<usize>)> = vec![];
    for _ in 0..1 + from.byte() % 5 {
        let name = from.name();
        let dtype = [F32, F16, BF16, F64, I64, U8, BOOL, C64, I32][from.byte() as usize % 9];
        let shape = (0..from.byte() % 4).map(|_| from.byte() as usize % 6).collect();
        if tensors.iter().all(|(other, ..)| *other != name) {
            tensors.push((name, dtype, shape));
        }
    }
    let metadata = (0..from.byte() % 3).map(|_| (from.name(), from.name()));
    let metadata: std::collections::HashMap<String, String> = metadata.collect();
    let options = Options {
        allow_nonfinite: true,
        dtype: [None, Some(Float::F32), Some(Float::BF16), Some(Float::F64)]
            [from.byte() as usize % 4],
        keep_names: from.byte() % 2 == 1,
        ..Options::default()
    };
    let (values, mut paths) = (from.0, vec![]);
    for i in 0..count {
        let mut at = i;
        let parts: Vec<Vec<u8>> = (tensors.iter())
            .map(|(_, dtype, shape)| {
                let size = shape.iter().product::<usize>() * dtype.bitsize() / 8;
                let byte = |k: usize| match (values.len(), *dtype) {
                    (0, _) => i as u8,
                    (n, BOOL) => values[k % n] & 1,
                    (n, _) => values[k % n].wrapping_add((k / n) as u8),
                };
                at += size;
                (at - size..at).map(byte).collect()
            })
            .collect();
        let views = tensors.iter().zip(&parts).map(|((name, dtype, shape), bytes)| {
            let view = ::safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes);
            (name.as_str(), view.unwrap())
        });
        let file = ::safetensors::serialize(views, Some(metadata.clone())).unwrap();
        paths.push(write(&folder, &format!("in_{i}.safetensors"), &file));
    }
    let _ = ["out.safetensors", "out.pth", "state.safetensors", "state"]
        .map(|name| std::fs::remove_file(folder.join(name)));
    let inputs = match Checkpoint::open_all(&paths, &Take::default()) {
        Ok(inputs) => inputs,
        Err(error) => return refused(&error),
    };
    if let Err(error) = write_all(&folder, &inputs, &options) {
        refused(&error);
        for name in ["out.safetensors", "out.pth"] {
            assert!(!folder.join(name).exists(), "{name} is there, though {error}");
        }
        return;
    }
    // The mean of the first ones alone may be too large for its type.
    if let Err(error) = write_running(&folder, &inputs, &options) {
        refused(&error);
    }
}

fn write_all(folder: &Path, inputs: &[Checkpoint], options: &Options) -> Result<()> {
    let path = |name: &str| folder.join(name);
    let both = [
        Target::safetensors(path("out.safetensors")),
        Target::File { path: path("out.pth"), format: Format::Torch },
    ];
    let columns = [average::mean(inputs.len())?, average::mean(inputs.len())?];
    let plan = Plan::new(inputs, columns, options.clone())?;
    plan.write(&both, false, &|_| {})?;
    let read = |name: &str| Checkpoint::open(&path(name)).map_err(|e| panic!("{name}: {e}"));
    let (one, other) = (read("out.safetensors")?, read("out.pth")?);
    // Names of what was written, if wrappers' parts are in them, mean what they are without.
    assert!(one.verify(&|_| {}).is_ok() && other.verify(&|_| {}).is_ok());
    // The CRC of nothing is 0, which is that of none.
    let has_values = one.tensors().iter().any(|tensor| tensor.size() > 0);
    assert!(one.has_checksums() && (other.has_checksums() || !has_values));
    let all = |checkpoint: &Checkpoint| -> Vec<(TensorInfo, Vec<u8>)> {
        let tensor = |i: usize| checkpoint.bytes(i).unwrap().into_owned();
        let mut all: Vec<_> = checkpoint
            .tensors()
            .iter()
            .cloned()
            .enumerate()
            .map(|(i, info)| (info, tensor(i)))
            .collect();
        all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        all
    };
    assert_eq!(all(&one), all(&other));
    // Written again it is the same.
    let again = [one];
    let plan = Plan::new(
        &again,
        [average::mean(1)?],
        Options { allow_nonfinite: true, keep_names: true, ..Options::default() },
    )?;
    plan.write(&[Target::safetensors(path("again.safetensors"))], true, &|_| {})?;
    assert_eq!(all(&read("again.safetensors")?), all(&again[0]));
    Ok(())
}

/// The running average of what was written before.
fn write_running(folder: &Path, inputs: &[Checkpoint], options: &Options) -> Result<()> {
    let path = |name: &str| folder.join(name);
    let mut running = RunningAverage::open(&path("state"), options, &Take::default())?;
    let target = Target::safetensors(path("state.safetensors"));
    for input in inputs {
        let input = vec![Checkpoint::open(input.path())?];
        running.add(input, &target, true, (options.dtype, true), &|_| {})?;
    }
    running.verify()?;
    if running.count() == inputs.len() {
        let [once, state] =
            ["out.safetensors", "state.safetensors"].map(|name| std::fs::read(path(name)).unwrap());
        assert!(once == state, "the running average is another file");
    }
    Ok(())
}

/// The state of a running average with its digests made right again, as someone who knows them would write it.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    const HEAD: usize = 64;
    const ENTRY: usize = 20;
    let mut bytes = bytes.to_vec();
    if bytes.len() < HEAD {
        return bytes;
    }
    let u64_at = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let [sums, table] = [16, 24].map(|at| u64_at(&bytes, at) as usize);
    let Some(end) = HEAD.checked_add(sums).filter(|&end| end <= bytes.len()) else { return bytes };
    let mut start = HEAD;
    for entry in 0..table.min(bytes.len() - end) / ENTRY {
        let at = end + entry * ENTRY;
        let length = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        let Some(chunk) = bytes.get(start..start + length) else { continue };
        let digest = XxHash3_128::oneshot(chunk).to_le_bytes();
        bytes[at + 4..at + ENTRY].copy_from_slice(&digest);
        start += length;
    }
    let digest = XxHash3_128::oneshot(&bytes[end..]).to_le_bytes();
    bytes[40..56].copy_from_slice(&digest);
    let digest = XxHash3_128::oneshot(&bytes[..56]) as u64;
    bytes[56..HEAD].copy_from_slice(&digest.to_le_bytes());
    bytes
}

/// A state of a running average: looked at, verified, written, and added to.
pub fn state(bytes: &[u8], folder: &Path) {
    let folder = inner(folder, "state");
    for bytes in [bytes, &sealed(bytes)] {
        let path = write(&folder, "state", bytes);
        if let Err(error) = bounded(bytes.len(), || held(&path)) {
            refused(&error);
        }
        let opened = RunningAverage::open(&path, &Options::default(), &Take::default());
        let done = opened.and_then(|mut running| {
            let target = Target::safetensors(folder.join("out.safetensors"));
            running.verify()?;
            running.write_output(&target, true, None)?;
            let (w, n) = ([1, 2, 3, 4, 5, 6, 7, 8], [9; 8]);
            let view = |dtype, bytes| {
                ::safetensors::tensor::TensorView::new(
                    dtype,
                    vec![8 / (dtype.bitsize() / 8)],
                    bytes,
                )
            };
            let tensors =
                [("w", view(Dtype::F32, &w).unwrap()), ("n", view(Dtype::I64, &n).unwrap())];
            let file =
                write(&folder, "in.safetensors", &::safetensors::serialize(tensors, None).unwrap());
            let inputs = vec![Checkpoint::open(&file)?];
            running.add(inputs, &target, true, (None, true), &|_| {})?;
            // What comes of it is a state and an output.
            running.verify()?;
            Checkpoint::open(&folder.join("out.safetensors")).unwrap().verify(&|_| {}).unwrap();
            Ok(())
        });
        if let Err(error) = done {
            refused(&error);
        }
    }
}

/// What a trainer measured: which of five checkpoints to take by it.
pub fn metrics(bytes: &[u8], folder: &Path) {
    let [how, text @ ..] = bytes else { return };
    let name = ["m.csv", "m.json", "m.jsonl", "m.txt"][*how as usize % 4];
    let path = write(folder, name, text);
    match bounded(bytes.len(), || chosen(&path, how / 4, folder)) {
        Ok(left) => assert!(left <= 5),
        Err(error) => refused(&error),
    }
}

fn chosen(file: &Path, how: u8, folder: &Path) -> Result<usize> {
    let folder = inner(folder, "chosen");
    let paths: Vec<_> = (1..=5).map(|i| folder.join(format!("epoch_{i}.pt"))).collect();
    if !paths[4].exists() {
        paths
            .iter()
            .for_each(|path| std::fs::write(path, path.to_string_lossy().as_bytes()).unwrap());
    }
    let choice = match how % 3 {
        0 => Choice::Top(Direction::Max, 2),
        1 => Choice::Top(Direction::Min, 3),
        _ => Choice::Swad(Swad::default()),
    };
    let results = ByResults {
        file: file.to_path_buf(),
        metric: ["loss", "val_loss", "top1"][how as usize / 3 % 3].into(),
        choice,
        number_column: (how / 9 % 2 == 1).then(|| "epoch".into()),
    };
    let criteria = Criteria { results: Some(results), ..Criteria::default() };
    select(&paths, &criteria).map(|selection| selection.paths.len())
}

/// A folder in the target's.
fn inner(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Opens a checkpoint of so many bytes in all its files and reads it to the end.
fn check(path: &Path, size: usize) {
    let take = Take { ema: size % 3 == 1, ..Take::default() };
    match bounded(size, || Checkpoint::open_with(path, &take)) {
        Ok(checkpoint) => read(&checkpoint),
        Err(error) => refused(&error),
    }
}

/// What is wrong with a file, a limit, or nothing in it that is asked for; never an I/O error.
fn refused(error: &Error) {
    assert!(matches!(error.kind().exit_code(), 2 | 3 | 6), "{error}");
    let text = error.to_string();
    assert!(text.len() < 1 << 16, "{} bytes of message", text.len());
    assert!(!text.contains("internal: "), "{text}");
}

fn read(checkpoint: &Checkpoint) {
    let mut total = 0;
    let mut scratch = vec![];
    for (i, tensor) in checkpoint.tensors().iter().enumerate() {
        let width = (tensor.dtype.bitsize() as u64 / 8).max(1);
        let size = tensor.size();
        if size > LARGE {
            let ends = [0..width, size - width..size];
            for end in ends {
                checkpoint.read(i, end, &mut scratch).map(drop).unwrap_or_else(|e| refused(&e));
            }
        } else if total < ENOUGH {
            match checkpoint.bytes(i) {
                Ok(bytes) => assert_eq!(bytes.len() as u64, size),
                // Compressed bytes are known to be damaged when they are read.
                Err(error) => refused(&error),
            }
            total += size;
        }
        checkpoint.file_of(i);
        checkpoint.written_name(i);
        assert!(checkpoint.get(&tensor.name).is_some());
    }
    checkpoint.stripped();
    checkpoint.batchnorm_layers();
    checkpoint.provenance();
    checkpoint.has_checksums();
    let all =
        checkpoint.tensors().iter().fold(0u64, |sum, tensor| sum.saturating_add(tensor.size()));
    if all <= ENOUGH {
        let _ = checkpoint.verify(&|_| {});
    }
}
