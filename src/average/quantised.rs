//! Values that are codes: numbers that mean something only together with scales beside them. The mean of codes, or
//! codes of one checkpoint with the mean of scales, means nothing.
//!
//! They are told by their form: a tensor of integers or of 8 bits and less, and a tensor beside it by whose name it is
//! scaled. Names are those of bitsandbytes, LLM.int8, GPTQ, AWQ, HQQ, EXL2, AQLM, Quanto, torchao, compressed-tensors,
//! MXFP4, and of weights in F8 with scales. A matrix of integers by the name of a weight, beside floating-point tensors of
//! its module, is one of codes as well, whatever those are called. Other integers are what they are: counters, positions,
//! masks.

use std::collections::HashMap;

use crate::checkpoint::{Checkpoint, Dtype, TensorInfo};
use crate::{Error, Kind, Result, setting};

/// What follows the whole name of a tensor of codes.
const AFTER: [&str; 13] = [
    ".absmax",
    "_absmax",
    ".SCB",
    "_SCB",
    "_scale_inv",
    "_scale",
    "_scales",
    ".scale",
    ".scales",
    ":scale",
    "_scale_2",
    ".quant_map",
    "_zero_point",
];

/// The end of the name of codes, and what stands in its place in the name of scales.
const PAIRS: [(&str, &[&str]); 15] = [
    ("qweight", &["scales", "qzeros", "scale"]),
    ("weight_packed", &["weight_scale"]),
    ("W_q", &["scale", "zero"]),
    ("q_weight", &["q_scale", "q_scale_max"]),
    ("codes", &["codebooks", "codebook"]),
    ("_blocks", &["_scales"]),
    ("qdata", &["scale", "scale_and_zero"]),
    ("int_data", &["scale"]),
    ("int8_data", &["scale"]),
    ("_data", &["_scale"]),
    ("CB", &["SCB"]),
    ("float8_data", &["scale"]),
    ("packed_weight", &["scales", "scale"]),
    // VPTQ and Marlin.
    ("indices", &["centroids.weight", "centroids"]),
    (".B", &[".s"]),
];

/// The last part of names under which integers are codes of weights, beside others of weights: SqueezeLLM, QuIP#, EXL3,
/// AQT. See also [`may_be_weight`].
const CODES: [&str; 7] =
    ["weight", "kernel", "qweight", "packed_weight", "qvalue", "Qidxs", "trellis"];

/// Names of weights.
const WEIGHTS: [&str; 3] = ["weight", "kernel", "embedding"];

/// Words for weights, and for what is done to them, in names such as `quantized_weight` and `w_int8`.
const OF_WEIGHTS: [&str; 4] = ["weight", "weights", "w", "kernel"];
const QUANTISED: [&str; 12] = [
    "q",
    "quant",
    "quantized",
    "quantised",
    "qint",
    "int",
    "int4",
    "int8",
    "uint8",
    "int4pack",
    "packed",
    "codes",
];

/// Names of scales beside weights, of the same module.
const BESIDE: [&str; 12] = [
    "SCB",
    "absmax",
    "scale",
    "scales",
    "scale_weight",
    "weight_scale",
    "weight_scales",
    "weight_scale_inv",
    "weights_scale",
    "w_scale",
    "w_scales",
    "zero_point",
];

/// Whether values may be codes: of these types, and more than one.
fn may_be_codes(info: &TensorInfo) -> bool {
    let has_type = !matches!(
        info.dtype,
        Dtype::BOOL
            | Dtype::F64
            | Dtype::F32
            | Dtype::F16
            | Dtype::BF16
            | Dtype::C64
            // Indices and counters; no library keeps codes so wide.
            | Dtype::I64
            | Dtype::U64
    );
    has_type && info.len() > 1
}

/// The tensor by which another is scaled.
fn scale<'a>(input: &'a Checkpoint, codes: &TensorInfo) -> Option<&'a str> {
    if !may_be_codes(codes) {
        return None;
    }
    let name = codes.name.as_str();
    // Scales are floating; those of MXFP4 are exponents.
    let is_scale =
        |info: &&TensorInfo| !matches!(info.dtype, Dtype::BOOL | Dtype::I64) && info.name != name;
    let found = |name: String| input.get(&name).filter(is_scale).map(|info| info.name.as_str());
    let after = AFTER.iter().find_map(|after| found(format!("{name}{after}")));
    if after.is_some() {
        return after;
    }
    let paired = |(end, others): &(&str, &[&str])| {
        let stem = name.strip_suffix(end)?;
        others.iter().find_map(|other| found(format!("{stem}{other}")))
    };
    if let Some(paired) = PAIRS.iter().find_map(paired) {
        return Some(paired);
    }
    let (module, last) = name.rsplit_once('.').unwrap_or(("", name));
    let path = |other: &str| match module {
        "" => other.to_string(),
        module => format!("{module}.{other}"),
    };
    let is_float = |name: &&str| {
        input.get(name).is_some_and(|info| {
            matches!(info.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
                || matches!(info.dtype, Dtype::F8_E4M3 | Dtype::F8_E8M0)
        })
    };
    // Matrices of these types are little else, whatever they are called.
    let is_narrow =
        is_matrix(codes) && matches!(codes.dtype, Dtype::I8 | Dtype::F8_E4M3 | Dtype::F8_E5M2);
    let is_weight = WEIGHTS.contains(&last) || is_quantised_weight(last) || is_narrow;
    BESIDE.iter().filter(|_| is_weight).find_map(|other| found(path(other)).filter(is_float))
}

