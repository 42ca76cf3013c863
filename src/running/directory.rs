//! What a state says about itself: the settings it was begun with, what went in, and the tensors.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use swa_base::Choice;

use crate::average::{BnStats, Float, Keys, Options, Rule, pruned, quantised, rule};
use crate::checkpoint::{Checkpoint, Take, TensorInfo};
use crate::select::natural;
use crate::text::marked;
use crate::{Error, Kind, Result, TRANSFORM_KEY, setting};

/// JSON behind the sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Directory {
    pub settings: Settings,
    /// In natural order of their paths.
    pub inputs: Vec<Counted>,
    /// In the order of their names.
    pub tensors: Vec<Tensor>,
    /// Numbers of the tensors in the order of the output, which is that of the first input.
    pub order: Vec<u32>,
    /// With `keep_names`: the names as the first input writes them, in the order of the tensors.
    pub written_names: Option<Vec<String>>,
    /// Of the last input.
    pub metadata: BTreeMap<String, String>,
    /// Likewise: what stands among the weights and is no tensor, by name, as instructions of a pickle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rest: Vec<(String, Vec<u8>)>,
    /// How pixels are prepared, if all inputs agree on it.
    pub transform: Option<Value>,
}

/// What cannot change once something was added up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub bn_stats: String,
    pub include: Option<String>,
    pub exclude: Option<String>,
    pub keep_names: bool,
    pub allow_nonfinite: bool,
    pub ema: bool,
    pub weights_key: Option<String>,
}

/// A checkpoint that is in the sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// The path that it was given by.
    pub path: String,
    /// Bytes of its files.
    pub size: u64,
    /// When the latest of its files was written to: seconds since 1970, and nanoseconds.
    pub modified: (i64, i64),
    /// XXH3-128 of the digests of its tensors but single integers, in the order of their names: equal for equal weights
    /// in any container.
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tensor {
    pub name: String,
    /// As safetensors names types.
    pub dtype: String,
    pub shape: Vec<usize>,
}

/// What tells one state of a checkpoint's files from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub size: u64,
    pub modified: (i64, i64),
}

impl Stamp {
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let files = checkpoint.files().iter();
        Stamp {
            size: files.clone().map(|file| file.size()).sum(),
            modified: files.map(|file| file.modified()).max().unwrap_or_default(),
        }
    }
}

impl Stamp {
    /// Of a file, without opening it; None for a folder, and for what is not there.
    pub fn of_file(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some(Stamp { size: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) })
    }
}

impl Counted {
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { size: self.size, modified: self.modified }
    }
}

impl Settings {
    /// Fails for what a state cannot do.
    pub fn new(options: &Options, take: &Take) -> Result<Self> {
        if options.keys != Keys::Strict {
            let keys = marked("keys", Some(options.keys.name()));
            return Err(Error::usage(format!("a state takes no {keys}"))
                .remedy("average all checkpoints at once, or those that have the same tensors"));
        }
        let text = |regex: &Option<Regex>| regex.as_ref().map(|regex| regex.as_str().to_string());
        Ok(Settings {
            bn_stats: options.bn_stats.name().into(),
            include: text(&options.include),
            exclude: text(&options.exclude),
            keep_names: options.keep_names,
            allow_nonfinite: options.allow_nonfinite,
            ema: take.ema,
            weights_key: take.key.clone(),
        })
    }

    /// All by name, as text.
    fn all(&self) -> [(&'static str, String); 7] {
        let yes = |yes: bool| if yes { "given".to_string() } else { "not given".into() };
        let text = |text: &Option<String>| match text {
            Some(text) => format!("`{text}`"),
            None => yes(false),
        };
        [
            ("bn_stats", self.bn_stats.clone()),
            ("include", text(&self.include)),
            ("exclude", text(&self.exclude)),
            ("keep_names", yes(self.keep_names)),
            ("allow_nonfinite", yes(self.allow_nonfinite)),
            ("ema", yes(self.ema)),
            ("weights_key", text(&self.weights_key)),
        ]
    }

    /// Those that are not what they are by default.
    pub fn given(&self) -> Vec<(&'static str, String)> {
        let default = |(_, value): &(&str, String)| value == "not given" || value == "mean";
        self.all().into_iter().filter(|setting| !default(setting)).collect()
    }

    /// Fails with the names of all settings that differ from those that the state was begun with.
    pub fn check(&self, wanted: &Settings) -> Result<()> {
        let differ = self.all().into_iter().zip(wanted.all()).filter(|(own, wanted)| own != wanted);
        let differ: Vec<String> = differ
            .map(|((name, own), (_, wanted))| {
                format!("{}: {own} at its beginning, {wanted} now", marked(name, None))
            })
            .collect();
        match differ.is_empty() {
            true => Ok(()),
            false => {
                Err(Error::usage(format!("was begun with other settings: {}", differ.join(", ")))
                    .remedy("give the same ones, or begin a new state"))
            }
        }
    }

    /// The options of averaging that these are, with the type that the output shall have.
    pub fn options(&self, dtype: Option<Float>) -> Result<Options> {
        let regex = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => Regex::new(text).map(Some).map_err(|_| broken()),
        };
        Ok(Options {
            bn_stats: BnStats::named(&self.bn_stats).ok_or_else(broken)?,
            keys: Keys::Strict,
            dtype,
            include: regex(&self.include)?,
            exclude: regex(&self.exclude)?,
            allow_nonfinite: self.allow_nonfinite,
            no_verify: false,
            keep_names: self.keep_names,
        })
    }
}

