//! What single functions do with what they are given: which arguments they call, what they find, change or make.

use super::known;
use super::tables::CALLERS;
use crate::formats::pickle::globals::Name;
use crate::formats::pickle::nested;

/// Which arguments of a function it calls, so that what stands there is judged as if the file called it, and whether
/// only the `__new__` of each.
pub fn called_arguments(path: &str) -> impl Iterator<Item = (usize, bool)> {
    let name = path.strip_prefix("__builtin__.").or(path.strip_prefix("builtins.")).unwrap_or(path);
    CALLERS.iter().filter(move |caller| caller.0 == name).map(|&(_, at, is_new)| (at, is_new))
}

pub fn calls_arguments(path: &str) -> bool {
    called_arguments(path).next().is_some()
}

/// Whether what a function does depends on its arguments, so that it can be judged with these only.
pub fn is_judged(path: &str) -> bool {
    let name = path.strip_prefix("builtins.").or(path.strip_prefix("__builtin__.")).unwrap_or(path);
    matches!(name, "getattr" | "type" | "functools.partial" | "_functools.partial")
        || calls_arguments(path) && !makes_defaults(path)
        || finds(path).is_some()
        || SETTERS.contains(&path)
        || path == nested::LOADER
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
    /// A class that is made, or found in a module: the third argument.
    Made,
}

pub fn finds(path: &str) -> Option<Finds> {
    Some(match path {
        "operator.attrgetter" | "_operator.attrgetter" => Finds::Attributes,
        "operator.methodcaller" | "_operator.methodcaller" => Finds::Method,
        "operator.getitem" | "_operator.getitem" => Finds::Item,
        "numpy.core._ufunc_reconstruct" | "numpy._core._ufunc_reconstruct" => Finds::Global,
        "cloudpickle.cloudpickle._getobject" => Finds::Global,
        "cloudpickle.cloudpickle.subimport" => Finds::Module,
        "dill._dill._create_namedtuple" => Finds::Made,
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
    path.starts_with("cloudpickle.cloudpickle.")
        || path.starts_with("dill._dill.") && !calls_arguments(path)
}

/// Whether a setter may change what a call of this name makes: it holds nothing of the program.
pub fn may_be_set(path: &str) -> bool {
    path.starts_with("cloudpickle.cloudpickle.")
}

/// Whether a function makes another of its code and of a module's names, the second argument.
pub fn takes_module_names(path: &str) -> bool {
    path == "dill._dill._create_function"
}

/// Whether what a call of this name makes may be a function or class of which the file holds the code.
pub fn brings_functions(path: &str) -> bool {
    const ENDINGS: [&str; 4] = ["_func", "_function", "_class", "_type"];
    makes_functions(path) && ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// Which argument of a function is a state, whose items become attributes.
pub fn takes_state(path: &str) -> Option<usize> {
    match path {
        _ if SETTERS.contains(&path) => Some(1),
        "torch._utils._rebuild_parameter_with_state" | "torch._tensor._rebuild_from_type" => {
            Some(3)
        }
        "torch._tensor._rebuild_from_type_v2" => Some(3),
        _ => None,
    }
}

/// Whether a call may make a text of what it is given.
pub fn computes_texts(path: &str) -> bool {
    ["__builtin__.", "_codecs.", "_operator.", "builtins.", "functools.", "operator."]
        .iter()
        .any(|module| path.starts_with(module))
}

/// Whether a name is a constant, or a class of arrays.
pub fn is_value(name: Name) -> bool {
    known::is_value(name)
}

/// Whether the state of a class's objects makes them act.
pub fn takes_acting_state(name: Name) -> bool {
    known::takes_acting_state(name)
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
