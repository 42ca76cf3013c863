//! What a pickle may call. Names are refused by lists of what acts; calls are allowed by their form, because any
//! function may act on what it is given, and what rebuilds a value looks alike everywhere. docs/formats.md has the rule.

mod tables;

use tables::{
    ACTIONS, CALLED_BUILTINS, CALLERS, COMPILED, IMMUTABLE, MAKERS, OPERATORS, REBUILDERS,
    REBUILDING, VALUES, VERBS, WHOLE,
};

use super::acting::MODULES;
use super::globals::{Name, is_class, is_exception, is_own};
use super::known;
use super::standard::{is_standard, renamed};

/// Whether a call of a name makes a value. `is_new`: only the class's `__new__` is called.
pub fn makes_a_value(name: Name, is_new: bool) -> bool {
    let path = name.attributes().collect::<Vec<_>>();
    let (&last, before) = path.split_last().unwrap_or((&"", &[]));
    let in_classes = before.iter().all(|part| is_class(part));
    let top = known_as(name);
    if is_own(name) {
        return in_classes && !acts(last, is_new);
    }
    if is_standard(top) {
        return match before {
            // It makes classes.
            _ if last.ends_with("Meta") || top == "enum" && makes_enumerations(last) => false,
            [] if is_exception(last) => true,
            [] if top == "builtins" => CALLED_BUILTINS.contains(&last),
            [of] if top == "builtins" => {
                IMMUTABLE.contains(of) && !last.starts_with("format") && !last.starts_with('_')
                    || MAKERS.contains(&last)
            }
            // A class of a module that acts is one of the plain ones, or its name were refused.
            _ if in_classes && is_class(last) => {
                is_new
                    || !is_no_value(last)
                        && (VALUES.contains(&top) || MODULES.binary_search(&top).is_ok())
            }
            [] if top == "operator" || top == "_operator" => {
                OPERATORS.contains(&last) || finds(name.path).is_some()
            }
            [] => is_new || WHOLE.contains(&top) || is_rebuilder(name.path),
            [_] if MAKERS.contains(&last) => VALUES.contains(&top) || WHOLE.contains(&top),
            _ => false,
        };
    }
    let is_known = known::is_library(top);
    if is_known && !known::may_be_called(name, last, is_new) {
        return false;
    }
    match before {
        _ if is_known && known::makes_arrays(name) => true,
        _ if COMPILED.contains(&name.path) => true,
        // `Fire` is a layer of torchvision's models, too.
        _ if acts(last, is_new) && !(is_known && is_new && is_class(last)) => false,
        [] if is_class(last) || is_new => true,
        [] if is_known => {
            REBUILDING.iter().any(|part| last.contains(part)) || is_rebuilder(name.path)
        }
        [] => true,
        // A class method: of a known library only one by which values are made again.
        [_] if MAKERS.contains(&last) => true,
        _ if !in_classes => false,
        _ => is_class(last) || MAKERS.contains(&last) || !is_known,
    }
}

/// Whether a function or class acts by its name, in whatever package. What rebuilds a value has other names.
fn acts(name: &str, is_new: bool) -> bool {
    ACTIONS.contains(&name)
        || ACTIONS.contains(&name.trim_start_matches('_')) && !is_new
        || !is_new && VERBS.iter().any(|verb| name.starts_with(verb))
}

/// Whether a name of the module `enum` is that of a class which makes classes when it is called.
fn makes_enumerations(name: &str) -> bool {
    ["Enum", "Flag", "EnumType"].iter().any(|ending| name.ends_with(ending))
}

/// Whether a name of the standard library is written like that of a class, and is a constant, a function, or a class
/// that acts: of another module, or as a function when it is made.
fn is_no_value(name: &str) -> bool {
    let is_upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let is_constant = name.len() > 1 && name.bytes().all(is_upper);
    is_constant && !["ABC", "AST", "UUID"].contains(&name)
        || ["FileType", "JSONArray", "JSONObject"].contains(&name)
        || known::is_elsewhere(name)
}

/// The first part of a module's name, as Python 3 has it.
fn known_as<'a>(name: Name<'a>) -> &'a str {
    renamed(name.module()).split('.').next().unwrap_or_default()
}

/// Whether a class takes texts for code: sympy evaluates what stands for an expression. Names and digits are none.
pub fn evaluates_text(name: Name) -> bool {
    const PLAIN: [&str; 5] = ["Dummy", "Float", "Str", "Symbol", "Wild"];
    let named = name.attributes().find(|attribute| is_class(attribute));
    known_as(name) == "sympy" && !named.is_some_and(|class| PLAIN.contains(&class))
}

