//! Tables of what may be called, and of what acts by its name.

/// Functions that rebuild a value, and classes that are not written like classes.
#[rustfmt::skip]
pub const REBUILDERS: [&str; 63] = [
    "_codecs.encode", "_collections.deque", "_functools.partial", "_random.Random", "array._array_reconstructor",
    "array.array", "cloudpickle.cloudpickle._builtin_type", "cloudpickle.cloudpickle._class_setstate",
    "cloudpickle.cloudpickle._fill_function", "cloudpickle.cloudpickle._function_setstate",
    "cloudpickle.cloudpickle._getobject", "cloudpickle.cloudpickle._make_cell",
    "cloudpickle.cloudpickle._make_dict_items", "cloudpickle.cloudpickle._make_dict_keys",
    "cloudpickle.cloudpickle._make_dict_values", "cloudpickle.cloudpickle._make_empty_cell",
    "cloudpickle.cloudpickle._make_function", "cloudpickle.cloudpickle._make_skel_func",
    "cloudpickle.cloudpickle._make_skeleton_enum", "cloudpickle.cloudpickle._make_typevar",
    "cloudpickle.cloudpickle._rehydrate_skeleton_class", "cloudpickle.cloudpickle.subimport", "collections.deque",
    "contextlib.nullcontext", "dill._dill._create_cell", "dill._dill._create_code",
    "dill._dill._create_dtypemeta", "dill._dill._create_function", "dill._dill._create_lock",
    "dill._dill._create_namedtuple", "dill._dill._create_rlock", "dill._dill._load_type", "functools.partial",
    "logging.getLogger", "nt.stat_result", "nt.times_result", "nt.uname_result",
    "numpy._core._internal._convert_to_stringdtype_kwargs", "numpy._core.multiarray.scalar",
    "numpy._core.numeric._frombuffer", "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer",
    "numpy.dtype", "numpy.ndarray", "os.stat_result", "os.statvfs_result", "os.terminal_size",
    "platform.uname_result", "plistlib.UID", "posix.stat_result", "posix.times_result", "posix.uname_result", "re._compile",
    "resource.struct_rusage", "time.struct_time", "torch.device", "torch.jit._pickle.build_boollist",
    "torch.jit._pickle.build_doublelist", "torch.jit._pickle.build_intlist", "torch.jit._pickle.build_tensorlist",
    "torch.jit._pickle.restore_type_tag", "torch.serialization._get_layout", "torch.storage._load_from_bytes",
];

/// Functions that rebuild a value, by the names of ones that act: compiled patterns.
pub const COMPILED: [&str; 2] = ["_regex.compile", "regex._regex.compile"];

/// Functions that call an argument, which, and whether only its `__new__`. Those of `builtins` stand without it.
#[rustfmt::skip]
pub const CALLERS: [(&str, usize, bool); 41] = [
    ("_functools.reduce", 0, false), ("_weakref.ref", 1, false), ("_collections.defaultdict", 0, false), ("collections.defaultdict", 0, false), ("copy_reg.__newobj__", 0, true),
    ("copy_reg._reconstructor", 0, true), ("copy_reg._reconstructor", 1, false), ("copyreg.__newobj__", 0, true),
    ("copyreg.__newobj_ex__", 0, true), ("copyreg._reconstructor", 0, true), ("copyreg._reconstructor", 1, false),
    ("dill._dill._create_array", 0, false), ("filter", 0, false), ("fsspec.spec.make_instance", 0, false),
    ("functools.reduce", 0, false), ("iter", 0, false), ("itertools.accumulate", 1, false),
    ("itertools.dropwhile", 0, false), ("itertools.filterfalse", 0, false), ("itertools.groupby", 1, false),
    ("itertools.ifilter", 0, false), ("itertools.ifilterfalse", 0, false), ("itertools.imap", 0, false),
    ("itertools.starmap", 0, false), ("itertools.takewhile", 0, false),
    ("jax._src.array._reconstruct_array", 0, false), ("map", 0, false),
    ("numpy.random._pickle.__generator_ctor", 1, false), ("numpy.random._pickle.__randomstate_ctor", 1, false),
    ("pandas.core.indexes.base._new_Index", 0, true), ("pandas.core.indexes.datetimes._new_DatetimeIndex", 0, true),
    ("pandas.core.indexes.interval._new_IntervalIndex", 0, true),
    ("pandas.core.indexes.period._new_PeriodIndex", 0, true),
    ("pandas.core.indexes.timedeltas._new_TimedeltaIndex", 0, true), ("reduce", 0, false),
    ("torch._tensor._rebuild_from_type", 0, false), ("torch._tensor._rebuild_from_type_v2", 0, false),
    ("weakref.KeyedRef", 1, false), ("weakref.ReferenceType", 1, false), ("weakref.WeakMethod", 1, false),
    ("weakref.ref", 1, false),
];

/// Functions of `builtins` that make a value of values.
#[rustfmt::skip]
pub const CALLED_BUILTINS: [&str; 47] = [
    "Ellipsis", "abs", "all", "any", "ascii", "basestring", "bin", "bool", "bytearray", "bytes", "chr", "classmethod",
    "complex", "dict", "divmod", "enumerate", "filter", "float", "frozenset", "getattr", "hash", "hex", "int", "iter",
    "len", "list", "long", "map", "object", "oct", "ord", "property", "range", "reduce", "reversed", "round", "set",
    "slice", "staticmethod", "str", "sum", "tuple", "type", "unichr", "unicode", "xrange", "zip",
];