/// Whether the last part of a name has a word for weights and one for what is done to them.
fn is_quantised_weight(last: &str) -> bool {
    let has = |words: &[&str]| last.split('_').any(|word| words.contains(&word));
    has(&OF_WEIGHTS) && has(&QUANTISED)
}

fn is_matrix(info: &TensorInfo) -> bool {
    info.shape.len() > 1 && info.len() > 1
}

/// Whether a tensor of integers has the name and the form of a weight.
fn may_be_weight(info: &TensorInfo) -> bool {
    let last = last(&info.name);
    let is_packed = last.ends_with("_packed") && !last.ends_with("mask_packed");
    let is_named = CODES.contains(&last) || is_quantised_weight(last) || is_packed;
    is_named && is_integer(info.dtype) && is_matrix(info)
}

/// Whether a matrix is one of codes by its type and name, whatever is beside it: their scales may be elsewhere.
fn is_narrow_weight(info: &TensorInfo) -> bool {
    last(&info.name) == "weight" && matches!(info.dtype, Dtype::I8 | Dtype::U8) && is_matrix(info)
}

/// The last part of a name.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn is_integer(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16)
        || matches!(dtype, Dtype::U32 | Dtype::I32 | Dtype::U64 | Dtype::I64)
}

/// The first floating-point tensor of each module, directly in it or one level below.
fn floats(input: &Checkpoint) -> HashMap<&str, &str> {
    let mut found = HashMap::new();
    for info in input.tensors() {
        if !matches!(info.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            continue;
        }
        let own = module(&info.name);
        found.entry(own).or_insert(info.name.as_str());
        if !own.is_empty() {
            found.entry(module(own)).or_insert(info.name.as_str());
        }
    }
    found
}

/// Whether a matrix of few bits is a part of a weight, which a subclass of tensors keeps its values in: Quanto's
/// `l.weight._data._data`. Parametrizations keep buffers of modules there.
fn is_part_of_weight(info: &TensorInfo) -> bool {
    let narrow = matches!(info.dtype, Dtype::U8 | Dtype::I8 | Dtype::F8_E4M3 | Dtype::F8_E5M2);
    let mut above = module(&info.name).split('.');
    narrow
        && is_matrix(info)
        && above.any(|part| part == "weight")
        && !info.name.contains("parametrizations.")
}

/// What stands before the last part of a name.
fn module(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(module, _)| module)
}

/// Fails if a tensor that would be in the average is one of codes; `selects` tells by its name.
pub(crate) fn refuse(input: &Checkpoint, selects: &dyn Fn(&str) -> bool) -> Result<()> {
    let wanted = || input.tensors().iter().filter(|info| selects(&info.name));
    let needs_floats = |info: &TensorInfo| may_be_weight(info) || is_part_of_weight(info);
    let floats = if wanted().any(&needs_floats) { floats(input) } else { HashMap::new() };
    let beside = |info: &TensorInfo| match needs_floats(info) {
        true if is_narrow_weight(info) || is_part_of_weight(info) => {
            floats.get(module(&info.name)).or(floats.values().min()).copied()
        }
        true => floats.get(module(&info.name)).copied(),
        false => None,
    };
    let mut found = wanted().filter_map(|info| {
        let scaled = scale(input, info).map(|scale| format!("mean something with `{scale}` alone"));
        let beside = || {
            let float = beside(info)?;
            Some(format!("would be the last checkpoint's beside the mean of `{float}`"))
        };
        Some((info, scaled.or_else(beside)?))
    });
    let Some((codes, why)) = found.next() else { return Ok(()) };
    let more = match found.count() {
        0 => String::new(),
        n => format!(" (and {n} more such tensors)"),
    };
    let what = format!("it holds quantised values: {:?} codes{more}, which {why}", codes.dtype);
    Err(Error::new(Kind::Unsupported, what).at(input.path()).tensor(&codes.name).remedy(concat!(
        "average the checkpoints that were quantised, or dequantise these and save them as \
         floating-point weights first; what is no code is left out with ",
        setting!("exclude")
    )))
}

