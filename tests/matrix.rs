//! Several outputs from one pass: each is the file that averaging its inputs alone would write, byte for
//! byte, and all appear or none.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::Regex;
use safetensors::{Dtype, tensor::TensorView};
use swa_testing::{f32s, i64s, listing, load, save, to_f32};
use swa_tools::average::{self, Coefficients, Column, Float, Keys, Options, Plan, Target};
use swa_tools::checkpoint::{Checkpoint, Take};
use swa_tools::output::{FileTarget, Format, rewrite};
use swa_tools::{Error, Kind, Result};

/// xorshift64*, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const TYPES: [(Dtype, Float); 6] = [
    (Dtype::F32, Float::F32),
    (Dtype::BF16, Float::BF16),
    (Dtype::F16, Float::F16),
    (Dtype::F64, Float::F64),
    (Dtype::F8_E4M3, Float::E4M3),
    (Dtype::C64, Float::F32),
];

/// Finite values: moderate, as trained weights are, or of any exponent and with zeros of both signs.
fn values(random: &mut Random, float: Float, n: usize) -> Vec<u8> {
    let wild = n < 100_000 && random.below(3) == 0;
    let mut bytes = vec![];
    while bytes.len() < n * float.size() {
        let moderate = ((random.next() % 20_001) as f32 - 10_000.0) / 65_536.0;
        let code = random.next() << 20 ^ random.next();
        let value = match float {
            _ if wild && random.below(8) == 0 => (code & 1) << (8 * float.size() - 1),
            // Up to 2^64, which every type but f16 takes.
            Float::F64 if wild => {
                let value = f32::from_bits(code as u32 & !(1 << 29));
                f64::from(value).to_bits() ^ code >> 35
            }
            Float::F32 if wild => code & !(1 << 29),
            Float::BF16 if wild => code & !(1 << 13),
            _ if wild => code,
            Float::F64 => f64::from(moderate).to_bits() ^ code & 0xffff,
            Float::F32 => moderate.to_bits().into(),
            Float::F16 => half::f16::from_f32(moderate).to_bits().into(),
            Float::BF16 => half::bf16::from_f32(moderate).to_bits().into(),
            _ => code & 0x3f,
        };
        let value = &value.to_le_bytes()[..float.size()];
        if float.decode(value).is_finite() {
            bytes.extend_from_slice(value);
        }
    }
    bytes
}

/// Writes checkpoints of one model; if they are to differ, each lacks a few tensors.
fn checkpoints(dir: &Path, random: &mut Random, n: usize, differ: bool) -> Vec<PathBuf> {
    let sizes = [1, 7, 1000, 1024, 5000, 70_000];
    let mut names: Vec<(String, Dtype, Option<Float>, usize)> = vec![];
    for (i, (dtype, float)) in TYPES.into_iter().enumerate() {
        names.push((format!("{i}.weight"), dtype, Some(float), random.pick(&sizes)));
        names.push((format!("{i}.running_mean"), dtype, Some(float), random.pick(&sizes)));
    }
    names.push(("0.num_batches_tracked".into(), Dtype::I64, None, 1));
    names.push(("flags".into(), Dtype::BOOL, None, random.pick(&sizes)));
    // More than a job.
    names.push(("large".into(), Dtype::F32, Some(Float::F32), 300_000));
    let write = |i: usize| {
        let path = dir.join(format!("ckpt_{i:02}.safetensors"));
        let mut tensors = vec![];
        for (name, dtype, float, values_of) in &names {
            if differ && name != "large" && random.below(4) == 0 {
                continue;
            }
            let bytes = match float {
                Some(float) => {
                    let reals = if *dtype == Dtype::C64 { 2 } else { 1 };
                    values(random, *float, values_of * reals)
                }
                None if *dtype == Dtype::I64 => random.next().to_le_bytes().to_vec(),
                None => (0..*values_of).map(|_| random.below(2) as u8).collect(),
            };
            tensors.push((name.clone(), *dtype, vec![*values_of], bytes));
        }
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let metadata = Some([("epoch".to_string(), i.to_string())].into());
        std::fs::write(&path, safetensors::serialize(views, metadata).unwrap()).unwrap();
        path
    };
    let paths: Vec<PathBuf> = (0..n).map(write).collect();
    match random.below(3) {
        0 => paths,
        1 => paths.iter().map(|path| sealed(path, Format::Safetensors)).collect(),
        _ => paths.iter().map(|path| sealed(path, Format::Torch)).collect(),
    }
}

