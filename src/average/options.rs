//! How to average: the settings, and the rule that they give each tensor.

use regex::Regex;
use swa_base::choices;

use super::Float;
use crate::checkpoint::{Checkpoint, Dtype, Rest, TensorInfo, is_running_statistic};
use crate::weights::names::strip;
use crate::{Error, Kind, Result, setting};

choices! {
    /// What becomes of batchnorm's running statistics.
    #[derive(Default)]
    pub enum BnStats {
        #[default]
        Mean = "mean": "Averaged like every other floating tensor",
        Last = "last": "Taken from the last checkpoint",
    }
}

choices! {
    /// Which tensors the output has if the checkpoints differ in theirs.
    #[derive(Default)]
    pub enum Keys {
        #[default]
        Strict = "strict": "Differing names are an error",
        Intersection = "intersection": "Those that all inputs have",
        Union = "union": "Those that any input has, each averaged over the inputs that have it",
    }
}

/// How to average.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What becomes of batchnorm's running statistics.
    pub bn_stats: BnStats,
    /// Which tensors the output has if the inputs differ in theirs.
    pub keys: Keys,
    /// Type of the averaged tensors, F64, F32, F16 or BF16. `None`: each keeps its own. A column may
    /// have a type of its own, see [`Column::with_dtype`](super::Column::with_dtype).
    pub dtype: Option<Float>,
    /// Only tensors whose names match are in the output.
    pub include: Option<Regex>,
    /// Tensors whose names match are not in the output, whether included or not.
    pub exclude: Option<Regex>,
    /// NaN and infinity in the inputs are averaged like numbers; otherwise they are an error.
    pub allow_nonfinite: bool,
    /// Inputs are not compared with the checksums that they hold.
    pub no_verify: bool,
    /// Names keep what wrappers put into them, as the first input that has the tensor writes them.
    pub keep_names: bool,
}

impl Options {
    /// Whether a tensor of this name is wanted.
    pub(crate) fn selects(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|regex| regex.is_match(name))
            && !self.exclude.as_ref().is_some_and(|regex| regex.is_match(name))
    }

    /// What stands among a checkpoint's weights and is no tensor, by the name that it has in an output.
    pub(crate) fn rest_of<'a>(
        &self,
        input: &'a Checkpoint,
    ) -> impl Iterator<Item = (String, &'a Rest)> {
        let named = |rest: &'a Rest| match self.keep_names {
            true => (rest.name.clone(), rest),
            false => (strip(&rest.name), rest),
        };
        let rest = input.taken().rest.iter().map(named);
        rest.filter(|(name, _)| self.selects(name))
    }
}

/// Where the values of a tensor in the output come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The weighted mean over the inputs that have it, whose values have this type.
    Mean(Float),
    /// The last input that has it, whose values have this type, converted to another.
    Convert(Float),
    /// The last input that has it, byte for byte: integers, booleans, and statistics on request.
    Last,
}

impl Rule {
    /// Type of the values that are computed with; `None` if bytes are only copied.
    pub(super) fn float(self) -> Option<Float> {
        match self {
            Rule::Mean(from) | Rule::Convert(from) => Some(from),
            Rule::Last => None,
        }
    }
}

/// Modules that keep something of their own under this name may store anything in it, whatever its type.
const EXTRA_STATE: &str = "_extra_state";

/// Whether a tensor is all that a module keeps of its own: it is the last checkpoint's, whatever its size.
pub(super) fn is_state(name: &str) -> bool {
    name == EXTRA_STATE || name.ends_with(&format!(".{EXTRA_STATE}"))
}

/// The rule for a tensor, and its type in the output.
///
/// # Errors
/// `Unsupported` for types that have no average, and for averages in a type that is only read.
pub fn rule(info: &TensorInfo, options: &Options) -> Result<(Rule, Dtype)> {
    let Some(float) = Float::of(info.dtype) else {
        return match info.dtype {
            Dtype::BOOL
            | Dtype::U8
            | Dtype::I8
            | Dtype::U16
            | Dtype::I16
            | Dtype::U32
            | Dtype::I32
            | Dtype::U64
            | Dtype::I64 => Ok((Rule::Last, info.dtype)),
            other => {
                Err(Error::new(Kind::Unsupported, format!("type {other:?} cannot be averaged"))
                    .tensor(&info.name)
                    .remedy(concat!(
                        "convert it to F32, F16 or BF16 first, or ",
                        setting!("exclude"),
                        " it"
                    )))
            }
        };
    };
    if is_state(&info.name) {
        return Ok((Rule::Last, info.dtype));
    }
    let last = options.bn_stats == BnStats::Last && is_running_statistic(&info.name);
    let dtype = match options.dtype {
        // Complex numbers have no narrower type.
        Some(to) if info.dtype != Dtype::C64 => to.dtype(),
        _ => info.dtype,
    };
    if last && dtype == info.dtype {
        return Ok((Rule::Last, dtype));
    }
    if !Float::of(dtype).is_some_and(Float::is_written) {
        let what = format!("averages of {dtype:?} need a wider type");
        return Err(Error::new(Kind::Unsupported, what).tensor(&info.name).remedy(concat!(
            "add ",
            setting!("dtype", "bf16"),
            ", f16 or f32"
        )));
    }
    Ok((if last { Rule::Convert(float) } else { Rule::Mean(float) }, dtype))
}

/// The error where results of finite values do not fit their type; the remedy names those that hold more.
pub(crate) fn too_large(what: &str, dtype: Dtype, tensor: &str) -> Error {
    let remedy = match dtype {
        Dtype::F16 => {
            concat!("choose a ", setting!("dtype"), " with a wider range: bf16, f32 or f64")
        }
        Dtype::BF16 | Dtype::F32 => {
            concat!("choose a ", setting!("dtype"), " with a wider range: f64")
        }
        // Nothing holds more.
        _ => "leave out checkpoints from a training that diverged",
    };
    let what = format!("{what} too large for {dtype:?}");
    Error::new(Kind::NotFinite, what).tensor(tensor).remedy(remedy)
}