/// What is wrong with a state whose parts do not fit together.
pub(super) fn broken() -> Error {
    Error::new(Kind::Damaged, "its parts contradict each other").remedy("it is not to be used")
}

impl Tensor {
    fn of(info: &TensorInfo) -> Self {
        let (name, shape) = (info.name.clone(), info.shape.clone());
        Tensor { name, dtype: info.dtype.to_string(), shape }
    }

    pub fn info(&self) -> Result<TensorInfo> {
        let dtype =
            serde_json::from_value(Value::from(self.dtype.as_str())).map_err(|_| broken())?;
        Ok(TensorInfo { name: self.name.clone(), dtype, shape: self.shape.clone() })
    }
}

/// Most bytes of all tensors, as of a checkpoint.
const MOST: u64 = 1 << 50;

impl Directory {
    /// Of no checkpoint.
    pub fn new(settings: Settings) -> Self {
        Directory {
            settings,
            inputs: vec![],
            tensors: vec![],
            order: vec![],
            written_names: None,
            metadata: BTreeMap::new(),
            rest: vec![],
            transform: None,
        }
    }

    /// The tensors, checked: each has a rule and a size, and stands once in the output.
    pub fn infos(&self) -> Result<Vec<TensorInfo>> {
        let infos: Vec<TensorInfo> =
            self.tensors.iter().map(Tensor::info).collect::<Result<_>>()?;
        let options = self.settings.options(Some(Float::F64))?;
        let mut left = MOST;
        for (info, next) in infos.iter().zip(infos.iter().skip(1).map(Some).chain([None])) {
            let bits = (info.shape.iter())
                .try_fold(info.dtype.bitsize() as u64, |bits, &n| bits.checked_mul(n as u64));
            left = bits.and_then(|bits| left.checked_sub(bits / 8)).ok_or_else(broken)?;
            if next.is_some_and(|next| info.name >= next.name) {
                return Err(broken());
            }
            rule(info, &options).map_err(|_| broken())?;
        }
        let mut seen = vec![false; infos.len()];
        for &tensor in &self.order {
            match seen.get_mut(tensor as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => return Err(broken()),
            }
        }
        let all = self.order.len() == infos.len();
        let named = match &self.written_names {
            Some(names) => self.settings.keep_names && names.len() == infos.len(),
            None => !self.settings.keep_names || infos.is_empty(),
        };
        let sorted = self.inputs.is_sorted_by(|a, b| natural(&a.path, &b.path).is_le());
        let filled = self.inputs.is_empty() == infos.is_empty();
        if all && named && sorted && filled { Ok(infos) } else { Err(broken()) }
    }

    /// Adds a checkpoint that has all tensors: after the others of its path. Returns whether it is the last one now.
    pub fn count(&mut self, input: &Checkpoint, digest: String) -> bool {
        let path = input.path().to_string_lossy().into_owned();
        let transform = input.provenance().remove(TRANSFORM_KEY);
        if self.inputs.is_empty() {
            self.transform = transform;
        } else if self.transform != transform {
            self.transform = None;
        }
        let place = self.inputs.partition_point(|other| natural(&other.path, &path).is_le());
        let Stamp { size, modified } = Stamp::of(input);
        self.inputs.insert(place, Counted { path, size, modified, digest });
        if place == 0 {
            let mut by_place: Vec<(usize, u32)> = (self.tensors.iter().zip(0..))
                .filter_map(|(tensor, i)| Some((input.position(&tensor.name)?, i)))
                .collect();
            by_place.sort();
            self.order = by_place.iter().map(|(_, i)| *i).collect();
            if self.settings.keep_names {
                let mut names = vec![String::new(); self.tensors.len()];
                for (place, i) in by_place {
                    names[i as usize] = input.written_name(place).into();
                }
                self.written_names = Some(names);
            }
        }
        let is_last = place + 1 == self.inputs.len();
        if is_last {
            self.metadata = input.metadata().clone();
            let options = self.settings.options(None).unwrap_or_default();
            let rest = options.rest_of(input);
            self.rest =
                rest.filter_map(|(name, rest)| Some((name, rest.pickle.clone()?))).collect();
        }
        is_last
    }