/// The same checkpoint in a file with checksums.
fn sealed(path: &Path, format: Format) -> PathBuf {
    let checkpoint = Checkpoint::open(path).unwrap();
    let path = path.with_extension(if format == Format::Torch { "pth" } else { "sealed" });
    let target = FileTarget { path: &path, format, like: None, force: false };
    rewrite(&checkpoint, &target, checkpoint.metadata(), &HashMap::new()).unwrap();
    path
}

fn weights(random: &mut Random, n: usize) -> Vec<Option<f64>> {
    let kind = random.below(4);
    let weight = |random: &mut Random| match kind {
        0 | 1 => 1.0,
        2 => random.below(9) as f64 - 3.5,
        _ => random.next() as f64 / 1e12 - 1000.0,
    };
    // Any subset, or the first few.
    let prefix = (random.below(2) == 0).then(|| 1 + random.below(n));
    let counts = |random: &mut Random, i| match prefix {
        Some(prefix) => i < prefix,
        None => random.below(3) > 0,
    };
    (0..n).map(|i| if counts(random, i) { Some(weight(random)) } else { None }).collect()
}

fn target(dir: &Path, format: usize, name: &str) -> Target {
    match format {
        0 => Target::safetensors(dir.join(format!("{name}.safetensors"))),
        1 => Target::File { path: dir.join(format!("{name}.pth")), format: Format::Torch },
        2 => Target::Folder { path: dir.join(name), max_shard: Some(300_000) },
        _ => Target::Folder { path: dir.join(name), max_shard: None },
    }
}

