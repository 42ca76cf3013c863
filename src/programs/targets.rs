//! Which operators run. docs/formats.md states the rules.

use super::batch_norm;
use super::graph::SymbolOp;

/// What a node's target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// Of the namespace `aten`, by the name and overload that run.
    Aten {
        name: &'a str,
        overload: &'a str,
    },
    BatchNorm {
        name: &'a str,
        overload: &'a str,
    },
    Symbol(SymbolOp),
    /// `torch.no_grad()` and the like.
    SetGrad,
    Autocast,
    /// Does nothing that is needed.
    Assertion,
    /// What it is called in a message, and why it does not run.
    Refused(String, Why),
}

/// Why an operator does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Not of PyTorch's own operators.
    Foreign,
    /// It takes graphs.
    HigherOrder(&'static str),
    /// It may not.
    Denied(&'static str),
}

const FILES: &str = "opens files";
const STORAGES: &str = "changes where tensors lie";
const STATE: &str = "reads or changes the state of the process";
const UNCHECKED: &str = "is for PyTorch's own use";
const OUT: &str = "resizes its output";

/// Operators without an underscore before them that are denied, by all their overloads. Those in place, with an
/// underscore behind, are denied likewise.
const DENIED: [(&str, &str); 28] = [
    ("copy_sparse_to_sparse", STORAGES),
    ("data", STATE),
    ("fbgemm_linear_fp16_weight", UNCHECKED),
    ("fbgemm_linear_fp16_weight_fp32_activation", UNCHECKED),
    ("fbgemm_linear_int8_weight", UNCHECKED),
    ("fbgemm_linear_int8_weight_fp32_activation", UNCHECKED),
    ("fbgemm_linear_quantize_weight", UNCHECKED),
    ("fbgemm_pack_gemm_matrix_fp16", UNCHECKED),
    ("fbgemm_pack_quantized_matrix", UNCHECKED),
    ("from_file", FILES),
    ("get_gradients", STATE),
    ("is_pinned", STATE),
    ("is_set_to", STORAGES),
    ("output_nr", STATE),
    ("pin_memory", STATE),
    ("record_stream", STATE),
    ("refine_names", STATE),
    ("rename", STATE),
    ("requires_grad", STATE),
    ("resize", STORAGES),
    ("resize_as", STORAGES),
    ("resize_as_sparse", STORAGES),
    ("retain_grad", STATE),
    ("retains_grad", STATE),
    ("set", STORAGES),
    ("set_data", STORAGES),
    ("sparse_resize", STORAGES),
    ("sparse_resize_and_clear", STORAGES),
];

/// Operators with an underscore before their name are internal to PyTorch, and many trust their caller. These are what
/// models and PyTorch's own decompositions come to, and check what they are given.
const INTERNAL: [&str; 52] = [
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "_addmm_activation",
    "_aminmax",
    "_autocast_to_full_precision",
    "_autocast_to_reduced_precision",
    "_cast_Byte",
    "_cast_Char",
    "_cast_Double",
    "_cast_Float",
    "_cast_Half",
    "_cast_Int",
    "_cast_Long",
    "_cast_Short",
    "_cdist_forward",
    "_conj",
    "_conj_physical",
    "_conv_depthwise2d",
    "_convolution",
    "_convolution_mode",
    "_embedding_bag",
    "_euclidean_dist",
    "_fft_c2c",
    "_fft_c2r",
    "_fft_r2c",
    "_fused_rms_norm",
    "_is_all_true",
    "_is_any_true",
    "_linalg_det",
    "_linalg_eigh",
    "_linalg_slogdet",
    "_linalg_solve_ex",
    "_linalg_svd",
    "_local_scalar_dense",
    "_log_softmax",
    "_logcumsumexp",
    "_masked_softmax",
    "_native_multi_head_attention",
    "_pdist_forward",
    "_prelu_kernel",
    "_safe_softmax",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_shape_as_tensor",
    "_softmax",
    "_stack",
    "_to_copy",
    "_transformer_encoder_layer_fwd",
    "_trilinear",
    "_unique2",
    "_weight_norm",
    "_weight_norm_interface",
];

/// Beginnings of such names.
const INTERNAL_BEGINNINGS: [&str; 1] = ["_upsample_"];

/// Unchecked operators, and what runs in their place: the same with its arguments checked.
const CHECKED: [(&str, &str); 4] = [
    ("_reshape_alias", "reshape"),
    ("_unsafe_index", "index"),
    ("_unsafe_index_put", "index_put"),
    ("_unsafe_view", "reshape"),
];

const ASSERTIONS: [&str; 9] = [
    "_assert_async",
    "_assert_scalar",
    "_assert_tensor_metadata",
    "_functional_assert_async",
    "_functional_assert_scalar",
    "_functional_sym_constrain_range",
    "_make_dep_token",
    "sym_constrain_range",
    "sym_constrain_range_for_size",
];

const HIGHER_ORDER: [(&str, &str); 9] = [
    ("associative_scan", "a loop on data"),
    ("call_torchbind", "a method of a script object"),
    ("cond", "a branch on data"),
    ("flex_attention", "attention compiled for a GPU"),
    ("map", "a loop on data"),
    ("map_impl", "a loop on data"),
    ("scan", "a loop on data"),
    ("triton_kernel_wrapper_functional", "a Triton kernel"),
    ("while_loop", "a loop on data"),
];

impl<'a> Target<'a> {
    pub fn of(target: &'a str) -> Self {
        if let Some(symbol) = SymbolOp::named(target) {
            return Target::Symbol(symbol);
        }
        if let Some(name) = target.strip_prefix("torch.ops.higher_order.") {
            return match name {
                "wrap_with_set_grad_enabled" => Target::SetGrad,
                "wrap_with_autocast" => Target::Autocast,
                _ => {
                    let known = HIGHER_ORDER.iter().find(|(own, _)| *own == name);
                    let what = known.map_or("an operator on graphs", |(_, what)| what);
                    Target::Refused(name.into(), Why::HigherOrder(what))
                }
            };
        }
        let Some(path) = target.strip_prefix("torch.ops.") else {
            return Target::Refused(target.into(), Why::Foreign);
        };
        let mut parts = path.splitn(3, '.');
        let [namespace, name, overload] = [(); 3].map(|()| parts.next().unwrap_or_default());
        if namespace != "aten" || name.is_empty() || overload.is_empty() {
            let overload = match overload {
                "" | "default" => String::new(),
                overload => format!(".{overload}"),
            };
            return Target::Refused(format!("{namespace}::{name}{overload}"), Why::Foreign);
        }
        if ASSERTIONS.contains(&name) {
            return Target::Assertion;
        }
        if batch_norm::is_one(name, overload) {
            return Target::BatchNorm { name, overload };
        }
        if let Some(why) = denied(name, overload) {
            return Target::Refused(format!("aten::{name}"), Why::Denied(why));
        }
        let checked = CHECKED.iter().find(|(own, _)| *own == name);
        Target::Aten { name: checked.map_or(name, |(_, checked)| checked), overload }
    }
}

/// Why an operator of PyTorch's own may not run.
fn denied(name: &str, overload: &str) -> Option<&'static str> {
    let base = name.strip_suffix('_').unwrap_or(name);
    if let Some((_, why)) = DENIED.iter().find(|(own, _)| *own == base) {
        return Some(why);
    }
    if writes_out(overload) {
        return Some(OUT);
    }
    // Those of Python's `&` and the like have two.
    if !base.starts_with('_') || base.starts_with("__") {
        return None;
    }
    let known = INTERNAL.contains(&base)
        || CHECKED.iter().any(|(own, _)| *own == base)
        || INTERNAL_BEGINNINGS.iter().any(|start| base.starts_with(start));
    if known { None } else { Some(UNCHECKED) }
}