/// The error for a checkpoint without a tensor of floating-point numbers.
pub(crate) fn integers_alone(input: &Checkpoint) -> Error {
    Error::input("holds integers alone: there is no mean of them").at(input.path()).remedy(
        "name checkpoints with floating-point weights; of quantised ones, those that were quantised",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Take;
    use crate::{average, average::Options};

    /// A checkpoint of tensors with three values each, in a row or below each other.
    fn file(
        folder: &std::path::Path,
        name: &str,
        tensors: &[(&str, Dtype)],
        shape: &[usize],
    ) -> std::path::PathBuf {
        let bytes = [0; 64];
        let view = |(name, dtype): &(&str, Dtype)| {
            let size = 3 * dtype.bitsize() / 8;
            let shape = shape.to_vec();
            let view = safetensors::tensor::TensorView::new(*dtype, shape, &bytes[..size]);
            (name.to_string(), view.unwrap())
        };
        let path = folder.join(name);
        let bytes = safetensors::serialize(tensors.iter().map(view), None).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn plan(tensors: &[(&str, Dtype)], options: Options) -> Result<()> {
        plan_of(tensors, &[3], options)
    }

    fn plan_of(tensors: &[(&str, Dtype)], shape: &[usize], options: Options) -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"]
            .map(|name| file(folder.path(), &format!("{name}.safetensors"), tensors, shape));
        let inputs = Checkpoint::open_all(&paths, &Take::default())?;
        average::Plan::new(&inputs, [average::mean(2)?], options).map(drop)
    }

    #[test]
    fn codes_are_refused_by_name_with_their_scales() {
        use Dtype::*;
        // Names as the libraries write them.
        let cases: [(&str, &[(&str, Dtype)]); 20] = [
            ("l.weight.absmax", &[("l.weight", U8), ("l.weight.absmax", F32)]),
            ("l.weight.absmax", &[("l.weight", U8), ("l.weight.absmax", U8)]),
            ("l.SCB", &[("l.weight", I8), ("l.SCB", F32)]),
            ("l.scales", &[("l.qweight", I32), ("l.scales", F16), ("l.qzeros", I32)]),
            ("l.weight_scale", &[("l.weight_packed", I32), ("l.weight_scale", BF16)]),
            ("l.weight_scale_inv", &[("l.weight", F8_E4M3), ("l.weight_scale_inv", F32)]),
            ("l.weight_scale", &[("l.weight", F8_E4M3), ("l.weight_scale", F32)]),
            ("l.weight_scale", &[("l.weight", U8), ("l.weight_scale", F8_E4M3)]),
            ("l.scale_weight", &[("l.weight", F8_E4M3), ("l.scale_weight", F32)]),
            ("l.scale", &[("l.W_q", U8), ("l.scale", F16), ("l.zero", F16)]),
            ("l.q_scale", &[("l.q_weight", I32), ("l.q_scale", I32)]),
            ("l.codebooks", &[("l.codes", I8), ("l.codebooks", F16)]),
            ("m.down_proj_scales", &[("m.down_proj_blocks", U8), ("m.down_proj_scales", U8)]),
            ("l._weight_scale", &[("l._weight_qdata", I8), ("l._weight_scale", F32)]),
            ("l.weight:scale", &[("l.weight:qdata", I8), ("l.weight:scale", F32)]),
            ("l.weight._scale", &[("l.weight._data", I8), ("l.weight._scale", F32)]),
            ("kernel_scale", &[("kernel", I8), ("kernel_scale", F32)]),
            ("e.gate_scale", &[("e.gate", F8_E4M3), ("e.gate_scale", F32)]),
            ("l.centroids.weight", &[("l.indices", I32), ("l.centroids.weight", F16)]),
            ("l.s", &[("l.B", I32), ("l.s", F16)]),
        ];
        for (scale, tensors) in cases {
            let options = || Options { dtype: Some(average::Float::F32), ..Options::default() };
            let error = plan(tensors, options()).unwrap_err();
            assert_eq!(error.kind(), Kind::Unsupported, "{error}");
            let text = error.to_string();
            assert!(text.contains(tensors[0].0) && text.contains(&format!("`{scale}`")), "{text}");
            // Without the codes there is nothing against it.
            let exclude = regex::Regex::new(&format!("^{}$", regex::escape(tensors[0].0))).unwrap();
            let options = Options { exclude: Some(exclude), ..options() };
            let left = plan(tensors, options).map_err(|e| e.to_string());
            let is_empty = |text: &String| text.contains("no tensor") || text.contains("alone:");
            assert!(left.as_ref().err().is_none_or(is_empty), "{left:?}");
        }
    }

    #[test]
    fn matrices_of_integers_in_the_place_of_weights_are_refused() {
        use Dtype::*;
        let cases: [(&str, &[(&str, Dtype)]); 14] = [
            ("l.weight._scale", &[("l.weight._data._data", U8), ("l.weight._scale", F32)]),
            ("l.bias", &[("l.quantized_weight", I32), ("l.bias", F32)]),
            ("l.scaling", &[("l.w_int8", I8), ("l.scaling", F32)]),
            ("l.zeros", &[("l.weight_int4pack", U8), ("l.zeros", F32)]),
            // Its scale is in another module.
            ("scales.l", &[("l.weight", I8), ("scales.l", F32)]),
            ("l.lookup_table", &[("l.qweight", I32), ("l.lookup_table", F16)]),
            ("l.SU", &[("l.Qidxs", I16), ("l.SU", F16), ("l.SV", F16)]),
            ("l.SU", &[("l.Qidxs", I64), ("l.SU", F16)]),
            ("l.suh", &[("l.trellis", I16), ("l.suh", F16)]),
            ("l.wscales", &[("l.qweight", I8), ("l.wscales", F16)]),
            ("l.scales_and_zeros", &[("l.weight", I32), ("l.scales_and_zeros", F16)]),
            ("l.weight_quantizer.scale", &[("l.weight", U8), ("l.weight_quantizer.scale", F32)]),
            ("l.bias", &[("l.weight", I8), ("l.bias", F32)]),
            ("l.norm", &[("l.gate_packed", U8), ("l.norm", F32)]),
        ];
        for (beside, tensors) in cases {
            let text = plan_of(tensors, &[3, 1], Options::default()).unwrap_err().to_string();
            let parts = [tensors[0].0, &format!("the mean of `{beside}`"), "`exclude`"];
            parts.iter().for_each(|part| assert!(text.contains(part), "{text}"));
            let exclude = Some(regex::Regex::new(&format!("^{}$", tensors[0].0)).unwrap());
            plan_of(tensors, &[3, 1], Options { exclude, ..Options::default() }).unwrap();
        }
    }

    #[test]
    fn matrices_beside_a_scale_are_codes_by_their_type_or_name() {
        use Dtype::*;
        for (codes, dtype) in [
            ("quantized_weight", I8),
            ("int_weight", I8),
            ("w_q", U8),
            ("weight_codes", I32),
            ("table", I8),
            ("data", I8),
            ("gate", F8_E4M3),
        ] {
            for scale in ["scale", "scales", "weight_scale", "weight_scales", "w_scale"] {
                let [codes, scale] = [codes, scale].map(|name| format!("l.{name}"));
                let tensors = [(codes.as_str(), dtype), (scale.as_str(), F32)];
                let options = Options { dtype: Some(average::Float::F32), ..Options::default() };
                let text = plan_of(&tensors, &[3, 1], options).unwrap_err().to_string();
                assert!(text.contains(&codes) && text.contains(&format!("`{scale}`")), "{text}");
            }
        }
    }

    #[test]
    fn plain_integers_stay() {
        use Dtype::*;
        let cases: [&[(&str, Dtype)]; 10] = [
            &[("vq.codes", I64), ("vq.codebook", F32)],
            &[("pos", I64), ("pos_scale", F32)],
            &[("bn.num_batches_tracked", I64), ("bn.weight", F32)],
            &[("attn.relative_position_index", I64), ("attn.logit_scale", F32)],
            &[("norm.initialized", U8), ("norm.scale", F32)],
            &[("e.position_ids", I64), ("e.weight", F32)],
            &[("l.weight", I8), ("l.bias", F32)],
            &[("fq.zero_point", I32), ("fq.scale", F32), ("weight", F32)],
            &[("norm.scale", F32), ("norm.weight", F32)],
            &[("vq.indices", I64), ("vq.codebook", F32)],
        ];
        for tensors in cases {
            plan(tensors, Options::default()).unwrap();
        }
        // Whatever their form is.
        let cases: [&[(&str, Dtype)]; 11] = [
            &[("a.index_table", U8), ("a.scale", F32)],
            &[("a.lookup", I64), ("a.scale", F32)],
            &[("a.class_weight", I64), ("a.scale", F32)],
            &[("a.relative_position_index", I32), ("a.weight", F32)],
            &[("buf.image", U8), ("buf.mean", F32)],
            &[("attn.mask", U8), ("attn.scale", F32)],
            &[("attn.mask_packed", U8), ("attn.scale", F32)],
            &[("l.weight_mask", U8), ("l.weight_orig", F32)],
            &[("g.idx", I32), ("g.weight", F32)],
            &[("e.token_type_ids", I64), ("e.weight", F32)],
            // Of a module of its own.
            &[("binomial.weight", I64), ("l.weight", F32)],
        ];
        for tensors in cases {
            plan_of(tensors, &[3, 1], Options::default()).unwrap();
        }
    }
}