/// Files below a folder, with their bytes.
fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(
                tree(&path)
                    .into_iter()
                    .map(|(p, b)| (Path::new(path.file_name().unwrap()).join(p), b)),
            ),
            false => {
                files.insert(path.file_name().unwrap().into(), std::fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn each_output_is_what_its_inputs_alone_would_give() {
    let (mut compared, mut refused) = (0, 0);
    let eight_bits = Regex::new("^4").unwrap();
    for seed in 1..=30u64 {
        let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let keys = random.pick(&[Keys::Strict, Keys::Intersection, Keys::Union]);
        let n = random.pick(&[1, 2, 5, 9, 20, 35]);
        let source = tempfile::tempdir().unwrap();
        let paths = checkpoints(source.path(), random, n, keys != Keys::Strict);
        let bn_stats = random.pick(&[average::BnStats::Mean, average::BnStats::Last]);
        // Averages of eight bits need another type.
        let own_type = random.below(3) == 0;
        let exclude = own_type.then(|| eight_bits.clone());
        let options = Options { keys, bn_stats, exclude, ..Options::default() };

        let (alone, together) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut columns, mut targets) = (vec![], vec![]);
        for number in 0..1 + random.below(5) {
            let weights = weights(random, n);
            let dtype = random.pick(&[Some(Float::F32), Some(Float::BF16), Some(Float::F64), None]);
            let dtype = dtype.or((!own_type).then_some(Float::F32));
            let Ok(column) = Column::new(weights.clone()) else { continue };
            let (name, format) = (format!("out_{number}"), random.below(4));
            let counting: Vec<_> = column.counting().iter().map(|&i| paths[i].clone()).collect();
            let single = || -> Result<()> {
                let inputs = Checkpoint::open_all(&counting, &Take::default())?;
                let options = Options { dtype, ..options.clone() };
                let coefficients = Coefficients::new(weights.iter().flatten().copied().collect())?;
                let plan = Plan::new(&inputs, [coefficients], options)?;
                plan.write(&[target(alone.path(), format, &name)], false, &|_| {})?;
                Ok(())
            };
            if let Err(error) = single() {
                // Weights that cancel for the inputs that have a tensor, nothing in common.
                assert!(
                    error.to_string().contains("add up to 0") || keys != Keys::Strict,
                    "{error}"
                );
                refused += 1;
                continue;
            }
            columns.push(match dtype {
                Some(dtype) => column.with_dtype(dtype),
                None => column,
            });
            targets.push(target(together.path(), format, &name));
        }
        if columns.is_empty() {
            continue;
        }
        compared += columns.len();
        let inputs = Checkpoint::open_all(&paths, &Take::default()).unwrap();
        let plan = Plan::new(&inputs, columns, options).unwrap();
        let done = AtomicU64::new(0);
        let count = |bytes| {
            done.fetch_add(bytes, Ordering::Relaxed);
        };
        let written = plan.write(&targets, false, &count).unwrap();
        assert_eq!(done.into_inner(), plan.bytes_to_read(), "seed {seed}");
        for ((output, target), written) in plan.outputs().iter().zip(&targets).zip(&written) {
            assert_eq!(output.size(target).unwrap(), written.bytes);
        }
        let (expected, found) = (tree(alone.path()), tree(together.path()));
        assert!(expected.keys().eq(found.keys()), "seed {seed}: {:?}", found.keys());
        for (name, bytes) in &expected {
            assert!(*bytes == found[name], "seed {seed}: {}", name.display());
        }
    }
    assert!(compared > 60, "{compared} compared, {refused} refused");
}

/// A column of ones.
fn plain(n: usize, counts: impl Fn(usize) -> bool) -> Column {
    Column::new((0..n).map(|i| counts(i).then_some(1.0))).unwrap()
}

fn files(dir: &Path, names: &[&str]) -> Vec<Target> {
    names.iter().map(|name| Target::safetensors(dir.join(name))).collect()
}

/// Checkpoints of one tensor `w`, opened.
fn open(dir: &Path, checkpoints: &[Vec<f32>]) -> Vec<Checkpoint> {
    let path = |i: usize| dir.join(format!("ckpt_{i}"));
    for (i, values) in checkpoints.iter().enumerate() {
        save(&path(i), &[f32s("w", values), i64s("n", &[i as i64])]);
    }
    let paths: Vec<PathBuf> = (0..checkpoints.len()).map(path).collect();
    Checkpoint::open_all(&paths, &Take::default()).unwrap()
}

#[test]
fn the_inputs_are_read_once_in_order_and_those_that_count_nowhere_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let inputs =
        open(dir.path(), &[vec![1.0; 600_000], vec![2.0; 600_000], vec![f32::NAN; 600_000]]);
    let calls = |columns: Vec<Column>| {
        let out = tempfile::tempdir().unwrap();
        let plan = Plan::new(&inputs, columns, Options::default()).unwrap();
        let names: Vec<String> = (0..plan.outputs().len()).map(|i| i.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let calls = Mutex::new(vec![]);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        one.install(|| {
            let note = |bytes| calls.lock().unwrap().push(bytes);
            plan.write(&files(out.path(), &names), false, &note).unwrap()
        });
        let calls = calls.into_inner().unwrap();
        assert_eq!(calls.iter().sum::<u64>(), plan.bytes_to_read());
        calls
    };
    let both = || plain(3, |i| i < 2);
    let alone = calls(vec![both()]);
    // w in three parts of two inputs, n of the last.
    const MIB: u64 = 1 << 20;
    let last = 2_400_000 - 2 * MIB;
    assert_eq!(alone.iter().sum::<u64>(), 2 * 2_400_000 + 8);
    assert_eq!(alone.iter().filter(|&&bytes| bytes == 2 * MIB).count(), 2);
    assert!(alone.contains(&(2 * last)) && alone.contains(&8) && alone.len() == 4);
    let weighted = Column::new([Some(3.0), Some(-1.0), None]).unwrap();
    assert_eq!(calls(vec![both(), weighted, both(), plain(3, |i| i == 1)]), alone);
    // Another type than the narrowest needs parts of its own size, of the same bytes in all.
    let narrow = calls(vec![both(), both().with_dtype(Float::BF16)]);
    assert_eq!(narrow.iter().sum::<u64>(), 2 * 2_400_000 + 8);
    // Each column another last input, of which the integers come.
    assert_eq!(
        calls(vec![plain(3, |i| i == 0), plain(3, |i| i == 1)]).iter().sum::<u64>(),
        2 * 2_400_008
    );
}

#[test]
fn values_that_are_not_finite_are_an_error_of_the_outputs_they_count_in() {
    let dir = tempfile::tempdir().unwrap();
    let (infinity, out) = (f32::INFINITY, tempfile::tempdir().unwrap());
    let inputs = open(dir.path(), &[vec![1.0, 2.0], vec![3.0, 4.0], vec![infinity, 6.0]]);
    let columns = || [plain(3, |i| i < 2), plain(3, |i| i != 1), plain(3, |_| true)];
    let plan = Plan::new(&inputs, columns(), Options::default()).unwrap();
    let error = plan.write(&files(out.path(), &["a", "b", "c"]), false, &|_| {}).unwrap_err();
    assert_eq!((error.kind(), error.tensor_name()), (Kind::NotFinite, Some("w")));
    assert_eq!(error.file(), Some(inputs[2].path()));
    assert!(listing(out.path()).is_empty());

    let options = Options { allow_nonfinite: true, ..Options::default() };
    let plan = Plan::new(&inputs, columns(), options).unwrap();
    let written = plan.write(&files(out.path(), &["a", "b", "c"]), false, &|_| {}).unwrap();
    let counts: Vec<_> = written.iter().map(|written| written.nonfinite.clone()).collect();
    let one = vec![("w".to_string(), 1)];
    assert_eq!(counts, [vec![], one.clone(), one]);
    assert_eq!(to_f32(&load(&out.path().join("a"))["w"]), [2.0, 3.0]);
    assert_eq!(to_f32(&load(&out.path().join("b"))["w"]), [infinity, 4.0]);
    assert_eq!(to_f32(&load(&out.path().join("c"))["w"]), [infinity, 4.0]);
}

#[test]
fn each_output_is_exact_whatever_the_others_need() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    // What cancels leaves the smallest value there is; sums in f64 lose it.
    let tiny = f32::from_bits(1);
    let huge = 2f32.powi(126);
    let inputs = open(dir.path(), &[vec![huge, 1.0], vec![tiny * 3.0, 2.0], vec![-huge, 6.0]]);
    let columns = [
        plain(3, |_| true),
        plain(3, |i| i < 2),
        Column::new([Some(1.0), Some(1e-30), Some(1.0)]).unwrap(),
        Column::new([Some(1e300), Some(1.0), Some(1e300)]).unwrap(),
        Column::new([None, Some(1.0), None]).unwrap().with_dtype(Float::F64),
    ];
    let plan = Plan::new(&inputs, columns, Options::default()).unwrap();
    let names = ["all", "two", "small", "large", "f64"];
    plan.write(&files(out.path(), &names), false, &|_| {}).unwrap();
    let found = |name: &str| to_f32(&load(&out.path().join(name))["w"]);
    assert_eq!(found("all"), [tiny, 3.0]);
    assert_eq!(found("two"), [huge / 2.0, 1.5]);
    assert_eq!(found("small"), [0.0, 3.5]);
    assert_eq!(found("large"), [0.0, 3.5]);
    let f64s = load(&out.path().join("f64"))["w"].clone();
    assert_eq!(f64s[..8], (3.0 * f64::from(tiny)).to_le_bytes());
}