/// Whether somebody made the class: its constructor does with a function what its own program does.
pub fn is_somebodys_class(name: Name) -> bool {
    !is_known(name) && name.attributes().last().is_some_and(is_class)
}

/// Whether a name is of Python's standard library, or of one that is known.
pub fn is_known(name: Name) -> bool {
    let top = known_as(name);
    (is_standard(top) || known::is_library(top)) && !is_own(name)
}

/// Whether a name may be given to what might call it: one that the file may call itself, or nothing to be called.
pub fn may_be_given(name: Name) -> bool {
    let last = name.attributes().last().unwrap_or_default();
    is_judged(name.path) && is_plain_type(name.path)
        || known::is_value(name)
        || known_as(name) == "builtins" && ["Ellipsis", "NotImplemented"].contains(&last)
        || !is_judged(name.path) && !evaluates_text(name) && makes_a_value(name, false)
}

/// Whether a call does nothing but keep what it is given: exceptions of `builtins`, and descriptions of types.
pub fn only_keeps(name: Name) -> bool {
    let last = name.attributes().last().unwrap_or_default();
    known_as(name) == "builtins" && is_exception(last)
        || matches!(name.path, "types.GenericAlias" | "inspect.Signature")
}

fn is_rebuilder(path: &str) -> bool {
    REBUILDERS.contains(&path) || calls_arguments(path)
}

/// Which arguments of a function it calls, so that what stands there is judged as if the file called it, and whether
/// only the `__new__` of each.
pub fn called_arguments(path: &str) -> impl Iterator<Item = (usize, bool)> {
    let name = path.strip_prefix("__builtin__.").or(path.strip_prefix("builtins.")).unwrap_or(path);
    CALLERS.iter().filter(move |caller| caller.0 == name).map(|&(_, at, is_new)| (at, is_new))
}

fn calls_arguments(path: &str) -> bool {
    called_arguments(path).next().is_some()
}

/// Whether what a function does depends on its arguments, so that it can be judged with these only.
pub fn is_judged(path: &str) -> bool {
    let name = path.strip_prefix("builtins.").or(path.strip_prefix("__builtin__.")).unwrap_or(path);
    matches!(name, "getattr" | "type" | "functools.partial" | "_functools.partial")
        || calls_arguments(path) && !makes_defaults(path)
        || finds(path).is_some()
        || SETTERS.contains(&path)
        || path == super::nested::LOADER
}

/// Whether a name is that of the dict whose first argument makes its values.
pub fn makes_defaults(path: &str) -> bool {
    matches!(path, "collections.defaultdict" | "_collections.defaultdict")
}

/// Whether a name is that of the class of generators of random numbers, whose methods make numbers.
pub fn is_random(path: &str) -> bool {
    matches!(path, "random.Random" | "_random.Random")
}

/// Whether objects of a class are functions that act.
pub fn are_functions(path: &str) -> bool {
    path == "argparse.FileType"
}

/// Whether what a call gives may have been there before, so that what is done to it is done to the program.
pub fn finds_what_is_there(path: &str) -> bool {
    let name = path.strip_prefix("builtins.").or(path.strip_prefix("__builtin__.")).unwrap_or(path);
    matches!(name, "getattr" | "type" | "reduce" | "sum" | "round" | "abs" | "divmod")
        || matches!(path, "functools.reduce" | "_functools.reduce" | "logging.getLogger")
        || path.ends_with(".multiarray.scalar")
        || path.starts_with("operator.")
        || path.starts_with("_operator.")
        || finds(path).is_some()
}

/// Whether a name is that of the function that finds attributes.
pub fn finds_attributes(path: &str) -> bool {
    matches!(path, "builtins.getattr" | "__builtin__.getattr")
}

/// Whether a name is that of `type`, which with more than one argument makes classes.
pub fn is_type(path: &str) -> bool {
    matches!(path, "builtins.type" | "__builtin__.type")
}

/// Whether a name is that of the class of functions that hold another.
pub fn is_partial(path: &str) -> bool {
    matches!(path, "functools.partial" | "_functools.partial")
}

/// Functions that find something by a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Finds {
    /// A function that finds these attributes of what it is given; each argument is a name.
    Attributes,
    /// A function that calls this method of what it is given; the first argument is its name.
    Method,
    /// A name in a module: both are arguments.
    Global,
    /// A module.
    Module,
    /// An element, or a type with parameters.
    Item,
}

pub fn finds(path: &str) -> Option<Finds> {
    Some(match path {
        "operator.attrgetter" | "_operator.attrgetter" => Finds::Attributes,
        "operator.methodcaller" | "_operator.methodcaller" => Finds::Method,
        "operator.getitem" | "_operator.getitem" => Finds::Item,
        "numpy.core._ufunc_reconstruct" | "numpy._core._ufunc_reconstruct" => Finds::Global,
        "cloudpickle.cloudpickle._getobject" => Finds::Global,
        "cloudpickle.cloudpickle.subimport" => Finds::Module,
        _ => return None,
    })
}

