//! What a pickle may call. Names are refused by lists of what acts; calls are allowed by their form, because any
//! function may act on what it is given, and what rebuilds a value looks alike everywhere. docs/formats.md has the rule.

use super::acting::MODULES;
use super::globals::{Name, is_class, is_exception, is_own};
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
            _ if last.ends_with("Meta") || last == "EnumType" => false,
            [] if is_exception(last) => true,
            [] if top == "builtins" => CALLED_BUILTINS.contains(&last),
            [of] if top == "builtins" => {
                IMMUTABLE.contains(of) && !last.starts_with("format") && !last.starts_with('_')
                    || MAKERS.contains(&last)
            }
            // A class of a module that acts is one of the plain ones, or its name were refused.
            _ if in_classes && is_class(last) => {
                is_new || VALUES.contains(&top) || MODULES.binary_search(&top).is_ok()
            }
            [] if top == "operator" || top == "_operator" => {
                OPERATORS.contains(&last) || finds(name.path).is_some()
            }
            [] => is_new || WHOLE.contains(&top) || is_rebuilder(name.path),
            [_] if MAKERS.contains(&last) => VALUES.contains(&top) || WHOLE.contains(&top),
            _ => false,
        };
    }
    let is_known = LIBRARIES.contains(&top);
    match before {
        _ if COMPILED.contains(&name.path) => true,
        _ if acts(last, is_new) => false,
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
    let top = known_as(name);
    let is_library = (is_standard(top) || LIBRARIES.contains(&top)) && !is_own(name);
    !is_library && name.attributes().last().is_some_and(is_class)
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

/// Libraries that are there wherever PyTorch is, or mostly: of their functions only those that rebuild a value are
/// called.
#[rustfmt::skip]
const LIBRARIES: [&str; 21] = [
    "PIL", "cloudpickle", "dill", "filelock", "fsspec", "functorch", "jinja2", "joblib", "markupsafe",
    "mpmath", "networkx", "numpy", "packaging", "pandas", "requests", "scipy", "sympy", "torch", "torchgen",
    "torchvision", "triton",
];

/// Parts of the names of functions that rebuild a value.
const REBUILDING: [&str; 5] = ["_rebuild", "reconstruct", "unpickle", "_ctor", "_new_"];

/// Other functions that do, and classes that are not written like classes.
#[rustfmt::skip]
const REBUILDERS: [&str; 55] = [
    "_codecs.encode", "_collections.deque", "_functools.partial", "_random.Random", "array._array_reconstructor",
    "array.array", "cloudpickle.cloudpickle._builtin_type", "cloudpickle.cloudpickle._class_setstate",
    "cloudpickle.cloudpickle._fill_function", "cloudpickle.cloudpickle._function_setstate",
    "cloudpickle.cloudpickle._getobject", "cloudpickle.cloudpickle._make_cell",
    "cloudpickle.cloudpickle._make_dict_items", "cloudpickle.cloudpickle._make_dict_keys",
    "cloudpickle.cloudpickle._make_dict_values", "cloudpickle.cloudpickle._make_empty_cell",
    "cloudpickle.cloudpickle._make_function", "cloudpickle.cloudpickle._make_skel_func",
    "cloudpickle.cloudpickle._make_skeleton_enum", "cloudpickle.cloudpickle._make_typevar",
    "cloudpickle.cloudpickle._rehydrate_skeleton_class", "cloudpickle.cloudpickle.subimport", "collections.deque",
    "contextlib.nullcontext", "dill._dill._create_array", "dill._dill._create_cell", "dill._dill._create_code",
    "dill._dill._create_dtypemeta", "dill._dill._create_function", "dill._dill._create_lock",
    "dill._dill._create_namedtuple", "dill._dill._create_rlock", "dill._dill._load_type", "functools.partial",
    "logging.getLogger", "numpy._core.multiarray.scalar", "numpy._core.numeric._frombuffer",
    "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer", "numpy.dtype", "numpy.ndarray",
    "os.stat_result", "os.terminal_size", "platform.uname_result", "posix.stat_result", "re._compile",
    "time.struct_time", "torch.device", "torch.jit._pickle.build_boollist", "torch.jit._pickle.build_doublelist",
    "torch.jit._pickle.build_intlist", "torch.jit._pickle.build_tensorlist", "torch.jit._pickle.restore_type_tag",
    "torch.serialization._get_layout", "torch.storage._load_from_bytes",
];

/// Functions that rebuild a value, by the names of ones that act: compiled patterns.
const COMPILED: [&str; 2] = ["_regex.compile", "regex._regex.compile"];

/// Functions that call an argument, which, and whether only its `__new__`. Those of `builtins` stand without it.
#[rustfmt::skip]
const CALLERS: [(&str, usize, bool); 34] = [
    ("_functools.reduce", 0, false), ("cloudpickle.cloudpickle._make_skeleton_class", 0, false),
    ("_collections.defaultdict", 0, false), ("collections.defaultdict", 0, false), ("copy_reg.__newobj__", 0, true),
    ("copy_reg._reconstructor", 0, true), ("copy_reg._reconstructor", 1, false), ("copyreg.__newobj__", 0, true),
    ("copyreg.__newobj_ex__", 0, true), ("copyreg._reconstructor", 0, true), ("copyreg._reconstructor", 1, false),
    ("dill._dill._create_type", 0, false), ("filter", 0, false), ("fsspec.spec.make_instance", 0, false),
    ("functools.reduce", 0, false), ("iter", 0, false), ("itertools.accumulate", 1, false),
    ("itertools.dropwhile", 0, false), ("itertools.filterfalse", 0, false), ("itertools.groupby", 1, false),
    ("itertools.ifilter", 0, false), ("itertools.ifilterfalse", 0, false), ("itertools.imap", 0, false),
    ("itertools.starmap", 0, false), ("itertools.takewhile", 0, false),
    ("jax._src.array._reconstruct_array", 0, false), ("map", 0, false),
    ("numpy.random._pickle.__generator_ctor", 1, false), ("numpy.random._pickle.__randomstate_ctor", 1, false),
    ("pandas.core.indexes.base._new_Index", 0, true), ("pandas.core.indexes.datetimes._new_DatetimeIndex", 0, true),
    ("pandas.core.indexes.period._new_PeriodIndex", 0, true), ("reduce", 0, false),
    ("torch._tensor._rebuild_from_type_v2", 0, false),
];

/// Functions of `builtins` that make a value of values.
#[rustfmt::skip]
const CALLED_BUILTINS: [&str; 47] = [
    "Ellipsis", "abs", "all", "any", "ascii", "basestring", "bin", "bool", "bytearray", "bytes", "chr", "classmethod",
    "complex", "dict", "divmod", "enumerate", "filter", "float", "frozenset", "getattr", "hash", "hex", "int", "iter",
    "len", "list", "long", "map", "object", "oct", "ord", "property", "range", "reduce", "reversed", "round", "set",
    "slice", "staticmethod", "str", "sum", "tuple", "type", "unichr", "unicode", "xrange", "zip",
];

/// Types of `builtins` whose methods make values and change none.
#[rustfmt::skip]
const IMMUTABLE: [&str; 9] =
    ["bool", "bytes", "complex", "float", "frozenset", "int", "long", "str", "unicode"];

/// Modules of the standard library whose classes are values.
#[rustfmt::skip]
const VALUES: [&str; 47] = [
    "_collections", "_collections_abc", "_datetime", "_decimal", "_pydatetime", "_pydecimal", "_struct",
    "_weakrefset", "abc", "argparse", "ast", "calendar", "codecs", "collections", "configparser", "csv",
    "dataclasses", "datetime", "decimal", "difflib", "email", "enum", "fractions", "graphlib", "html", "inspect",
    "ipaddress", "json", "logging", "numbers", "optparse", "pathlib", "queue", "random", "re", "statistics",
    "string", "struct", "textwrap", "token", "tokenize", "traceback", "types", "typing", "uuid", "weakref", "zoneinfo",
];

/// Those of which that holds for functions and methods as well.
const WHOLE: [&str; 3] = ["_datetime", "datetime", "itertools"];

/// What `operator` has that makes a value of values, and changes none.
#[rustfmt::skip]
const OPERATORS: [&str; 27] = [
    "abs", "add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "index", "inv", "invert", "is_", "is_not",
    "itemgetter", "le", "lt", "mod", "mul", "ne", "neg", "not_", "or_", "pos", "sub", "truediv", "truth", "xor",
];

/// Class methods by which values are made again.
#[rustfmt::skip]
const MAKERS: [&str; 9] = [
    "__new__", "_make", "_unpickle", "from_bytes", "fromhex", "fromisoformat", "fromkeys", "fromordinal", "maketrans",
];

/// How names of functions begin that act: they read files or texts that may ask for more, or run something.
#[rustfmt::skip]
const VERBS: [&str; 16] = [
    "download_", "exec_", "execute_", "import_", "install_", "launch_", "load_", "open_", "read_", "run_", "save_",
    "send_", "spawn_", "start_", "unsafe_", "write_",
];

/// Names of functions and classes that act, in packages of all kinds: their own, or imported ones.
#[rustfmt::skip]
const ACTIONS: [&str; 120] = [
    "CDLL", "CreateObject", "FileHandler", "FileStore", "Fire", "Popen", "ProcessPoolExecutor", "PyTorchFileReader",
    "PyTorchFileWriter", "ShellExecute", "SummaryWriter", "TCPStore", "ThreadPoolExecutor", "__import__", "bash",
    "cached_file", "call", "call_subprocess", "check_call", "check_output", "client", "clone_from", "cmdexec",
    "compile", "connect", "create_engine", "cython_inline", "decode", "delayed", "download", "dump", "eval",
    "evaluate", "exec", "execfile", "execl", "execle", "execlp", "execute", "execv", "execve", "execvp", "execvpe",
    "fork", "from_env", "from_file", "fromfile", "full_load", "get_class_from_dynamic_module", "get_ipython",
    "get_method", "getoutput", "getstatusoutput", "hf_hub_download", "import_module", "import_string", "imread",
    "imwrite", "init", "inline", "install", "instantiate", "jit", "load", "loads", "local", "locate", "login", "main",
    "makedirs", "makegateway", "mkdir", "namedAny", "open", "pipeline", "popen", "process", "prompt", "pure_callback",
    "py_function", "query", "read", "remote", "remove", "removedirs", "rename", "request", "resolve", "resolve_name",
    "resource", "restore_checkpoint", "rmtree", "run", "run_cmd", "run_command", "run_module", "run_path", "save",
    "savefig", "send", "shell", "snapshot_download", "spawn", "spawnl", "spawnlp", "spawnv", "spawnve", "spawnvp",
    "sql", "startJVM", "startfile", "symbol_by_name", "system", "typewrite", "unlink", "urlopen", "urlretrieve",
    "write", "write_bytes", "write_text",
];

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