#[test]
fn tensors_that_are_not_averaged_come_from_the_last_input_that_counts() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let inputs = open(dir.path(), &vec![vec![0.5]; 4]);
    let columns =
        [plain(4, |_| true), plain(4, |i| i < 2), plain(4, |i| i == 2), plain(4, |i| i == 2)];
    let plan = Plan::new(&inputs, columns, Options::default()).unwrap();
    plan.write(&files(out.path(), &["a", "b", "c", "d"]), false, &|_| {}).unwrap();
    for (name, last) in [("a", 3), ("b", 1), ("c", 2), ("d", 2i64)] {
        let path = out.path().join(name);
        assert_eq!(load(&path)["n"], last.to_le_bytes());
        let record = &swa_testing::metadata(&path)["swa"];
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        let inputs = record["inputs"].as_array().unwrap();
        assert_eq!(inputs.last().unwrap(), &format!("ckpt_{last}"));
        assert_eq!(inputs.len(), record["weights"].as_array().unwrap().len());
    }
}

#[test]
fn inputs_that_no_output_has_in_common_may_differ() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let at = |i: usize| dir.path().join(i.to_string());
    let bf16 = ("w", Dtype::BF16, vec![1], half::bf16::from_f32(7.0).to_le_bytes().to_vec());
    save(&at(0), &[f32s("w", &[1.0]), f32s("x", &[1.0])]);
    save(&at(1), &[f32s("w", &[2.0, 3.0])]);
    save(&at(2), &[bf16]);
    let paths: Vec<PathBuf> = (0..3).map(at).collect();
    let inputs = Checkpoint::open_all(&paths, &Take::default()).unwrap();
    let columns = || (0..3).map(|own| plain(3, move |i| i == own));
    let plan = Plan::new(&inputs, columns(), Options::default()).unwrap();
    plan.write(&files(out.path(), &["a", "b", "c"]), false, &|_| {}).unwrap();
    assert_eq!(load(&out.path().join("b")).len(), 1);
    assert_eq!(load(&out.path().join("c"))["w"], half::bf16::from_f32(7.0).to_le_bytes());
    let all = columns().chain([plain(3, |_| true)]);
    let error = Plan::new(&inputs, all, Options::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
}