/// Functions that set attributes of their first argument, which must be one that the file makes.
pub const SETTERS: [&str; 4] = [
    "cloudpickle.cloudpickle._class_setstate",
    "cloudpickle.cloudpickle._function_setstate",
    "cloudpickle.cloudpickle._fill_function",
    "cloudpickle.cloudpickle._rehydrate_skeleton_class",
];

/// Whether a function puts functions and classes together from parts that a file holds.
pub fn makes_functions(path: &str) -> bool {
    path.starts_with("cloudpickle.cloudpickle.") || path.starts_with("dill._dill.")
}

/// Whether what a call of this name makes may be a function or class of which the file holds the code.
pub fn brings_functions(path: &str) -> bool {
    const ENDINGS: [&str; 4] = ["_func", "_function", "_class", "_type"];
    makes_functions(path) && ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// Whether a function only makes an object of its first argument.
pub fn makes_again(path: &str) -> bool {
    path.starts_with("copyreg.") || path.starts_with("copy_reg.")
}

/// Whether a type, beside what its calls do, is one that values are said to be of.
pub fn is_plain_type(path: &str) -> bool {
    is_type(path) || makes_defaults(path)
}

/// Whether what a call of this name makes may be called itself: a type of Python's, by its name.
pub fn makes_types(path: &str) -> bool {
    matches!(path, "cloudpickle.cloudpickle._builtin_type" | "dill._dill._load_type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_standard_library_are_called_only_where_they_rebuild() {
        let path = |path: &'static str, module: &str| Name { path, module: module.len() };
        for (name, module) in [
            ("heapq.nsmallest", "heapq"),
            ("copy._reconstruct", "copy"),
            ("statistics.mean", "statistics"),
            ("wave.Wave_write", "wave"),
            ("builtins.next", "builtins"),
            ("builtins.dict.update", "builtins"),
            ("builtins.str.format", "builtins"),
            ("pathlib.Path.touch", "pathlib"),
            ("abc.ABCMeta", "abc"),
            ("torch.compile", "torch"),
            ("torch.Tensor.apply_", "torch"),
            ("PIL.Image.Image.save", "PIL.Image"),
            ("mine.tools.check_output", "mine.tools"),
            ("yaml.load", "yaml"),
            ("yaml.unsafe_load", "yaml"),
            ("jsonpickle.decode", "jsonpickle"),
            ("hydra.utils.instantiate", "hydra.utils"),
            ("numexpr.evaluate", "numexpr"),
            ("timm.models.load_checkpoint", "timm.models"),
            ("mmengine.config.Config.fromfile", "mmengine.config"),
            ("omegaconf.OmegaConf.load", "omegaconf"),
            ("transformers.pipeline", "transformers"),
            ("IPython.get_ipython", "IPython"),
            ("mine._load", "mine"),
            ("hydra._internal.utils._locate", "hydra._internal.utils"),
            ("cv2.imwrite", "cv2"),
            ("polars.read_csv", "polars"),
        ] {
            assert!(!makes_a_value(path(name, module), false), "{name}");
        }
        for (name, module) in [
            ("collections.OrderedDict", "collections"),
            ("collections.OrderedDict.fromkeys", "collections"),
            ("numpy.random._pickle.__randomstate_ctor", "numpy.random._pickle"),
            ("pandas._libs.arrays.__pyx_unpickle_NDArrayBacked", "pandas._libs.arrays"),
            ("torch._utils._rebuild_tensor_v2", "torch._utils"),
            ("mine.make", "mine"),
            ("mine.Config.make", "mine"),
            // What rebuilds values in libraries that are not known.
            ("pytz._p", "pytz"),
            ("pyarrow.lib.type_for_alias", "pyarrow.lib"),
            ("pyrsistent._pmap.pmap", "pyrsistent._pmap"),
            ("regex._regex.compile", "regex._regex"),
            ("pyarrow.lib._reconstruct_table", "pyarrow.lib"),
            ("jax._src.array._reconstruct_array", "jax._src.array"),
            ("spacy.vocab.unpickle_vocab", "spacy.vocab"),
            ("faiss.deserialize_index", "faiss"),
            ("shapely.from_wkb", "shapely"),
            ("mine._load_tables", "mine"),
            ("mine.Loader", "mine"),
        ] {
            assert!(makes_a_value(path(name, module), false), "{name}");
        }
        assert!(makes_a_value(path("threading.Event", "threading"), true));
    }
}
