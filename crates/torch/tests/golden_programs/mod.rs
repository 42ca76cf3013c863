//! A golden program with its checkpoint and photographs, and how near to PyTorch's numbers counts as the same.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;
use swa_testing::data_tools::*;
use swa_testing::golden::formula;
use swa_testing::*;

/// Of a layer's scale, and of the largest logit.
const CLOSE: f64 = 1e-5;
const METHODS: [&str; 4] = ["cma", "weighted", "pooled", "layerwise"];

#[derive(Deserialize)]
pub struct Record {
    /// Of a layer with more channels, each k-th is in the golden values, k = ceil(channels / some).
    pub some: usize,
    pub cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
pub struct Case {
    /// Type and shape.
    pub tensors: BTreeMap<String, (String, Vec<usize>)>,
    /// Tensors that are another one under a second name.
    pub tied: BTreeMap<String, String>,
    pub size: usize,
    pub channels: usize,
    #[serde(default)]
    pub resize: usize,
    #[serde(default)]
    pub batch: usize,
    /// Images: the first ones of the folder.
    #[serde(default)]
    pub samples: usize,
    /// Layer → how often it runs.
    #[serde(default)]
    pub layers: BTreeMap<String, usize>,
    #[serde(default)]
    pub unreached: Vec<String>,
    /// How far PyTorch's f32 is from its f64: statistics, logits.
    #[serde(default)]
    pub f32: [f64; 2],
}

pub struct Golden {
    pub record: Record,
    pub tensors: Tensors,
}

type Tensors = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    fixtures().join("programs")
}

fn gunzip(name: &str) -> GzDecoder<File> {
    GzDecoder::new(File::open(folder().join(name)).unwrap())
}

pub fn golden() -> Golden {
    let record = serde_json::from_reader(gunzip("programs.json.gz")).unwrap();
    Golden { record, tensors: load(&folder().join("golden.safetensors")) }
}

impl Golden {
    pub fn values(&self, key: &str) -> Option<Vec<f32>> {
        self.tensors.get(key).map(|bytes| to_f32(bytes))
    }
}

/// A golden program with its checkpoint and photographs, in a folder of its own.
pub struct Scene<'a> {
    pub name: &'a str,
    pub case: &'a Case,
    pub golden: &'a Golden,
    pub dir: tempfile::TempDir,
}