#[test]
fn one_output_that_fails_takes_the_others_with_it() {
    for force in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let out = tempfile::tempdir().unwrap();
        let inputs = open(dir.path(), &[vec![1e6; 3], vec![2e6; 3]]);
        if force {
            std::fs::write(out.path().join("a"), "old").unwrap();
        }
        let before = tree(out.path());
        let columns = [plain(2, |_| true), plain(2, |_| true).with_dtype(Float::F16)];
        let plan = Plan::new(&inputs, columns, Options::default()).unwrap();
        let error = plan.write(&files(out.path(), &["a", "b"]), force, &|_| {}).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFinite, "{error}");
        assert!(error.to_string().contains("too large for F16"), "{error}");
        assert_eq!(tree(out.path()), before);
    }
}

#[test]
fn outputs_that_cannot_be_are_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let inputs = open(dir.path(), &[vec![1.0], vec![2.0]]);
    let columns = || [plain(2, |_| true), plain(2, |i| i == 0)];
    let plan = Plan::new(&inputs, columns(), Options::default()).unwrap();
    let refused = |targets: Vec<Target>, force: bool| -> Error {
        let error = plan.check_targets(&targets, force).unwrap_err();
        let read = |_| panic!("something was read");
        let same = plan.write(&targets, force, &read).unwrap_err();
        assert_eq!(error.to_string(), same.to_string());
        assert_eq!(listing(dir.path()), ["ckpt_0", "ckpt_1"]);
        error
    };
    let at = |names: &[&str]| files(dir.path(), names);
    assert_eq!(refused(at(&["a", "./a"]), true).kind(), Kind::Usage);
    assert_eq!(refused(at(&["a"]), true).kind(), Kind::Usage);
    assert_eq!(refused(at(&["a", "b", "c"]), true).kind(), Kind::Usage);
    assert_eq!(refused(at(&["a", "ckpt_1"]), false).kind(), Kind::OutputExists);
    // An input, also one that counts in another output only.
    let error = refused(at(&["a", "ckpt_1"]), true);
    assert!(error.to_string().contains("is an input as well as the output"), "{error}");

    let none: [Column; 0] = [];
    assert_eq!(Plan::new(&inputs, none, Options::default()).unwrap_err().kind(), Kind::Usage);
    let short = [plain(1, |_| true)];
    assert_eq!(Plan::new(&inputs, short, Options::default()).unwrap_err().kind(), Kind::Usage);
    assert_eq!(average::mean(0).unwrap_err().kind(), Kind::Usage);
    let nothing = Plan::new(&[], [average::mean(1).unwrap()], Options::default());
    assert_eq!(nothing.unwrap_err().kind(), Kind::Usage);
    let eight_bits = [plain(2, |_| true).with_dtype(Float::E4M3)];
    let error = Plan::new(&inputs, eight_bits, Options::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
}