/// Whether an overload writes into tensors that it is given as results, which it resizes.
fn writes_out(overload: &str) -> bool {
    const FIRST_RESULTS: [&str; 15] = [
        "L",
        "Q",
        "U",
        "X",
        "a",
        "dim_max",
        "dim_min",
        "eigenvalues",
        "eigvals",
        "grad_input",
        "inverse",
        "names_dim_max",
        "names_dim_min",
        "output",
        "result",
    ];
    let is_out = |name: &str| name.starts_with("out") || name.starts_with("Out");
    is_out(overload)
        || overload.ends_with("_out")
        || overload == "sign"
        || overload.contains("values")
        || FIRST_RESULTS.contains(&overload)
}

/// Whether an operator writes to its first argument.
pub fn is_in_place(name: &str) -> bool {
    match name.strip_prefix("__") {
        // `__and__` does not, `__iand__` does.
        Some(operator) => operator.starts_with('i'),
        None => name.ends_with('_'),
    }
}

/// Random operators, by name without a trailing underscore.
pub fn is_random(name: &str) -> bool {
    const NAMES: [&str; 19] = [
        "bernoulli",
        "binomial",
        "cauchy",
        "exponential",
        "geometric",
        "log_normal",
        "multinomial",
        "normal",
        "normal_functional",
        "poisson",
        "rand",
        "rand_like",
        "randint",
        "randint_like",
        "randn",
        "randn_like",
        "random",
        "randperm",
        "uniform",
    ];
    let base = name.strip_suffix('_').unwrap_or(name);
    NAMES.contains(&base)
}