/// Types of `builtins` whose methods make values and change none.
#[rustfmt::skip]
pub const IMMUTABLE: [&str; 9] =
    ["bool", "bytes", "complex", "float", "frozenset", "int", "long", "str", "unicode"];

/// Modules of the standard library whose classes are values.
#[rustfmt::skip]
pub const VALUES: [&str; 47] = [
    "_collections", "_collections_abc", "_datetime", "_decimal", "_pydatetime", "_pydecimal", "_struct",
    "_weakrefset", "abc", "argparse", "ast", "calendar", "codecs", "collections", "configparser", "csv",
    "dataclasses", "datetime", "decimal", "difflib", "email", "enum", "fractions", "graphlib", "html", "inspect",
    "ipaddress", "json", "logging", "numbers", "optparse", "pathlib", "queue", "random", "re", "statistics",
    "string", "struct", "textwrap", "token", "tokenize", "traceback", "types", "typing", "uuid", "weakref", "zoneinfo",
];

/// Those of which that holds for functions and methods as well.
pub const WHOLE: [&str; 3] = ["_datetime", "datetime", "itertools"];

/// What `operator` has that makes a value of values, and changes none.
#[rustfmt::skip]
pub const OPERATORS: [&str; 27] = [
    "abs", "add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "index", "inv", "invert", "is_", "is_not",
    "itemgetter", "le", "lt", "mod", "mul", "ne", "neg", "not_", "or_", "pos", "sub", "truediv", "truth", "xor",
];

/// Class methods by which values are made again.
#[rustfmt::skip]
pub const MAKERS: [&str; 9] = [
    "__new__", "_make", "_unpickle", "from_bytes", "fromhex", "fromisoformat", "fromkeys", "fromordinal", "maketrans",
];

/// Words in the names of functions that act; those of seven letters and more also within another word.
#[rustfmt::skip]
pub const WORDS: [&str; 33] = [
    "cached", "call", "client", "cmd", "command", "compile", "download", "edit", "eval", "evaluate", "exec",
    "execute", "export", "fetch", "getoutput", "http", "import", "instantiate", "launch", "launcher", "main", "open",
    "output", "popen", "remote", "run", "runctx", "script", "shell", "spawn", "subprocess", "upload", "xopen",
];

/// Words of functions that make a value again, and words of which it is not one even so.
pub const AGAIN: [&str; 5] = ["rebuild", "reconstruct", "restore", "unpickle", "unreduce"];
#[rustfmt::skip]
pub const ACTING: [&str; 14] = [
    "cmd", "command", "compile", "eval", "evaluate", "exec", "execute", "import", "popen", "run", "script", "shell",
    "spawn", "subprocess",
];

/// Words of functions that find code by its name, and words for code.
pub const FINDING: [&str; 7] = ["create", "find", "get", "lazy", "load", "register", "resolve"];
#[rustfmt::skip]
pub const CODE: [&str; 17] = [
    "class", "formatters", "function", "lexers", "lib", "library", "method", "model", "module", "modules", "object",
    "plugin", "plugins", "py", "python", "source", "target",
];

/// How names of functions begin that act: they read files or texts that may ask for more, or run something.
#[rustfmt::skip]
pub const VERBS: [&str; 16] = [
    "download_", "exec_", "execute_", "import_", "install_", "launch_", "load_", "open_", "read_", "run_", "save_",
    "send_", "spawn_", "start_", "unsafe_", "write_",
];

/// Names of functions and classes that act, in packages of all kinds: their own, or imported ones.
#[rustfmt::skip]
pub const ACTIONS: [&str; 126] = [
    "CDLL", "CreateObject", "FileHandler", "FileStore", "Fire", "Popen", "ProcessPoolExecutor", "PyTorchFileReader",
    "PyTorchFileWriter", "ShellExecute", "SummaryWriter", "TCPStore", "ThreadPoolExecutor", "__import__", "bash",
    "cached_file", "call", "call_subprocess", "check_call", "check_output", "client", "clone_from", "cmdexec",
    "compile", "connect", "create_engine", "cython_inline", "decode", "delayed", "deserialize", "download", "dump",
    "eval", "evaluate", "exec", "execfile", "execl", "execle", "execlp", "execute", "execv", "execve", "execvp",
    "execvpe", "file2dict", "fork", "from_env", "from_file", "from_filename", "from_pretrained", "fromfile",
    "fromstring", "full_load", "get_class_from_dynamic_module", "get_ipython", "get_method", "getoutput",
    "getstatusoutput", "hf_hub_download", "import_module", "import_string", "imread", "imsave", "imwrite", "init",
    "inline", "install", "instantiate", "jit", "load", "loads", "local", "locate", "login", "main", "makedirs",
    "makegateway", "mkdir", "namedAny", "open", "pipeline", "popen", "process", "prompt", "pure_callback",
    "py_function", "query", "read", "remote", "remove", "removedirs", "rename", "request", "resolve", "resolve_name",
    "resource", "restore_checkpoint", "rmtree", "run", "run_cmd", "run_command", "run_module", "run_path", "save",
    "savefig", "send", "shell", "snapshot_download", "spawn", "spawnl", "spawnlp", "spawnv", "spawnve", "spawnvp",
    "sql", "startJVM", "startfile", "symbol_by_name", "system", "typewrite", "unlink", "urlopen", "urlretrieve",
    "write", "write_bytes", "write_text",
];