#[test]
fn damage_in_an_input_is_found_for_every_output_it_counts_in() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    // Inputs with digests: averages of one.
    let plain_inputs = open(dir.path(), &[vec![1.0; 9], vec![2.0; 9]]);
    let own = (0..2).map(|own| plain(2, move |i| i == own));
    let plan = Plan::new(&plain_inputs, own, Options::default()).unwrap();
    plan.write(&files(dir.path(), &["x", "y"]), false, &|_| {}).unwrap();
    let path = dir.path().join("y");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.len() - 12;
    bytes[place] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let inputs =
        Checkpoint::open_all(&[dir.path().join("x"), path.clone()], &Take::default()).unwrap();
    let write = |columns: Vec<Column>, no_verify| {
        let options = Options { no_verify, ..Options::default() };
        let names = &["a", "b"][..columns.len()];
        Plan::new(&inputs, columns, options)?.write(&files(out.path(), names), true, &|_| {})
    };
    let sound = || plain(2, |i| i == 0);
    assert!(write(vec![sound()], false).is_ok());
    std::fs::remove_file(out.path().join("a")).unwrap();
    let error = write(vec![sound(), plain(2, |_| true)], false).unwrap_err();
    assert_eq!(error.file(), Some(path.as_path()), "{error}");
    assert!(listing(out.path()).is_empty());
    assert!(write(vec![sound(), plain(2, |_| true)], true).is_ok());
}

#[test]
fn memory_goes_with_the_outputs_and_not_with_their_size() {
    // In a process of its own: other tests take memory, too.
    const ALONE: &str = "SWA_TEST_IS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "memory_goes_with_the_outputs_and_not_with_their_size";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let done = again.args(["--exact", name]).env(ALONE, "1").output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout);
        return assert!(done.status.success() && text.contains("1 passed"), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let inputs = open(dir.path(), &[vec![1.0; 16 << 20], vec![2.0; 16 << 20]]);
    let anonymous = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() << 10
    };
    let columns = [plain(2, |_| true), plain(2, |i| i == 0), plain(2, |i| i == 1)];
    let plan = Plan::new(&inputs, columns, Options::default()).unwrap();
    let (before, most) = (anonymous(), AtomicU64::new(0));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        let note = |_| {
            most.fetch_max(anonymous(), Ordering::Relaxed);
        };
        plan.write(&files(out.path(), &["a", "b", "c"]), false, &note).unwrap();
        // Outputs of 64 MiB each.
        let taken = most.load(Ordering::Relaxed).saturating_sub(before);
        assert!(taken < plan.estimate().unwrap().memory, "{taken}");
    });
}