impl<'a> Scene<'a> {
    /// `file`: the program's, without its ending; `name`: whose numbers it must give.
    pub fn new(golden: &'a Golden, name: &'a str, file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let case = &golden.record.cases[name];
        let scene = Scene { name, case, golden, dir };
        let mut program = File::create(scene.path("model.pt2")).unwrap();
        io::copy(&mut gunzip(&format!("{file}.pt2.gz")), &mut program).unwrap();
        scene.write_checkpoint("model.safetensors", |name| Some(name.to_string()));
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `rename` gives each tensor's name in the file; None leaves it out.
    fn write_checkpoint(&self, file: &str, rename: impl Fn(&str) -> Option<String>) {
        let tensor = |(name, (kind, shape)): (&String, &(String, Vec<usize>))| {
            let dtype = match kind.as_str() {
                "float32" => Dtype::F32,
                "int64" => Dtype::I64,
                other => panic!("{name}: {other}"),
            };
            let given = self.golden.tensors.get(&format!("{}:={name}", self.name)).cloned();
            let source = self.case.tied.get(name).unwrap_or(name);
            let bytes = given.unwrap_or_else(|| match dtype {
                Dtype::F32 => formula(source, shape),
                _ => vec![0; 8 * shape.iter().product::<usize>()],
            });
            Some((rename(name)?, dtype, shape.clone(), bytes))
        };
        let tensors: Vec<_> = self.case.tensors.iter().filter_map(tensor).collect();
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(views, None, &self.path(file)).unwrap();
    }

    /// The first photographs, in class folders.
    pub fn photographs(&self, count: usize) -> PathBuf {
        let from = fixtures().join("pixels/photos");
        let mut files = vec![];
        visit(&from, &mut files);
        assert!(files.len() >= count, "{count} of {}", files.len());
        let to = self.path(&format!("photos{count}"));
        for file in &files[..count] {
            let copy = to.join(file.strip_prefix(&from).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(file, copy).unwrap();
        }
        to
    }

    /// The flags that say which pixels.
    pub fn pixels(&self) -> Vec<String> {
        let [resize, crop] = [self.case.resize, self.case.size].map(|side| side.to_string());
        let mut flags = vec!["--resize".to_string(), resize, "--crop".to_string(), crop];
        let colours: &[&str] = match self.case.channels {
            1 => &["--preset", "none", "--mean", "0.5", "--std", "0.25"],
            _ => &["--preset", "imagenet"],
        };
        flags.extend(colours.iter().map(|flag| flag.to_string()));
        flags
    }

    pub fn update(&self, method: &str, out: &str) -> assert_cmd::Command {
        let mut tool = swa_bn_update();
        tool.current_dir(self.dir.path()).args(["model.safetensors", "--program", "model.pt2"]);
        tool.args(["--method", method, "--order", "dataset", "--force", "-o", out]);
        tool.arg("--batch-size").arg(self.case.batch.to_string()).args(self.pixels());
        tool.arg("--data").arg(self.photographs(self.case.samples));
        tool
    }

    pub fn eval(&self, model: &str) -> assert_cmd::Command {
        let mut tool = swa_eval();
        tool.current_dir(self.dir.path()).args([model, "--program", "model.pt2"]);
        tool.args(self.pixels()).arg("--data").arg(fixtures().join("pixels/photos"));
        tool
    }

    pub fn logits(&self, model: &str, flags: &[&str]) -> Vec<f32> {
        json(self.eval(model).args(flags).args(["--logits", "logits", "--force"]));
        to_f32(&load(&self.path("logits"))["logits"])
    }

    /// Compares with the golden statistics, if there are any; the worst error of a layer's scale.
    fn compare(&self, method: &str, found: &Tensors) -> Option<f64> {
        let mut worst = 0f64;
        for layer in self.case.layers.keys() {
            let names = match found.contains_key(&format!("{layer}.running_mean")) {
                true => ["running_mean", "running_var"],
                // The network of `F.batch_norm`.
                false => ["average", "spread"],
            };
            let key = |part| format!("{}:{method}:{layer}.{part}", self.name);
            let mean = self.golden.values(&key("running_mean"))?;
            let variance = self.golden.values(&key("running_var"))?;
            let largest =
                |values: &[f32]| values.iter().fold(0f64, |l, &x| l.max((x as f64).abs()));
            let scales = [largest(&mean).max(largest(&variance).sqrt()), largest(&variance)];
            for ((part, expected), scale) in names.iter().zip([mean, variance]).zip(scales) {
                let found = to_f32(&found[&format!("{layer}.{part}")]);
                let step = found.len().div_ceil(self.golden.record.some);
                let found: Vec<f32> = found.into_iter().step_by(step).collect();
                assert_eq!(found.len(), expected.len(), "{layer}");
                for (a, b) in found.iter().zip(&expected) {
                    let error = (*a as f64 - *b as f64).abs() / scale;
                    assert!(
                        error <= self.limit(0),
                        "{} {method} {layer}.{part}: {a} is not {b}, off by {error:.1e}",
                        self.name
                    );
                    worst = worst.max(error);
                }
            }
        }
        Some(worst)
    }

    /// What counts as close; more where PyTorch's own rounding shows that the network amplifies it.
    fn limit(&self, of: usize) -> f64 {
        (4.0 * self.case.f32[of]).max(CLOSE)
    }

    pub fn compare_logits(&self, what: &str, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{}", self.name);
        let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        println!("{} {what}: logits off by {:.1e} of the largest", self.name, error / largest);
        assert!(
            error as f64 <= self.limit(1) * largest as f64,
            "{} {what}: logits off by {error} of {largest}",
            self.name
        );
    }
}

fn visit(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => visit(&path, files),
            false => files.push(path),
        }
    }
}

impl Scene<'_> {
    /// Leaves a file for each method.
    pub fn same_statistics(&self, file: &str) {
        let before = load(&self.path("model.safetensors"));
        for method in METHODS {
            let key = format!("{}:{method}:", self.name);
            if !self.golden.tensors.keys().any(|tensor| tensor.starts_with(&key)) {
                assert_eq!(method, "layerwise");
                continue;
            }
            let out = format!("{method}.safetensors");
            let report = json(&mut self.update(method, &out));
            let arch = report["arch"].as_str().unwrap();
            assert!(arch.starts_with("program model.pt2 ("), "{arch}");
            let found = load(&self.path(&out));
            let worst = self.compare(method, &found).unwrap();
            println!("{file} {method}: statistics off by {worst:.1e} of their scale");
            self.nothing_else_changed(&before, &found);
        }
    }

    /// Nothing but statistics, and none of layers that are not reached.
    fn nothing_else_changed(&self, before: &Tensors, found: &Tensors) {
        const STATISTICS: [&str; 5] =
            ["running_mean", "running_var", "num_batches_tracked", "average", "spread"];
        assert!(before.keys().eq(found.keys()), "{}", self.name);
        for (tensor, bytes) in before {
            let (layer, part) = tensor.rsplit_once('.').unwrap_or(("", tensor));
            let changes = STATISTICS.contains(&part) && self.runs(layer);
            assert_eq!(found[tensor] != *bytes, changes, "{}: {tensor}", self.name);
        }
        assert!(self.case.unreached.iter().all(|layer| !self.runs(layer)), "{}", self.name);
    }

    /// Whether it is a layer that runs, or another name of one.
    fn runs(&self, name: &str) -> bool {
        let tied = |layer: &String| {
            let (a, b) = (format!("{layer}.weight"), format!("{name}.weight"));
            self.case.tied.get(&b).is_some_and(|to| *to == a)
        };
        self.case.layers.contains_key(name) || self.case.layers.keys().any(tied)
    }
}