    /// Sets the tensors: those of a checkpoint that the settings select.
    ///
    /// # Errors
    /// As of planning an average of it.
    pub fn take_tensors(&mut self, input: &Checkpoint, options: &Options) -> Result<()> {
        let mut tensors: Vec<&TensorInfo> = (input.tensors().iter().enumerate())
            .filter(|(i, info)| wanted(input, *i, info, options))
            .map(|(_, info)| info)
            .collect();
        if tensors.is_empty() {
            return Err(Error::input("no tensor is left to average").at(input.path()));
        }
        quantised::refuse(input, &|name| options.selects(name))?;
        pruned::refuse_any(input, &|name| options.selects(name))?;
        let mut is_any_float = false;
        for info in &tensors {
            rule(info, options).map_err(|e| e.at(input.path()))?;
            is_any_float |= Float::of(info.dtype).is_some();
        }
        if !is_any_float {
            return Err(quantised::integers_alone(input));
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        self.tensors = tensors.into_iter().map(Tensor::of).collect();
        Ok(())
    }

    /// The numbers of the tensors in a checkpoint.
    ///
    /// # Errors
    /// `Mismatch` with every difference.
    pub fn numbers(
        &self,
        input: &Checkpoint,
        infos: &[TensorInfo],
        options: &Options,
    ) -> Result<Vec<usize>> {
        let (mut numbers, mut problems) = (vec![], vec![]);
        for info in infos {
            let name = &info.name;
            let Some(number) = input.position(name) else {
                problems.push(format!("tensor `{name}`: missing"));
                continue;
            };
            let own = &input.tensors()[number];
            if own.shape != info.shape {
                let (a, b) = (&info.shape, &own.shape);
                problems.push(format!("tensor `{name}`: expected shape {a:?}, found {b:?}"));
            }
            if own.dtype != info.dtype {
                let (a, b) = (info.dtype, own.dtype);
                problems.push(format!("tensor `{name}`: expected {a:?}, found {b:?}"));
            }
            numbers.push(number);
        }
        for (i, info) in input.tensors().iter().enumerate() {
            let known = || infos.binary_search_by(|own| own.name.cmp(&info.name)).is_ok();
            if wanted(input, i, info, options) && !known() {
                problems.push(format!("tensor `{}`: not in what was counted", info.name));
            }
        }
        if problems.is_empty() {
            return Ok(numbers);
        }
        let what =
            format!("{} difference(s) from the checkpoints that were counted", problems.len());
        Err(Error::new(Kind::Mismatch, what)
            .at(input.path())
            .remedy("count checkpoints of one model only")
            .list(problems))
    }

    /// The rule of each tensor.
    pub fn rules(
        &self,
        infos: &[TensorInfo],
        options: &Options,
    ) -> Result<Vec<(Rule, crate::checkpoint::Dtype)>> {
        infos.iter().map(|info| rule(info, options)).collect()
    }

    /// The checkpoint of these tensors that was counted, if one was.
    pub fn with_digest(&self, digest: &str) -> Option<&Counted> {
        self.inputs.iter().find(|input| input.digest == digest)
    }

    /// The checkpoint that was counted under a path.
    pub fn at(&self, path: &Path) -> Option<&Counted> {
        let path = path.to_string_lossy();
        self.inputs.iter().find(|input| input.path == path)
    }
}

/// Whether a tensor of a checkpoint belongs to the average.
fn wanted(input: &Checkpoint, number: usize, info: &TensorInfo, options: &Options) -> bool {
    (!input.is_counter(number) || options.keep_names) && options.selects(&info.name)
}

/// What a user is to do with a checkpoint that has another's name.
pub(super) fn taken_name(path: &Path) -> Error {
    Error::new(Kind::Mismatch, "another checkpoint was counted under this name").at(path).remedy(
        concat!(
            "what was counted stays; give it another name to count it, or begin a new ",
            setting!("state")
        ),
    )
}
